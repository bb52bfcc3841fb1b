"""25 mask features of one lesion, hand-made: the baseline that every network must beat (methods A0).

They are computed on the cube of ``inference.model.inputs.CanonicalRoi``, so training and serving take the same
numbers from the same voxels.  Definitions follow the Image Biomarker Standardisation Initiative where one exists
(first-order statistics, elongation, flatness, sphericity; Zwanenburg et al. 2020, doi 10.1148/radiol.2020191145), but
on our own grid: they are *not* certified IBSI values.

Which of them know where the phantom hides its label: those of ``RATIOS`` (the photopenia is planted in the core), and
in part the spread and texture of CT (planted too).  ``SETS`` therefore
offers the features without the ratios, and the first-order ones alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy import ndimage

from inference.facts import Refused
from inference.model.seen import NetworkInput

REVISION = 2  # raise it whenever a feature is computed in another way
BINS = 16  # of the entropies
FINE_SIGMA = 1.0  # voxels of the cube; what is smoother than this is no fine texture
SURFACE_SIGMA = 0.6  # voxels; just enough to make a staircase a slope
FREE_OF_RIM, CT_FREE_OF_RIM = 0.3, 0.4  # relative depth; nearer the surface the images are mixed with what surrounds
CORE, SHELL = 0.6, 0.55  # relative depth: the core is deeper than the first, the shell from the rim to the second
FEWEST_VOXELS = 27
TOO_THIN = "radiomics-region"

FIRST_ORDER = (
    "pet_suv_max_log", "pet_suv_mean_log", "pet_variation", "pet_skewness", "pet_kurtosis", "pet_p10", "pet_entropy",
    "ct_mean", "ct_sd", "ct_skewness", "ct_kurtosis", "ct_entropy",
)  # fmt: skip
SHAPE = ("volume_log", "sphericity", "elongation")
TEXTURE = ("pet_gradient", "pet_fine_sd", "ct_gradient", "ct_fine_sd", "ct_neighbour_correlation")
RATIOS = (
    "ratio_pet_core_shell", "ratio_pet_core_p95", "ratio_pet_core_minimum", "pet_depth_correlation",
    "ratio_ct_core_shell_sd",
)  # fmt: skip
NAMES = (*FIRST_ORDER, *SHAPE, *TEXTURE, *RATIOS)
SETS: Mapping[str, tuple[str, ...]] = {
    "all": NAMES,
    "without ratios": (*FIRST_ORDER, *SHAPE, *TEXTURE),
    "first order": FIRST_ORDER,
}

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class LinearHead(BaseModel):
    """A logistic model on the features, as a bundle keeps it, and how much it weighs beside the network.

    score = ``intercept`` + ``network_weight`` × the network's score + Σ ``weights`` × (feature − ``means``) ÷ ``sds``;
    a standardised feature is clipped to ±``clip``, so that one odd lesion cannot run away.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: int
    names: tuple[str, ...] = Field(min_length=1)
    means: tuple[float, ...]
    sds: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    network_weight: float = 1.0
    clip: float = Field(5.0, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.revision != REVISION:
            raise ValueError(f"radiomics revision {self.revision}; this version computes {REVISION}: train it again")
        if unknown := set(self.names) - set(NAMES):
            raise ValueError(f"'{min(unknown)}' is no feature of this version")
        if not len(self.names) == len(self.means) == len(self.sds) == len(self.weights):
            raise ValueError("names, means, sds and weights must have one length")
        numbers = (*self.means, *self.sds, *self.weights, self.intercept, self.network_weight)
        if not all(math.isfinite(number) for number in numbers) or min(self.sds) <= 0:
            raise ValueError("all numbers must be finite, and sds above 0")
        return self

    def score(self, features: Mapping[str, float], network_score: float) -> float:
        """The logit of the label, not yet calibrated."""
        found = np.array([features[name] for name in self.names])
        standard = np.clip((found - self.means) / self.sds, -self.clip, self.clip)
        return float(self.intercept + self.network_weight * network_score + standard @ np.array(self.weights))


def radiomics(seen: NetworkInput) -> dict[str, float]:
    """The features by name, in the order of ``NAMES``; all finite.

    ``seen`` is of the preset canonical ROI.  Raises ``Refused`` ``radiomics-region`` where the region fills too few
    voxels of the cube (a sliver), ``ValueError`` for another preset.
    """
    if seen.inside is None or seen.suv_max is None or len(seen.array) != 3:
        raise ValueError("radiomics are computed on the canonical ROI; ask network_input for that preset")
    weight = seen.inside.astype(float)
    inside = weight > 0.5
    if inside.sum() < FEWEST_VOXELS:
        raise Refused(TOO_THIN, "The region is too thin for its features to be computed; check the region.")
    # the input falls off at the rim with the mask's weight; the features are of the images themselves
    full = np.where(inside, 1.0 / np.where(inside, weight, 1.0), 0.0)
    relative, tissue, absolute = seen.array.astype(float) * full
    depth = _depth(inside)
    inner, solid = depth > FREE_OF_RIM, depth > CT_FREE_OF_RIM
    pet, ct = relative[inner], tissue[solid]
    found = (
        math.log(max(seen.suv_max, 1e-3)), math.log(max(absolute[inside].mean(), 1e-4)),
        pet.std() / max(pet.mean(), 1e-6), *_moments(pet), np.percentile(pet, 10) / max(np.percentile(pet, 95), 1e-6),
        _entropy(pet, 0.0, 1.6), ct.mean(), ct.std(), *_moments(ct), _entropy(ct, -2.0, 2.0),
        math.log(max(seen.region_ml, 1e-6)), _sphericity(inside), _elongation(inside),
        _gradient(relative, inner), _fine(relative, inner)[inner].std(),
        _gradient(tissue, solid), _fine(tissue, solid)[solid].std(), _neighbour_correlation(tissue, solid),
        *_core_ratios(relative, tissue, depth),
    )  # fmt: skip
    return {name: float(value) for name, value in zip(NAMES, found, strict=True)}


def _depth(inside: Mask) -> Array:
    """Distance to the region's surface ÷ that of its deepest voxel, 0 outside."""
    distance = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1]
    return np.asarray(distance / distance.max())


def _moments(values: Array) -> tuple[float, float]:
    """Skewness and excess kurtosis; 0 where nothing varies."""
    away = values - values.mean()
    sd = float(away.std())
    if sd < 1e-6:
        return 0.0, 0.0
    return float((away**3).mean() / sd**3), float((away**4).mean() / sd**4 - 3.0)


def _entropy(values: Array, low: float, high: float) -> float:
    """Of the histogram, bits."""
    counts, _ = np.histogram(np.clip(values, low, high), BINS, (low, high))
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


def _elongation(inside: Mask) -> float:
    """Second axis of the region's ellipsoid of inertia ÷ its longest."""
    covariance = np.cov(np.argwhere(inside).T.astype(float)) + np.eye(3) / 12.0  # a voxel is no point
    lengths = np.sqrt(np.linalg.eigvalsh(covariance))
    return float(lengths[1] / lengths[2])


def _sphericity(inside: Mask) -> float:
    """Surface of the sphere of equal volume ÷ surface; that is the total variation of the slightly smoothed mask."""
    soft = ndimage.gaussian_filter(np.pad(inside, 4).astype(float), SURFACE_SIGMA)
    surface = float(np.sqrt(sum(slope**2 for slope in np.gradient(soft))).sum())
    return float(math.pi ** (1 / 3) * (6.0 * inside.sum()) ** (2 / 3) / surface)


def _smooth(image: Array, inside: Mask) -> Array:
    """Gaussian mean of the region's own voxels (normalised convolution)."""
    share = ndimage.gaussian_filter(inside.astype(float), FINE_SIGMA, mode="constant")
    blurred = ndimage.gaussian_filter(np.where(inside, image, 0.0), FINE_SIGMA, mode="constant")
    return np.asarray(blurred / np.maximum(share, 1e-6))


def _fine(image: Array, inside: Mask) -> Array:
    return image - _smooth(image, inside)


def _gradient(image: Array, inside: Mask) -> float:
    """Mean absolute difference of neighbours that both lie inside."""
    found = []
    for axis in range(3):
        both = np.take(inside, range(1, inside.shape[axis]), axis) & np.take(
            inside, range(inside.shape[axis] - 1), axis
        )
        found.append(np.abs(np.diff(image, axis=axis))[both])
    steps = np.concatenate(found)
    return float(steps.mean()) if steps.size else 0.0


def _neighbour_correlation(image: Array, inside: Mask) -> float:
    """Correlation of face neighbours that both lie inside; 0 where nothing varies."""
    first, second = [], []
    for axis in range(3):
        a, b = (np.take(image, range(n, image.shape[axis] - 1 + n), axis) for n in (0, 1))
        both = np.logical_and(*(np.take(inside, range(n, image.shape[axis] - 1 + n), axis) for n in (0, 1)))
        first.append(a[both])
        second.append(b[both])
    x, y = np.concatenate(first), np.concatenate(second)
    if not x.size:
        return 0.0
    spread = float(x.std() * y.std())
    return float(((x - x.mean()) * (y - y.mean())).mean() / spread) if spread > 1e-9 else 0.0


def _core_ratios(relative: Array, tissue: Array, depth: Array) -> tuple[float, float, float, float, float]:
    """Uptake of the core against the shell and the 95th percentile, the lowest of the smoothed core against that
    percentile, correlation of uptake with depth, log ratio of the tissue's spread; neutral where a part is empty."""
    inner, core = depth > FREE_OF_RIM, depth > CORE
    shell = inner & (depth < SHELL)
    if core.sum() < 4 or shell.sum() < 4:
        return 1.0, 1.0, 1.0, 0.0, 0.0
    uptake, high = float(relative[core].mean()), max(float(np.percentile(relative[inner], 95)), 1e-3)
    lowest = float(_smooth(relative, inner)[core].min())
    falls = np.cov(relative[inner], depth[inner])
    correlation = falls[0, 1] / max(math.sqrt(falls[0, 0] * falls[1, 1]), 1e-9)
    around = shell & (depth > CT_FREE_OF_RIM)
    spread = (
        math.log((float(tissue[core].std()) + 0.05) / (float(tissue[around].std()) + 0.05)) if around.any() else 0.0
    )
    return uptake / max(float(relative[shell].mean()), 1e-3), uptake / high, lowest / high, correlation, spread
