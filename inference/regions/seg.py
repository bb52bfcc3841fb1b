"""Segmentation objects (PS3.3 A.51 and Label Map, A.90): their segments as masks, and as voxels of a grid.

A segment is read frame by frame and kept as the box of its voxels: memory is that of the segment, not of the object.
Positions without a frame are empty.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from inference.facts import BoolArray, Caution, FloatArray, Refused, Region, Volume
from inference.geometry.resample import resample
from inference.reading.part10 import DEFLATED
from inference.regions.contour import box
from inference.regions.region_names import Label, labels_of
from inference.regions.structures import beyond

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
# Voxels that an object may claim, Rows × Columns × frames, and a segment's box: 2,000 slices of 512 × 512.
MOST_VOXELS = 2**29
# Share of the Maximum Fractional Value at and above which a voxel of a fractional segment counts as inside.
FRACTION = 0.5


class Segment:
    """One segment.  ``label``: what it is called; ``frame_of_reference_uid``: where it lies."""

    source = "SEG"

    def __init__(self, label: Label, frames: _Frames, indices: Sequence[int]) -> None:
        self.label = label
        self.frame_of_reference_uid = frames.frame_of_reference_uid
        self._frames = frames
        self._indices = indices

    @cached_property
    def own(self) -> Volume | None:
        """The box of its voxels, Boolean, on the object's own grid; None where it has none."""
        frames = self._frames
        planes = [frames.planes[n] for n in self._indices]
        pieces = [
            (plane, piece)
            for plane, mask in zip(planes, frames.masks(self._indices, self.label.number), strict=True)
            if (piece := Region.of(mask[None])).mask.size
        ]
        if not pieces:
            return None
        corners = [((plane, *piece.start[1:]), piece.mask.shape[1:]) for plane, piece in pieces]
        low = np.array([start for start, _ in corners]).min(axis=0)
        high = np.array([(k + 1, r + rows, c + columns) for (k, r, c), (rows, columns) in corners]).max(axis=0)
        shape = tuple((high - low).tolist())
        check_size(*shape)
        mask = np.zeros(shape, bool)
        for plane, piece in pieces:
            _, rows, columns = piece.slices
            there = mask[plane - low[0]]
            there[rows.start - low[1] : rows.stop - low[1], columns.start - low[2] : columns.stop - low[2]] |= (
                piece.mask[0]
            )
        whole = Volume(mask, frames.affine, frames.frame_of_reference_uid)
        return Volume(mask, whole.part_affine(low), frames.frame_of_reference_uid)

    def on(self, grid: Volume) -> Region:
        """The voxels of ``grid`` whose centre lies in a voxel of the segment."""
        empty = Region((0, 0, 0), np.zeros((0, 0, 0), bool))
        own = self.own
        if own is None:
            return empty
        corners = list(product(*((-0.5, n - 0.5) for n in own.array.shape)))
        start, shape = box(grid.to_index(own.to_lps(corners)), 1.0, grid)
        if 0 in shape:
            return empty
        return Region.of(resample(own, grid.part_affine(start), shape, order=0).astype(bool)).moved(start)

    def cautions(self, grid: Volume, present: Collection[str]) -> tuple[Caution, ...]:  # noqa: ARG002 - as Structure
        """What must be said: how a fraction became inside or outside, parts outside the PET."""
        cautions: list[Caution] = []
        if self._frames.fractional:
            text = (
                f"The segmentation is fractional ({self._frames.fractional}): voxels at or above half of its Maximum "
                "Fractional Value were taken."
            )
            cautions.append(Caution("segmentation-fractional", text))
        if self.own is not None:
            cautions += _beyond(self.own, grid)
        return tuple(cautions)


def read_segments(path: Path) -> list[Segment]:
    """The segments of a SEG file, in the object's order; pixels are read only when a segment's voxels are asked for.

    Raises ``Refused`` where it claims too many voxels, is of a kind or geometry not read; pydicom's own errors where
    it is malformed.
    """
    import pydicom

    header = pydicom.dcmread(path, stop_before_pixels=True)
    kind = str(header.get("SegmentationType") or ("LABELMAP" if header.SOPClassUID == LABEL_MAP else ""))
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise Refused("segmentation-kind", "The Segmentation Type is not BINARY, FRACTIONAL or LABELMAP. Convert it.")
    count = int(header.get("NumberOfFrames") or 1)
    check_size(count, int(header.Rows), int(header.Columns))
    if "TotalPixelMatrixColumns" in header:
        raise Refused("region-unsupported", "The segmentation is of a slide, in tiles; it has no place in a PET.")
    shared = (header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    each = list(header.get("PerFrameFunctionalGroupsSequence") or [])
    if len(each) != count:
        raise ValueError("one item of the Per-Frame Functional Groups Sequence a frame")
    planes, affine = _geometry(shared, each)
    frames = _Frames(path, header, kind, planes, affine)
    numbers = [0 if kind == "LABELMAP" else _segment_number(shared, item) for item in each]
    segments = []
    for label in labels_of(header):
        indices = [n for n, number in enumerate(numbers) if kind == "LABELMAP" or number == label.number]
        segments.append(Segment(label, frames, indices))
    return segments


def _beyond(own: Volume, grid: Volume) -> tuple[Caution, ...]:
    """``beyond`` of the marked voxels' centres, plane by plane: all at once would take 24 bytes a voxel."""
    for plane, mask in enumerate(own.array):
        marked = np.argwhere(mask)
        index = np.column_stack([np.full(len(marked), plane), marked])
        if len(index) and (said := beyond(grid, own.to_lps(index))):
            return said
    return ()


def check_size(frames: int, rows: int, columns: int) -> None:
    """Raises ``Refused`` where so many voxels may not be asked of memory, or none."""
    if not 0 < frames * rows * columns <= MOST_VOXELS:
        raise Refused(
            "segmentation-too-large",
            f"The segmentation claims {frames} × {rows} × {columns} voxels; 1 to {MOST_VOXELS} are read. "
            "Send it without empty frames, or at the resolution of the PET.",
        )


@dataclass(frozen=True)
class _Frames:
    """The frames of one object.  ``planes``: the slice index of each; ``affine``: of the grid they lie on."""

    path: Path
    header: Any
    kind: str
    planes: Sequence[int]
    affine: FloatArray

    @property
    def frame_of_reference_uid(self) -> str:
        return str(self.header.get("FrameOfReferenceUID") or "")

    @property
    def fractional(self) -> str:
        """PROBABILITY or OCCUPANCY, "" where the object is not fractional."""
        return str(self.header.get("SegmentationFractionalType") or "no type") if self.kind == "FRACTIONAL" else ""

    def masks(self, indices: Sequence[int], number: int) -> Iterator[BoolArray]:
        """For each frame (zero-based) the pixels (row, column) that belong to the segment."""
        import pydicom
        from pydicom.pixels.utils import iter_pixels

        if not indices:
            return
        source: Any = self.path
        if self.header.file_meta.TransferSyntaxUID == DEFLATED:  # iter_pixels reads a file as it lies
            source = pydicom.dcmread(self.path)
        for values in iter_pixels(source, indices=indices, raw=True):
            if self.kind == "LABELMAP":
                yield values == number
            elif self.kind == "FRACTIONAL":
                yield values >= FRACTION * int(self.header.get("MaximumFractionalValue") or 255)
            else:
                yield values > 0


def _segment_number(shared: Any, item: Any) -> int:
    return int(_group(shared, item, "SegmentIdentificationSequence").ReferencedSegmentNumber)


def _geometry(shared: Any, each: Sequence[Any]) -> tuple[list[int], FloatArray]:
    """The slice index of each frame and the affine of the regular grid on which all frames lie.

    Raises ``Refused`` where the frames differ in orientation or spacing, or are not evenly stacked.
    """
    from highdicom.spatial import get_volume_positions

    orientation, position, measures = (
        [_group(shared, frame, f"{name}Sequence") for frame in each]
        for name in ("PlaneOrientation", "PlanePosition", "PixelMeasures")
    )
    orientations = np.array([item.ImageOrientationPatient for item in orientation], float)
    positions = np.array([item.ImagePositionPatient for item in position], float)
    spacings = np.array([item.PixelSpacing for item in measures], float)
    for values in (orientations, positions, spacings):
        if not np.isfinite(values).all():
            raise ValueError("a position, orientation or spacing that is no number")
    if np.ptp(orientations, axis=0).max() > 1e-4 or np.ptp(spacings, axis=0).max() > 1e-4 or spacings.min() <= 0:
        raise _uneven()
    stated = measures[0].get("SpacingBetweenSlices")
    hints = [abs(float(stated)), None] if stated else [None]
    for hint in hints:
        spacing, planes = get_volume_positions(
            positions, orientations[0], allow_missing_positions=True, allow_duplicate_positions=True, spacing_hint=hint
        )
        if planes is not None:
            break
    if planes is None or spacing is None:
        raise _uneven()
    if max(planes) == 0 and not stated:
        spacing = float(measures[0].get("SliceThickness") or 0)
    row, column = orientations[0].reshape(2, 3)
    along = np.cross(row, column) * spacing
    first, last = positions[int(np.argmin(planes))], positions[int(np.argmax(planes))]
    if (last - first) @ along < 0:
        along = -along
    affine = np.eye(4)
    affine[:3] = np.column_stack([along, column * spacings[0][0], row * spacings[0][1], first])
    if abs(np.linalg.det(affine)) < 1e-9:
        raise _uneven()
    return list(planes), affine


def _group(shared: Any, item: Any, keyword: str) -> Any:
    """The first item of a functional group, the frame's own or the one that all share."""
    return (item.get(keyword) or shared.get(keyword) or [None])[0]


def _uneven() -> Refused:
    return Refused(
        "segmentation-geometry",
        "The frames of the segmentation do not lie on one regular grid (orientation, spacing or distances differ). "
        "Export it on the grid of the PET or CT.",
    )
