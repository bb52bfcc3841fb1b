"""The image's score and the clinical values in one logistic regression (methods A2, A4).

The image's logit comes out of inner folds while the fusion is fitted, so that it is as good, and as bad, as for a new
patient.  Published [P] is that a combined model was built (A4: by logistic regression); the rest is ours [R].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # C of the ridge on the values, each of standard deviation 1
FREE = 10.0  # the image's logit is so many standard deviations wide: the ridge hardly shrinks it, it is one already
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Linear:
    """Logit = ``intercept`` + ``weights`` · [image logit, values]; ``image``: whether the first is there."""

    weights: tuple[float, ...]
    intercept: float
    image: bool

    def scores(self, image: Array | None, vectors: npt.NDArray[np.float32]) -> Array:
        """Logits (n,) of image logits (n,) and encoded values (n, k)."""
        columns = _columns(image if self.image else None, vectors)
        return np.asarray(columns @ np.array(self.weights) + self.intercept)

    def importance(self, image: Array | None, vectors: npt.NDArray[np.float32]) -> Array:
        """Mean size of each column's SHAP value (k,), in logits, over these subjects as their own background.

        For a linear model and columns taken one by one it is |weight| × mean |x − mean x| (Lundberg & Lee 2017).
        """
        columns = _columns(image if self.image else None, vectors)
        return np.asarray(np.abs((columns - columns.mean(axis=0)) * np.array(self.weights)).mean(axis=0))


def fit_linear(image: Array | None, vectors: npt.NDArray[np.float32], labels: npt.NDArray[np.int8]) -> Linear:
    """On out-of-fold image logits (n,), None for values alone, encoded values (n, k) and labels 0/1.

    An image that tells nothing has out-of-fold logits that tend to go against the label; turned round, they would be
    believed.  So the image's weight is never below 0.
    """
    columns = _columns(image, vectors)
    sd = columns.std(axis=0)
    scale = np.where(sd > 1e-9, sd, 1.0)
    if image is not None:
        scale[0] /= FREE
    fitted = _ridge(columns / scale, labels)
    weights = tuple(float(w) for w in fitted.coef_[0] / scale)
    if image is not None and weights[0] < 0:
        alone = fit_linear(None, vectors, labels)
        return Linear((0.0, *alone.weights), alone.intercept, True)
    return Linear(weights, float(fitted.intercept_[0]), image is not None)


def _ridge(columns: Array, labels: npt.NDArray[np.int8]) -> Any:
    """The penalty of least deviance over inner folds; the strongest where a class is too small for folds."""
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
    from sklearn.model_selection import StratifiedKFold

    folds = min(FOLDS, int(np.bincount(labels, minlength=2).min()))
    if folds < 2:
        return LogisticRegression(C=PENALTIES[0], max_iter=1000).fit(columns, labels)
    search = LogisticRegressionCV(
        Cs=PENALTIES,
        cv=StratifiedKFold(folds, shuffle=True, random_state=0),
        l1_ratios=(0.0,),
        scoring="neg_log_loss",
        max_iter=1000,
        use_legacy_attributes=False,
    )
    return search.fit(columns, labels)


def out_of_fold_linear(
    image: Array | None, vectors: npt.NDArray[np.float32], labels: npt.NDArray[np.int8], folds: npt.NDArray[np.int64]
) -> Array:
    """Logit (n,) of each subject from a fusion fitted on the other ``folds`` (n,)."""
    scores = np.zeros(len(labels))
    for fold in np.unique(folds):
        rest, here = folds != fold, folds == fold
        linear = fit_linear(None if image is None else image[rest], vectors[rest], labels[rest])
        scores[here] = linear.scores(None if image is None else image[here], vectors[here])
    return scores


def _columns(image: Array | None, vectors: npt.NDArray[np.float32]) -> Array:
    wide = vectors.astype(float)
    return wide if image is None else np.column_stack([image, wide])
