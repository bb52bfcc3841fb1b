"""A dark square to put pictures and text on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dicom_node.report.pictures.colours import Pixels
from dicom_node.report.pictures.lettering import font, line_height, wrapped
from dicom_node.report.words.phrases import Phrases
from dicom_node.report.words.verdict import ENGLISH
from inference.facts import ModelFacts

SIDE = 1024
MARGIN = 10
SMALLEST = {"ja": 20, "zh": 20}  # pixels: Han characters of fewer cannot be told apart at half size
BACKGROUND, INK, MUTED, WARN = (14, 16, 22), (238, 240, 244), (170, 178, 190), (255, 190, 70)


class Canvas:
    def __init__(self, say: Phrases = ENGLISH) -> None:
        self.say = say
        self.image = Image.new("RGB", (SIDE, SIDE), BACKGROUND)
        self.draw = ImageDraw.Draw(self.image)

    def font(self, size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
        """The font of the picture's language."""
        return font(max(size, SMALLEST.get(self.say.language, 0)), bold=bold, language=self.say.language)

    @property
    def pixels(self) -> Pixels:
        return np.asarray(self.image)

    def text(self, x: float, y: float, text: str, size: int, *, anchor: str, light: bool = False) -> None:
        """One line on top of a picture, rimmed to stand out; dark where the picture is ``light``."""
        ink, rim = ((0, 0, 0), (255, 255, 255)) if light else (INK, (0, 0, 0))
        self.draw.text((x, y), text, ink, self.font(size), anchor=anchor, stroke_width=2, stroke_fill=rim)

    def rows(self, text: str, size: int, *, bold: bool = False) -> int:
        """How many lines the text takes."""
        return len(wrapped(text, self.font(size, bold=bold), SIDE - 2 * MARGIN))

    def paragraph(
        self, text: str, top: int, *, size: int, bold: bool = False, ink: tuple[int, int, int] = INK, most: int = 99
    ) -> int:
        """Wrapped lines across the picture, at most ``most``; returns where the next one may begin."""
        face = self.font(size, bold=bold)
        lines = wrapped(text, face, SIDE - 2 * MARGIN)
        if len(lines) > most:
            lines = [*lines[: most - 1], wrapped(lines[most - 1], face, SIDE - 2 * MARGIN - 2 * size)[0] + " …"]
        for line in lines:
            self.draw.text((MARGIN, top), line, ink, face)
            top += line_height(size)
        return top

    def footer(self, model: ModelFacts | None) -> int:
        """What stands on every picture; returns where it begins."""
        lines = [self.say("research-use-only"), *([f"{model.statement}."] if model and model.statement else [])]
        top = SIDE - 8 - sum(line_height(20) * self.rows(line, 20, bold=True) for line in lines)
        begin = top
        for line in lines:
            top = self.paragraph(line[0].upper() + line[1:], top, size=20, bold=True, ink=WARN)
        return begin

    def panel(
        self,
        pixels: Pixels,
        corner: tuple[int, int],
        title: str,
        letters: Sequence[str],
        step_mm: float,
        *,
        light: bool = False,
    ) -> None:
        """A picture with its title, orientation letters (left, right, top, bottom) and a scale bar.

        ``corner``: x, y.  ``step_mm``: edge of a pixel.  ``light``: dark lettering, for light pictures.
        """
        x, y = corner
        height, width = pixels.shape[:2]
        self.image.paste(Image.fromarray(pixels), (x, y))
        self.draw.text((x, y - 5), title, INK, self.font(18), anchor="ls")
        left, right, top, bottom = letters
        self.text(x + 5, y + height / 2, left, 17, anchor="lm", light=light)
        self.text(x + width - 5, y + height / 2, right, 17, anchor="rm", light=light)
        self.text(x + width / 2, y + 5, top, 17, anchor="mt", light=light)
        self.text(x + width / 2, y + height - 5, bottom, 17, anchor="mb", light=light)
        bar_mm = next(mm for mm in (200, 100, 50, 20, 10, 5) if mm / step_mm <= width / 2 or mm == 5)
        bar = bar_mm / step_mm
        ink = (0, 0, 0) if light else INK
        self.draw.rectangle((x + 8, y + height - 12, x + 8 + bar, y + height - 10), ink)
        self.text(x + 8, y + height - 17, f"{bar_mm} mm", 16, anchor="ls", light=light)

    def colour_bar(
        self, x: int, y: int, height: int, table: Pixels, ends: tuple[str, str], *, light: bool = False
    ) -> None:
        """A vertical bar of a colour map (256, 3), its upper end labelled ``ends[1]``."""
        strip = np.repeat(table[np.linspace(255, 0, height).round().astype(int)][:, None], 12, axis=1)
        self.image.paste(Image.fromarray(strip), (x, y))
        self.draw.rectangle((x - 1, y - 1, x + 12, y + height), None, (200, 200, 200))
        self.text(x - 4, y, ends[1], 16, anchor="rt", light=light)
        self.text(x - 4, y + height, ends[0], 16, anchor="rb", light=light)
