"""RT Structure Sets (PS3.3 A.19): their ROIs as closed contours in LPS mm, and as voxels of a grid.

References to image UIDs are not used for placing: in the field they often point to instances that do not exist.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataelem import RawDataElement

from inference.facts import Caution, FloatArray, Refused, Region, Volume
from inference.regions.contour import planes_skipped, voxels_inside
from inference.regions.region_names import Label, labels_of

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
# The largest file read: a thousand slices of a hundred ROIs.  pydicom needs several times as much.
MOST_BYTES = 1 << 28
# Points of one region: a thousand slices of a thousand.
MOST_POINTS = 1_000_000
CLOSED = frozenset(["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
CONTOUR_DATA = 0x30060050


class Structure:
    """One ROI that has closed contours.  ``label``: what it is called; ``frame_of_reference_uid``: where it lies."""

    source = "RTSTRUCT"

    def __init__(self, label: Label, frame_of_reference_uid: str, roi: Any) -> None:
        self.label = label
        self.frame_of_reference_uid = frame_of_reference_uid
        self._roi = roi

    @cached_property
    def contours(self) -> list[FloatArray]:
        """The closed planar contours, each (points, 3) in LPS mm.

        Raises ``Refused`` where a contour is no triplets of finite numbers, or there are too many.
        """
        found = [_points(c) for c in self._roi.get("ContourSequence") or [] if _kind(c) in CLOSED]
        if sum(map(len, found)) > MOST_POINTS:
            raise Refused(
                "region-too-large",
                f"A region has more than {MOST_POINTS} contour points. Export it simplified.",
            )
        return [points for points in found if len(points) > 2]

    @property
    def has_contours(self) -> bool:
        """Whether there is any closed contour."""
        return any(_kind(c) in CLOSED for c in self._roi.get("ContourSequence") or [])

    @property
    def ignored(self) -> int:
        """How many contours are points or open lines, which enclose nothing."""
        return sum(_kind(c) not in CLOSED for c in self._roi.get("ContourSequence") or [])

    def on(self, grid: Volume) -> Region:
        """The voxels of ``grid`` inside.  Raises ``Refused`` as ``voxels_inside`` does."""
        return voxels_inside(self.contours, grid) if self.contours else Region((0, 0, 0), np.zeros((0, 0, 0), bool))

    def cautions(self, grid: Volume, present: Collection[str]) -> tuple[Caution, ...]:
        """What must be said: references to images not ``present``, contours ignored or not drawn, parts outside."""
        if not self.contours:
            return ()
        return (*self._dangling(present), *self._not_drawn(grid), *beyond(grid, np.concatenate(self.contours)))

    def _dangling(self, present: Collection[str]) -> tuple[Caution, ...]:
        named = {
            str(image.ReferencedSOPInstanceUID)
            for contour in self._roi.ContourSequence
            for image in contour.get("ContourImageSequence") or []
        }
        absent = len(named - set(present)) if present else 0
        text = (
            f"The RTSTRUCT refers to {absent} image(s) that are not among those analysed; its contours were placed by "
            "position and Frame of Reference."
        )
        return (Caution("region-references-absent", text),) if absent else ()

    def _not_drawn(self, grid: Volume) -> list[Caution]:
        cautions = []
        if self.ignored:
            text = f"{self.ignored} contour(s) of the region are points or open lines; they enclose nothing."
            cautions.append(Caution("contours-ignored", text))
        if planes_skipped(self.contours, grid):
            text = "Between contours of the region a slice or two are not drawn; nothing was filled in there."
            cautions.append(Caution("contours-skipped", text))
        return cautions


def read_structures(path: Path) -> list[Structure]:
    """The ROIs of an RTSTRUCT file that have closed contours, in the object's order.

    Raises ``Refused`` where the file is too large; pydicom's own errors where it is malformed.
    """
    import pydicom

    if path.stat().st_size > MOST_BYTES:
        limit = MOST_BYTES >> 20
        raise Refused("region-too-large", f"The RTSTRUCT is larger than {limit} MiB. Send it with fewer regions.")
    dataset = pydicom.dcmread(path)
    labels = {label.number: label for label in labels_of(dataset)}
    frames = {
        int(s.ROINumber): str(s.get("ReferencedFrameOfReferenceUID") or "")
        for s in dataset.get("StructureSetROISequence") or []
    }
    found = []
    for roi in dataset.get("ROIContourSequence") or []:
        number = int(roi.ReferencedROINumber)
        if number in labels:
            found.append(Structure(labels[number], frames[number], roi))
    return [structure for structure in found if structure.has_contours]


def beyond(grid: Volume, points_lps_mm: FloatArray) -> tuple[Caution, ...]:
    """A caution where points (n, 3) of a region lie outside the voxels of ``grid``: only a part of it is measured."""
    index = grid.to_index(points_lps_mm)
    text = "The given region reaches beyond the PET: only its part inside the PET was measured."
    outside = (index < -0.5 - 1e-6).any() or (index > np.array(grid.array.shape) - 0.5 + 1e-6).any()
    return (Caution("region-beyond-pet", text),) if outside else ()


def _kind(contour: Any) -> str:
    return str(contour.get("ContourGeometricType") or "").strip().upper()


def _points(contour: Any) -> FloatArray:
    """Contour Data (points, 3), from its text where pydicom has made no list of it: that takes 20 times more."""
    element = contour.get_item(CONTOUR_DATA) if CONTOUR_DATA in contour else None
    if isinstance(element, RawDataElement):
        text = (element.value or b"").strip(b"\0 ")
        flat = np.array(text.split(b"\\") if text else [], dtype="S").astype(float)
    else:
        flat = np.array(contour.get("ContourData") or [], float)
    flat = flat.reshape(-1)
    if flat.size % 3 or not np.isfinite(flat).all():
        raise Refused("contour-malformed", "Contour Data (3006,0050) is not triplets of numbers. Export it again.")
    return flat.reshape(-1, 3)
