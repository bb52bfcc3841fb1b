"""Label models (methods A0, A5): how a label and the hidden scores of each source belong together, and the best AUC.

A source is what a reader may look at: "pet", "ct", "iodine", "clinical".  ``draw`` gives labels and scores,
``log_odds`` the best ranking of subjects from the scores of some sources, ``bayes_auc`` the AUC of that ranking: no
reader of images and tables that show only the scores can do better in expectation.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, ndtr, ndtri

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Drawn:
    """``labels`` (n,); ``hidden`` (n,), the state before label noise; ``scores``: source → (n,)."""

    labels: Labels
    hidden: Labels
    scores: dict[str, Array]


@dataclass(frozen=True, slots=True)
class GaussianSources:
    """Independent sources: s_m = d_m (y − ½) + N(0, 1).  ``distances``: source → d_m."""

    distances: Mapping[str, float]
    kind: Literal["gaussian"] = "gaussian"

    @property
    def sources(self) -> tuple[str, ...]:
        """In a fixed order."""
        return tuple(self.distances)

    def draw(self, prevalence: Array, rng: np.random.Generator) -> Drawn:
        """One subject for each entry of ``prevalence``, its probability of a positive label."""
        labels = rng.random(len(prevalence)) < prevalence
        noise = rng.standard_normal((len(self.distances), len(prevalence)))
        scores = {m: d * (labels - 0.5) + e for (m, d), e in zip(self.distances.items(), noise, strict=True)}
        return Drawn(labels, labels, scores)

    def log_odds(self, scores: Mapping[str, Array], sources: Collection[str], prevalence: Array) -> Array:
        """log P(y = 1 | scores of ``sources``) ÷ P(y = 0 | …)."""
        total = logit(prevalence)
        for source in sources:
            total = total + self.distances[source] * scores[source]
        return np.asarray(total)

    def bayes_auc(self, sources: Collection[str], _prevalence: float = 0.5) -> float:
        """Φ(√(Σ d²) ÷ √2)."""
        return auc_of_distance(math.sqrt(sum(self.distances[source] ** 2 for source in sources)))


@dataclass(frozen=True, slots=True)
class Clustered:
    """Clusters with label noise: h ~ Bernoulli(prevalence), s = ±delta/2 + N(0, 1), y = h flipped with prob. epsilon.

    Every source shows the same s.
    """

    delta: float = 4.0
    epsilon: float = 0.1
    sources: tuple[str, ...] = ("pet", "ct")
    kind: Literal["clustered"] = "clustered"

    def draw(self, prevalence: Array, rng: np.random.Generator) -> Drawn:
        """One subject for each entry of ``prevalence``, its probability of the hidden state."""
        hidden = rng.random(len(prevalence)) < prevalence
        s = (hidden - 0.5) * self.delta + rng.standard_normal(len(prevalence))
        labels = hidden ^ (rng.random(len(prevalence)) < self.epsilon)
        return Drawn(labels, hidden, dict.fromkeys(self.sources, s))

    def log_odds(self, scores: Mapping[str, Array], sources: Collection[str], prevalence: Array) -> Array:
        """log P(y = 1 | s) ÷ P(y = 0 | s)."""
        if not sources:
            return np.asarray(logit(self._label_rate(prevalence)))
        hidden = expit(logit(prevalence) + self.delta * scores[next(iter(sources))])
        return np.asarray(logit(self._label_rate(hidden)))

    def bayes_auc(self, sources: Collection[str], prevalence: float = 0.5) -> float:
        """In closed form: P(y = 1 | s) rises with s, and each class is a mixture of the two Gaussians."""
        return clustered_auc(self.delta, self.epsilon, prevalence) if sources else 0.5

    def _label_rate(self, hidden: Array) -> Array:
        return np.asarray(hidden * (1.0 - self.epsilon) + (1.0 - hidden) * self.epsilon)


@dataclass(frozen=True, slots=True)
class Continuous:
    """No clusters: s ~ N(0, 1), P(y = 1) = logistic(beta s), so half of the labels are positive at every centre.

    Every source shows the same s.
    """

    beta: float = 2.5
    sources: tuple[str, ...] = ("pet", "ct")
    kind: Literal["continuous"] = "continuous"

    def draw(self, prevalence: Array, rng: np.random.Generator) -> Drawn:
        """One subject for each entry of ``prevalence``, whose values play no part."""
        s = rng.standard_normal(len(prevalence))
        labels = rng.random(len(prevalence)) < expit(self.beta * s)
        return Drawn(labels, s > 0, dict.fromkeys(self.sources, s))

    def log_odds(self, scores: Mapping[str, Array], sources: Collection[str], prevalence: Array) -> Array:
        """beta × s."""
        return self.beta * scores[next(iter(sources))] if sources else np.zeros(len(prevalence))

    def bayes_auc(self, sources: Collection[str], _prevalence: float = 0.5) -> float:
        """By numerical integration of P(s of a positive > s of a negative)."""
        if not sources:
            return 0.5
        s = np.linspace(-9.0, 9.0, 20001)
        density = np.exp(-(s**2) / 2.0) / math.sqrt(2.0 * math.pi)
        positive = 2.0 * density * expit(self.beta * s)
        below = np.cumsum(2.0 * density * expit(-self.beta * s)) * (s[1] - s[0])
        return float(np.trapezoid(positive * below, s))


@dataclass(frozen=True, slots=True)
class Suppressor:
    """Weak parts that fuse well (methods A5): u ~ N(0, burden_sd²) says nothing about the label but hides v in the PET.

    v = distance (y − ½) + N(0, 1); the PET shows u + v, the CT u; "clinical" (laboratory) has its own distance.
    """

    distance: float = 0.742
    burden_sd: float = 3.0
    clinical: float = 0.358
    sources: tuple[str, ...] = ("pet", "ct", "clinical")
    kind: Literal["suppressor"] = "suppressor"

    def draw(self, prevalence: Array, rng: np.random.Generator) -> Drawn:
        """One subject for each entry of ``prevalence``, its probability of a positive label."""
        labels = rng.random(len(prevalence)) < prevalence
        u, v, lab = rng.standard_normal((3, len(prevalence)))
        u, v = self.burden_sd * u, v + self.distance * (labels - 0.5)
        return Drawn(labels, labels, {"pet": u + v, "ct": u, "clinical": lab + self.clinical * (labels - 0.5)})

    def log_odds(self, scores: Mapping[str, Array], sources: Collection[str], prevalence: Array) -> Array:
        """Linear discriminant of the sources: Σ⁻¹ Δ · s."""
        order, difference, covariance = self._moments(sources)
        if not order:
            return np.asarray(logit(prevalence))
        weights = np.linalg.solve(covariance, difference)
        return np.asarray(logit(prevalence) + weights @ np.stack([scores[source] for source in order]))

    def bayes_auc(self, sources: Collection[str], _prevalence: float = 0.5) -> float:
        """Φ(√(Δᵀ Σ⁻¹ Δ) ÷ √2) of the sources together."""
        order, difference, covariance = self._moments(sources)
        if not order:
            return 0.5
        return auc_of_distance(math.sqrt(float(difference @ np.linalg.solve(covariance, difference))))

    def _moments(self, sources: Collection[str]) -> tuple[list[str], Array, Array]:
        """Order of the sources, difference of the class means, and the covariance they share."""
        burden = self.burden_sd**2
        index = [n for n, source in enumerate(self.sources) if source in sources]
        difference = np.array([self.distance, 0.0, self.clinical])
        covariance = np.array([[burden + 1.0, burden, 0.0], [burden, burden, 0.0], [0.0, 0.0, 1.0]])
        return [self.sources[n] for n in index], difference[index], covariance[np.ix_(index, index)]


LabelModel = GaussianSources | Clustered | Continuous | Suppressor


@dataclass(frozen=True, slots=True)
class Survival:
    """Weibull times (methods A0): hazard × ``hazard_ratio`` for each standard deviation of the score.

    ``median_months`` at score 0; censored at a time of its own, uniform in ``censoring_months``.
    """

    hazard_ratio: float = 1.6
    shape: float = 1.2
    median_months: float = 14.0
    censoring_months: tuple[float, float] = (12.0, 48.0)

    def draw(self, score: Array, rng: np.random.Generator) -> tuple[Array, npt.NDArray[np.int8]]:
        """Months to event or censoring, and 1 for an event; ``score`` (n,) has standard deviation 1."""
        relative = -np.log(rng.random(len(score))) / (math.log(2.0) * self.hazard_ratio**score)
        event = self.median_months * relative ** (1.0 / self.shape)
        end = rng.uniform(*self.censoring_months, len(score))
        return np.minimum(event, end), (event <= end).astype(np.int8)


@dataclass(frozen=True, slots=True)
class Missing:
    """Columns that share a source and may be missing.  ``weights``: of the columns, Σ w² = 1; ``rates``: 0..1 each."""

    weights: tuple[float, ...]
    rates: tuple[float, ...] = field(default=())


def auc_of_distance(d: float) -> float:
    """AUC of two Gaussians of equal spread whose means lie d standard deviations apart."""
    return float(ndtr(d / math.sqrt(2.0)))


def distance_of_auc(auc: float) -> float:
    """d = √2 Φ⁻¹(AUC)."""
    return math.sqrt(2.0) * float(ndtri(auc))


def clustered_auc(delta: float, epsilon: float, prevalence: float) -> float:
    """Area under the curve of the score s itself for the label y of ``Clustered``."""
    high_given = {
        label: prevalence * a / (prevalence * a + (1.0 - prevalence) * (1.0 - a))
        for label, a in ((True, 1.0 - epsilon), (False, epsilon))
    }
    up = float(ndtr(delta / math.sqrt(2.0)))  # a high state above a low one
    a, b = high_given[True], high_given[False]
    return a * (1.0 - b) * up + (a * b + (1.0 - a) * (1.0 - b)) * 0.5 + (1.0 - a) * b * (1.0 - up)


def spread(score: float, weights: Array, rng: np.random.Generator) -> Array:
    """Unit-variance numbers (k,) that together hold exactly ``score``: their sum with ``weights`` (Σ w² = 1) is it.

    Each is w_j × score plus noise, independent of the others when the score has variance 1.
    """
    noise = rng.standard_normal(len(weights))
    return np.asarray(weights * score + noise - weights * (weights @ noise))


def auc_with_missing(distance: float, columns: Missing, others: float = 0.0, *, samples: int = 400_000) -> float:
    """Best AUC where values are missing at random, by simulation (its standard error is below 0.001).

    ``distance``: d of all columns together; ``others``: d of further independent sources that are never missing.
    """
    rng = np.random.default_rng(0)
    labels = rng.random(samples) < 0.5
    given = rng.random((len(columns.weights), samples)) >= np.array(columns.rates)[:, None]
    squared = others**2 + distance**2 * (np.array(columns.weights)[:, None] ** 2 * given).sum(axis=0)
    # The log-likelihood ratio of Gaussian sources with distance d is N(± d²/2, d²).
    ratio = squared * (labels - 0.5) + np.sqrt(squared) * rng.standard_normal(samples)
    return empirical_auc(labels, ratio)


def empirical_auc(labels: npt.NDArray[Any], scores: Array) -> float:
    """Area under the ROC curve (ties count one half)."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, scores))
