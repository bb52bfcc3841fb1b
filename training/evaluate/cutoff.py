"""A cut-off that splits patients by a score, and what it costs to look for one (methods C1, "optimal cut-off problem").

The rule: the cut is fixed in training (its median, or a value stated before) and applied unchanged.  A cut that was
searched for on the patients it is tested on needs a corrected p: of the best of 17 cuts under no effect, a third
"reach" P < .05.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, norm

from training.evaluate.estimate import Labels, Scores
from training.evaluate.survival import Months

CUTS = 17  # between the 10th and the 90th percentile


@dataclass(frozen=True, slots=True)
class FixedCut:
    """``value``: high risk is score ≥ value.  ``why``: where it came from."""

    value: float
    why: str

    def high_risk(self, score: Scores) -> Labels:
        """The same rule for everybody who comes later."""
        return np.asarray(score >= self.value)


@dataclass(frozen=True, slots=True)
class BestCut:
    """The cut with the smallest log-rank p, that p, and its corrections for the search."""

    value: float
    minimal_p: float
    corrected_p: float
    permuted_p: float | None


def median_cut(training_score: Scores) -> FixedCut:
    """The median of the training patients' scores; their outcome takes no part."""
    return FixedCut(float(np.median(training_score)), "median of the training scores")


def miller_siegmund_p(minimal_p: float, share: float = 0.1) -> float:
    """Corrected p of the best of all cuts between the ``share`` and 1 − ``share`` quantiles.

    Miller & Siegmund, Biometrics 1982;38:1011.
    """
    z = float(norm.isf(minimal_p / 2.0))
    if z <= 0.0:
        return 1.0
    density = float(norm.pdf(z))
    corrected = density * (z - 1.0 / z) * math.log((1.0 - share) ** 2 / share**2) + 4.0 * density / z
    return min(max(corrected, minimal_p), 1.0)


def altman_p(minimal_p: float, share: float = 0.1) -> float:
    """The same by Altman's approximation (J Natl Cancer Inst 1994;86:829), for shares .1 and .05 (else ValueError)."""
    if share not in (0.1, 0.05):
        raise ValueError("Altman gives formulas for 10 % and 5 %")
    a, b = (-1.63, 2.35) if share == 0.1 else (-3.13, 1.65)
    return min(max(a * minimal_p * (1.0 + b * math.log(minimal_p)), minimal_p), 1.0)


def best_cut(
    months: Months, events: Labels, score: Scores, *, seed: int = 0, permutations: int = 0, cuts: int = CUTS
) -> BestCut:
    """Maximally selected log-rank statistic; with ``permutations`` the whole search is repeated on permuted scores."""
    candidates = np.unique(np.quantile(score, np.linspace(0.1, 0.9, cuts)))
    p_values = _log_rank_p(months, events, score >= candidates[:, None])
    best = int(np.argmin(p_values))
    minimal, permuted = float(p_values[best]), None
    if permutations:
        rng = np.random.default_rng(seed)
        smallest = [
            _log_rank_p(months, events, rng.permutation(score) >= candidates[:, None]).min()
            for _ in range(permutations)
        ]
        permuted = (1 + sum(p <= minimal for p in smallest)) / (1 + permutations)
    return BestCut(float(candidates[best]), minimal, miller_siegmund_p(minimal) if minimal > 0.0 else 0.0, permuted)


def _log_rank_p(months: Months, events: Labels, high: Labels) -> npt.NDArray[np.float64]:
    """``survival.log_rank`` of many splits at once, ``high`` (cuts, subjects): a permuted search asks thousands."""
    times = np.unique(months[events])
    at_risk = months >= times[:, None]
    died_now = events & (months == times[:, None])
    n, d = at_risk.sum(axis=1), died_now.sum(axis=1)
    n_high, d_high = high.astype(float) @ at_risk.T, high.astype(float) @ died_now.T
    excess = (d_high - d * n_high / n).sum(axis=1)
    hypergeometric = d * (n_high / n) * (1.0 - n_high / n) * (n - d) / np.maximum(n - 1, 1)
    variance = hypergeometric.sum(axis=1)
    squared = np.where(variance > 0.0, excess**2 / np.where(variance > 0.0, variance, 1.0), 0.0)
    return np.asarray(chi2.sf(squared, 1))
