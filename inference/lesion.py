"""An automatic proposal of lesions where nobody gave a region; always "needs confirmation".

Method: connected uptake of SUVbw ≥ 4.0 (fixed threshold, as in Boellaard 2018 for lymphoma and lung; 2.5 where nothing
reaches 4.0), each bounded at 41 % of its own maximum (EANM), the organs' own uptake set aside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.body import body_of
from inference.facts import BoolArray, Caution, Region, Volume
from inference.measure import MTV_FRACTION, connected
from inference.physiology import organs_among

THRESHOLDS_SUV = (4.0, 2.5)
# Smaller is noise, or below what PET resolves (a 10 mm sphere).
LEAST_ML = 0.5
# Faint uptake (below 4.0) larger than this is an organ's: livers reach 2.5 and more.
MOST_FAINT_ML = 200.0
# Growing to 41 % may not multiply the seed's volume by more: then background is as hot as the bound (methods D3).
FLOOD = 5.0
# The bound must stand out from what lies 10 to 20 mm round the seed by this factor, or noise leads the region away.
CONTRAST = 1.5
SURROUNDINGS_MM = (10.0, 20.0)
# Beyond its seed's box a lesion is followed no farther, mm.
REACH_MM = 30.0
# Of a proposal at most so much may lie outside the patient.
LEAST_INSIDE_BODY = 0.5
# More are not reported one by one.
MOST_LESIONS = 20


@dataclass(frozen=True, slots=True)
class Proposal:
    """Proposed lesions, the largest first (none: an empty tuple), with what must be said about them."""

    regions: tuple[Region, ...]
    cautions: tuple[Caution, ...]


@dataclass(frozen=True, slots=True)
class _Grown:
    region: Region
    flooded: bool


def find_lesions(suv: Volume, ct: Volume) -> Proposal:
    """Propose lesions in ``suv`` (SUVbw, g/ml) with ``ct`` (HU, its own grid, same Frame of Reference)."""
    body = body_of(ct)
    cautions: list[Caution] = []
    if body is None or body.lungs_mm is None:
        text = "No lungs are seen on the CT, so organs with uptake of their own could not be told from lesions."
        cautions.append(Caution("physiologic-uptake-not-assessed", text))
    for threshold in THRESHOLDS_SUV:
        lowered = threshold != THRESHOLDS_SUV[0]
        grown = _candidates(suv, threshold)
        if lowered:
            grown = [g for g in grown if not g.flooded and g.region.mask.sum() * suv.voxel_ml <= MOST_FAINT_ML]
        if body is not None:
            inside = [g for g in grown if body.share_inside(_points(g.region, suv)) >= LEAST_INSIDE_BODY]
            cautions += _outside(len(grown) - len(inside))
            grown = inside
        organs = organs_among([g.region for g in grown], suv, ct, body)
        lesions = [g for g, organ in zip(grown, organs, strict=True) if not organ]
        cautions += _set_aside(organs)
        if lesions:
            return _proposal(lesions, cautions, threshold, lowered=lowered)
    lowest = THRESHOLDS_SUV[-1]
    cautions.append(Caution("no-lesion-found", f"No uptake of SUVbw {lowest:g} or more was found outside organs."))
    return Proposal((), _once(cautions))


def _proposal(lesions: list[_Grown], cautions: list[Caution], threshold: float, *, lowered: bool) -> Proposal:
    lesions = sorted(lesions, key=lambda g: (-int(g.region.mask.sum()), g.region.start))
    text = (
        f"The regions were found automatically (SUVbw ≥ {threshold:g}, bounded at 41 % of each maximum): a proposal "
        "that needs confirmation."
    )
    cautions.append(Caution("region-automatic", text))
    if lowered:
        text = f"No lesion reaches SUVbw {THRESHOLDS_SUV[0]:g}; {threshold:g} was used instead."
        cautions.append(Caution("threshold-lowered", text))
    if any(g.flooded for g in lesions[:MOST_LESIONS]):
        text = f"At 41 % of its maximum a region ran into its surroundings; it was bounded at SUVbw {threshold:g}."
        cautions.append(Caution("region-growth-stopped", text))
    if len(lesions) > MOST_LESIONS:
        text = f"{len(lesions)} lesions were found; the {MOST_LESIONS} largest are reported."
        cautions.append(Caution("lesions-left-out", text))
    return Proposal(tuple(g.region for g in lesions[:MOST_LESIONS]), _once(cautions))


def _candidates(suv: Volume, threshold: float) -> list[_Grown]:
    """Connected uptake at or above ``threshold``, each grown or cut to 41 % of its maximum, hottest first."""
    import cc3d

    hot = Region.of(suv.array >= threshold)
    if not hot.mask.any():
        return []
    labels = cc3d.connected_components(hot.mask, connectivity=26)
    sizes = np.bincount(labels[hot.mask])
    boxes = ndimage.find_objects(labels)
    large = [n for n in range(1, len(sizes)) if sizes[n] * suv.voxel_ml >= LEAST_ML]
    seeds = [_seed(suv, hot.start, labels[boxes[n - 1]] == n, boxes[n - 1]) for n in large]
    grown: list[_Grown] = []
    for core, seed in sorted(seeds, key=lambda s: (-float(suv.array[s[1]]), s[1])):
        if not any(_holds(g.region, seed) for g in grown):
            grown.append(_grow(suv, core, seed, threshold))
    return [g for g in grown if g.region.mask.sum() * suv.voxel_ml >= LEAST_ML]


def _seed(
    suv: Volume, origin: tuple[int, int, int], mask: BoolArray, box: tuple[slice, ...]
) -> tuple[Region, tuple[int, int, int]]:
    """A component as a region of the whole grid, and the index of its maximum."""
    k, r, c = (o + s.start for o, s in zip(origin, box, strict=True))
    core = Region((k, r, c), mask)
    values = np.where(mask, suv.array[core.slices], -np.inf)
    at = np.unravel_index(int(np.argmax(values)), values.shape)
    return core, (k + int(at[0]), r + int(at[1]), c + int(at[2]))


def _grow(suv: Volume, core: Region, seed: tuple[int, int, int], threshold: float) -> _Grown:
    """The voxels of 41 % of the seed and more that hang together with it, unless they run away from the core."""
    bound = MTV_FRACTION * float(suv.array[seed])
    if bound >= threshold:
        return _Grown(_part(suv.array[core.slices] >= bound, core.mask, core.start, seed), flooded=False)
    reach = [int(np.ceil(REACH_MM / s)) for s in suv.spacing_mm]
    start = [max(0, s - n) for s, n in zip(core.start, reach, strict=True)]
    stop = [s + m + n for s, m, n in zip(core.start, core.mask.shape, reach, strict=True)]
    values = suv.array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    grown = _part(values >= bound, np.ones(values.shape, bool), (start[0], start[1], start[2]), seed)
    inside = suv.array[grown.slices][grown.mask]
    flooded = (
        inside.size > FLOOD * int(core.mask.sum())
        or float(inside.max()) > float(suv.array[seed])
        or bound < CONTRAST * _surroundings(values, core, start, suv.spacing_mm)
    )
    return _Grown(core if flooded else grown, flooded)


def _surroundings(
    values: npt.NDArray[np.floating], core: Region, start: list[int], spacing_mm: tuple[float, float, float]
) -> float:
    """Median SUV of the shell round ``core`` in a box of ``values`` at ``start``; 0 where the box holds none of it."""
    inside = np.zeros(values.shape, bool)
    inside[tuple(slice(s.start - a, s.stop - a) for s, a in zip(core.slices, start, strict=True))] = core.mask
    distance_mm = ndimage.distance_transform_edt(~inside, sampling=spacing_mm)
    shell = values[(distance_mm > SURROUNDINGS_MM[0]) & (distance_mm <= SURROUNDINGS_MM[1])]
    return float(np.median(shell)) if shell.size else 0.0


def _part(
    above: npt.NDArray[np.bool_], within: BoolArray, start: tuple[int, int, int], seed: tuple[int, int, int]
) -> Region:
    """The part of a box at ``start`` that is connected to ``seed``, as a region of the whole grid."""
    local = tuple(a - b for a, b in zip(seed, start, strict=True))
    tight = Region.of(connected(above & within, local))
    k, r, c = (a + b for a, b in zip(tight.start, start, strict=True))
    return Region((k, r, c), tight.mask)


def _holds(region: Region, voxel: tuple[int, int, int]) -> bool:
    local = tuple(v - s for v, s in zip(voxel, region.start, strict=True))
    return all(0 <= i < n for i, n in zip(local, region.mask.shape, strict=True)) and bool(region.mask[local])


def _points(region: Region, suv: Volume) -> npt.NDArray[np.floating]:
    return suv.to_lps(np.argwhere(region.mask) + region.start)


def _set_aside(organs: Sequence[str]) -> list[Caution]:
    counts = Counter(o for o in organs if o)
    named = ", ".join(f"{organ} ({n})" if n > 1 else organ for organ, n in sorted(counts.items()))
    text = f"Uptake taken as an organ's own and not proposed as a lesion: {named}."
    return [Caution("physiologic-uptake-set-aside", text)] if counts else []


def _outside(count: int) -> list[Caution]:
    text = f"{count} hot spot(s) outside the patient on the CT, or where the CT does not reach, were not proposed."
    return [Caution("uptake-outside-body", text)] if count else []


def _once(cautions: Sequence[Caution]) -> tuple[Caution, ...]:
    return tuple(dict.fromkeys(cautions))
