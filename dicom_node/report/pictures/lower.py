"""The lower pictures of the key image: coronal and sagittal cut, and the PET, if any, from the front, to one scale."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dicom_node.report.pictures import views
from dicom_node.report.pictures.canvas import Canvas, Frame
from dicom_node.report.pictures.cuts import Cuts, body_box, common_box
from inference.facts import Analysis, FloatArray

GAP = 14  # between them
LOWEST = 64  # rows: room for the letters above and below


@dataclass(frozen=True, slots=True)
class Row:
    """Coronal and sagittal cut and projection side by side; without a PET there is no projection.

    ``middle``, ``size_mm``: of the cuts' box (x, y, z; LPS mm).  ``across_mm``: what the projection shows, in x; None
    where there is none.
    ``step_mm``: edge of a pixel.
    """

    middle: FloatArray
    size_mm: FloatArray
    across_mm: tuple[float, float] | None
    step_mm: float

    @classmethod
    def within(cls, analysis: Analysis, width: int, tall: int) -> Row:
        body = body_box(analysis)
        middle, size_mm = common_box(analysis, body)
        if analysis.pair.pet is None:
            steps = float(size_mm[0] + size_mm[1]) / (width - GAP - 6), float(size_mm[2]) / tall
            return cls(middle, size_mm, None, max(steps))
        front = views.FrontView.of(analysis.pet)
        slant_mm, pixel_mm = front.slant_mm(analysis.pet), front.step_mm  # it goes to the edges of its pixels
        across_mm = float(body[0][0]) - slant_mm, float(body[1][0]) + slant_mm
        wide_mm = float(size_mm[0] + size_mm[1]) + across_mm[1] - across_mm[0] + 2 * pixel_mm[1]
        tall_mm = float(body[1][2] - body[0][2]) + 2 * pixel_mm[0]
        return cls(middle, size_mm, across_mm, max(wide_mm / (width - 2 * GAP - 6), tall_mm / tall))

    @property
    def widths(self) -> tuple[int, ...]:
        sizes_mm = [float(self.size_mm[0]), float(self.size_mm[1])]
        if self.across_mm:
            sizes_mm.append(self.across_mm[1] - self.across_mm[0])
        return tuple(max(1, round(mm / self.step_mm)) for mm in sizes_mm)

    @property
    def width(self) -> int:
        return sum(self.widths) + (len(self.widths) - 1) * GAP

    @property
    def tall(self) -> int:
        return max(1, round(float(self.size_mm[2]) / self.step_mm))

    @property
    def planes(self) -> tuple[views.Plane, views.Plane]:
        """Coronal and sagittal, through the middle of the box; to be moved to where the planes cross."""
        x, y, z = map(float, self.middle)
        sizes = [(max(LOWEST, self.tall), width) for width in self.widths]
        return views.coronal((x, y, z), sizes[0], self.step_mm), views.sagittal((x, y, z), sizes[1], self.step_mm)


def draw_row(canvas: Canvas, cuts: Cuts, row: Row, left: int, top: int) -> int:
    """Draw them from the corner (``left``, ``top``) on; returns where they end."""
    x, y, _ = cuts.centre
    coronal, sagittal = row.planes
    planes = (
        ("coronal-title", replace(coronal, centre=(coronal.centre[0], y, coronal.centre[2]))),
        ("sagittal-title", replace(sagittal, centre=(x, sagittal.centre[1], sagittal.centre[2]))),
    )
    for title, plane in planes:
        pixels = cuts.marked(cuts.fused(plane, cuts.ct(plane)), plane, width=1)
        canvas.panel(pixels, (left, top), Frame(canvas.say(title), plane.letters, row.step_mm))
        left += plane.size[1] + GAP
    if row.across_mm is None:
        return top + coronal.size[0]
    pixels = cuts.projection(row.step_mm, row.across_mm)
    if (missing := LOWEST - pixels.shape[0]) > 0:
        pixels = np.pad(pixels, ((missing // 2, missing - missing // 2), (0, 0), (0, 0)), constant_values=255)
    frame = Frame(canvas.say("mip-title"), ("R", "L", "H", "F"), row.step_mm, light=True, short="MIP")
    canvas.panel(pixels, (left, top), frame)
    return top + max(coronal.size[0], int(pixels.shape[0]))
