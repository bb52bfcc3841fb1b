"""The key image: one 1024 × 1024 picture that carries the result into any viewer, without patient data.

To be read in five seconds, from top to bottom: the verdict, whether the model applies, the lesion in three directions
and the whole PET from the front, its numbers, what to beware of.  It stays readable at half size, which is what the
DICOM capture holds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from dicom_node.report.pictures import colours, numbers, views
from dicom_node.report.pictures.canvas import ACROSS, MARGIN, SIDE, Canvas, Frame
from dicom_node.report.pictures.cautions import draw_warnings, least_height
from dicom_node.report.pictures.colours import Pixels
from dicom_node.report.pictures.cuts import Cuts
from dicom_node.report.pictures.header import header
from dicom_node.report.pictures.lower import GAP, Row, draw_row
from dicom_node.report.words import verdict
from dicom_node.report.words.phrases import Phrases
from dicom_node.report.words.verdict import ENGLISH
from inference.facts import Analysis

TITLE = 28  # height of a panel's title
CUT, SMALLEST_CUT = 312, 256  # edge of the axial pictures
SHORTEST = 236  # of the lower pictures; before they are shorter, the axial ones become smaller
BESIDE_GAP, MOST_GAP = 20, 60
NARROWEST_TEXT, NARROWEST_ENLARGED = 330, 140  # widths
TALL_ENOUGH = 0.7  # text stands beside the lower pictures where these still fill so much of the height
MOST_ROWS = 3  # of numbers that pictures make room for
BAR = 100  # height of colour bars


def key_image(analysis: Analysis, say: Phrases = ENGLISH, *, replaces: bool = False) -> Pixels:
    """The picture of an analysis: (1024, 1024, 3), row, column, RGB.  ``replaces``: an earlier result of the node."""
    canvas = Canvas(say)
    cuts = Cuts.of(analysis)
    top = header(canvas, analysis, replaces=replaces) + TITLE
    floor = canvas.footer(analysis.model, [_planes(cuts, say), verdict.model_line(analysis, say)])
    warnings = [say("warning", text=verdict.caution_sentence(c, say)) for c in verdict.cautions(analysis)]
    plane = cuts.body_plane(CUT)
    room = floor - top - plane.size[0] - TITLE
    beside = Row.within(analysis, ACROSS - NARROWEST_TEXT - BESIDE_GAP, room)
    if beside.tall >= TALL_ENOUGH * room:
        bottom = _axial_row(canvas, cuts, plane, top) + TITLE
        draw_row(canvas, cuts, beside, MARGIN, bottom)
        _beside(canvas, cuts, (MARGIN + beside.width + BESIDE_GAP, bottom), floor, warnings)
        return canvas.pixels
    table = numbers.table_height(min(MOST_ROWS, max(1, len(cuts.lesions)))) + 8
    room = floor - top - TITLE - table - least_height(canvas, warnings)
    if room - plane.size[0] < SHORTEST:
        plane = cuts.body_plane(min(CUT, max(SMALLEST_CUT, room - SHORTEST)))
    bottom = _axial_row(canvas, cuts, plane, top) + TITLE
    row = Row.within(analysis, ACROSS, max(SHORTEST, floor - bottom - table - least_height(canvas, warnings)))
    bottom = draw_row(canvas, cuts, row, (SIDE - row.width) // 2, bottom) + 8
    bottom = _table(canvas, cuts, (MARGIN, bottom), (ACROSS, table))
    draw_warnings(canvas, warnings, (MARGIN, bottom + 4), floor)
    return canvas.pixels


def halved(pixels: Pixels) -> Pixels:
    """Half as many rows and columns, each the mean of four pixels."""
    return np.asarray(Image.fromarray(pixels).reduce(2))


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


def _table(canvas: Canvas, cuts: Cuts, corner: tuple[int, int], size: tuple[int, int]) -> int:
    found = len(cuts.analysis.lesions)
    if found:
        return numbers.lesion_table(canvas, cuts.lesions, found, corner, size)
    left, top = corner
    return canvas.paragraph(
        verdict.lesion_count(0, 0, canvas.say), top, size=28, bold=True, left=left, right=left + size[0]
    )


def _beside(canvas: Canvas, cuts: Cuts, corner: tuple[int, int], floor: int, warnings: Sequence[str]) -> None:
    """The table, below it the warnings, and the index lesion enlarged where there is room."""
    left, top = corner
    width = SIDE - MARGIN - left
    found = len(cuts.analysis.lesions)
    if found:
        told = numbers.found_sentences(canvas, cuts.lesions, found)
        sentence = next((s for s in told if len(canvas.lines(s, 21, bold=True, width=width)) == 1), told[-1])
        canvas.paragraph(sentence, top - TITLE, size=21, bold=True, left=left, most=1)
    needed = numbers.table_height(min(found, MOST_ROWS)) + least_height(canvas, warnings, width) + 12
    edge = min((width - GAP) // 2, floor - top - needed - TITLE)
    plane = cuts.enlarged_plane(edge) if edge >= NARROWEST_ENLARGED else None
    below = (
        least_height(canvas, warnings, width)
        if plane is not None
        else min(least_height(canvas, warnings, width), (floor - top) // 2)
    )
    enlarged = 0 if plane is None else plane.size[0] + TITLE
    bottom = _table(canvas, cuts, corner, (width, floor - top - below - enlarged - 12)) + 8
    if plane is not None:
        bottom = _enlarged(canvas, cuts, plane, (left, bottom + TITLE - 4))
    draw_warnings(canvas, warnings, (left, bottom + 2), floor)


def _enlarged(canvas: Canvas, cuts: Cuts, plane: views.Plane, corner: tuple[int, int]) -> int:
    left, top = corner
    ct = cuts.ct(plane)
    title = canvas.say("enlarged-title", lesion=canvas.say("lesion", number=cuts.lesions[0].number))
    canvas.text((left, top - 6), title, 21, anchor="ls")
    for column, pixels in enumerate((ct, cuts.fused(plane, ct))):
        marked = cuts.marked(pixels, plane, width=2)
        frame = Frame("", plane.letters, plane.step_mm)
        canvas.panel(marked, (left + column * (plane.size[1] + GAP), top), frame)
    return top + plane.size[0] + 4
