"""Choice of features, on training rows alone (methods A2): z-score, variance, correlation, LASSO.

Published [P] is LASSO (systems A2 and A4) and the number of 12 features (A4); the filters before it, ten folds and the
rule of one standard error are defaults of ours [R].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

Array = npt.NDArray[np.float64]

LEAST_SD = 1e-3  # of a feature, in units of the median feature's
LARGEST_CORRELATION = 0.9
FOLDS = 10
PENALTIES, WEAKEST = 12, 30.0  # from the one that keeps nothing down to a thirtieth of it
INTERCEPT_SCALING = 10.0  # liblinear penalises the intercept too; a large one keeps that without effect


@dataclass(frozen=True, slots=True)
class Selection:
    """``columns``: of the features that are kept, the largest coefficient first; ``coefficients``: theirs, per SD.

    ``varying``, ``uncorrelated``: how many were left after each filter.  ``penalty``: C of the LASSO.
    """

    columns: tuple[int, ...]
    coefficients: tuple[float, ...]
    varying: int
    uncorrelated: int
    penalty: float

    def facts(self) -> dict[str, JsonValue]:
        """For the run's record."""
        kept: dict[str, JsonValue] = {
            str(column): round(b, 4) for column, b in zip(self.columns, self.coefficients, strict=True)
        }
        return {"varying": self.varying, "uncorrelated": self.uncorrelated, "kept": kept, "penalty": self.penalty}


def select(features: npt.NDArray[np.float32], labels: npt.NDArray[np.int8], *, most: int, seed: int) -> Selection:
    """Choose at most ``most`` of the features (n, k) for labels (n,) of 0 and 1; always at least one.

    LASSO logistic regression over a path of penalties; kept is the strongest penalty whose deviance, over ten inner
    folds, lies within one standard error of the best (Breiman et al. 1984), stronger still where it would keep more
    than ``most``, weaker where it would keep nothing.
    Raises ``ValueError`` where all features are constant.
    """
    varying = _varying(features)
    if not len(varying):
        raise ValueError("all features are constant")
    scaled = _z_scores(features[:, varying])
    distinct = _uncorrelated(scaled, labels)
    scaled, columns = scaled[:, distinct], varying[distinct]
    penalty, coefficients = _lasso(scaled, labels, most, seed)
    kept = np.flatnonzero(coefficients)
    kept = kept[np.argsort(-np.abs(coefficients[kept]), kind="stable")]
    return Selection(
        columns=tuple(int(c) for c in columns[kept]),
        coefficients=tuple(float(b) for b in coefficients[kept]),
        varying=len(varying),
        uncorrelated=len(distinct),
        penalty=penalty,
    )


def _varying(features: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    sd = features.std(axis=0, dtype=float)
    floor = LEAST_SD * float(np.median(sd[sd > 0])) if (sd > 0).any() else np.inf
    return np.flatnonzero(sd > floor)


def _z_scores(features: npt.NDArray[np.float32]) -> Array:
    wide = features.astype(float)
    return np.asarray((wide - wide.mean(axis=0)) / wide.std(axis=0))


def _uncorrelated(scaled: Array, labels: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    """Of features that agree in rank, the one nearest to the label is kept."""
    from scipy.stats import rankdata

    ranks = rankdata(np.column_stack([scaled, labels]), axis=0)
    ranks -= ranks.mean(axis=0)
    ranks /= np.linalg.norm(ranks, axis=0)
    rho = np.abs(ranks.T @ ranks)
    kept: list[int] = []
    for candidate in np.argsort(-rho[:-1, -1], kind="stable"):
        if not kept or rho[candidate, kept].max() <= LARGEST_CORRELATION:
            kept.append(int(candidate))
    return np.array(sorted(kept))


def _lasso(scaled: Array, labels: npt.NDArray[np.int8], most: int, seed: int) -> tuple[float, Array]:
    """C and coefficients (k,)."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.svm import l1_min_c

    fewest = int(min(labels.sum(), len(labels) - labels.sum()))
    weakest = l1_min_c(scaled, labels, loss="log", intercept_scaling=INTERCEPT_SCALING)
    path = weakest * np.geomspace(1.01, WEAKEST, PENALTIES)
    search = LogisticRegressionCV(
        Cs=path,
        cv=StratifiedKFold(max(2, min(FOLDS, fewest)), shuffle=True, random_state=seed),
        l1_ratios=(1.0,),
        solver="liblinear",
        scoring="neg_log_loss",
        intercept_scaling=INTERCEPT_SCALING,
        max_iter=1000,
        random_state=seed,
        refit=False,
        use_legacy_attributes=False,
    ).fit(scaled, labels)
    scores = search.scores_.reshape(-1, PENALTIES)
    mean, error = scores.mean(axis=0), scores.std(axis=0, ddof=1) / np.sqrt(len(scores))
    best = int(mean.argmax())
    within = int(np.flatnonzero(mean >= mean[best] - error[best])[0])
    return _at_most(scaled, labels, path, within, most, seed)


def _at_most(
    scaled: Array, labels: npt.NDArray[np.int8], path: Array, start: int, most: int, seed: int
) -> tuple[float, Array]:
    """The fit on all rows at ``path[start]``, or at the nearest penalty that keeps 1 to ``most`` features.

    The penalty that keeps the first feature may keep several at once; then those of largest coefficient stay.
    """
    fits = {i: _coefficients(scaled, labels, float(path[i]), seed) for i in range(len(path)) if i <= start}
    step = start
    while step > 0 and np.count_nonzero(fits[step]) > most:
        step -= 1
    while not np.any(fits[step]):
        step += 1
        if step == len(path):
            return float(path[-1]), _nearest(scaled, labels)
        fits.setdefault(step, _coefficients(scaled, labels, float(path[step]), seed))
    coefficients = fits[step]
    small = np.argsort(-np.abs(coefficients), kind="stable")[most:]
    coefficients[small] = 0.0
    return float(path[step]), coefficients


def _coefficients(scaled: Array, labels: npt.NDArray[np.int8], penalty: float, seed: int) -> Array:
    from sklearn.linear_model import LogisticRegression

    lasso = LogisticRegression(
        C=penalty,
        l1_ratio=1.0,
        solver="liblinear",
        intercept_scaling=INTERCEPT_SCALING,
        max_iter=1000,
        random_state=seed,
    )
    return np.asarray(lasso.fit(scaled, labels).coef_[0])


def _nearest(scaled: Array, labels: npt.NDArray[np.int8]) -> Array:
    """Where no penalty keeps anything: the one feature that differs most between the classes."""
    difference = scaled[labels == 1].mean(axis=0) - scaled[labels == 0].mean(axis=0)
    only: Array = np.zeros_like(difference)
    only[np.abs(difference).argmax()] = difference[np.abs(difference).argmax()]
    return only
