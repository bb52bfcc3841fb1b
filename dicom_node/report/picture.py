"""The key image: one 1024 × 1024 picture that carries the result into any viewer, without patient data.

Text stays readable at half size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from dicom_node.report import colours, verdict, views
from dicom_node.report.colours import Pixels
from dicom_node.report.lettering import font, wrapped
from dicom_node.report.segmentation import shown_lesions
from inference.facts import Analysis, BoolArray, Lesion, ModelFacts, Refused

SIDE = 1024
MARGIN = 10
CUT, UPPER_TOP = 328, 100  # axial cuts: edge in pixels, and where their row begins
TALL, WIDE, LOWER_TOP = 322, 236, 458  # coronal, sagittal, projection
TEXT_TOP = 792
CLOSEST_MM = 360.0  # axial cuts show at most this much, around the index lesion
BACKGROUND, INK, MUTED, WARN = (14, 16, 22), (238, 240, 244), (170, 178, 190), (255, 190, 70)
INDEX, OTHER = (0, 235, 235), (90, 220, 90)  # outlines; neither colour is in the maps below them


def key_image(analysis: Analysis) -> Pixels:
    """The picture of an analysis: (1024, 1024, 3), row, column, RGB."""
    canvas = _Canvas()
    top = canvas.paragraph(verdict.headline(analysis), 8, size=25, bold=True, most=2)
    canvas.paragraph(verdict.applicability_sentence(analysis.prediction), top, size=17, ink=MUTED, most=1)
    _axial_row(canvas, analysis)
    _lower_row(canvas, analysis)
    _text(canvas, analysis)
    return canvas.pixels


def refusal_image(refused: Refused, model: ModelFacts | None) -> Pixels:
    """The picture that says why nothing was analysed: (1024, 1024, 3)."""
    canvas = _Canvas()
    top = canvas.paragraph("Not analysed", 60, size=56, bold=True, ink=WARN)
    top = canvas.paragraph(f"because: {refused.reason}", top + 20, size=32, most=12)
    canvas.paragraph(f"Reason code: {refused.code}", top + 20, size=26, ink=MUTED)
    canvas.footer(model)
    return canvas.pixels


class _Canvas:
    def __init__(self) -> None:
        self.image = Image.new("RGB", (SIDE, SIDE), BACKGROUND)
        self.draw = ImageDraw.Draw(self.image)

    @property
    def pixels(self) -> Pixels:
        return np.asarray(self.image)

    def text(
        self, x: float, y: float, text: str, size: int, ink: tuple[int, int, int] = INK, anchor: str = "la"
    ) -> None:
        """One line on top of a picture, with a dark rim to stand out."""
        self.draw.text((x, y), text, ink, font(size), anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))

    def paragraph(
        self, text: str, top: int, *, size: int, bold: bool = False, ink: tuple[int, int, int] = INK, most: int = 99
    ) -> int:
        """Wrapped lines across the picture, at most ``most``; returns where the next one may begin."""
        face = font(size, bold=bold)
        lines = wrapped(text, face, SIDE - 2 * MARGIN)
        if len(lines) > most:
            lines = [*lines[: most - 1], wrapped(lines[most - 1], face, SIDE - 2 * MARGIN - 2 * size)[0] + " …"]
        for line in lines:
            self.draw.text((MARGIN, top), line, ink, face)
            top += round(size * 1.28)
        return top

    def footer(self, model: ModelFacts | None) -> int:
        """What stands on every picture; returns where it begins."""
        lines = [verdict.RESEARCH_USE_ONLY, *([f"{model.statement}."] if model and model.statement else [])]
        top = (
            SIDE
            - 8
            - sum(round(20 * 1.28) * len(wrapped(line, font(20, bold=True), SIDE - 2 * MARGIN)) for line in lines)
        )
        begin = top
        for line in lines:
            top = self.paragraph(line[0].upper() + line[1:], top, size=20, bold=True, ink=WARN)
        return begin

    def panel(self, pixels: Pixels, x: int, y: int, title: str, letters: Sequence[str], step_mm: float) -> None:
        """A picture with its title, orientation letters (left, right, top, bottom) and a scale bar."""
        height, width = pixels.shape[:2]
        self.image.paste(Image.fromarray(pixels), (x, y))
        self.draw.text((x, y - 5), title, INK, font(16), anchor="ls")
        left, right, top, bottom = letters
        self.text(x + 5, y + height / 2, left, 17, anchor="lm")
        self.text(x + width - 5, y + height / 2, right, 17, anchor="rm")
        self.text(x + width / 2, y + 5, top, 17, anchor="mt")
        self.text(x + width / 2, y + height - 5, bottom, 17, anchor="mb")
        bar_mm = next(mm for mm in (200, 100, 50, 20, 10, 5) if mm / step_mm <= width / 2 or mm == 5)
        bar = bar_mm / step_mm
        self.draw.rectangle((x + 8, y + height - 12, x + 8 + bar, y + height - 9), INK, (0, 0, 0))
        self.text(x + 8, y + height - 17, f"{bar_mm} mm", 14, anchor="ls")

    def colour_bar(self, x: int, y: int, height: int, table: Pixels, ends: tuple[str, str]) -> None:
        """A vertical bar of a colour map (256, 3), its upper end labelled ``ends[1]``."""
        strip = np.repeat(table[np.linspace(255, 0, height).round().astype(int)][:, None], 12, axis=1)
        self.image.paste(Image.fromarray(strip), (x, y))
        self.draw.rectangle((x - 1, y - 1, x + 12, y + height), None, (200, 200, 200))
        self.text(x - 4, y, ends[1], 14, anchor="rt")
        self.text(x - 4, y + height, ends[0], 14, anchor="rb")


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


def _fitted(centre: float, low: float, high: float, field_mm: float) -> float:
    """The middle of a field of ``field_mm`` that holds ``centre`` and stays within low..high where it can."""
    if high - low <= field_mm:
        return (low + high) / 2
    return min(max(centre, low + field_mm / 2), high - field_mm / 2)


def _outlined(pixels: Pixels, analysis: Analysis, plane: views.Plane, lesions: Sequence[Lesion]) -> Pixels:
    for lesion in reversed(lesions):
        border = views.rim(views.inside(lesion.region, analysis.suv, plane))
        pixels[border] = INDEX if lesion is lesions[0] else OTHER
    return pixels


def _fused(analysis: Analysis, plane: views.Plane, ct: Pixels) -> Pixels:
    suv = views.sample(analysis.suv, plane, 0.0)
    return colours.blend(ct, colours.HOT[colours.scaled(suv, *colours.SUV_RANGE)], np.clip(suv / 4.0, 0.0, 0.7))


def _ct(analysis: Analysis, plane: views.Plane) -> Pixels:
    low, high, _ = _window(analysis)
    return colours.grey(colours.scaled(views.sample(analysis.ct, plane, -1024.0), low, high))


def _axial_row(canvas: _Canvas, analysis: Analysis) -> None:
    low, high = views.extent(analysis.ct)
    field_mm = min(CLOSEST_MM, float(max(high[0] - low[0], high[1] - low[1])))
    x, y, z = _centre(analysis)
    middle = (_fitted(x, low[0], high[0], field_mm), _fitted(y, low[1], high[1], field_mm), z)
    plane = views.axial(middle, (CUT, CUT), field_mm / CUT)
    lesions = shown_lesions(analysis.lesions)
    ct = _ct(analysis, plane)
    saliency = verdict.shown_saliency(analysis)
    over = ct.copy()
    title = "CT, saliency withheld"
    if saliency is not None:
        values = views.sample(views.saliency_volume(saliency, analysis.suv), plane, 0.0)
        over = colours.saliency_over(ct, values)
        title = f"Relative saliency, cells {saliency.cell_mm:.0f} mm"
    pictures = (
        (ct.copy(), f"CT, {_window(analysis)[2]}"),
        (_fused(analysis, plane, ct), "PET on CT, SUVbw (g/ml)"),
        (over, title),
    )
    for column, (pixels, name) in enumerate(pictures):
        left = MARGIN + column * (CUT + MARGIN)
        canvas.panel(_outlined(pixels, analysis, plane, lesions), left, UPPER_TOP, name, plane.letters, plane.step_mm)
    bar = (UPPER_TOP + CUT - 130, 120)
    canvas.colour_bar(MARGIN + 2 * CUT + MARGIN - 20, *bar, colours.HOT, ("0", "10"))
    if saliency is not None:
        canvas.colour_bar(MARGIN + 3 * CUT + 2 * MARGIN - 20, *bar, colours.INFERNO, ("0", "1"))


def _lower_row(canvas: _Canvas, analysis: Analysis) -> None:
    low, high = np.minimum, np.maximum
    (ct_low, ct_high), (pet_low, pet_high) = views.extent(analysis.ct), views.extent(analysis.suv)
    least, most = high(ct_low, pet_low), low(ct_high, pet_high)
    size_mm = np.maximum(most - least, 1.0)
    step_mm = float(max(size_mm[2] / TALL, size_mm[0] / WIDE, size_mm[1] / WIDE))
    x, y, z = _centre(analysis)
    middle = (least + most) / 2
    rows, columns = round(size_mm[2] / step_mm), (round(size_mm[0] / step_mm), round(size_mm[1] / step_mm))
    lesions = shown_lesions(analysis.lesions)
    cuts = (
        ("Coronal", views.coronal((middle[0], y, middle[2]), (rows, columns[0]), step_mm)),
        ("Sagittal", views.sagittal((x, middle[1], middle[2]), (rows, columns[1]), step_mm)),
    )
    for column, (name, plane) in enumerate(cuts):
        pixels = _outlined(_fused(analysis, plane, _ct(analysis, plane)), analysis, plane, lesions)
        canvas.panel(pixels, *_centred(column, pixels), f"{name}, PET on CT", plane.letters, step_mm)
    _projection(canvas, analysis, lesions)
    _table(canvas, lesions, len(analysis.lesions))


def _centred(column: int, pixels: Pixels) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    return MARGIN + column * (WIDE + MARGIN) + (WIDE - width) // 2, LOWER_TOP + (TALL - height) // 2


def _projection(canvas: _Canvas, analysis: Analysis, lesions: Sequence[Lesion]) -> None:
    view = views.FrontView.of(analysis.suv)
    levels = 255 - colours.scaled(view.project(analysis.suv), *colours.SUV_RANGE)
    step_mm = max(levels.shape[0] * view.step_mm[0] / TALL, levels.shape[1] * view.step_mm[1] / WIDE)
    height, width = (max(1, round(n * mm / step_mm)) for n, mm in zip(levels.shape, view.step_mm, strict=True))
    pixels = np.array(Image.fromarray(colours.grey(levels)).resize((width, height), Image.Resampling.BILINEAR))
    for lesion in reversed(lesions):
        mask: BoolArray = view.project_region(lesion.region, analysis.suv)
        resized = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
        pixels[views.rim(resized)] = (200, 0, 0) if lesion is lesions[0] else (0, 130, 0)
    canvas.panel(pixels, *_centred(2, pixels), "PET MIP, SUVbw 0 to 10", ("R", "L", "H", "F"), step_mm)
    left, top = _centred(2, pixels)
    white_to_black = np.repeat(np.arange(255, -1, -1, dtype=np.uint8)[:, None], 3, axis=1)
    canvas.colour_bar(left + width - 20, top + 8, 70, white_to_black, ("0", "10"))


def _table(canvas: _Canvas, lesions: Sequence[Lesion], found: int) -> None:
    left, top = MARGIN + 3 * (WIDE + MARGIN) + 4, LOWER_TOP
    canvas.draw.text((left, top - 5), verdict.lesion_count(found, found), INK, font(16, bold=True), anchor="ls")
    columns = (0, 108, 180, SIDE - MARGIN - left)
    for at, name in zip(columns, ("no.", "SUVmax", "peak", "MTV ml"), strict=True):
        canvas.draw.text((left + at, top + 6), name, MUTED, font(16), anchor="la" if at == 0 else "ra")
    most = 11
    for row, lesion in enumerate(lesions[:most]):
        ink = INDEX if row == 0 else OTHER
        values = (f"{lesion.suv_max:.2f}", f"{lesion.suv_peak:.2f}", f"{lesion.mtv_ml:.1f}")
        y = top + 32 + 24 * row
        canvas.draw.text((left, y), str(lesion.number), ink, font(17))
        for at, value in zip(columns[1:], values, strict=True):
            canvas.draw.text((left + at, y), value, INK, font(17), anchor="ra")
    if found > most:
        canvas.draw.text((left, top + 36 + 24 * most), f"and {found - most} more", MUTED, font(16))


def _text(canvas: _Canvas, analysis: Analysis) -> None:
    """Numbers, warnings and model below the pictures; what does not fit is in the structured report, and said so."""
    floor = canvas.footer(analysis.model)
    lesions = shown_lesions(analysis.lesions)
    lines = [
        *([(verdict.lesion_numbers(lesions[0]), INK)] if lesions else []),
        *((f"Warning: {caution.text}", WARN) for caution in verdict.cautions(analysis)),
    ]
    last = verdict.model_line(analysis)
    top = TEXT_TOP
    step = round(18 * 1.28)
    for position, (line, ink) in enumerate(lines):
        left_over = len(lines) - position
        needed = step * min(2, len(wrapped(line, font(18), SIDE - 2 * MARGIN)))
        if top + needed + 2 * step > floor:
            canvas.paragraph(f"… {left_over} more in the structured report", top, size=18, ink=WARN, most=1)
            top += step
            break
        top = canvas.paragraph(line, top, size=18, ink=ink, most=2)
    canvas.paragraph(last, top, size=18, ink=MUTED, most=1)
