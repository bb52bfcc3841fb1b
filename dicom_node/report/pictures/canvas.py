"""A dark square to put pictures and text on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dicom_node.report.pictures.colours import Colour, Pixels
from dicom_node.report.pictures.lettering import font, line_height, wrapped
from dicom_node.report.words.phrases import Phrases
from dicom_node.report.words.verdict import ENGLISH
from inference.facts import ModelFacts

SIDE = 1024
MARGIN = 10
ACROSS = SIDE - 2 * MARGIN
SMALLEST = 20  # pixels of a letter's em: 10 at half size, less cannot be read there
BACKGROUND, INK, MUTED, WARN = (14, 16, 22), (238, 240, 244), (170, 178, 190), (255, 190, 70)
NARROWEST_SCALE, LOWEST_SCALE = 190, 110  # a scale bar on a smaller picture would meet its letters
APART = 8  # of a note or scale bar from the letters
BAR_MM = (200, 100, 50, 20, 10, 5)  # lengths of scale bars


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands on a panel beside its picture.

    ``letters``: what lies left, right, at the top and at the bottom.  ``step_mm``: edge of a pixel.
    ``note``: in the top left corner.  ``light``: dark lettering, for light pictures.  ``short``: the title where that
    is wider than the picture by more than ``overhang`` pixels.
    """

    title: str
    letters: Sequence[str]
    step_mm: float
    note: str = ""
    light: bool = False
    short: str = ""
    overhang: int = 10


class Canvas:
    def __init__(self, say: Phrases = ENGLISH) -> None:
        self.say = say
        self.image = Image.new("RGB", (SIDE, SIDE), BACKGROUND)
        self.draw = ImageDraw.Draw(self.image)
        self._wrapped: dict[tuple[str, int, bool, int], list[str]] = {}  # asked for again and again to find a layout

    def font(self, size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
        """The font of the picture's language."""
        return font(size, bold=bold, language=self.say.language)

    def lines(self, text: str, size: int, *, bold: bool = False, most: int = 99, width: int = ACROSS) -> list[str]:
        """``text`` in lines of at most ``width`` pixels; where there are more than ``most`` the last ends in "…"."""
        face = self.font(size, bold=bold)
        key = (text, size, bold, width)
        lines = self._wrapped.get(key) or self._wrapped.setdefault(key, wrapped(text, face, width))
        if len(lines) > most:
            lines = [*lines[: most - 1], wrapped(lines[most - 1], face, width - 2 * size)[0] + " …"]
        return lines

    def width(self, text: str, size: int, *, bold: bool = False) -> float:
        """Of one line."""
        return self.font(size, bold=bold).getlength(text)

    @property
    def pixels(self) -> Pixels:
        return np.asarray(self.image)

    def text(
        self,
        at: tuple[float, float],
        text: str,
        size: int = SMALLEST,
        *,
        ink: Colour = INK,
        bold: bool = False,
        anchor: str = "la",
    ) -> None:
        """One line on the background."""
        self.draw.text(at, text, ink, self.font(size, bold=bold), anchor=anchor)

    def over(self, at: tuple[float, float], text: str, *, anchor: str, light: bool = False) -> None:
        """One line on top of a picture, rimmed to stand out; dark where the picture is ``light``."""
        ink, rim = ((0, 0, 0), (255, 255, 255)) if light else (INK, (0, 0, 0))
        self.draw.text(at, text, ink, self.font(SMALLEST), anchor=anchor, stroke_width=2, stroke_fill=rim)

    def paragraph(
        self,
        text: str,
        top: int,
        *,
        size: int,
        bold: bool = False,
        ink: Colour = INK,
        most: int = 99,
        left: int = MARGIN,
        right: int = SIDE - MARGIN,
    ) -> int:
        """Wrapped lines between ``left`` and ``right``, at most ``most``; returns where the next one may begin."""
        for line in self.lines(text, size, bold=bold, most=most, width=right - left):
            self.draw.text((left, top), line, ink, self.font(size, bold=bold))
            top += line_height(size)
        return top

    def band(self, text: str, top: int, *, size: int, fill: Colour, ink: Colour, most: int) -> int:
        """Wrapped bold lines on a bar of colour from edge to edge; returns where the next thing may begin."""
        lines = self.lines(text, size, bold=True, most=most)
        bottom = top + line_height(size) * len(lines) + 8
        self.draw.rectangle((0, top, SIDE, bottom - 1), fill)
        for row, line in enumerate(lines):
            self.draw.text((MARGIN, top + 3 + row * line_height(size)), line, ink, self.font(size, bold=True))
        return bottom

    def footer(self, model: ModelFacts | None, quiet: Sequence[str] = ()) -> int:
        """At the bottom of every picture: research use only, the model's statement; above them the ``quiet`` lines.

        Returns where it begins.
        """
        statement = [f"{model.statement}."] if model and model.statement else []
        loud = [line[0].upper() + line[1:] for line in (self.say("research-use-only"), *statement)]
        one_line = " · ".join(quiet)
        quiet = [one_line] if self.width(one_line, SMALLEST) <= ACROSS else quiet
        lines = [
            *((part, MUTED, False) for text in quiet for part in self.lines(text, SMALLEST, most=1)),
            *((part, WARN, True) for text in loud for part in self.lines(text, SMALLEST, bold=True, most=2)),
        ]
        begin = SIDE - 8 - line_height(SMALLEST) * len(lines)
        for row, (text, ink, bold) in enumerate(lines):
            self.text((MARGIN, begin + row * line_height(SMALLEST)), text, ink=ink, bold=bold)
        return begin - 6

    def panel(self, pixels: Pixels, corner: tuple[int, int], frame: Frame) -> None:
        """A picture at ``corner`` (x, y) with what ``frame`` says of it, its title above."""
        x, y = corner
        height, width = pixels.shape[:2]
        self.image.paste(Image.fromarray(pixels), (x, y))
        fits = self.width(frame.title, SMALLEST) <= width + frame.overhang
        for title in self.lines(
            frame.title if fits else frame.short or frame.title, SMALLEST, most=1, width=width + frame.overhang
        ):
            self.text((x, y - 6), title, anchor="ls")
        left, right, top, bottom = frame.letters
        for at, letter, anchor in (
            ((x + 5, y + height / 2), left, "lm"),
            ((x + width - 5, y + height / 2), right, "rm"),
            ((x + width / 2, y + 4), top, "mt"),
            ((x + width / 2, y + height - 4), bottom, "mb"),
        ):
            self.over(at, letter, anchor=anchor, light=frame.light)
        if frame.note:  # below the letter at the top where it would meet that
            meets = 5 + self.width(frame.note, SMALLEST) + APART > (width - self.width(top, SMALLEST)) / 2
            down = line_height(SMALLEST) if meets else 0
            self.over((x + 5, y + 4 + down), frame.note, anchor="lt", light=frame.light)
        if width >= NARROWEST_SCALE and height >= LOWEST_SCALE:
            self._scale(x, y + height, width, frame)

    def _scale(self, x: int, bottom: int, width: int, frame: Frame) -> None:
        bar_mm = next(mm for mm in BAR_MM if mm / frame.step_mm <= width / 3 or mm == BAR_MM[-1])
        ink, rim = ((0, 0, 0), (255, 255, 255)) if frame.light else (INK, (0, 0, 0))
        ends = 8 + max(bar_mm / frame.step_mm, self.width(f"{bar_mm} mm", SMALLEST))
        if ends + APART > (width - self.width(frame.letters[3], SMALLEST)) / 2:
            bottom -= line_height(SMALLEST)  # above the letter at the bottom, which it would meet
        self.draw.rectangle((x + 7, bottom - 11, x + 9 + bar_mm / frame.step_mm, bottom - 7), ink, rim)
        self.over((x + 8, bottom - 15), f"{bar_mm} mm", anchor="ls", light=frame.light)

    def colour_bar(self, right: int, top: int, height: int, table: Pixels, ends: tuple[str, str]) -> None:
        """A vertical bar of a colour map (256, 3), its upper end labelled ``ends[1]``."""
        x = right - 14
        strip = np.repeat(table[np.linspace(255, 0, height).round().astype(int)][:, None], 14, axis=1)
        self.image.paste(Image.fromarray(strip), (x, top))
        self.draw.rectangle((x - 1, top - 1, x + 14, top + height), None, (200, 200, 200))
        self.over((x - 5, top - 4), ends[1], anchor="rt")
        self.over((x - 5, top + height), ends[0], anchor="rb")
