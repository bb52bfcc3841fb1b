"""The key image: one 1024 × 1024 picture that carries the result into any viewer, without patient data.

To be read in five seconds, from top to bottom: the verdict, whether the model applies, the lesion in three directions
and the whole PET from the front, its numbers, what to beware of.  It stays readable at half size, which is what the
DICOM capture holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from dicom_node.report.pictures import colours, numbers, views
from dicom_node.report.pictures.canvas import ACROSS, MARGIN, SIDE, SMALLEST, WARN, Canvas, Frame
from dicom_node.report.pictures.colours import Colour, Pixels
from dicom_node.report.pictures.cuts import Cuts, body_box, common_box
from dicom_node.report.pictures.header import header
from dicom_node.report.pictures.lettering import line_height
from dicom_node.report.words import verdict
from dicom_node.report.words.phrases import Phrases
from dicom_node.report.words.verdict import ENGLISH
from inference.facts import Analysis, FloatArray

TITLE = 28  # height of a panel's title
CUT, SMALLEST_CUT = 312, 256  # edge of the axial pictures
SHORTEST = 236  # of the lower pictures; before they are shorter, the axial ones become smaller
LOWER_GAP, BESIDE_GAP, MOST_GAP = 14, 20, 60
NARROWEST_TEXT, NARROWEST_ENLARGED = 330, 140  # widths
LOWEST = 64  # of the lower pictures: room for the letters above and below
TALL_ENOUGH = 0.7  # text stands beside the lower pictures where these still fill so much of the height
TEXT_SIZES = (24, 22, SMALLEST)  # of warnings: the largest at which all fit
MOST_WARNING_LINES, MOST_ROWS = 5, 3  # lines of warnings and rows of numbers that pictures make room for
BAR = 100  # height of colour bars


def key_image(analysis: Analysis, say: Phrases = ENGLISH, *, replaces: bool = False) -> Pixels:
    """The picture of an analysis: (1024, 1024, 3), row, column, RGB.  ``replaces``: an earlier result of the node."""
    canvas = Canvas(say)
    cuts = Cuts.of(analysis)
    top = header(canvas, analysis, replaces=replaces) + TITLE
    floor = canvas.footer(analysis.model, [_planes(cuts, say), verdict.model_line(analysis, say)])
    warnings = [(say("warning", text=verdict.caution_sentence(c, say)), WARN) for c in verdict.cautions(analysis)]
    plane = cuts.body_plane(CUT)
    room = floor - top - plane.size[0] - TITLE
    beside = _Row.within(analysis, ACROSS - NARROWEST_TEXT - BESIDE_GAP, room)
    if beside.tall >= TALL_ENOUGH * room:
        bottom = _axial_row(canvas, cuts, plane, top) + TITLE
        _draw_row(canvas, cuts, beside, MARGIN, bottom)
        _beside(canvas, cuts, (SIDE - MARGIN - beside.room, bottom), floor, warnings)
        return canvas.pixels
    table = numbers.table_height(min(MOST_ROWS, max(1, len(cuts.lesions)))) + 8
    room = floor - top - TITLE - table - _least_height(canvas, warnings)
    if room - plane.size[0] < SHORTEST:
        plane = cuts.body_plane(min(CUT, max(SMALLEST_CUT, room - SHORTEST)))
    bottom = _axial_row(canvas, cuts, plane, top) + TITLE
    row = _Row.within(analysis, ACROSS, max(SHORTEST, floor - bottom - table - _least_height(canvas, warnings)))
    bottom = _draw_row(canvas, cuts, row, (SIDE - row.width) // 2, bottom) + 8
    bottom = _table(canvas, cuts, (MARGIN, bottom), (ACROSS, table))
    _warnings(canvas, warnings, (MARGIN, bottom + 4), floor)
    return canvas.pixels


def halved(pixels: Pixels) -> Pixels:
    """Half as many rows and columns, each the mean of four pixels."""
    return np.asarray(Image.fromarray(pixels).reduce(2))


Line = tuple[str, Colour]


def _planes(cuts: Cuts, say: Phrases) -> str:
    x, y, z = (f"{mm + 0.0:.0f}".replace("-", "−") for mm in np.round(cuts.centre))
    return say("planes-at", x=x, y=y, z=z)


def _axial_row(canvas: Canvas, cuts: Cuts, plane: views.Plane, top: int) -> int:
    """Returns where it ends."""
    ct = cuts.ct(plane)
    salient = cuts.salient(plane, ct)
    say = canvas.say
    withheld = say("saliency-withheld" if cuts.lesions else "no-saliency")
    panels: tuple[tuple[Pixels, str, str, tuple[Pixels, str] | None], ...] = (
        (
            ct,
            say("axial-title", number=views.image_number(cuts.analysis, views.key_slice(cuts.analysis))),
            cuts.window.name,
            None,
        ),
        (cuts.fused(plane, ct), say("fused-title"), "", (colours.INFERNO, "10")),
        (cuts.pet(plane), withheld, "", None)
        if salient is None
        else (salient, say("saliency-title"), "", (colours.COLD, "1")),
    )
    height, width = plane.size
    gap = min((ACROSS - 3 * width) // 2, MOST_GAP)
    first = (SIDE - 3 * width - 2 * gap) // 2
    bar_height = min(BAR, height // 2 - 40)  # below the letter in the middle
    corner = (width - 60.0, height - bar_height - 30.0, float(width), float(height))  # free of numbers on all three
    for column, (pixels, title, note, bar) in enumerate(panels):
        left = first + column * (width + gap)
        light = column == 2 and salient is None
        marked = cuts.marked(pixels, plane, width=2, avoid=[corner], light=light)
        canvas.panel(
            marked, (left, top), Frame(title, plane.letters, plane.step_mm, note, light=light, overhang=gap - 6)
        )
        if bar is not None:
            canvas.colour_bar(left + width - 8, top + height - bar_height - 12, bar_height, bar[0], ("0", bar[1]))
    return top + height


@dataclass(frozen=True, slots=True)
class _Row:
    """Coronal and sagittal cut and projection side by side.

    ``middle``, ``size_mm``: of the cuts' box (x, y, z; LPS mm).  ``across_mm``: what the projection shows, in x.
    ``step_mm``: edge of a pixel.
    """

    middle: FloatArray
    size_mm: FloatArray
    across_mm: tuple[float, float]
    step_mm: float

    @classmethod
    def within(cls, analysis: Analysis, width: int, tall: int) -> _Row:
        body = body_box(analysis)
        middle, size_mm = common_box(analysis, body)
        front = views.FrontView.of(analysis.suv)
        slant_mm, pixel_mm = front.slant_mm(analysis.suv), front.step_mm  # it goes to the edges of its pixels
        across_mm = float(body[0][0]) - slant_mm, float(body[1][0]) + slant_mm
        wide_mm = float(size_mm[0] + size_mm[1]) + across_mm[1] - across_mm[0] + 2 * pixel_mm[1]
        tall_mm = float(body[1][2] - body[0][2]) + 2 * pixel_mm[0]
        return cls(middle, size_mm, across_mm, max(wide_mm / (width - 2 * LOWER_GAP - 6), tall_mm / tall))

    @property
    def widths(self) -> tuple[int, int, int]:
        sizes_mm = (float(self.size_mm[0]), float(self.size_mm[1]), self.across_mm[1] - self.across_mm[0])
        coronal, sagittal, projection = (max(1, round(mm / self.step_mm)) for mm in sizes_mm)
        return coronal, sagittal, projection

    @property
    def width(self) -> int:
        return sum(self.widths) + 2 * LOWER_GAP

    @property
    def tall(self) -> int:
        return max(1, round(float(self.size_mm[2]) / self.step_mm))

    @property
    def room(self) -> int:
        """Width left beside them."""
        return ACROSS - self.width - BESIDE_GAP

    @property
    def planes(self) -> tuple[views.Plane, views.Plane]:
        """Coronal and sagittal, through the middle of the box; to be moved to where the planes cross."""
        x, y, z = map(float, self.middle)
        sizes = [(max(LOWEST, self.tall), width) for width in self.widths]
        return views.coronal((x, y, z), sizes[0], self.step_mm), views.sagittal((x, y, z), sizes[1], self.step_mm)


def _table(canvas: Canvas, cuts: Cuts, corner: tuple[int, int], size: tuple[int, int]) -> int:
    found = len(cuts.analysis.lesions)
    if found:
        return numbers.lesion_table(canvas, cuts.lesions, found, corner, size)
    left, top = corner
    return canvas.paragraph(
        verdict.lesion_count(0, 0, canvas.say), top, size=28, bold=True, left=left, right=left + size[0]
    )


def _draw_row(canvas: Canvas, cuts: Cuts, row: _Row, left: int, top: int) -> int:
    """Returns where it ends."""
    x, y, _ = cuts.centre
    coronal, sagittal = row.planes
    planes = (
        ("coronal-title", replace(coronal, centre=(coronal.centre[0], y, coronal.centre[2]))),
        ("sagittal-title", replace(sagittal, centre=(x, sagittal.centre[1], sagittal.centre[2]))),
    )
    for title, plane in planes:
        pixels = cuts.marked(cuts.fused(plane, cuts.ct(plane)), plane, width=1)
        canvas.panel(pixels, (left, top), Frame(canvas.say(title), plane.letters, row.step_mm))
        left += plane.size[1] + LOWER_GAP
    pixels = cuts.projection(row.step_mm, row.across_mm)
    if (missing := LOWEST - pixels.shape[0]) > 0:
        pixels = np.pad(pixels, ((missing // 2, missing - missing // 2), (0, 0), (0, 0)), constant_values=255)
    frame = Frame(canvas.say("mip-title"), ("R", "L", "H", "F"), row.step_mm, light=True, short="MIP")
    canvas.panel(pixels, (left, top), frame)
    return top + max(coronal.size[0], int(pixels.shape[0]))


def _beside(canvas: Canvas, cuts: Cuts, corner: tuple[int, int], floor: int, warnings: Sequence[Line]) -> None:
    """The table, below it the warnings, and the index lesion enlarged where there is room."""
    left, top = corner
    width = SIDE - MARGIN - left
    found = len(cuts.analysis.lesions)
    if found:
        told = numbers.found_sentences(canvas, cuts.lesions, found)
        sentence = next((s for s in told if len(canvas.lines(s, 21, bold=True, width=width)) == 1), told[-1])
        canvas.paragraph(sentence, top - TITLE, size=21, bold=True, left=left, most=1)
    needed = numbers.table_height(min(found, MOST_ROWS)) + _least_height(canvas, warnings, width) + 12
    edge = min((width - LOWER_GAP) // 2, floor - top - needed - TITLE)
    plane = cuts.enlarged_plane(edge) if edge >= NARROWEST_ENLARGED else None
    below = (
        _least_height(canvas, warnings, width)
        if plane is not None
        else min(_least_height(canvas, warnings, width), (floor - top) // 2)
    )
    enlarged = 0 if plane is None else plane.size[0] + TITLE
    bottom = _table(canvas, cuts, corner, (width, floor - top - below - enlarged - 12)) + 8
    if plane is not None:
        bottom = _enlarged(canvas, cuts, plane, (left, bottom + TITLE - 4))
    _warnings(canvas, warnings, (left, bottom + 2), floor)


def _enlarged(canvas: Canvas, cuts: Cuts, plane: views.Plane, corner: tuple[int, int]) -> int:
    left, top = corner
    ct = cuts.ct(plane)
    title = canvas.say("enlarged-title", lesion=canvas.say("lesion", number=cuts.lesions[0].number))
    canvas.text((left, top - 6), title, 21, anchor="ls")
    for column, pixels in enumerate((ct, cuts.fused(plane, ct))):
        marked = cuts.marked(pixels, plane, width=2)
        frame = Frame("", plane.letters, plane.step_mm)
        canvas.panel(marked, (left + column * (plane.size[1] + LOWER_GAP), top), frame)
    return top + plane.size[0] + 4


def _least_height(canvas: Canvas, warnings: Sequence[Line], width: int = ACROSS) -> int:
    """What the pictures leave for warnings: all of them in the smallest letters, up to a bound."""
    rows = sum(len(canvas.lines(text, SMALLEST, most=_most(width), width=width)) for text, _ in warnings)
    return line_height(SMALLEST) * min(rows, MOST_WARNING_LINES * _most(width) // 2) + (8 if warnings else 0)


def _most(width: int) -> int:
    """Lines that one warning may take."""
    return 2 if width > SIDE // 2 else 5


def _warnings(canvas: Canvas, lines: Sequence[Line], corner: tuple[int, int], floor: int) -> None:
    """As large as fits from ``corner`` to ``floor``; what never fits is in the structured report, and said so."""
    left, top = corner
    width = SIDE - MARGIN - left

    def height(some: Sequence[Line], size: int) -> int:
        return line_height(size) * sum(len(canvas.lines(t, size, most=_most(width), width=width)) for t, _ in some)

    size = next((s for s in TEXT_SIZES if top + height(lines, s) <= floor), TEXT_SIZES[-1])
    for position, line in enumerate(lines):
        whole = top + height(lines[position:], size) <= floor
        if not whole and top + height([line], size) + line_height(size) > floor:
            rest = canvas.say("more-in-report", number=len(lines) - position)
            canvas.paragraph(rest, top, size=size, ink=WARN, bold=True, left=left, most=2)
            return
        top = canvas.paragraph(line[0], top, size=size, ink=line[1], left=left, most=_most(width))
