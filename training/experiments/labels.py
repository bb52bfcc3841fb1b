"""What are unlabelled images worth?  Every method on the same few labels of phantoms (methods B2, B3; Show 2).

    python -m training.experiments.labels --labels 20 40 --methods supervised alternation --draws 0-9
    python -m training.experiments.labels --plan --part 0/2 &  python -m training.experiments.labels --plan --part 1/2

A cell is one fit: label model × labels × method × draw × unlabelled images × flipped labels.  It is appended as one
line to the JSONL; cells that are there are skipped, so an experiment goes on over sittings and machines.  All methods
of a draw have the same labels, the same initial weights and as many supervised steps.

Phantoms for choosing and for confirming have other seeds: what was chosen on the first is tested once on the second.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.model.inputs import CanonicalRoi
from inference.model.network import RoiResNet, restore
from inference.model.radiomics import NAMES
from training.experiments.labels_plan import DRAWS, FEATURE_METHODS, PLAN, REVISION, Block
from training.experiments.lines import append_line, read_lines
from training.networks.ensemble import answers
from training.phantom.latents import GaussianSources, LabelModel
from training.phantom.prepared import prepare_phantom
from training.phantom.presets import LABEL_MODELS
from training.phantom.settings import PhantomSettings
from training.prepared import Prepared, Rows
from training.recipe import Conditions
from training.run.environment import machine
from training.semi_supervised.augment import Channels
from training.semi_supervised.features import Features, Scale, agreement, logistic, probability, scores
from training.semi_supervised.loop import fit
from training.semi_supervised.method import Method
from training.semi_supervised.methods import method
from training.semi_supervised.methods.pretext import FeaturePretext, RotationPretext
from training.semi_supervised.problem import Problem
from training.semi_supervised.settings import LoopSettings

SEEDS = {"development": 31_000, "confirmation": 32_000}  # no other experiment uses these phantoms
POOL, UNLABELLED, TEST = 1000, 2000, 1334  # subjects; three quarters of the test are of the training's centres
LOOK = "lesion"
TEACHERS = {"radiomics-teacher": "radiomics", "agreement-teacher": "agreement"}
PRETEXTS = ("rotation-pretraining", "feature-pretraining")  # as many steps again, without labels, come first
# Beside the presets' models: sources that are independent given the label, and a label that PET does not show.
MODELS: dict[str, LabelModel] = {
    **LABEL_MODELS,
    "separate": GaussianSources({"pet": 1.19, "ct": 1.19}),
    "ct-only": GaussianSources({"pet": 0.0, "ct": 1.683}),
}
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cell:
    """One line.  ``phantoms``: of ``SEEDS``; ``flips``: share of the drawn labels that are turned round."""

    phantoms: str
    model: str
    labels: int
    method: str
    draw: int
    unlabelled: str
    flips: float
    steps: int
    revision: int = REVISION


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """Pool, unlabelled and test phantoms in one cohort, and the rows of each."""

    all: Prepared
    truth: npt.NDArray[np.int8]
    pool: Rows
    unlabelled: Rows
    test: Rows
    external: npt.NDArray[np.bool_]

    @property
    def features(self) -> Features:
        return Features(self.all.radiomics, self.all.radiomics_names, self.all.centres)


def main(given: Sequence[str] | None = None) -> None:
    """Measure what is missing."""
    args = _arguments().parse_args(given)
    part, parts = (int(number) for number in args.part.split("/"))
    for number, cell in enumerate(_cells(args)):
        done = {_key(line) for line in read_lines(args.out)}
        if number % parts == part and _key(asdict(cell)) not in done:
            append_line(args.out, measure(cell, cache=args.cache, device=args.device, size=args.size))


def measure(cell: Cell, *, cache: Path, device: str = "cpu", size: float = 1.0) -> dict[str, Any]:
    """The line of a cell.  ``size``: share of the subjects, for tests."""
    began = time.monotonic()
    data = _data(cell.phantoms, cell.model, cell.unlabelled, cache, size)
    train, labels = _drawn(cell, data)
    heads = {
        "radiomics": logistic(data.features, labels, train),
        "agreement": agreement(data.features, labels, train, data.unlabelled),
    }
    hand_made = {name: scores(head, data.features, np.arange(len(data.all))) for name, head in heads.items()}
    found: dict[str, Any] = {}
    if cell.method in heads:
        network = hand_made[cell.method]
    else:
        targets = None
        if cell.method in TEACHERS:
            targets = np.full(len(data.all), np.nan, np.float32)
            targets[data.unlabelled] = probability(heads[TEACHERS[cell.method]], data.features, data.unlabelled)
        network, found = _network(cell, data, train, labels, targets, device)
        for name, one in hand_made.items():
            found[f"auc_with_{name}"] = _auc(_together(network, one, data), data)[0]
    auc, external = _auc(network, data)
    called = float((network[data.test] > 0.0).mean())
    told = {"auc": auc, "auc_external": external, "called_positive": round(called, 3), **found}
    return {**asdict(cell), **told, "seconds": round(time.monotonic() - began, 1), "machine": machine(device)}


def _network(
    cell: Cell, data: Data, train: Rows, labels: npt.NDArray[np.int8], targets: npt.NDArray[np.float32] | None,
    device: str,
) -> tuple[Array, dict[str, Any]]:  # fmt: skip
    """Scores of all rows by a network, and what the fit tells."""
    look = CanonicalRoi()
    problem = Problem(data.all.inputs[LOOK], labels, data.all.centres, train, train[:0], data.unlabelled, targets)
    settings = LoopSettings(steps=cell.steps)
    network = RoiResNet(channels=len(look.channels))
    initial, named = None, "radiomics-teacher" if cell.method in TEACHERS else cell.method
    with tempfile.TemporaryDirectory() as folder:
        conditions = Conditions(seed=cell.draw, folder=Path(folder), device=device)
        if cell.method in PRETEXTS:
            task: Method = RotationPretext() if cell.method == "rotation-pretraining" else FeaturePretext(len(NAMES))
            everything = np.concatenate([train, data.unlabelled])
            pretext = replace(problem, pretext=_standard(data), unlabelled=everything)
            initial = fit(pretext, task, network, settings, Channels.of(look), conditions).weights
            named = "supervised"
        fitted = fit(problem, method(named), network, settings, Channels.of(look), conditions, initial)
    rows = np.concatenate([train, data.unlabelled[:500], data.test])
    found = np.full(len(data.all), np.nan)
    found[rows] = answers(restore(network, fitted.weights), data.all.inputs[LOOK], rows, None)[0]
    return found, {"loss": round(fitted.losses[-1], 4)}


def _standard(data: Data) -> npt.NDArray[np.float32]:
    """Features of all rows, standardised by the unlabelled ones."""
    known = data.all.radiomics[data.unlabelled if len(data.unlabelled) else data.pool]
    return np.asarray(np.nan_to_num(Scale.of(known)(data.all.radiomics)), np.float32)


def _together(network: Array, hand_made: Array, data: Data) -> Array:
    """Mean of two logits of one spread, which needs no label to be measured."""
    rows = data.unlabelled[:500] if len(data.unlabelled) else data.test
    return network / np.nanstd(network[rows]) + hand_made / np.nanstd(hand_made[rows])


def _auc(all_scores: Array, data: Data) -> tuple[float, float]:
    """On all test phantoms, and on those of the centre that no training phantom is of."""
    from sklearn.metrics import roc_auc_score

    truth, found = data.truth[data.test], all_scores[data.test]
    away = data.external
    return round(float(roc_auc_score(truth, found)), 5), round(float(roc_auc_score(truth[away], found[away])), 5)


def _drawn(cell: Cell, data: Data) -> tuple[Rows, npt.NDArray[np.int8]]:
    """Training rows, class-stratified, and the labels of the cohort with some of these turned round.

    More flips contain the fewer; the same draw gives the same rows whatever is unlabelled or flipped.
    """
    rng = np.random.default_rng([cell.labels, cell.draw])
    truth = data.truth[data.pool]
    wanted = round(float(truth.mean()) * cell.labels)
    chosen = [rng.permutation(np.flatnonzero(truth == label)) for label in (1, 0)]
    train = data.pool[np.concatenate([chosen[0][:wanted], chosen[1][: cell.labels - wanted]])]
    labels = np.full(len(data.all), -1, np.int8)
    labels[train] = data.truth[train]
    turned = rng.permutation(train)[: round(cell.flips * len(train))]
    labels[turned] = 1 - labels[turned]
    return np.sort(train), labels


@lru_cache(maxsize=2)
def _data(phantoms: str, model: str, kind: str, cache: Path, size: float) -> Data:
    """Cohorts of other seeds, one after the other; the pool holds centres 1 to 3 only."""
    seed = SEEDS[phantoms]
    common: dict[str, Any] = {"preset": "ussl", "label_model": MODELS[model], "size": "full"}
    count = {"pool": POOL, "test": TEST, "free": UNLABELLED}
    pool = _prepared(PhantomSettings(subjects=round(size * POOL), seed=seed, unlabelled={}, **common), cache)
    test = _prepared(PhantomSettings(subjects=round(size * TEST), seed=seed + 1, unlabelled={}, **common), cache)
    parts = [pool, test]
    if kind != "none":
        more = {kind: round(size * count["free"])}
        parts.append(_prepared(PhantomSettings(subjects=1, seed=seed + 2, unlabelled=more, **common), cache))
    starts = np.cumsum([0, *(len(one) for one in parts)])
    whole = _stacked(parts)
    inside = np.array([one == "train" for one in pool.sets])
    free = np.arange(starts[2] + 1, starts[3]) if kind != "none" else np.empty(0, np.int64)
    external = np.array([one == "external" for one in test.sets])
    return Data(whole, whole.labels, np.flatnonzero(inside), free, np.arange(starts[1], starts[2]), external)


def _prepared(settings: PhantomSettings, cache: Path) -> Prepared:
    return prepare_phantom(settings, {LOOK: CanonicalRoi()}, cache=cache)


def _stacked(parts: Sequence[Prepared]) -> Prepared:
    """One cohort out of several, as far as methods look."""
    return Prepared(
        patients=tuple(f"{i}-{name}" for i, one in enumerate(parts) for name in one.patients),
        studies=tuple(f"{i}-{name}" for i, one in enumerate(parts) for name in one.studies),
        centres=tuple(name for one in parts for name in one.centres),
        labels=np.concatenate([one.labels for one in parts]),
        inputs={LOOK: np.concatenate([one.inputs[LOOK] for one in parts])},
        radiomics=np.concatenate([one.radiomics for one in parts]),
        radiomics_names=parts[0].radiomics_names,
    )


def _cells(args: argparse.Namespace) -> Iterator[Cell]:
    asked = Block(args.models, args.labels, args.methods, args.draws, args.unlabelled, args.flips)
    for block in PLAN if args.plan else (asked,):
        for model, kind, draw, labels, flips, named in block.cells():
            yield Cell(args.phantoms, model, labels, named, draw, kind, flips, args.steps)


def _key(line: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(line.get(name) for name in Cell.__slots__)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--phantoms", choices=sorted(SEEDS), default="development")
    parser.add_argument("--plan", action="store_true", help="all that Show 2 asks for, the most important first")
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=["clustered"])
    parser.add_argument("--labels", nargs="+", type=int, default=[40])
    parser.add_argument("--methods", nargs="+", default=list(FEATURE_METHODS))
    parser.add_argument("--draws", type=_range, default=range(DRAWS), metavar="FROM-TO")
    parser.add_argument("--unlabelled", nargs="+", default=["in-domain"], help="kinds of phantoms, or none")
    parser.add_argument("--flips", nargs="+", type=float, default=[0.0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--part", default="0/1", metavar="K/N", help="every N-th cell from K on")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--size", type=float, default=1.0, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, default=Path(".cache/phantoms"))
    parser.add_argument("--out", type=Path, default=Path("docs/measured/ussl.jsonl"))
    return parser


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


if __name__ == "__main__":
    main()
