"""Regions that a human drew (RTSTRUCT, SEG) as voxels of an image grid, placed by position and Frame of Reference."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from inference.facts import Caution, Instance, Refused, Region, Volume
from inference.regions.region_names import TUMOUR_NAMES, Label, lesions_among
from inference.regions.seg import LABEL_MAP, SEG, read_segments
from inference.regions.structures import RTSTRUCT, read_structures

T = TypeVar("T")


class Drawn(Protocol):
    """One region of an object that is not yet on any grid: ``structures.Structure`` or ``seg.Segment``."""

    @property
    def source(self) -> str:
        """RTSTRUCT or SEG."""

    label: Label
    frame_of_reference_uid: str

    def on(self, grid: Volume) -> Region:
        """The voxels of ``grid`` that belong to it."""

    def cautions(self, grid: Volume, present: Collection[str]) -> tuple[Caution, ...]:
        """What must be said of it on ``grid``, where images ``present`` were analysed."""


@dataclass(frozen=True, slots=True)
class GivenRegion:
    """A named region of the sender's.  ``source``: "RTSTRUCT" or "SEG".

    ``on_ct``: the same on the grid of the CT, None where that was not asked for.
    ``kind``: RT ROI Interpreted Type (3006,00A4), or the meaning of the Segmented Property Type; "" where not stated.
    """

    name: str
    region: Region
    source: str
    kind: str = ""
    cautions: tuple[Caution, ...] = ()
    on_ct: Region | None = None


def given_regions(
    instance: Instance, grid: Volume, present: Collection[str] = (), ct: Volume | None = None
) -> tuple[GivenRegion, ...]:
    """All regions of an RTSTRUCT or SEG on ``grid``, in the object's order, those without a voxel left out.

    With ``ct`` on the CT's grid too, so that HU are of what was drawn and not of the PET voxels that stand for it.

    A voxel belongs to a region when its centre lies inside the contours (``contour.voxels_inside``), or in a voxel of
    the segment.  ``present``: SOP Instance UIDs of the pair's images; an RTSTRUCT that refers to others gets a caution.
    Raises ``Refused`` where the object is neither, cannot be read, has another Frame of Reference, or holds nothing on
    the grid.
    """
    drawn = _in_frame(_read(instance), grid)
    return _with_voxels(instance, drawn, grid, present, ct)


def given_lesions(
    instance: Instance,
    grid: Volume,
    present: Collection[str] = (),
    ct: Volume | None = None,
    names: Sequence[str] = TUMOUR_NAMES,
) -> tuple[tuple[GivenRegion, ...], tuple[Caution, ...]]:
    """The regions of an RTSTRUCT or SEG that are lesions drawn by a person (``region_names.lesions_among``).

    Only those are put on the grids.  Raises ``Refused`` as ``given_regions`` and ``lesions_among`` do, and where all
    regions were made by an algorithm.
    """
    everything = _read(instance)
    by_people = [d for d in everything if not d.label.automatic]
    if not by_people:
        raise Refused(
            "segmentation-automatic",
            "The regions were made by an algorithm (Segment Algorithm Type AUTOMATIC); they are not a human's.",
        )
    here = _in_frame(by_people, grid)
    labels, said = lesions_among([d.label for d in here], names)
    chosen = [d for d in here if d.label in labels]
    found = _with_voxels(instance, chosen, grid, present, ct)
    cautions = [
        *_left_out(len(everything) - len(by_people), "region-automatic-left-out", "made by an algorithm, not a person"),
        *_left_out(len(by_people) - len(here), "region-left-out", "in another Frame of Reference than the PET"),
        *said,
        *_left_out(len(chosen) - len(found), "region-without-voxel", "without a voxel centre of the PET inside"),
        *overlapping([g.region for g in found]),
    ]
    return found, tuple(cautions)


def overlapping(regions: Sequence[Region]) -> tuple[Caution, ...]:
    """A caution where regions of one grid share voxels."""
    text = "Some of the regions share voxels: they may be one lesion drawn twice, and their volumes must not be added."
    shared = any(_share_voxels(one, other) for one, other in combinations(regions, 2))
    return (Caution("regions-overlap", text),) if shared else ()


def _share_voxels(one: Region, other: Region) -> bool:
    low = np.maximum(one.start, other.start)
    high = np.minimum(np.add(one.start, one.mask.shape), np.add(other.start, other.mask.shape))
    if (low >= high).any():
        return False
    parts = [
        region.mask[tuple(slice(a, b) for a, b in zip(low - region.start, high - region.start, strict=True))]
        for region in (one, other)
    ]
    return bool((parts[0] & parts[1]).any())


def _read(instance: Instance) -> Sequence[Drawn]:
    """The regions of the object, at least one."""
    path = Path(instance.path)
    drawn: Sequence[Drawn]
    if instance.sop_class_uid == RTSTRUCT:
        drawn = _guarded(instance, lambda: read_structures(path))
    elif instance.sop_class_uid in (SEG, LABEL_MAP):
        drawn = _guarded(instance, lambda: read_segments(path))
    else:
        raise Refused("region-unsupported", "A region must be an RT Structure Set or a Segmentation object.")
    if not drawn:
        raise _nothing(0)
    return drawn


def _nothing(regions: int) -> Refused:
    return Refused(
        "region-outside-image",
        "The RTSTRUCT or SEG of this study marks no voxel of the PET: it is empty or lies elsewhere.",
        regions=regions,
    )


def _in_frame(drawn: Sequence[Drawn], grid: Volume) -> Sequence[Drawn]:
    here = [d for d in drawn if d.frame_of_reference_uid == grid.frame_of_reference_uid]
    if not here:
        raise Refused(
            "region-frame-of-reference-differs",
            "The region's Frame of Reference is not that of the PET; where it lies in the PET is unknown.",
            expected=grid.frame_of_reference_uid,
            found=drawn[0].frame_of_reference_uid,
        )
    return here


def _with_voxels(
    instance: Instance, drawn: Sequence[Drawn], grid: Volume, present: Collection[str], ct: Volume | None
) -> tuple[GivenRegion, ...]:
    found = _guarded(instance, lambda: [g for d in drawn if (g := _placed(d, grid, present, ct)).region.mask.any()])
    if not found:
        raise _nothing(len(drawn))
    return tuple(found)


def _placed(drawn: Drawn, grid: Volume, present: Collection[str], ct: Volume | None) -> GivenRegion:
    label = drawn.label
    on_ct = drawn.on(ct) if ct is not None else None
    return GivenRegion(label.name, drawn.on(grid), drawn.source, label.kind, drawn.cautions(grid, present), on_ct)


def _left_out(count: int, code: str, what: str) -> tuple[Caution, ...]:
    return (Caution(code, f"{count} region(s) of the RTSTRUCT or SEG were not measured: {what}."),) if count else ()


def _guarded(instance: Instance, read: Callable[[], T]) -> T:
    """What ``read`` gives; an object that makes a library stumble is refused."""
    try:
        return read()
    except (Refused, MemoryError):
        raise
    except Exception as fault:  # noqa: BLE001 - whatever a broken file makes pydicom or a codec raise
        raise Refused(
            "region-unreadable",
            f"The region's object is malformed ({type(fault).__name__}) and cannot be placed in the PET. "
            "Export it again, uncompressed, or leave it out.",
            sop_instance_uid=instance.sop_instance_uid,
        ) from None
