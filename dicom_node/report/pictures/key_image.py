"""The key image: one 1024 × 1024 picture that carries the result into any viewer, without patient data.

To be read in five seconds, from top to bottom: the verdict, whether the model applies, the lesion in three directions
and the whole PET from the front, its numbers, what to beware of.  It stays readable at half size, which is what the
DICOM capture holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
CUT, WIDE_CUT, SMALLEST_CUT = 312, 400, 256  # edge of the axial pictures; wide where they are few
FEW = 2
SHORTEST = 236  # of the lower pictures; before they are shorter, the axial ones become smaller
BESIDE_GAP, MOST_GAP = 20, 60
NARROWEST_TEXT, NARROWEST_ENLARGED = 330, 140  # widths
TALL_ENOUGH = 0.7  # text stands beside the lower pictures where these still fill so much of the height
MOST_ROWS = 3  # of numbers that pictures make room for
BAR = 100  # height of colour bars
SALIENCY_BAR = colours.COLD, ("0", "1")


def key_image(analysis: Analysis, say: Phrases = ENGLISH, *, replaces: bool = False) -> Pixels:
    """The picture of an analysis: (1024, 1024, 3), row, column, RGB.  ``replaces``: an earlier result of the node."""
    canvas = Canvas(say)
    cuts = Cuts.of(analysis)
    top = header(canvas, analysis, replaces=replaces) + TITLE
    quiet = (_planes(cuts, say), verdict.values_given(analysis, say), verdict.model_line(analysis, say))
    floor = canvas.footer(analysis.model, [line for line in quiet if line])
    warnings = [say("warning", text=verdict.caution_sentence(c, say)) for c in verdict.cautions(analysis)]
    cut = CUT if analysis.pair.pet or _count(cuts) > FEW else WIDE_CUT
    plane = cuts.body_plane(cut)
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
        plane = cuts.body_plane(min(cut, max(SMALLEST_CUT, room - SHORTEST)))
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


class Panel(NamedTuple):
    """A picture of the first row.  ``bar``: its colour map, and what stands at the bar's ends."""

    pixels: Pixels
    plane: views.Plane
    title: str
    note: str = ""
    bar: tuple[Pixels, tuple[str, str]] | None = None
    light: bool = False


def _axial_row(canvas: Canvas, cuts: Cuts, plane: views.Plane, top: int) -> int:
    """Returns where it ends."""
    panels = (_panels if cuts.analysis.pair.pet else _panels_without_pet)(cuts, plane, canvas.say)
    height, width = plane.size
    gap = min((ACROSS - len(panels) * width) // max(1, len(panels) - 1), MOST_GAP)
    first = (SIDE - len(panels) * width - (len(panels) - 1) * gap) // 2
    bar_height = min(BAR, height // 2 - 40)  # below the letter in the middle
    corner = (width - 60.0, height - bar_height - 30.0, float(width), float(height))  # free of numbers on all
    for column, panel in enumerate(panels):
        left = first + column * (width + gap)
        marked = cuts.marked(panel.pixels, panel.plane, width=2, avoid=[corner], light=panel.light)
        frame = Frame(panel.title, plane.letters, panel.plane.step_mm, panel.note, light=panel.light, overhang=gap - 6)
        canvas.panel(marked, (left, top), frame)
        if panel.bar is not None:
            table, ends = panel.bar
            canvas.colour_bar(left + width - 8, top + height - bar_height - 12, bar_height, table, ends)
    return top + height


def _panels(cuts: Cuts, plane: views.Plane, say: Phrases) -> list[Panel]:
    ct = cuts.ct(plane)
    salient = cuts.salient(plane, ct)
    held_back = cuts.analysis.saliency is not None or verdict.state(cuts.analysis) == "withheld"
    withheld = say("saliency-withheld" if cuts.lesions and held_back else "no-saliency")
    return [
        Panel(ct, plane, _axial_title(cuts, say), cuts.window.name),
        Panel(cuts.fused(plane, ct), plane, say("fused-title"), bar=(colours.INFERNO, ("0", "10"))),
        Panel(cuts.pet(plane), plane, withheld, light=True)
        if salient is None
        else Panel(salient, plane, say("saliency-title"), bar=SALIENCY_BAR),
    ]


def _count(cuts: Cuts) -> int:
    """How many pictures stand in the first row where there is no PET."""
    return 1 + (cuts.enlarged_plane((CUT, CUT)) is not None) + (verdict.shown_saliency(cuts.analysis) is not None)


def _panels_without_pet(cuts: Cuts, plane: views.Plane, say: Phrases) -> list[Panel]:
    """The axial cut, the index lesion enlarged, and the saliency, as far as there are such."""
    ct = cuts.ct(plane)
    note = "" if cuts.is_iodine else cuts.window.name
    bar = (colours.INFERNO, ("0", f"{colours.IODINE_RANGE[1]:.0f} mg/ml")) if cuts.is_iodine else None
    found = [Panel(cuts.fused(plane, ct), plane, _axial_title(cuts, say), note, bar)]
    near = cuts.enlarged_plane(plane.size)
    if near is not None:
        title = say("enlarged-title", lesion=say("lesion", number=cuts.lesions[0].number))
        found.append(Panel(cuts.fused(near, cuts.ct(near)), near, title, note, bar))
    salient = cuts.salient(plane, ct)
    if salient is not None:
        found.append(Panel(salient, plane, say("saliency-title"), bar=SALIENCY_BAR))
    return found


def _axial_title(cuts: Cuts, say: Phrases) -> str:
    number = views.image_number(cuts.analysis, views.key_slice(cuts.analysis))
    return say("axial-title", image=verdict.image(cuts.analysis.pair.kind, say), number=number)


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
    fits = cuts.analysis.pair.pet is not None and edge >= NARROWEST_ENLARGED  # without a PET it stands above
    plane = cuts.enlarged_plane((edge, edge)) if fits else None
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
