"""The key image: one 1024 × 1024 picture that carries the result into any viewer, without patient data.

Text stays readable at half size, which is what the DICOM capture holds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from dicom_node.report.pictures import colours, views
from dicom_node.report.pictures.canvas import INK, MARGIN, MUTED, SIDE, WARN, Canvas
from dicom_node.report.pictures.colours import Pixels
from dicom_node.report.pictures.lettering import line_height
from dicom_node.report.words import verdict
from dicom_node.report.words.phrases import Phrases
from dicom_node.report.words.verdict import ENGLISH
from inference.facts import Analysis, BoolArray, Lesion, ModelFacts, Refused

CUT, UPPER_TOP = 316, 126  # axial cuts: edge in pixels, and where their row begins
GAP = (SIDE - 2 * MARGIN - 3 * CUT) // 2  # between them
LOWER_TOP, SHORTEST, TALLEST = 472, 306, 420  # coronal, sagittal, projection: as tall as the text below leaves them
TABLE, ROW = 264, 24  # width of the lesions' table, height of its rows
HEADLINE_SIZES = (24, 21)  # the largest at which it is one line
TEXT_SIZES = (24, 22, 20, 18)  # the largest at which all text fits
BODY_HU, AROUND_BODY_MM = -400.0, 12.0
INDEX, OTHER = (0, 235, 235), (90, 220, 90)  # outlines; neither colour is in the maps below them


def key_image(analysis: Analysis, say: Phrases = ENGLISH) -> Pixels:
    """The picture of an analysis: (1024, 1024, 3), row, column, RGB."""
    canvas = Canvas(say)
    headline = verdict.headline(analysis, say)
    size = next((s for s in HEADLINE_SIZES if canvas.rows(headline, s, bold=True) == 1), HEADLINE_SIZES[-1])
    top = canvas.paragraph(headline, 8, size=size, bold=True, most=2)
    ink = MUTED if verdict.applicability(analysis.prediction) == "inside" else WARN
    room = (UPPER_TOP - 24 - top) // line_height(18)
    canvas.paragraph(verdict.applicability_sentence(analysis.prediction, say), top, size=18, ink=ink, most=room)
    _axial_row(canvas, analysis)
    floor = canvas.footer(analysis.model) - MARGIN
    lines = _lines(analysis, say)
    tall = floor - _height(canvas, lines, TEXT_SIZES[-1]) - MARGIN - LOWER_TOP
    bottom = _lower_row(canvas, analysis, min(max(tall, SHORTEST), TALLEST))
    _text(canvas, lines, bottom + MARGIN, floor)
    return canvas.pixels


def halved(pixels: Pixels) -> Pixels:
    """Half as many rows and columns, each the mean of four pixels."""
    return np.asarray(Image.fromarray(pixels).reduce(2))


def refusal_image(refused: Refused, model: ModelFacts | None, say: Phrases = ENGLISH) -> Pixels:
    """The picture that says why nothing was analysed: (1024, 1024, 3)."""
    canvas = Canvas(say)
    top = canvas.paragraph(say("not-analysed"), 60, size=56, bold=True, ink=WARN)
    top = canvas.paragraph(say("because", reason=verdict.refusal_sentence(refused, say)), top + 20, size=32, most=12)
    top = canvas.paragraph(verdict.what_to_do(refused, say), top + 20, size=26, most=4)
    canvas.paragraph(say("reason-code", code=refused.code), top + 20, size=22, ink=MUTED)
    canvas.footer(model)
    return canvas.pixels


def _window(analysis: Analysis) -> tuple[float, float, str]:
    """Lung window where the index lesion is mostly air, else soft tissue."""
    if analysis.lesions and analysis.lesions[0].mean_hu < -300:
        return -1350.0, 150.0, "W 1500 L −600"
    return -160.0, 240.0, "W 400 L 40"


def _centre(analysis: Analysis) -> tuple[float, float, float]:
    """The index lesion's maximum; without one the middle of the PET."""
    if analysis.lesions:
        return analysis.lesions[0].max_lps_mm
    x, y, z = np.mean(views.extent(analysis.suv), axis=0)
    return float(x), float(y), float(z)


def _body_plane(analysis: Analysis) -> views.Plane:
    """The axial plane through the centre, as wide as the body on it (what is denser than air on the CT)."""
    low, high = views.extent(analysis.ct)
    middle, z = (low + high) / 2, _centre(analysis)[2]
    whole = views.axial((float(middle[0]), float(middle[1]), z), (CUT, CUT), float((high - low)[:2].max()) / CUT)
    body = whole.points[views.sample(analysis.ct, whole, -1024.0) > BODY_HU]
    if body.size == 0:
        return whole
    first, last = body.min(axis=0), body.max(axis=0)
    x, y, _ = (first + last) / 2
    field_mm = float((last - first)[:2].max()) + 2 * AROUND_BODY_MM
    return whole if field_mm > whole.step_mm * CUT else views.axial((float(x), float(y), z), (CUT, CUT), field_mm / CUT)


def _outlined(pixels: Pixels, analysis: Analysis, plane: views.Plane, lesions: Sequence[Lesion], width: int) -> Pixels:
    for lesion in reversed(lesions):
        border = views.rim(views.inside(lesion.region, analysis.suv, plane), width)
        pixels[border] = INDEX if lesion is lesions[0] else OTHER
    return pixels


def _fused(analysis: Analysis, plane: views.Plane, ct: Pixels) -> Pixels:
    suv = views.sample(analysis.suv, plane, 0.0)
    return colours.blend(ct, colours.HOT[colours.scaled(suv, *colours.SUV_RANGE)], np.clip(suv / 4.0, 0.0, 0.7))


def _ct(analysis: Analysis, plane: views.Plane) -> Pixels:
    low, high, _ = _window(analysis)
    return colours.grey(colours.scaled(views.sample(analysis.ct, plane, -1024.0), low, high))


def _axial_row(canvas: Canvas, analysis: Analysis) -> None:
    plane = _body_plane(analysis)
    lesions = verdict.shown_lesions(analysis.lesions)
    ct = _ct(analysis, plane)
    saliency = verdict.shown_saliency(analysis)
    over = ct.copy()
    title = canvas.say("saliency-withheld" if analysis.lesions else "no-saliency")
    if saliency is not None:
        values = views.sample(views.saliency_volume(saliency, analysis.suv), plane, 0.0)
        over = colours.saliency_over(ct, values)
        title = canvas.say("saliency-title", mm=f"{saliency.cell_mm:.0f}")
    pictures = (
        (ct.copy(), canvas.say("ct-title", window=_window(analysis)[2])),
        (_fused(analysis, plane, ct), canvas.say("fused-title")),
        (over, title),
    )
    for column, (pixels, name) in enumerate(pictures):
        left = MARGIN + column * (CUT + GAP)
        canvas.panel(
            _outlined(pixels, analysis, plane, lesions, 2), (left, UPPER_TOP), name, plane.letters, plane.step_mm
        )
    bar = (UPPER_TOP + CUT - 130, 120)
    canvas.colour_bar(MARGIN + 2 * CUT + GAP - 20, *bar, colours.HOT, ("0", "10"))
    if saliency is not None:
        canvas.colour_bar(MARGIN + 3 * CUT + 2 * GAP - 20, *bar, colours.INFERNO, ("0", "1"))


def _lower_row(canvas: Canvas, analysis: Analysis, tall: int) -> int:
    """Coronal and sagittal cuts, the projection and, of several lesions, the table; returns where they end."""
    (ct_low, ct_high), (pet_low, pet_high) = views.extent(analysis.ct), views.extent(analysis.suv)
    least, most = np.maximum(ct_low, pet_low), np.minimum(ct_high, pet_high)
    size_mm = np.maximum(most - least, 1.0)
    lesions = verdict.shown_lesions(analysis.lesions)
    tabled = len(lesions) > 1
    wide = (SIDE - MARGIN - (MARGIN + TABLE if tabled else 0)) // 3 - MARGIN
    step_mm = float(max(size_mm[2] / tall, size_mm[0] / wide, size_mm[1] / wide))
    x, y, _ = _centre(analysis)
    middle = (least + most) / 2
    rows, columns = round(size_mm[2] / step_mm), (round(size_mm[0] / step_mm), round(size_mm[1] / step_mm))
    cuts = (
        ("coronal-title", views.coronal((middle[0], y, middle[2]), (rows, columns[0]), step_mm)),
        ("sagittal-title", views.sagittal((x, middle[1], middle[2]), (rows, columns[1]), step_mm)),
    )
    for column, (name, plane) in enumerate(cuts):
        pixels = _outlined(_fused(analysis, plane, _ct(analysis, plane)), analysis, plane, lesions, 1)
        canvas.panel(pixels, _centred(column, pixels, wide), canvas.say(name), plane.letters, step_mm)
    bottom: int = LOWER_TOP + max(rows, _projection(canvas, analysis, lesions, (tall, wide)))
    return max(bottom, _table(canvas, lesions, len(analysis.lesions), tall) if tabled else 0)


def _centred(column: int, pixels: Pixels, wide: int) -> tuple[int, int]:
    width = pixels.shape[1]
    return MARGIN + column * (wide + MARGIN) + (wide - width) // 2, LOWER_TOP


def _projection(canvas: Canvas, analysis: Analysis, lesions: Sequence[Lesion], most: tuple[int, int]) -> int:
    """The PET from the front, within ``most`` (rows, columns); returns its height."""
    view = views.FrontView.of(analysis.suv)
    levels = 255 - colours.scaled(view.project(analysis.suv), *colours.SUV_RANGE)
    step_mm = max(n * mm / pixels for n, mm, pixels in zip(levels.shape, view.step_mm, most, strict=True))
    height, width = (max(1, round(float(n * mm / step_mm))) for n, mm in zip(levels.shape, view.step_mm, strict=True))
    pixels = np.array(Image.fromarray(colours.grey(levels)).resize((width, height), Image.Resampling.BILINEAR))
    for lesion in reversed(lesions):
        mask: BoolArray = view.project_region(lesion.region, analysis.suv)
        resized = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
        pixels[views.rim(resized)] = (200, 0, 0) if lesion is lesions[0] else (0, 130, 0)
    left, top = _centred(2, pixels, most[1])
    canvas.panel(pixels, (left, top), canvas.say("mip-title"), ("R", "L", "H", "F"), step_mm, light=True)
    white_to_black = np.repeat(np.arange(255, -1, -1, dtype=np.uint8)[:, None], 3, axis=1)
    canvas.colour_bar(
        left + width - 20, top + 8, min(70, max(10, height // 2 - 28)), white_to_black, ("0", "10"), light=True
    )
    return height


def _table(canvas: Canvas, lesions: Sequence[Lesion], found: int, tall: int) -> int:
    """As many lesions as there is room for; returns where the table ends."""
    left, top = SIDE - MARGIN - TABLE, LOWER_TOP
    canvas.draw.text(
        (left, top - 5), verdict.lesion_count(found, found, canvas.say), INK, canvas.font(18, bold=True), anchor="ls"
    )
    columns = (0, 112, 176, TABLE)
    for at, name in zip(columns, (canvas.say("column-number"), "SUVmax", "peak", "MTV ml"), strict=True):
        canvas.draw.text((left + at, top + 4), name, MUTED, canvas.font(17), anchor="la" if at == 0 else "ra")
    room = tall // ROW - 1
    listed = lesions if found <= room else lesions[: room - 1]
    y = top
    for row, lesion in enumerate(listed):
        ink = INDEX if row == 0 else OTHER
        values = (f"{lesion.suv_max:.2f}", f"{lesion.suv_peak:.2f}", f"{lesion.mtv_ml:.1f}")
        y += ROW
        canvas.draw.text((left, y + 4), str(lesion.number), ink, canvas.font(18))
        for at, value in zip(columns[1:], values, strict=True):
            canvas.draw.text((left + at, y + 4), value, INK, canvas.font(18), anchor="ra")
    if found > len(listed):
        y += ROW
        canvas.draw.text((left, y + 4), canvas.say("and-more", number=found - len(listed)), MUTED, canvas.font(18))
    return y + ROW


def _lines(analysis: Analysis, say: Phrases) -> list[tuple[str, tuple[int, int, int]]]:
    """The index lesion's numbers, the warnings and the model, each with its colour."""
    lesions = verdict.shown_lesions(analysis.lesions)
    return [
        (verdict.lesion_numbers(lesions[0], say) if lesions else verdict.lesion_count(0, 0, say), INK),
        *(
            (say("warning", text=verdict.caution_sentence(caution, say)), WARN)
            for caution in verdict.cautions(analysis)
        ),
        (verdict.model_line(analysis, say), MUTED),
    ]


def _height(canvas: Canvas, lines: Sequence[tuple[str, tuple[int, int, int]]], size: int) -> int:
    """Of all lines at that size of letters, two rows each at most."""
    return line_height(size) * sum(min(2, canvas.rows(line, size)) for line, _ in lines)


def _text(canvas: Canvas, lines: Sequence[tuple[str, tuple[int, int, int]]], top: int, floor: int) -> None:
    """As large as fits from ``top`` to ``floor``; what never fits is in the structured report, and said so."""
    size = next((s for s in TEXT_SIZES if top + _height(canvas, lines, s) <= floor), TEXT_SIZES[-1])
    *others, model = lines
    for position, line in enumerate(others):
        after = _height(canvas, [model], size)
        whole = top + _height(canvas, others[position:], size) + after <= floor
        if not whole and top + _height(canvas, [line], size) + line_height(size) + after > floor:
            left_over = canvas.say("more-in-report", number=len(others) - position)
            top = canvas.paragraph(left_over, top, size=size, ink=WARN, most=1)
            break
        top = canvas.paragraph(line[0], top, size=size, ink=line[1], most=2)
    canvas.paragraph(model[0], top, size=size, ink=model[1], most=2)
