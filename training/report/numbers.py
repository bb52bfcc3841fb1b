"""Every number of a report: discrimination, calibration, utility, chance, centres, coverage, precision to expect."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluate.answers import Tested, answers_of, permuted_runs
from training.evaluate.bootstrap import bootstrap_interval, mean_auc
from training.evaluate.calibration import Calibration, CalibrationCurve, calibration, calibration_curve
from training.evaluate.conformal import Coverage, coverage, split_conformal
from training.evaluate.delong import auc_difference, auc_interval
from training.evaluate.estimate import Difference, Estimate
from training.evaluate.multiplicity import holm
from training.evaluate.operating_point import OperatingPoint, operating_point
from training.evaluate.permutation import Permuted, summarised
from training.evaluate.precision_recall import average_precision_interval
from training.evaluate.resampled import corrected_resampled_t
from training.evaluate.sample_size import (
    cox_snell_from_auc,
    half_width,
    subjects_for_shrinkage,
    subjects_to_tell,
)
from training.evaluate.subgroups import Subgroups, subgroups
from training.evaluate.utility import DecisionCurve, decision_curve
from training.record import Predicted

SEED = 0
SMALLEST_FOLD = 4  # of each class, for an AUC of one fold
TELL_APART = (0.82, 0.77, 0.6)


@dataclass(frozen=True, slots=True)
class Performance:
    """A variant on a set of studies.

    ``auc``: mean over the repeats, DeLong; of several studies a patient the bootstrap's.  ``sd_of_repeats``: spread of
    the repeats' AUCs, which is no sampling error.  All else is of the first repeat; ``calibration`` and ``curve`` are
    None where nothing was predicted that could be calibrated.
    """

    variant: str
    scheme: str
    part: str
    studies: int
    patients: int
    positives: int
    repeats: int
    auc: Estimate
    auc_bootstrap: Estimate
    sd_of_repeats: float | None
    threshold: tuple[float, float]
    point: OperatingPoint
    average_precision: Estimate
    prevalence: float
    calibration: Calibration
    curve: CalibrationCurve
    decision: DecisionCurve
    expected_half_width: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """First variant minus another, on the same studies.  ``holm_p``: of the family of all these.

    ``folds``: Nadeau–Bengio over folds, None where folds are too small.
    """

    one: str
    other: str
    delong: Difference
    holm_p: float
    folds: Difference | None


def performance(of: Tested, draws: int) -> Performance:
    """Both classes are needed (``Tested.judgeable``)."""
    labels, first = of.labels, of.first
    bootstrapped = bootstrap_interval(
        lambda rows: mean_auc(labels[rows], of.probabilities[rows]), labels, of.patients, seed=SEED, draws=draws
    )
    exact = auc_interval(labels, of.probabilities) if of.one_study_a_patient else bootstrapped
    repeats = [mean_auc(labels, column) for column in of.probabilities.T]
    positives = int(labels.sum())
    return Performance(
        variant=of.variant,
        scheme=of.scheme,
        part=of.part,
        studies=len(of),
        patients=len(set(of.patients)),
        positives=positives,
        repeats=len(repeats),
        auc=exact,
        auc_bootstrap=bootstrapped,
        sd_of_repeats=float(np.std(repeats, ddof=1)) if len(repeats) > 1 else None,
        threshold=(float(of.thresholds[:, 0].min()), float(of.thresholds[:, 0].max())),
        point=operating_point(labels, first, of.thresholds[:, 0]),
        average_precision=average_precision_interval(labels, of.probabilities, of.patients, seed=SEED, draws=draws),
        prevalence=positives / len(of),
        calibration=calibration(labels, first),
        curve=calibration_curve(labels, first, of.patients, seed=SEED, draws=min(draws, 200)),
        decision=decision_curve(labels, first, of.patients, seed=SEED, draws=draws),
        expected_half_width=half_width(exact.value, positives, len(of) - positives),
    )


def comparisons(variants: Sequence[Tested]) -> list[Comparison]:
    """The first variant against each other one that answered the same studies."""
    if not variants:
        return []
    first = variants[0]
    others = [one for one in variants[1:] if one.studies == first.studies and one.judgeable]
    found = [auc_difference(first.labels, first.probabilities, other.probabilities) for other in others]
    adjusted = holm([one.p for one in found])
    return [
        Comparison(first.variant, other.variant, difference, p, _over_folds(first, other))
        for other, difference, p in zip(others, found, adjusted, strict=True)
    ]


def chance(rows: Sequence[Predicted], of: Tested) -> Permuted | None:
    """First repeat's AUC among the AUCs of the runs with permuted labels; None without such runs."""
    found = []
    for scheme, own in permuted_runs(rows, of.variant).items():
        one = answers_of(own, of.variant, scheme, "test")
        if one is not None and one.judgeable and set(one.studies) == set(of.studies):
            found.append(mean_auc(one.labels, one.first))
    return summarised(mean_auc(of.labels, of.first), found) if found else None


def by_group(of: Tested, groups: Mapping[str, Mapping[str, str]], draws: int) -> dict[str, Subgroups]:
    """Per centre, and per column of ``groups`` (column → study → group)."""
    columns = {"centre": dict(zip(of.studies, of.centres, strict=True)), **groups}
    found = {}
    for name, of_study in columns.items():
        names = [of_study.get(study, "") for study in of.studies]
        if len({one for one in names if one}) > 1:
            found[name] = subgroups(of.labels, of.probabilities, names, of.patients, seed=SEED, draws=min(draws, 1000))
    return found


def cross_conformal(of: Tested) -> Coverage | None:
    """Class-conditional sets of each fold, calibrated on the other folds' answers; None with one fold."""
    folds = of.folds[:, 0]
    sets = np.ones((len(of), 2), bool)
    for fold in np.unique(folds):
        inside, rest = folds == fold, folds != fold
        if min(int(of.labels[rest].sum()), int((~of.labels[rest]).sum())) < 1:
            return None
        sets[inside] = split_conformal(of.labels[rest], of.first[rest]).sets(of.first[inside])
    return coverage(of.labels, sets)


def precision_lines(of: Performance) -> list[str]:
    """What this number of studies can show, as sentences."""
    auc, n = of.auc.value, of.studies
    a, b, r = TELL_APART
    lines = [
        f"With {of.positives} positive and {n - of.positives} negative studies an AUC of {auc:.2f} is expected to have "
        f"a 95 % interval of ± {of.expected_half_width:.3f} (Hanley and McNeil).",
        f"To tell an AUC of {a} from one of {b} on the same subjects (correlation {r} of the two AUCs, power 80 %, "
        f"this prevalence) takes about {subjects_to_tell(a, b, correlation=r, prevalence=of.prevalence)} subjects.",
    ]
    if 0.5 < auc < 1.0:
        needed = subjects_for_shrinkage(10, cox_snell_from_auc(auc, of.prevalence))
        lines.append(
            f"A new regression with 10 predictor parameters that reaches an AUC of {auc:.2f} needs about {needed} "
            "training subjects for a shrinkage of 0.9 or better (Riley). Networks need more."
        )
    return lines


def roc_curve(of: Tested, draws: int) -> dict[str, np.ndarray]:
    """Sensitivity over 1 − specificity, first repeat, with the bootstrap's 95 % band."""
    grid = np.linspace(0.0, 1.0, 101)
    from training.evaluate.bootstrap import draws_of

    drawn = draws_of(
        lambda rows: _roc(of.labels[rows], of.first[rows], grid),
        of.labels,
        of.patients,
        seed=SEED,
        draws=min(draws, 500),
    )
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return {"x": grid, "y": _roc(of.labels, of.first, grid), "low": low, "high": high}


def precision_recall_curve(of: Tested) -> dict[str, np.ndarray]:
    """Precision over recall, first repeat."""
    from sklearn.metrics import precision_recall_curve as curve

    precision, recall, _ = curve(of.labels, of.first)
    return {"x": recall, "y": precision}


def _roc(labels: np.ndarray, scores: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Sensitivity at each false positive rate of the grid, as steps."""
    negative = np.sort(scores[~labels])[::-1]
    positive = np.sort(scores[labels])
    allowed = np.floor(grid * len(negative) + 1e-9).astype(int)
    cut = np.where(allowed < len(negative), negative[np.minimum(allowed, len(negative) - 1)], -math.inf)
    return np.asarray(1.0 - np.searchsorted(positive, cut, side="right") / len(positive))


def _over_folds(one: Tested, other: Tested) -> Difference | None:
    """AUC differences of all folds of all repeats; None where a fold is too small for an AUC."""
    if one.folds.shape != other.folds.shape or (one.folds != other.folds).any():
        return None
    differences, sizes = [], []
    for repeat in range(one.folds.shape[1]):
        for fold in np.unique(one.folds[:, repeat]):
            inside = one.folds[:, repeat] == fold
            labels = one.labels[inside]
            if min(int(labels.sum()), int((~labels).sum())) < SMALLEST_FOLD:
                return None
            a, b = (mean_auc(labels, each.probabilities[inside, repeat]) for each in (one, other))
            differences.append(a - b)
            sizes.append(int(inside.sum()))
    if len(differences) < 2:
        return None
    mean = float(np.mean(sizes))
    return corrected_resampled_t(np.array(differences), mean, len(one) - mean)
