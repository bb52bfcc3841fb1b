"""What each clinical, laboratory or radiomics feature adds to a tabular head's answer (SHAP, Lundberg & Lee 2017)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
BACKGROUND = 100


@dataclass(frozen=True, slots=True)
class Shapley:
    """``values`` (subjects, features) and ``expected``, in the unit of the head's answer: they add up to it.

    ``importance``: mean of their size, by feature, the largest first.
    """

    values: Array
    expected: float
    importance: dict[str, float]


def shapley(
    answer: Callable[[Array], Array], training: Array, subjects: Array, names: Sequence[str], *, seed: int
) -> Shapley:
    """Of any head: ``answer`` takes (n, features) and gives (n,), best a logit.

    ``training``: rows that stand for "feature unknown" (at most 100 of them, drawn with ``seed``).  By permutations of
    the features, so correlated features share their weight; it is no statement about causes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shap asks matplotlib for what matplotlib gives up
        import shap

        rng = np.random.default_rng(seed)
        drawn = training[np.sort(rng.choice(len(training), min(len(training), BACKGROUND), replace=False))]
        masker = shap.maskers.Independent(drawn, max_samples=BACKGROUND)
        explainer = shap.explainers.Permutation(answer, masker, seed=seed)
        found = explainer(subjects, max_evals=2 * 10 * subjects.shape[1] + 1, silent=True)
    values = np.asarray(found.values, float)
    size = np.abs(values).mean(axis=0)
    order = np.argsort(-size, kind="stable")
    return Shapley(
        values, float(np.mean(found.base_values)), {names[feature]: float(size[feature]) for feature in order}
    )
