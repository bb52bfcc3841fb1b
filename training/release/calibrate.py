"""What a model learns from its validation subjects alone: temperature, threshold, conformal quantile (methods D5, C1).

Fewer than 100 validation subjects make all three rough; the run's report shows the calibration on held-out subjects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from inference.model.applicability import NEIGHBOURS, FeatureStatistics
from inference.model.served import Range
from training.evaluate.conformal import finite_sample_quantile
from training.prepared import Prepared, Rows

REFERENCE_SUBJECTS = 500  # kept as neighbours for the applicability score
HARDEST, SOFTEST = math.exp(-3.0), math.exp(3.0)  # temperatures that are searched


@dataclass(frozen=True, slots=True)
class Calibration:
    """``threshold``: on the calibrated probability, where sensitivity + specificity is largest (Youden).

    ``conformal_quantile``: of 1 − p(true label) for 90 % coverage, None where there are too few subjects.
    """

    temperature: float
    threshold: float
    conformal_quantile: float | None

    def probability(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Of the mean scores of the members."""
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * scores / self.temperature)))

    def facts(self) -> dict[str, JsonValue]:
        """For the run's record."""
        return {
            "temperature": self.temperature,
            "threshold": self.threshold,
            "conformal_quantile": self.conformal_quantile,
        }


def calibrate(scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int8]) -> Calibration:
    """From uncalibrated logits and labels 0/1 of the validation subjects."""
    positive = labels == 1
    temperature = fit_temperature(scores, positive)
    probability = Calibration(temperature, 0.5, None).probability(scores)
    quantile = finite_sample_quantile(np.where(positive, 1.0 - probability, probability))
    return Calibration(
        temperature=temperature,
        threshold=youden_threshold(probability, positive),
        conformal_quantile=None if math.isinf(quantile) else round(quantile, 6),
    )


def fit_temperature(scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float:
    """The temperature that makes the labels most likely under σ(score ÷ T) (Guo et al. 2017).

    Labels are softened as Platt (1999) does, to (n₁ + 1) ÷ (n₁ + 2) and 1 ÷ (n₀ + 2): a few subjects that are told
    apart without a fault would else ask for certainty.
    """
    from scipy.optimize import minimize_scalar

    ones = int(positive.sum())
    target = np.where(positive, (ones + 1.0) / (ones + 2.0), 1.0 / (len(positive) - ones + 2.0))

    def unlikelihood(log_t: float) -> float:
        logit = scores.astype(float) * math.exp(-log_t)
        return float((np.logaddexp(0.0, logit) - target * logit).mean())

    found = minimize_scalar(unlikelihood, bounds=(math.log(HARDEST), math.log(SOFTEST)))
    return math.exp(round(float(found.x), 6))


def youden_threshold(probability: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float:
    """Halfway between two subjects' probabilities, where sensitivity + specificity is largest; .5 with one class."""
    from sklearn.metrics import roc_curve

    if positive.all() or not positive.any():
        return 0.5
    false, true, cuts = roc_curve(positive, probability, drop_intermediate=False)
    lowest_called = float(np.clip(cuts[int(np.argmax(true - false))], 0.0, 1.0))
    below = probability[probability < lowest_called]
    middle = (lowest_called + (float(below.max()) if below.size else 0.0)) / 2.0
    return float(np.clip(middle, 1e-6, 1.0 - 1e-6))


def feature_statistics(
    features: npt.NDArray[np.float32], labels: npt.NDArray[np.int8], validation: npt.NDArray[np.float32]
) -> FeatureStatistics | None:
    """What training's penultimate features (n, k) look like; None where they are too few to say (methods D7)."""
    from threadpoolctl import threadpool_limits

    if len(features) <= NEIGHBOURS or len(validation) < 2 or len(set(labels.tolist())) < 2:
        return None
    with threadpool_limits(1):
        return FeatureStatistics.fit(features, labels.astype(int), validation, reference_size=REFERENCE_SUBJECTS)


def ranges(data: Prepared, rows: Rows) -> Mapping[str, Range]:
    """Lowest and highest value of each quantity among ``rows``: the bundle's input contract.

    What is lost to the network may always be less than it was in training.
    """
    found: dict[str, Range] = {}
    for name, column in data.quantities.items():
        known = column[rows][np.isfinite(column[rows])]
        if known.size:
            low = 0.0 if name.endswith("_percent") else round(float(known.min()), 4)
            found[name] = (low, round(float(known.max()), 4))
    return found
