"""Does the model apply to this lesion?  First the contract's ranges, then how far its features lie from the training's.

What headers tell (tracer, age …) is checked before all this: ``inference.model.contract``.

Feature score (methods D7): smallest class-conditional Mahalanobis distance with a shared Ledoit–Wolf covariance (Lee et
al. 2018, arXiv 1807.03888) and distance to the k-th nearest L2-normalised training feature (Sun et al. 2022, arXiv
2204.06507), each as its percentile among the validation subjects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from inference.facts import Volume
from inference.model.seen import NetworkInput

Array = npt.NDArray[Any]

OUTSIDE_PERCENTILE = 97.5
NEIGHBOURS = 10

_QUANTITIES = {
    "region_ml": ("the lesion's volume", "ml"),
    "suv_max": ("its SUVmax", "g/ml"),
    "slice_spacing_mm": ("the PET slice spacing", "mm"),
    "pixel_spacing_mm": ("the PET pixel spacing", "mm"),
    "lost_percent": ("the part of the lesion that the network does not see", "%"),
    "without_ct_percent": ("the part of the lesion without CT", "%"),
    "body_ml": ("the body's volume in the PET's field of view", "ml"),
    "body_suv_max": ("the highest SUV of the body, as the network sees it,", "g/ml"),
    "body_lost_percent": ("the part of the body that the network does not see", "%"),
    "body_without_ct_percent": ("the part of the body without CT", "%"),
    "image_slice_mm": ("the image's slice spacing", "mm"),
    "image_pixel_mm": ("the image's pixel spacing", "mm"),
    "region_mean": ("the image's mean in the lesion", "HU or mg/ml"),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """``state``: inside, outside or unknown (no statistics), with the reasons for "outside" or "unknown"."""

    state: Literal["inside", "outside", "unknown"]
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FeatureStatistics:
    """What the training's penultimate features look like (n features).

    ``class_means`` (2, n), ``precision`` (n, n): shared inverse covariance, ``reference`` (m, n): training features of
    length 1, ``mahalanobis`` and ``neighbour`` (v,): sorted distances of the validation subjects.
    """

    class_means: Array
    precision: Array
    reference: Array
    mahalanobis: Array
    neighbour: Array

    @classmethod
    def fit(cls, training: Array, labels: Array, validation: Array, *, reference_size: int) -> FeatureStatistics:
        """From features (subjects, n) and labels (subjects,) 0/1; keeps the first ``reference_size`` as neighbours."""
        from sklearn.covariance import LedoitWolf

        means = np.stack([training[labels == label].mean(axis=0) for label in (0, 1)])
        precision = LedoitWolf(assume_centered=True).fit(training - means[labels]).precision_
        start = cls(means, precision, _unit(training[:reference_size]), np.empty(0), np.empty(0))
        distances = np.array([start.distances(embedding) for embedding in validation])
        as_stored = [means, precision, start.reference, *np.sort(distances, axis=0).T]
        return cls(*(np.ascontiguousarray(array, np.float32) for array in as_stored))

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> FeatureStatistics:
        """From the arrays of a bundle."""
        return cls(**{name: arrays[name] for name in cls.__slots__})

    def arrays(self) -> dict[str, Array]:
        """As a bundle keeps them."""
        return {name: getattr(self, name) for name in self.__slots__}

    def distances(self, embedding: Array) -> tuple[float, float]:
        """Mahalanobis distance to the nearer class, and distance to the k-th nearest training feature."""
        away = embedding - self.class_means
        squared = np.einsum("ci,ij,cj->c", away, self.precision, away, dtype=float)
        to_reference = np.linalg.norm(self.reference - _unit(embedding), axis=1)
        return float(np.sqrt(max(squared.min(), 0.0))), float(
            np.partition(to_reference, NEIGHBOURS - 1)[NEIGHBOURS - 1]
        )

    def percentiles(self, embedding: Array) -> tuple[float, float]:
        """Share of validation subjects that lie nearer than this one, in percent, by both distances."""
        mahalanobis, neighbour = self.distances(embedding)
        return (
            100.0 * float(np.searchsorted(self.mahalanobis, mahalanobis)) / len(self.mahalanobis),
            100.0 * float(np.searchsorted(self.neighbour, neighbour)) / len(self.neighbour),
        )


def quantities(seen: NetworkInput, suv: Volume) -> dict[str, float]:
    """The quantities an input contract sets ranges for; ``suv``: a CT or iodine map where there is no PET."""
    slice_mm, row_mm, column_mm = suv.spacing_mm
    if seen.region_mean is not None:
        own = {"image_slice_mm": slice_mm, "image_pixel_mm": max(row_mm, column_mm), "region_mean": seen.region_mean}
        return {"region_ml": seen.region_ml} | own
    of = "body_" if seen.of_body else ""
    return {
        "body_ml" if seen.of_body else "region_ml": seen.region_ml,
        **({} if seen.suv_max is None else {f"{of}suv_max": seen.suv_max}),
        "slice_spacing_mm": slice_mm,
        "pixel_spacing_mm": max(row_mm, column_mm),
        f"{of}lost_percent": 100.0 * seen.lost_fraction,
        f"{of}without_ct_percent": 100.0 * seen.without_ct_fraction,
    }


def out_of_range(found: Mapping[str, float], ranges: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
    """What of ``found`` lies beyond the contract's ``ranges``, as sentences; it is known before the network runs."""
    return tuple(
        _out_of_range(name, found[name], ranges[name]) for name in ranges if not _within(found[name], ranges[name])
    )


def judge(
    found: Mapping[str, float],
    ranges: Mapping[str, tuple[float, float]],
    statistics: FeatureStatistics | None,
    embedding: Array,
) -> Verdict:
    """The verdict on one lesion: ``found`` as ``quantities`` gives it, ``embedding`` (n,) the penultimate features."""
    reasons = list(out_of_range(found, ranges))
    if statistics is None:
        return Verdict(
            "outside" if reasons else "unknown", (*reasons, "the bundle holds no statistics of its training data")
        )
    mahalanobis, neighbour = statistics.percentiles(embedding)
    farthest = max(mahalanobis, neighbour)
    if farthest > OUTSIDE_PERCENTILE:
        reasons.append(
            f"its features lie farther from the training data than those of {farthest:.1f} % of validation cases"
        )
    return Verdict("outside" if reasons else "inside", tuple(reasons))


def _within(value: float, allowed: tuple[float, float]) -> bool:
    low, high = allowed
    slack = 1e-3 * max(abs(low), abs(high))  # spacings are written with three or four digits
    return low - slack <= value <= high + slack


def _out_of_range(name: str, value: float, allowed: tuple[float, float]) -> str:
    what, unit = _QUANTITIES[name]
    return f"{what} is {value:.4g} {unit}, the training data had {allowed[0]:.4g} to {allowed[1]:.4g} {unit}"


def _unit(features: Array) -> Array:
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    return np.asarray(features / np.maximum(length, 1e-12))
