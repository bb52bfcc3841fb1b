"""The predictions of a run, by variant and scheme, as arrays: one row a study, one column a repeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
import numpy.typing as npt

from training.evaluate.estimate import Labels, Scores
from training.record import Part, Predicted


@dataclass(frozen=True, slots=True)
class Tested:
    """n studies that a variant answered without having learnt from them ("train": having learnt from them).

    ``labels`` (n,); ``probabilities``, ``thresholds``, ``folds`` (n, repeats), complete repeats only;
    ``months`` (n,), NaN where unknown, ``events`` (n,).  ``incomplete``: repeats left out because studies are missing.
    """

    variant: str
    scheme: str
    part: Part
    patients: tuple[str, ...]
    studies: tuple[str, ...]
    centres: tuple[str, ...]
    labels: Labels
    probabilities: Scores
    thresholds: Scores
    folds: npt.NDArray[np.int64]
    months: npt.NDArray[np.float64]
    events: Labels
    incomplete: int = 0

    def __len__(self) -> int:
        return len(self.studies)

    @property
    def first(self) -> Scores:
        """Probabilities of the first repeat: what curves, thresholds and calibration are drawn from."""
        return np.asarray(self.probabilities[:, 0])

    @property
    def judgeable(self) -> bool:
        """Two studies of each class."""
        return min(int(self.labels.sum()), int((~self.labels).sum())) >= 2

    @property
    def one_study_a_patient(self) -> bool:
        return len(set(self.patients)) == len(self.patients)

    def only(self, keep: Sequence[bool]) -> Tested:
        """Some of the studies, in the same order (``answers_of`` sorts by patient and study)."""
        chosen = np.asarray(keep, bool)
        return replace(
            self,
            patients=tuple(compress(self.patients, keep)),
            studies=tuple(compress(self.studies, keep)),
            centres=tuple(compress(self.centres, keep)),
            labels=self.labels[chosen],
            probabilities=self.probabilities[chosen],
            thresholds=self.thresholds[chosen],
            folds=self.folds[chosen],
            months=self.months[chosen],
            events=self.events[chosen],
        )


def answers_of(
    rows: Sequence[Predicted], variant: str, scheme: str, part: Part, *, labelled: bool = True
) -> Tested | None:
    """Of one variant; None where there is nothing.  ``labelled``: only studies with a label (else label 0 is put)."""
    mine = [
        row
        for row in rows
        if (row.variant, row.scheme, row.part) == (variant, scheme, part) and (row.label >= 0 or not labelled)
    ]
    by_repeat: dict[int, dict[tuple[str, str], Predicted]] = {}
    for row in mine:
        by_repeat.setdefault(row.repeat, {})[row.patient, row.study] = row
    if not by_repeat:
        return None
    whole = set.union(*(set(one) for one in by_repeat.values()))
    complete = [by_repeat[repeat] for repeat in sorted(by_repeat) if set(by_repeat[repeat]) == whole]
    if not complete:  # a run that is under way: the repeat that is furthest
        complete = [max(by_repeat.values(), key=len)]
    keys = sorted(complete[0])
    rows_of = [[one[key] for one in complete] for key in keys]
    first = [one[0] for one in rows_of]
    return Tested(
        variant=variant,
        scheme=scheme,
        part=part,
        patients=tuple(row.patient for row in first),
        studies=tuple(row.study for row in first),
        centres=tuple(row.centre for row in first),
        labels=np.array([row.label == 1 for row in first], bool),
        probabilities=np.array([[row.probability for row in one] for one in rows_of], float),
        thresholds=np.array([[row.threshold for row in one] for one in rows_of], float),
        folds=np.array([[row.fold for row in one] for one in rows_of], np.int64),
        months=np.array([np.nan if row.months is None else row.months for row in first], float),
        events=np.array([row.event == 1 for row in first], bool),
        incomplete=len(by_repeat) - len(complete),
    )


def permuted_runs(rows: Sequence[Predicted], variant: str) -> dict[str, list[Predicted]]:
    """A variant's answers in the runs with permuted labels, by the run's name and in their order."""
    found: dict[str, list[Predicted]] = {}
    for row in rows:
        if row.variant == variant and row.scheme.startswith("permuted-"):
            found.setdefault(row.scheme, []).append(row)
    return dict(sorted(found.items(), key=lambda one: (len(one[0]), one[0])))
