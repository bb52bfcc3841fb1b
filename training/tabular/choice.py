"""Features and classifier of the image model, chosen by inner folds of the training rows (methods A2).

Within each inner fold features are chosen anew and all classifiers learn from them, so that the winner is chosen by
patients that had no part in anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from inference.facts import Refused
from training.tabular.classifiers import STORES_PATIENTS, ClassifierName, fit_classifier, logits
from training.tabular.selection import Selection, select

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Array = npt.NDArray[np.float64]
INNER_FOLDS = 5


@dataclass(frozen=True, slots=True)
class ImageModel:
    """``name``: the classifier that was kept; ``fitted`` takes the columns of ``selection``.

    ``inner_aucs``: mean AUC over the inner folds, of all classifiers.  ``out_of_fold``: logits (n,) of the training
    rows from inner folds, by the kept one; ``folds`` (n,): which inner fold each row was in.
    """

    name: ClassifierName
    selection: Selection
    fitted: Pipeline
    inner_aucs: dict[ClassifierName, float]
    out_of_fold: Array
    folds: npt.NDArray[np.int64]

    def scores(self, features: npt.NDArray[np.float32]) -> Array:
        """Logits (n,) of all features (n, k)."""
        return logits(self.fitted, features[:, list(self.selection.columns)])

    def facts(self) -> dict[str, JsonValue]:
        """For the run's record."""
        aucs: dict[str, JsonValue] = {name: round(auc, 4) for name, auc in self.inner_aucs.items()}
        return {"classifier": self.name, "inner_auc": aucs, "selection": self.selection.facts()}


@dataclass(frozen=True, slots=True)
class ChoiceSettings:
    """``most``: features that may be kept.  ``store_patients``: allow classifiers that hold patients' vectors."""

    candidates: Sequence[ClassifierName]
    most: int
    store_patients: bool
    seed: int


def choose(
    features: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int8],
    groups: Sequence[str],
    how: ChoiceSettings,
    between: Callable[[int, int], None] = lambda *_: None,
) -> ImageModel:
    """Fit on features (n, k) and labels 0/1; rows of one of ``groups`` (patients) stay together.

    ``between`` is called after each inner fold with what is done, of how much.
    Raises ``Refused``: ``training-one-class``, ``features-constant``, ``classifier-none``.
    """
    eligible = [name for name in how.candidates if how.store_patients or name not in STORES_PATIENTS]
    if not eligible:
        raise Refused(
            "classifier-none",
            "Every classifier that is asked for stores feature vectors of patients; add another one, or allow it "
            "(store_patients).",
        )
    folds = inner_folds(labels, groups, how.seed)
    count = int(folds.max()) + 1
    out = {name: np.zeros(len(labels)) for name in how.candidates}
    for fold in range(count):
        rest, here = folds != fold, folds == fold
        columns = list(_select(features[rest], labels[rest], how).columns)
        for name in how.candidates:
            fitted = fit_classifier(name, features[rest][:, columns], labels[rest], seed=how.seed)
            out[name][here] = logits(fitted, features[here][:, columns])
        between(fold + 1, count + 1)
    aucs = {name: _mean_auc(scores, labels, folds) for name, scores in out.items()}
    best = max(eligible, key=lambda name: aucs[name])
    selection = _select(features, labels, how)
    fitted = fit_classifier(best, features[:, list(selection.columns)], labels, seed=how.seed)
    between(count + 1, count + 1)
    return ImageModel(best, selection, fitted, aucs, out[best], folds)


def inner_folds(labels: npt.NDArray[np.int8], groups: Sequence[str], seed: int) -> npt.NDArray[np.int64]:
    """Fold of each row (n,): stratified by label, a group in one fold only.  Raises ``Refused`` training-one-class."""
    from sklearn.model_selection import StratifiedGroupKFold

    members = [len({g for g, label in zip(groups, labels, strict=True) if label == wanted}) for wanted in (0, 1)]
    count = min(INNER_FOLDS, *members)
    if count < 2:
        raise Refused(
            "training-one-class",
            f"Of the training patients {members[1]} are positive and {members[0]} negative; at least 2 of each are "
            "needed.",
        )
    folds = np.zeros(len(labels), np.int64)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for number, (_, here) in enumerate(splitter.split(np.zeros(len(labels)), labels, groups)):
        folds[here] = number
    _refuse_lost_class(labels, folds)
    return folds


def _refuse_lost_class(labels: npt.NDArray[np.int8], folds: npt.NDArray[np.int64]) -> None:
    for fold in np.unique(folds):
        if len(set(labels[folds != fold].tolist())) < 2:
            raise Refused(
                "training-one-class",
                "An inner fold leaves patients of one label only; use more patients of the rarer label.",
            )


def _select(features: npt.NDArray[np.float32], labels: npt.NDArray[np.int8], how: ChoiceSettings) -> Selection:
    try:
        return select(features, labels, most=how.most, seed=how.seed)
    except ValueError as fault:
        raise Refused(
            "features-constant",
            "All image features are the same for all training patients; check the images and the backbone's weights.",
        ) from fault


def _mean_auc(scores: Array, labels: npt.NDArray[np.int8], folds: npt.NDArray[np.int64]) -> float:
    """Mean over the folds that hold both labels; 0.5 where none does."""
    from sklearn.metrics import roc_auc_score

    both = [f for f in np.unique(folds) if len(set(labels[folds == f].tolist())) == 2]
    return float(np.mean([roc_auc_score(labels[folds == f], scores[folds == f]) for f in both])) if both else 0.5
