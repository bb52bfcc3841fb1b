"""One fit of a run: a variant learns from a fold's training rows and answers its test rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, JsonValue

from inference.facts import Refused
from training.cohort.splits import Fold
from training.evaluate.permutation import permuted_labels
from training.prepared import Parts, Prepared, Rows
from training.recipe import Conditions, Estimator, Progress, Recipe
from training.record import Part, Place, Predicted
from training.release.calibrate import youden_threshold

CV, CENTRE, FINAL, PERMUTED = "cv", "centre", "final", "permuted"


@dataclass(frozen=True, slots=True)
class Task:
    """Which fit, by what names it among the predictions of a run (``Predicted``)."""

    variant: str
    scheme: str
    repeat: int
    fold: int

    @property
    def place(self) -> Place:
        return self.variant, self.scheme, self.repeat, self.fold

    @property
    def with_true_labels(self) -> bool:
        return not self.scheme.startswith(PERMUTED)

    def seed(self, seed: int) -> int:
        """Its own, from the run's: the same for all variants of a fold, so that they are compared like with like."""
        return stable_seed(seed, self.scheme, self.repeat, self.fold)


@dataclass(frozen=True, slots=True)
class Answered:
    """What a task gave: its predictions, and what the estimator wants shown."""

    task: Task
    predicted: tuple[Predicted, ...]
    facts: Mapping[str, JsonValue]
    costs: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Where:
    """Where and on what tasks run.  ``stop_file``: while it exists, fits save and end."""

    folder: Path
    stop_file: Path
    device: str = "cpu"
    threads: int = 1


Folds = Mapping[tuple[str, int, int], Fold]


def folds_by_task(crossed: Sequence[Fold], centres: Sequence[Fold], permutations: int) -> Folds:
    """All folds of a run by (scheme, repeat, fold), in the order in which they are fitted.

    ``crossed``: of the cross-validation; its first repeat also serves the permuted labels.  ``centres``: one a centre.
    """
    found = {(CV, fold.repeat, fold.fold): fold for fold in crossed}
    found |= {(CENTRE, fold.repeat, fold.fold): fold for fold in centres}
    for number in range(permutations):
        found |= {(f"{PERMUTED}-{number}", 0, fold.fold): fold for fold in crossed if fold.repeat == 0}
    return found


def tasks(variants: Sequence[str], folds: Folds) -> list[Task]:
    """All fits of a run: fold by fold, so that one that is stopped has whole folds to show."""
    return [Task(variant, *place) for place in folds for variant in variants]


def carry_out(
    task: Task,
    recipe: Recipe,
    settings: BaseModel,
    data: Prepared,
    fold: Fold,
    where: Where,
    seed: int,
    tell: Callable[[Progress], None] = lambda _: None,
) -> Answered:
    """Fit one estimator and let it answer the fold's test rows.  Raises as ``Estimator.fit``."""
    if not task.with_true_labels:
        data = permuted(data, fold, stable_seed(seed, task.scheme, task.fold))
    estimator = recipe.estimator(settings, task.variant)
    folder = where.folder / "-".join([_file_name(task.variant), task.scheme, str(task.repeat), str(task.fold)])
    estimator.fit(data, fold.parts, conditions(where, folder, task.seed(seed), tell))
    threshold = fixed_threshold(estimator, data, fold.parts, task.variant)
    predicted = predictions(
        estimator, data, fold.test, task.variant, task.scheme, "test", threshold, task.repeat, task.fold
    )
    return Answered(task, predicted, getattr(estimator, "facts", {}), getattr(estimator, "costs", {}))


def conditions(where: Where, folder: Path, seed: int, tell: Callable[[Progress], None]) -> Conditions:
    """How one fit runs, in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    return Conditions(seed, folder, where.device, where.threads, tell, where.stop_file.exists)


def predictions(
    estimator: Estimator,
    data: Prepared,
    rows: Rows,
    variant: str,
    scheme: str,
    part: Part,
    threshold: float,
    repeat: int = 0,
    fold: int = 0,
) -> tuple[Predicted, ...]:
    """The estimator's answers as a run keeps them.  Raises ``Refused`` ``training-answer-not-finite``."""
    survival = len(data.months) > 0
    probabilities = _answers(estimator, data, rows, variant)
    return tuple(
        Predicted(
            variant=variant,
            scheme=scheme,
            repeat=repeat,
            fold=fold,
            part=part,
            patient=data.patients[row],
            study=data.studies[row],
            centre=data.centres[row],
            label=int(data.labels[row]),
            probability=float(probability),
            threshold=threshold,
            months=_known(data.months[row]) if survival else None,
            event=int(data.events[row]) if survival and data.events[row] >= 0 else None,
        )
        for row, probability in zip(rows, probabilities, strict=True)
    )


def _answers(estimator: Estimator, data: Prepared, rows: Rows, variant: str) -> npt.NDArray[np.float64]:
    probabilities = estimator.predict_proba(data, rows)
    if not np.isfinite(probabilities).all():
        raise Refused(
            "training-answer-not-finite",
            f"The model '{variant}' answers with no number for {int((~np.isfinite(probabilities)).sum())} of "
            f"{len(rows)} studies; lower the setting learning_rate, and look at the images and values.",
        )
    return probabilities


def fixed_threshold(estimator: Estimator, data: Prepared, parts: Parts, variant: str) -> float:
    """The one that the estimator fixed in its fit and that the node would use; test rows are never asked.

    Of an estimator that has none: where sensitivity + specificity is largest on the validation rows (Youden).
    Raises ``Refused`` as ``predictions``.
    """
    own = getattr(estimator, "facts", {}).get("threshold")
    if isinstance(own, float):
        return own
    answers = _answers(estimator, data, parts.validation, variant)
    return youden_threshold(answers, data.labels[parts.validation] == 1)


def permuted(data: Prepared, fold: Fold, seed: int) -> Prepared:
    """The cohort with its labels exchanged between patients, within training, validation and test each.

    So every part keeps both classes, as the true labels' folds do, however small it is.
    """
    labels: npt.NDArray[np.int8] = data.labels.copy()
    for number, rows in enumerate((fold.parts.train, fold.parts.validation, fold.test)):
        patients = [data.patients[row] for row in rows]
        labels[rows] = permuted_labels(labels[rows], patients, seed=stable_seed(seed, number))
    return replace(data, labels=labels)


def stable_seed(*parts: Any) -> int:
    """A seed of 31 bits that depends on nothing but ``parts``."""
    return int.from_bytes(sha256(repr(parts).encode()).digest()[:4], "big") >> 1


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _file_name(variant: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in variant)
