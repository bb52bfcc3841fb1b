"""What is measured in a lesion: SUVmax, SUVmean, SUVpeak, metabolic volume, TLG, mean HU or mean iodine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from math import ceil

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.facts import BoolArray, Caution, FloatArray, Kind, Lesion, Refused, Region, Uptake, Volume
from inference.geometry.regrid import NOT_MEASURED_HU
from inference.geometry.resample import resample

# Share of SUVmax that bounds the metabolic tumour volume (EANM guideline 2.0, Boellaard 2015).
MTV_FRACTION = 0.41
# Radius of the 1 ml sphere of SUVpeak (PERCIST 1.0, Wahl 2009), mm.
PEAK_RADIUS_MM = 6.2035
# Points per voxel and axis when a sphere's share of a voxel is counted.
SUBSAMPLES = 11
# More of a lesion than this outside the CT is said aloud.
WITHOUT_CT = 0.05
# Candidate spheres whose voxels are gathered at once.
CHUNK = 1024


def measure(number: int, region: Region, source: str, suv: Volume, ct: Volume, on_ct: Region | None = None) -> Lesion:
    """Measure one lesion of a PET/CT; ``suv``: SUVbw (g/ml), ``ct``: HU on its own grid, same Frame of Reference.

    ``on_ct``: the region on the CT's grid where one was drawn there; else the CT voxels in the PET's voxels are taken.
    See ``facts.Lesion`` for what each number is of.  Raises ``Refused`` where the region is empty or lies outside the
    CT.
    """
    if not region.mask.any():
        raise Refused("region-empty", "A region has no voxel on the PET; there is nothing to measure.")
    values = suv.array[region.slices]
    inside = values[region.mask].astype(float)
    threshold = MTV_FRACTION * float(inside.max())
    maximum = _maximum(values, region.mask)
    mtv = Region.of(connected(region.mask & (values >= threshold), maximum)).moved(region.start)
    mtv_values = suv.array[mtv.slices][mtv.mask].astype(float)
    mtv_ml = mtv_values.size * suv.voxel_ml
    uptake = Uptake(
        suv_max=float(inside.max()),
        suv_mean=float(inside.mean()),
        suv_peak=suv_peak(suv, region),
        mtv=mtv,
        mtv_ml=mtv_ml,
        mtv_threshold=threshold,
        mtv_suv_mean=float(mtv_values.mean()),
        tlg=mtv_ml * float(mtv_values.mean()),
        max_lps_mm=_point(suv.to_lps(np.add(maximum, region.start))),
    )
    return Lesion(
        number=number,
        tracking_name=f"Lesion {number}",
        source=source,
        region=region,
        volume_ml=inside.size * suv.voxel_ml,
        mean_hu=_mean_hu(on_ct if on_ct and on_ct.mask.any() else _on_ct(region, suv, ct), ct),
        centroid_lps_mm=_centroid(region, suv),
        uptake=uptake,
    )


def measure_without_pet(number: int, region: Region, source: str, image: Volume, kind: Kind) -> Lesion:
    """Measure one lesion of a CT (HU) or an iodine map (mg/ml) alone, on its own grid: volume and mean value.

    Raises ``Refused`` as ``measure``.
    """
    if not region.mask.any():
        raise Refused("region-empty", f"A region has no voxel on the {kind}; there is nothing to measure.")
    iodine = kind == "iodine map"
    values = image.array[region.slices][region.mask]
    return Lesion(
        number=number,
        tracking_name=f"Lesion {number}",
        source=source,
        region=region,
        volume_ml=values.size * image.voxel_ml,
        mean_hu=None if iodine else _mean_hu(region, image),
        centroid_lps_mm=_centroid(region, image),
        uptake=None,
        mean_iodine=float(values.mean(dtype=float)) if iodine else None,
    )


def without_ct(lesions: Sequence[Lesion], suv: Volume, ct: Volume) -> tuple[Caution, ...]:
    """A caution for each lesion of which a part lies where the CT shows nothing."""
    cautions = []
    for lesion in lesions:
        points = suv.to_lps(np.argwhere(lesion.region.mask) + lesion.region.start)
        share = share_without_ct(points, ct)
        text = f"{share:.0%} of {lesion.tracking_name} lies outside the CT: its mean CT number is that of the rest."
        if share > WITHOUT_CT:
            cautions.append(Caution("region-without-ct", text))
    return tuple(cautions)


def share_without_ct(points_lps_mm: FloatArray, ct: Volume) -> float:
    """Share of the points (n, 3) that lie in no voxel of the CT, or in one which no slice of it reaches."""
    index = np.rint(ct.to_index(points_lps_mm)).astype(int)
    inside = ((index >= 0) & (index < ct.array.shape)).all(axis=1)
    measured = ct.array[tuple(index[inside].T)] > NOT_MEASURED_HU
    return 1.0 - float(np.count_nonzero(measured) / len(points_lps_mm))


def connected(mask: BoolArray, seed: tuple[int, ...]) -> BoolArray:
    """The voxels of ``mask`` connected to ``seed`` over faces, edges or corners (26 neighbours)."""
    import cc3d

    labels = cc3d.connected_components(mask, connectivity=26)
    part: BoolArray = labels == labels[seed]
    return part & mask


def suv_peak(suv: Volume, region: Region) -> float:
    """Largest mean over a sphere of 1 ml (g/ml), its centre on the half-voxel grid in ``region``.

    A centre lies in the region when all voxels it touches do.  A voxel counts by its share in the sphere.  The sphere
    may reach out of the region but not of the image, unless it fits nowhere: then border voxels stand for those beyond.
    """
    reach = [ceil(PEAK_RADIUS_MM / s + 1.0) for s in suv.spacing_mm]
    around = [(s - n, s + m + n) for s, m, n in zip(region.start, region.mask.shape, reach, strict=True)]
    box = tuple(slice(max(0, a), b) for a, b in around)
    missing = [(max(0, -a), max(0, b - n)) for (a, b), n in zip(around, suv.array.shape, strict=True)]
    values = np.pad(suv.array[box], missing, mode="edge")
    measured = np.pad(np.ones(suv.array[box].shape, bool), missing)
    inside = np.pad(region.mask, [(n, n) for n in reach])
    for allowed in (measured, np.ones_like(measured)):
        best = -np.inf
        for halves in product((0.0, 0.5), repeat=3):
            best = max(best, _best_sphere(values, allowed, _centres(inside, halves), *sphere(suv.spacing_mm, halves)))
        if best > -np.inf:
            break
    return best


def _centres(inside: BoolArray, halves: tuple[float, ...]) -> BoolArray:
    """Where a sphere moved by ``halves`` of a voxel still has its centre between voxels that are all ``inside``."""
    for axis, half in enumerate(halves):
        if half:
            inside = inside & np.roll(inside, -1, axis)  # the border is padding, so nothing wraps round
    return inside


def _best_sphere(
    values: npt.NDArray[np.floating],
    allowed: BoolArray,
    centres: BoolArray,
    offsets: npt.NDArray[np.intp],
    weights: FloatArray,
) -> float:
    """The largest weighted mean round any of the ``centres`` whose sphere has only ``allowed`` voxels, else -inf.

    No mean exceeds the largest value in its sphere's box, so centres where that is below the best mean are left out:
    the best is found first near the largest value.
    """
    at = np.flatnonzero(centres)
    steps = np.ravel_multi_index(tuple(offsets.T + np.array(values.shape)[:, None] // 2), values.shape)
    steps -= np.ravel_multi_index(tuple(n // 2 for n in values.shape), values.shape)
    highest = ndimage.maximum_filter(values, 2 * np.abs(offsets).max(axis=0) + 1).reshape(-1)[at]
    order = np.argsort(-highest, kind="stable")
    best = -np.inf
    for first in range(0, at.size, CHUNK):
        chunk = order[first : first + CHUNK]
        chunk = chunk[highest[chunk] > best]
        if not chunk.size:
            break
        spheres = at[chunk, None] + steps
        means = np.where(allowed.reshape(-1)[spheres].all(axis=1), values.reshape(-1)[spheres] @ weights, -np.inf)
        best = max(best, float(means.max()))
    return best


@lru_cache(maxsize=64)
def sphere(
    spacing_mm: tuple[float, float, float], centre: tuple[float, float, float]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Voxel offsets (voxels, 3) as (slice, row, column) that a 1 ml sphere touches, and their weights, of sum 1.

    ``centre``: of the sphere, in voxels from the voxel that has offset 0.
    """
    reach = [ceil(PEAK_RADIUS_MM / s + c + 0.5) for s, c in zip(spacing_mm, centre, strict=True)]
    within = (np.arange(SUBSAMPLES) + 0.5) / SUBSAMPLES - 0.5
    squares = [
        ((np.arange(-n, n + 1)[:, None] + within - c) * s) ** 2
        for n, s, c in zip(reach, spacing_mm, centre, strict=True)
    ]
    k, r, c = (q.reshape(-1) for q in squares)
    covered = k[:, None, None] + r[:, None] + c <= PEAK_RADIUS_MM**2
    counts = covered.reshape([n for q in squares for n in q.shape]).sum(axis=(1, 3, 5))
    touched = np.argwhere(counts)
    weights = counts[tuple(touched.T)] / counts.sum()
    return touched - reach, weights


def _maximum(values: npt.NDArray[np.floating], mask: BoolArray) -> tuple[int, int, int]:
    """Index of the largest value inside ``mask``; the first in reading order where several are equal."""
    k, r, c = np.unravel_index(int(np.argmax(np.where(mask, values, -np.inf))), values.shape)
    return int(k), int(r), int(c)


def _mean_hu(on_ct: Region, ct: Volume) -> float:
    values = ct.array[on_ct.slices][on_ct.mask]
    values = values[values > NOT_MEASURED_HU]
    if not values.size:
        raise Refused("region-outside-ct", "The CT does not cover the region; the two are not one PET/CT examination.")
    return float(values.mean(dtype=float))


def _on_ct(region: Region, suv: Volume, ct: Volume) -> Region:
    """The CT voxels whose centre lies in a voxel of the region."""
    outline = [(s - 0.5, s + n - 0.5) for s, n in zip(region.start, region.mask.shape, strict=True)]
    index = ct.to_index(suv.to_lps(list(product(*outline))))
    low = np.ceil(index.min(axis=0)).clip(0, ct.array.shape).astype(int)
    high = (np.floor(index.max(axis=0)) + 1).clip(low, ct.array.shape).astype(int)
    boxed = Volume(region.mask, suv.part_affine(region.start), suv.frame_of_reference_uid)
    (k, r, c), shape = low.tolist(), tuple((high - low).tolist())
    inside = resample(boxed, ct.part_affine(low), shape, order=0) if min(shape) else np.zeros(shape, bool)
    return Region((k, r, c), inside)


def _centroid(region: Region, grid: Volume) -> tuple[float, float, float]:
    return _point(grid.to_lps(np.argwhere(region.mask).mean(axis=0) + region.start))


def _point(lps_mm: FloatArray) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in lps_mm)
    return x, y, z
