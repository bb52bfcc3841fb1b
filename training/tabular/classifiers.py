"""The seven classifiers of methods A2, all scikit-learn's.

Published [P] is that seven algorithms were compared and the best was kept; which seven, and all their settings, are
defaults of ours [R], small on purpose: some two hundred patients fit no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

ClassifierName = Literal[
    "logistic regression",
    "linear SVM",
    "RBF SVM",
    "random forest",
    "gradient boosting",
    "k nearest neighbours",
    "neural network",
]
NAMES: tuple[ClassifierName, ...] = get_args(ClassifierName)
# Their files hold feature vectors of training patients: the neighbours, and the support vectors.
STORES_PATIENTS: frozenset[ClassifierName] = frozenset({"k nearest neighbours", "RBF SVM"})
PLATT_FOLDS = 5
LEAST_PROBABILITY = 1e-3  # probabilities are clipped to this before the logit: a forest may well say 0 or 1


def classifier(name: ClassifierName, labels: npt.NDArray[np.int8], *, seed: int) -> Pipeline:
    """A fresh one for these labels 0/1, z-scores included."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), _plain(name, labels, seed))


def fit_classifier(
    name: ClassifierName, features: npt.NDArray[np.float32], labels: npt.NDArray[np.int8], *, seed: int
) -> Pipeline:
    """Fit on features (n, k) and labels 0/1; an optimiser that has not fully converged is no fault."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return classifier(name, labels, seed=seed).fit(features, labels.astype(np.int64))


def logits(fitted: Pipeline, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Logit of the label (n,), of the probability clipped to ``LEAST_PROBABILITY``."""
    clipped = np.clip(fitted.predict_proba(features)[:, 1], LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def _plain(name: ClassifierName, labels: npt.NDArray[np.int8], seed: int) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC, LinearSVC

    folds = max(2, min(PLATT_FOLDS, int(np.bincount(labels, minlength=2).min())))
    match name:
        case "logistic regression":
            return LogisticRegression(C=1.0, max_iter=1000)
        case "linear SVM":
            return _platt(LinearSVC(C=0.1, dual="auto", max_iter=10_000, random_state=seed), folds)
        case "RBF SVM":
            return _platt(SVC(C=1.0, gamma="scale"), folds)
        case "random forest":
            return RandomForestClassifier(n_estimators=200, min_samples_leaf=5, random_state=seed, n_jobs=1)
        case "gradient boosting":
            return GradientBoostingClassifier(
                n_estimators=60, learning_rate=0.1, max_depth=2, subsample=0.8, random_state=seed
            )
        case "k nearest neighbours":
            return KNeighborsClassifier(n_neighbors=max(1, min(15, len(labels) // 4)))
        case "neural network":
            return MLPClassifier((8,), alpha=1.0, solver="lbfgs", max_iter=300, random_state=seed)


def _platt(svm: Any, folds: int) -> Any:
    """Platt's scaling of the decision values that inner folds give; the machine itself learns from all rows."""
    from sklearn.calibration import CalibratedClassifierCV

    return CalibratedClassifierCV(svm, method="sigmoid", cv=folds, ensemble=False)
