"""How near does each recipe come to the best that its phantom allows?  (Methods A0, acceptance.)

    python -m training.experiments.optimum cpc dlr --out docs/measured/optimum.jsonl

For each recipe: thousands of phantoms to learn from, others to test on, every variant, true and permuted labels.  A
line that is there already is not measured again.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from training.cohort.splits import Fold
from training.evaluate.delong import auc_interval
from training.experiments.lines import append_line, read_lines
from training.phantom.prepared import prepare_phantom
from training.phantom.settings import PhantomSettings
from training.phantom.truth import bayes_aucs, bayes_aucs_as_given
from training.prepared import Parts, Prepared
from training.recipe import Conditions, Recipe
from training.recipes import recipe
from training.run.environment import machine
from training.run.start import read_settings
from training.run.task import permuted

# which of the phantom's sources a variant can see (training.phantom.truth names the sets)
SOURCES: dict[str, dict[str, str]] = {
    "ussl": {"*": "pet+ct"},
    "dlr": {"dlr+clinical": "ct+clinical", "dlr": "ct", "clinical": "clinical"},
    "cpc": {"CPC": "pet+ct+clinical", "PC": "pet+ct", "P": "pet", "C": "ct", "clinical": "clinical"},
    "dfsigm": {"fusion": "iodine+clinical", "dfsigm": "iodine", "clinical": "clinical"},
    "prrt_pfs": {
        "lab+PET+CT": "pet+ct+clinical",
        "late average": "pet+ct+clinical",
        "PET+CT": "pet+ct",
        "PET": "pet",
        "CT": "ct",
        "lab RF": "clinical",
    },
}
SEED = 20_001  # of the phantoms; no other experiment uses it
VALIDATION = 400


@dataclass(frozen=True, slots=True)
class Cell:
    """One line: a variant on so many training subjects.  ``permutation``: -1 for the true labels."""

    recipe: str
    variant: str
    train: int
    test: int
    settings: tuple[str, ...]
    permutation: int

    def as_json(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe,
            "variant": self.variant,
            "train": self.train,
            "test": self.test,
            "settings": list(self.settings),
            "permutation": self.permutation,
            "seed": SEED,
        }


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="+", choices=sorted(SOURCES))
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--test", type=int, default=1500)
    parser.add_argument("--permutations", type=int, default=0)
    parser.add_argument("--variant", action="append", default=[])
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="setting of the recipe")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path(".cache/phantoms"))
    parser.add_argument("--out", type=Path, default=Path("docs/measured/optimum.jsonl"))
    args = parser.parse_args()
    for name in args.recipes:
        for permutation in range(-1, args.permutations):
            for variant in args.variant or recipe(name).variants:
                cell = Cell(name, variant, args.train, args.test, tuple(args.set), permutation)
                _measure(cell, args)


def _measure(cell: Cell, args: argparse.Namespace) -> None:
    key = cell.as_json()
    if any(all(line.get(k) == v for k, v in key.items()) for line in read_lines(args.out)):
        return
    wanted = recipe(cell.recipe)
    settings = read_settings(wanted.settings, None, cell.settings)
    phantoms = PhantomSettings(cell.recipe, cell.train + VALIDATION + cell.test, SEED, unlabelled={})
    data = prepare_phantom(phantoms, wanted.looks(settings), processes=os.cpu_count() or 1, cache=args.cache)
    began = time.monotonic()
    measured = _auc(wanted, settings, data, cell, args.threads)
    source = SOURCES[cell.recipe].get(cell.variant) or SOURCES[cell.recipe].get("*", "")
    bayes = {**bayes_aucs(phantoms), **bayes_aucs_as_given(phantoms)}
    append_line(
        args.out,
        {
            **key,
            **measured,
            "bayes_auc": bayes.get(source) if cell.permutation < 0 else 0.5,
            "source": source,
            "seconds": round(time.monotonic() - began, 1),
            "machine": machine("cpu"),
        },
    )


def _auc(wanted: Recipe, settings: Any, data: Prepared, cell: Cell, threads: int) -> dict[str, Any]:
    """Learn from the first rows, choose on the next, test on the last; a row without a label (censored) is no row."""
    labelled = np.flatnonzero(data.labels >= 0).astype(np.int64)
    share = len(labelled) / len(data)
    train, validation, test = np.split(labelled, [round(share * cell.train), round(share * (cell.train + VALIDATION))])
    parts = Parts(train, validation)
    if cell.permutation >= 0:
        data = permuted(data, Fold(0, 0, parts, test), cell.permutation)
    with tempfile.TemporaryDirectory() as folder:
        estimator = wanted.estimator(settings, cell.variant)
        seed = 1 + max(cell.permutation, 0)
        conditions = Conditions(seed, Path(folder), threads=threads)
        estimator.fit(replace(data, sets=()), parts, conditions)
        probabilities = estimator.predict_proba(data, test)
    found = auc_interval(data.labels[test] == 1, probabilities)
    return {
        "auc": round(found.value, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
        "se": round((found.high - found.low) / 3.92, 4),
        "tested": len(test),
        "learnt": len(train),
    }


if __name__ == "__main__":
    main()
