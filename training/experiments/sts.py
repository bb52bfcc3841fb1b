"""The 20 real patients: every PET/CT and CT recipe on them, beside single numbers of the tumour.

    python -m training.experiments.sts --runs runs/sts --out docs/measured/sts.json

Soft-tissue sarcomas with or without later lung metastases (the table of the tests, whose images lie in ../shared/data),
not the disease of any recipe: it shows that the whole road works on patients' images.  Each recipe is a run
(``training.run``) in a folder of its own, which goes on after a stop.  The permutation p is of the out-of-fold
predictions (the chance to rank as well with the labels dealt out anew), one-sided; a permutation through every fit
would take days.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training.cohort.prepare import prepare
from training.cohort.table import read_cohort
from training.evaluate.delong import auc_interval
from training.recipe import Progress
from training.recipes import recipe
from training.record import Predicted, read_predictions
from training.run.environment import machine
from training.run.start import cache_folder, start

COHORT = Path("tests/cohorts/sts.csv")
RUNS: Mapping[str, tuple[str, ...]] = {
    "cpc": ("PC", "P", "C"),
    "dlr": ("dlr",),
    "ussl": ("supervised+radiomics", "supervised", "radiomics", "ussl"),
}
NUMBERS = {"suv_max": "SUVmax", "mtv_ml": "MTV", "tlg": "TLG", "volume_ml": "volume"}
PERMUTATIONS = 10_000
STATEMENT = "Twenty patients prove that the plumbing holds, and nothing about any model."


def main() -> None:
    """Run what is missing and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", type=Path, default=COHORT, help="its table")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--out", type=Path, default=Path("docs/measured/sts.json"))
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    rows = _numbers(args.cohort)
    for name, variants in RUNS.items():
        options = {"folds": args.folds, "repeats": args.repeats, "seed": args.seed, "jobs": args.jobs}
        options["variants"] = variants
        start(
            name,
            args.cohort,
            args.runs / name,
            options=options,
            command="python -m training.experiments.sts",
            tell=_say,
        )
        predicted = read_predictions(args.runs / name)
        rows += [{"model": name, "variant": v, **_of_variant(predicted, v)} for v in variants]
    found = {
        "statement": STATEMENT,
        "folds": args.folds,
        "repeats": args.repeats,
        "seed": args.seed,
        "machine": machine("cpu"),
        "rows": rows,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n")


def _numbers(table: Path) -> list[dict[str, Any]]:
    """AUC of single numbers: nothing is fitted; above 0.5 where patients with metastases have the larger number."""
    wanted = recipe("cpc")
    looks = wanted.looks(wanted.settings())
    data = prepare(read_cohort(table), looks, cache=cache_folder(), processes=os.cpu_count() or 1, tell=_say).data
    labels = data.labels == 1
    return [
        {"model": "one number", "variant": title, **_tested(labels, np.array(data.values[name], float))}
        for name, title in NUMBERS.items()
    ]


def _of_variant(predicted: Sequence[Predicted], variant: str) -> dict[str, Any]:
    """Of the mean over the repeats' out-of-fold logits, one number a patient."""
    mine = [p for p in predicted if p.variant == variant and p.scheme == "cv"]
    patients = sorted({p.patient for p in mine})
    labels = np.array([next(p.label for p in mine if p.patient == one) == 1 for one in patients])
    scores = np.array([np.mean([_logit(p.probability) for p in mine if p.patient == one]) for one in patients])
    return _tested(labels, scores)


def _tested(labels: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> dict[str, Any]:
    found = auc_interval(labels, scores)
    rng = np.random.default_rng(0)
    chance = [auc_interval(rng.permutation(labels), scores).value for _ in range(PERMUTATIONS)]
    p = (1 + sum(one >= found.value for one in chance)) / (1 + PERMUTATIONS)
    return {
        "patients": len(labels),
        "positives": int(labels.sum()),
        "auc": round(found.value, 3),
        "low": round(found.low, 3),
        "high": round(found.high, 3),
        "permutation_p": round(p, 4),
    }


def _logit(probability: float) -> float:
    clipped = min(max(probability, 1e-6), 1.0 - 1e-6)
    return float(np.log(clipped / (1.0 - clipped)))


def _say(progress: Progress) -> None:
    print(f"\r{progress.text} {progress.done}/{progress.total}", end="", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
