"""What a number of subjects can show: expected precision of an AUC, and subjects needed.

Hanley & McNeil, Radiology 1982;143:29 and 1983;148:839; Riley et al., Stat Med 2019;38:1276 (shrinkage).
"""

from __future__ import annotations

import math

from scipy.stats import norm

LARGEST_SAMPLE = 1_000_000


def hanley_mcneil_error(auc: float, positives: float, negatives: float) -> float:
    """Standard error of an AUC."""
    q1, q2 = auc / (2.0 - auc), 2.0 * auc**2 / (1.0 + auc)
    variance = auc * (1.0 - auc) + (positives - 1.0) * (q1 - auc**2) + (negatives - 1.0) * (q2 - auc**2)
    return math.sqrt(max(variance, 0.0) / (positives * negatives))


def half_width(auc: float, positives: float, negatives: float) -> float:
    """Half of the 95 % interval that is to be expected."""
    return float(norm.ppf(0.975)) * hanley_mcneil_error(auc, positives, negatives)


def subjects_to_tell(
    auc_a: float, auc_b: float, *, correlation: float, prevalence: float = 0.5, power: float = 0.8, alpha: float = 0.05
) -> int:
    """Subjects who get both models so that a two-sided test tells the two AUCs apart.

    ``correlation``: of the two AUC estimates (0 for different subjects; then it is the number for each model).
    Equal AUCs or a number beyond a million: ValueError.
    """
    if auc_a == auc_b:
        raise ValueError("equal AUCs cannot be told apart")

    def needed(n: float) -> float:
        """Standard errors that the difference spans with n subjects."""
        a, b = (hanley_mcneil_error(auc, n * prevalence, n * (1.0 - prevalence)) for auc in (auc_a, auc_b))
        return abs(auc_a - auc_b) / math.sqrt(a**2 + b**2 - 2.0 * correlation * a * b)

    target = float(norm.ppf(1.0 - alpha / 2.0) + norm.ppf(power))
    low, high = 4, LARGEST_SAMPLE
    if needed(high) < target:
        raise ValueError("more than a million subjects")
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if needed(middle) >= target else (middle + 1, high)
    return low


def expected_shrinkage(parameters: int, subjects: int, cox_snell_r2: float) -> float:
    """Uniform shrinkage of a regression's coefficients to expect (van Houwelingen), 1 − p/(−n·ln(1 − R²)) about.

    Riley et al. 2019, equation 11 solved for S: n = p / ((S − 1)·ln(1 − R²/S)).
    """
    low, high = max(cox_snell_r2 + 1e-9, 1e-6), 1.0 - 1e-12
    if _subjects(high, parameters, cox_snell_r2) < subjects:
        return 1.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _subjects(middle, parameters, cox_snell_r2) < subjects else (low, middle)
    return 0.5 * (low + high)


def subjects_for_shrinkage(parameters: int, cox_snell_r2: float, shrinkage: float = 0.9) -> int:
    """Subjects needed so that ``parameters`` predictor parameters shrink by no more than to ``shrinkage``."""
    return math.ceil(_subjects(shrinkage, parameters, cox_snell_r2))


def cox_snell_from_auc(auc: float, prevalence: float) -> float:
    """R² (Cox–Snell) of a score that is normal in both classes with this AUC, by numerical integration.

    Riley, Van Calster, Collins, Stat Med 2021;40:859 do the same by simulation.
    """
    import numpy as np

    if not 0.0 < auc < 1.0 or not 0.0 < prevalence < 1.0:
        raise ValueError("AUC and prevalence lie between 0 and 1")
    d = math.sqrt(2.0) * float(norm.ppf(auc))
    s = np.linspace(-8.0 - abs(d), 8.0 + abs(d), 20001)
    step = s[1] - s[0]
    case, control = norm.pdf(s, d / 2.0), norm.pdf(s, -d / 2.0)
    mixed = prevalence * case + (1.0 - prevalence) * control
    risk = prevalence * case / mixed
    with np.errstate(divide="ignore", invalid="ignore"):
        log_model = np.nan_to_num(risk * np.log(risk)) + np.nan_to_num((1.0 - risk) * np.log1p(-risk))
    model = float(np.sum(mixed * log_model) * step)
    null = prevalence * math.log(prevalence) + (1.0 - prevalence) * math.log(1.0 - prevalence)
    return 1.0 - math.exp(-2.0 * (model - null))


def _subjects(shrinkage: float, parameters: int, r2: float) -> float:
    return parameters / ((shrinkage - 1.0) * math.log(1.0 - r2 / shrinkage))
