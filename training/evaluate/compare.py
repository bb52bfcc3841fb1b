"""Two runs or more, compared on the studies that they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from inference.facts import Refused
from training.evaluate.answers import Tested, answers_of
from training.evaluate.bootstrap import DRAWS, bootstrap_interval, mean_auc
from training.evaluate.delong import auc_difference, auc_interval
from training.evaluate.estimate import Difference, Estimate
from training.evaluate.multiplicity import holm
from training.record import Part, Predicted, RunRecord, read_predictions, read_record

KINDS: tuple[tuple[str, Part, str], ...] = (("cv", "test", "out of fold"), ("final", "external", "external test"))


@dataclass(frozen=True, slots=True)
class Compared:
    """A run, on the studies that all runs have."""

    run: str
    variant: str
    repeats: int
    auc: Estimate


@dataclass(frozen=True, slots=True)
class PairOfRuns:
    """``one`` minus ``other``: paired DeLong; p adjusted by Holm over all pairs."""

    one: str
    other: str
    difference: Difference
    holm_p: float


@dataclass(frozen=True, slots=True)
class ComparedRuns:
    """``kind``: out of fold, or external test.  ``notes``: what limits the comparison."""

    kind: str
    studies: int
    positives: int
    runs: tuple[Compared, ...]
    pairs: tuple[PairOfRuns, ...]
    notes: tuple[str, ...]


def compare_runs(folders: Sequence[Path], variant: str = "") -> ComparedRuns:
    """Paired differences of AUC between runs of one cohort; of each run its first variant, or ``variant``.

    Raises ``Refused``: ``run-unreadable``, ``compare-one-run``, ``compare-cohorts`` (the cohorts differ),
    ``compare-labels`` (a study has another label), ``compare-too-few`` (too few common studies, or tested otherwise).
    """
    if len({folder.resolve() for folder in folders}) < 2:
        raise Refused("compare-one-run", "A comparison needs two different runs; name two folders or more.")
    runs = [_read(folder) for folder in folders]
    names = _names(folders)
    _same_cohort([record for record, _ in runs], names)
    kind, tested = _tested(runs, names, variant)
    common = set.intersection(*({*zip(one.patients, one.studies, strict=True)} for one in tested))
    tested = [one.only([key in common for key in zip(one.patients, one.studies, strict=True)]) for one in tested]
    _same_labels(tested, names)
    if not tested[0].judgeable:
        raise Refused(
            "compare-too-few",
            f"The runs have {len(common)} studies in common, without two of each class; compare runs of one cohort.",
        )
    return _compared(kind, tested, names)


def _compared(kind: str, tested: Sequence[Tested], names: Sequence[str]) -> ComparedRuns:
    labels = tested[0].labels
    pairs = list(combinations(range(len(tested)), 2))
    found = [auc_difference(labels, tested[a].probabilities, tested[b].probabilities) for a, b in pairs]
    one_each = tested[0].one_study_a_patient
    notes = (
        [] if one_each else ["Some patients have several studies: p values and intervals of differences are too small."]
    )
    if len({one.probabilities.shape[1] for one in tested}) > 1:
        notes.append("The runs have different numbers of repeats; each AUC is the mean over its own.")
    return ComparedRuns(
        kind=kind,
        studies=len(labels),
        positives=int(labels.sum()),
        runs=tuple(
            Compared(name, one.variant, one.probabilities.shape[1], _auc(one))
            for name, one in zip(names, tested, strict=True)
        ),
        pairs=tuple(
            PairOfRuns(names[a], names[b], difference, p)
            for (a, b), difference, p in zip(pairs, found, holm([one.p for one in found]), strict=True)
        ),
        notes=tuple(notes),
    )


def _auc(of: Tested) -> Estimate:
    if of.one_study_a_patient:
        return auc_interval(of.labels, of.probabilities)
    return bootstrap_interval(
        lambda rows: mean_auc(of.labels[rows], of.probabilities[rows]), of.labels, of.patients, seed=0, draws=DRAWS
    )


def _read(folder: Path) -> tuple[RunRecord, list[Predicted]]:
    try:
        return read_record(folder), read_predictions(folder)
    except FileNotFoundError:
        raise Refused("run-unreadable", f"'{folder.name}' holds no run (run.json); name a run's folder.") from None
    except (ValidationError, UnicodeDecodeError):
        raise Refused("run-unreadable", f"The files of the run '{folder.name}' are damaged; run it again.") from None


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' names; whole paths where these are not different."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _same_cohort(records: Sequence[RunRecord], names: Sequence[str]) -> None:
    for record, name in zip(records, names, strict=True):
        if record.cohort_digest != records[0].cohort_digest:
            raise Refused(
                "compare-cohorts",
                f"'{name}' is of another cohort than '{names[0]}' (digest {record.cohort_digest[:12]}, not "
                f"{records[0].cohort_digest[:12]}): another table or other images. Run both on one cohort.",
            )


def _tested(
    runs: Sequence[tuple[RunRecord, list[Predicted]]], names: Sequence[str], variant: str
) -> tuple[str, list[Tested]]:
    """The first kind of test that all runs have."""
    for record, _ in runs:
        if variant and variant not in record.variants:
            raise Refused(
                "run-variant-unknown", f"A run has no variant '{variant}'; it has {', '.join(record.variants)}."
            )
    for scheme, part, words in KINDS:
        found = [answers_of(rows, variant or record.variants[0], scheme, part) for record, rows in runs]
        whole = [one for one in found if one is not None]
        if len(whole) == len(runs):
            return words, whole
    raise Refused("compare-too-few", f"{' and '.join(names)} were not tested in the same way; compare runs that were.")


def _same_labels(tested: Sequence[Tested], names: Sequence[str]) -> None:
    for one, name in zip(tested, names, strict=True):
        different = np.flatnonzero(one.labels != tested[0].labels)
        if len(different):
            raise Refused(
                "compare-labels",
                f"'{name}' has another label than '{names[0]}' for {len(different)} studies, the first of them "
                f"{one.studies[different[0]]}; compare runs of the same question.",
            )
