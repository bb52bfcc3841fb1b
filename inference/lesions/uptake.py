"""Connected uptake: what is above a threshold, where it has peaks of its own, and how far a lesion grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.facts import BoolArray, FloatArray, Region, Volume
from inference.lesions.body import Body
from inference.lesions.measure import MTV_FRACTION, connected
from inference.lesions.organs import Organs, within

# Bounds of a lesion, as shares of its maximum: EANM's 41 %, and higher where that one runs into warm surroundings.
BOUNDS = (MTV_FRACTION, 0.5, 0.6, 0.7)
# A core is followed from this volume on; what has grown from it must be larger than LEAST_ML.
LEAST_CORE_ML = 0.1
# Smaller is noise, or below what PET resolves (a 10 mm sphere).
LEAST_ML = 0.5
# More than this many times the core, or the volume at the next higher bound, is background as hot as the bound (methods
# D3).
FLOOD = 5.0
# The bound must stand out from what lies 10 to 20 mm round the region by this factor, or noise leads the region away.
CONTRAST = 1.5
SURROUNDINGS_MM = (10.0, 20.0)
# Beyond its core's box a lesion is followed no farther, mm.
REACH_MM = 30.0
# A peak of its own stands out by this factor from the saddle to the next; PET noise stays below it.
PROMINENCE = 1.15
# Smaller uptake has one peak: two would lie closer than PET resolves.
LEAST_TO_SPLIT_ML = 1.5
# A lump fills the ellipsoid of its moments by so much (a ball does wholly, the wall of a ventricle and a bent tube do
# not), and is not longer than thick by more.
LUMP_FILLS, LUMP_LONG = 0.72, 2.3
# PET and CT of organs that move or fill differ by so much, and PET's blur reaches no farther.
MARGIN_MM, BESIDE_LEAST_ML = 8.0, 1.0


@dataclass(frozen=True, slots=True)
class Core:
    """Connected voxels above a threshold, or the part of them that belongs to one peak.

    ``component``: number of the connected uptake it is a part of.  ``peak``: index of its maximum in the full grid.
    """

    region: Region
    component: int
    peak: tuple[int, int, int]
    suv: float

    def points(self, volume: Volume) -> FloatArray:
        """LPS (mm) of its voxels, (n, 3)."""
        return volume.to_lps(np.argwhere(self.region.mask) + self.region.start)

    def voxels(self) -> int:
        """How many."""
        return int(self.region.mask.sum())


@dataclass(frozen=True, slots=True)
class Grown:
    """A lesion grown from its core.  ``bound``: SUVbw; ``share``: of the maximum, 0 where the core itself was kept."""

    region: Region
    bound: float
    share: float


def cores(suv: Volume, threshold: float) -> list[Core]:
    """Connected uptake (26 neighbours) at or above ``threshold`` (SUVbw), each cut between peaks of its own."""
    import cc3d

    hot = Region.of(suv.array >= threshold)
    if not hot.mask.any():
        return []
    labels = cc3d.connected_components(hot.mask, connectivity=26)
    sizes = cc3d.statistics(labels)["voxel_counts"]
    boxes = ndimage.find_objects(labels)
    found: list[Core] = []
    for n in range(1, len(sizes)):
        if sizes[n] * suv.voxel_ml >= LEAST_CORE_ML:
            region = Region.of(labels[boxes[n - 1]] == n)
            found += _by_peak(suv, region.moved(_corner(boxes[n - 1])).moved(hot.start), n)
    return found


def _corner(box: tuple[slice, ...]) -> tuple[int, int, int]:
    k, r, c = (int(s.start) for s in box)
    return k, r, c


def _by_peak(suv: Volume, region: Region, component: int) -> list[Core]:
    """The region cut along the valleys between its peaks (morphological watershed of log SUV)."""
    if region.mask.sum() * suv.voxel_ml < LEAST_TO_SPLIT_ML:
        return [core_of(suv, region, component)]
    import SimpleITK as sitk

    values = suv.array[region.slices]
    depth = np.where(region.mask, -np.log(np.maximum(values, 1e-3)), 1e3).astype(np.float32)
    depth = np.pad(depth, 1, constant_values=1e3)
    level = float(np.log(PROMINENCE))
    image = sitk.MorphologicalWatershed(sitk.GetImageFromArray(depth), level, False, True)
    basins = sitk.GetArrayFromImage(image)[1:-1, 1:-1, 1:-1]
    parts = []
    for label in np.unique(basins[region.mask]):
        part = region.mask & (basins == label)
        parts.append(core_of(suv, Region.of(part).moved(region.start), component))
    return parts


def core_of(suv: Volume, region: Region, component: int) -> Core:
    """The region with its peak."""
    values = np.where(region.mask, suv.array[region.slices], -np.inf)
    at = np.unravel_index(int(np.argmax(values)), values.shape)
    k, r, c = (int(a) + s for a, s in zip(at, region.start, strict=True))
    return Core(region, component, (k, r, c), float(values.max()))


def together(suv: Volume, parts: list[Core]) -> list[Core]:
    """The parts of one component, joined where they touch."""
    import cc3d

    if len(parts) < 2:
        return parts
    low = np.min([p.region.start for p in parts], axis=0)
    high = np.max([np.add(p.region.start, p.region.mask.shape) for p in parts], axis=0)
    box = np.zeros(tuple(high - low), bool)
    for p in parts:
        box[tuple(slice(s.start - a, s.stop - a) for s, a in zip(p.region.slices, low, strict=True))] |= p.region.mask
    labels, count = cc3d.connected_components(box, connectivity=26, return_N=True)
    start = (int(low[0]), int(low[1]), int(low[2]))
    return [core_of(suv, Region.of(labels == n).moved(start), parts[0].component) for n in range(1, count + 1)]


def grow(suv: Volume, core: Core, closed: BoolArray) -> Grown:
    """The voxels round the core's peak at or above 41 % of it, or the least higher share that does not run away.

    ``closed``: voxels of the full grid that belong to something else and are not entered.
    """
    lowest = float(suv.array[core.region.slices][core.region.mask].min())
    if MTV_FRACTION * core.suv >= lowest:
        bound = MTV_FRACTION * core.suv
        inside = core.region.mask & (suv.array[core.region.slices] >= bound)
        return Grown(_part(inside, core.region.start, core.peak), bound, MTV_FRACTION)
    reach = [int(np.ceil(REACH_MM / s)) for s in suv.spacing_mm]
    low = np.maximum(np.subtract(core.region.start, reach), 0)
    high = np.minimum(np.add(core.region.start, core.region.mask.shape) + reach, suv.array.shape)
    start = (int(low[0]), int(low[1]), int(low[2]))
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    values, free = suv.array[box], ~closed[box]
    parts = [_part((values >= share * core.suv) & free, start, core.peak) for share in BOUNDS]
    sizes = [int(part.mask.sum()) for part in parts]
    for n, (share, part) in enumerate(zip(BOUNDS, parts, strict=True)):
        flooded = sizes[n] > FLOOD * max([core.voxels(), *sizes[n + 1 : n + 2]])
        hotter = float(suv.array[part.slices][part.mask].max()) > core.suv
        if flooded or hotter or _leaves(part, low, high, suv):
            continue
        if share * core.suv >= CONTRAST * surroundings(suv, part, closed):
            return Grown(part, share * core.suv, share)
    return Grown(core.region, lowest, 0.0)


def _leaves(grown: Region, low: npt.NDArray[np.integer[Any]], high: npt.NDArray[np.integer[Any]], suv: Volume) -> bool:
    """Whether it reaches the border of the box from ``low`` to ``high`` where the picture goes on."""
    end = np.add(grown.start, grown.mask.shape)
    at_low = (np.asarray(grown.start) <= low) & (low > 0)
    return bool(at_low.any() or ((end >= high) & (high < suv.array.shape)).any())


def surroundings(suv: Volume, region: Region, closed: BoolArray | None = None) -> float:
    """Median SUV of the shell 10 to 20 mm round the region, without what is ``closed``; 0 where there is none."""
    reach = [int(np.ceil(SURROUNDINGS_MM[1] / s)) for s in suv.spacing_mm]
    low = np.maximum(np.subtract(region.start, reach), 0)
    high = np.add(region.start, region.mask.shape) + reach
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    values = suv.array[box]
    inside = np.zeros(values.shape, bool)
    inside[tuple(slice(s.start - a, s.stop - a) for s, a in zip(region.slices, low, strict=True))] = region.mask
    distance_mm = ndimage.distance_transform_edt(~inside, sampling=suv.spacing_mm)
    near = (distance_mm > SURROUNDINGS_MM[0]) & (distance_mm <= SURROUNDINGS_MM[1])
    shell = values[near if closed is None else near & ~closed[box]]
    return float(np.median(shell)) if shell.size else 0.0


def _part(above: BoolArray, start: tuple[int, int, int], seed: tuple[int, int, int]) -> Region:
    """The part of a box at ``start`` that is connected to ``seed``, as a region of the whole grid."""
    local = tuple(a - b for a, b in zip(seed, start, strict=True))
    return Region.of(connected(above, local)).moved(start)


def is_lump(points: FloatArray, suv: Volume) -> bool:
    """Whether these voxels (LPS mm) are neither hollow nor bent nor long."""
    own = np.square(suv.spacing_mm[::-1]) / 12.0  # of a voxel
    variances = np.linalg.eigvalsh((np.cov(points.T) if len(points) > 1 else np.zeros((3, 3))) + np.diag(own))
    ellipsoid_ml = 4.0 / 3.0 * pi * float(np.prod(np.sqrt(5.0 * variances))) / 1000.0
    long = float(np.sqrt(variances[2] / variances[0]))
    return len(points) * suv.voxel_ml > LUMP_FILLS * ellipsoid_ml and long < LUMP_LONG


def cut_at_organs(cores: Sequence[Core], suv: Volume, body: Body, organs: Organs) -> list[Core]:
    """The cores, with lumps cut off that lie beside an organ known by the CT and have no peak of their own.

    A full bladder outshines a tumour at its wall; the CT says where the urine ends.
    """
    out = list(cores)
    for organ in (organs.cranium, organs.bladder):
        if organ is None or not out:
            continue
        place = within(organ, body, MARGIN_MM)
        peaks = np.array([suv.to_lps(c.peak) for c in out])
        for n in np.flatnonzero(body.at(place, peaks, outside=False)):
            lumps = _lumps_beside(out[n], suv, body, place)
            out[n] = _without(out[n], lumps, suv)
            out += lumps
    return out


def _lumps_beside(core: Core, suv: Volume, body: Body, place: BoolArray) -> list[Core]:
    """The lumps of a core that lie out of the place."""
    far = np.zeros(core.region.mask.shape, bool)
    far[core.region.mask] = ~body.at(place, core.points(suv), outside=False).astype(bool)
    labels, count = ndimage.label(far, ndimage.generate_binary_structure(3, 3))
    parts = [core_of(suv, Region.of(labels == n).moved(core.region.start), core.component) for n in range(1, count + 1)]
    large = [p for p in parts if p.voxels() * suv.voxel_ml > BESIDE_LEAST_ML]
    return [p for p in large if is_lump(p.points(suv), suv)]


def _without(core: Core, lumps: Sequence[Core], suv: Volume) -> Core:
    if not lumps:
        return core
    rest = core.region.mask.copy()
    for lump in lumps:
        rest[
            tuple(slice(s.start - a, s.stop - a) for s, a in zip(lump.region.slices, core.region.start, strict=True))
        ] &= ~lump.region.mask
    return core_of(suv, Region(core.region.start, rest), core.component)
