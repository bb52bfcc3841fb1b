"""A sheet of A4 as PDF, filled from top to bottom (fpdf2): text that can be searched, in fonts that travel with it.

The same content gives the same bytes: the file's time is the run's, and its identifier a digest of it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

from fpdf import FPDF
from PIL import Image

from dicom_node.report.pictures.colours import Pixels
from dicom_node.report.pictures.lettering import font, legible, wrapped

WIDTH, HEIGHT, MARGIN = 595.28, 841.89, 34.0  # ISO 216 A4 and its margin, points of 1/72 inch
INNER = WIDTH - 2 * MARGIN
Ink: TypeAlias = tuple[int, int, int]
BLACK, GREY, RED, RULE = (0, 0, 0), (90, 90, 90), (170, 30, 0), (190, 190, 190)
LEADING = 1.28  # from one line to the next, by the size of the letters
_FINE = 10  # widths are measured in letters so many times as large: small ones are rounded to pixels

logging.getLogger("fontTools.subset").setLevel(logging.WARNING)  # it tells of every table of every font


class FootLine(NamedTuple):
    """A paragraph at the foot of the sheet; ``size`` in points."""

    text: str
    size: float
    ink: Ink = BLACK
    bold: bool = False


class Sheet:
    """``top``: where the next thing begins, from the upper edge; ``floor``: where the foot begins."""

    def __init__(self, title: str, language: str, created: datetime, producer: str) -> None:
        self.language, self.top, self.floor = language, MARGIN, HEIGHT - MARGIN
        self._foot: Sequence[FootLine] = ()
        self._pdf = FPDF(unit="pt", format=(WIDTH, HEIGHT))
        self._pdf.set_auto_page_break(False)
        self._pdf.set_creation_date(created)
        self._pdf.set_title(title)
        self._pdf.set_producer(producer)
        self._pdf.set_lang(language)
        for style in ("", "B"):
            self._pdf.add_font("text", style, str(font(_FINE, bold=bool(style), language=language).path))
        self._pdf.add_page()

    def lines(self, text: str, size: float, *, bold: bool = False, width: float = INNER) -> list[str]:
        """The text broken into lines of ``width`` points."""
        return wrapped(text, font(round(size * _FINE), bold=bold, language=self.language), width * _FINE)

    def paragraph(self, text: str, size: float, *, bold: bool = False, ink: Ink = BLACK, most: int = 99) -> None:
        """Lines across the sheet, at most ``most``."""
        lines = self.lines(text, size, bold=bold)
        if len(lines) > most:
            lines = [*lines[: most - 1], self.lines(lines[most - 1], size, bold=bold, width=INNER - size)[0] + "…"]
        for line in lines:
            self._text(MARGIN, self.top + size, line, size, bold=bold, ink=ink)
            self.top += size * LEADING

    def height(self, text: str, size: float, *, bold: bool = False, most: int = 99) -> float:
        """What ``paragraph`` would take."""
        return size * LEADING * min(most, len(self.lines(text, size, bold=bold)))

    def rule(self) -> None:
        """A thin line across."""
        self._pdf.set_draw_color(*RULE)
        self._pdf.set_line_width(0.5)
        self._pdf.line(MARGIN, self.top + 1, WIDTH - MARGIN, self.top + 1)
        self.top += 5

    def picture(self, pixels: Pixels, side: float, alt: str) -> None:
        """A square picture in the middle, kept pixel by pixel; ``alt``: what it shows, for those who cannot see it."""
        self._pdf.image(
            Image.fromarray(pixels), x=(WIDTH - side) / 2, y=self.top, w=side, h=side, alt_text=alt, title=alt
        )
        self.top += side + 6

    def row(self, cells: Sequence[str], edges: Sequence[float], size: float, *, bold: bool = False) -> None:
        """Cells side by side: the first two begin at their edge, the numbers after them end there (shares of width)."""
        for position, (cell, edge) in enumerate(zip(cells, edges, strict=True)):
            align: Literal["left", "right"] = "left" if position < 2 else "right"
            self._text(MARGIN + edge * INNER, self.top + size, cell, size, bold=bold, align=align)
        self.top += size * LEADING

    def foot(self, lines: Sequence[FootLine]) -> None:
        """Paragraphs at the lower edge, written last: readers aloud begin at the top."""
        self._foot = lines
        self.floor = HEIGHT - MARGIN - 4 - sum(self.height(line.text, line.size, bold=line.bold) for line in lines)

    def pdf(self) -> bytes:
        """The file."""
        self.top = self.floor + 4
        for line in self._foot:
            self.paragraph(line.text, line.size, bold=line.bold, ink=line.ink)
        return bytes(self._pdf.output())

    def _text(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        *,
        bold: bool,
        ink: Ink = BLACK,
        align: Literal["left", "right"] = "left",
    ) -> None:
        shown = legible(text, font(round(size * _FINE), bold=bold, language=self.language))
        self._pdf.set_font("text", "B" if bold else "", size)
        self._pdf.set_text_color(*ink)
        left = x - self._pdf.get_string_width(shown) if align == "right" else x
        self._pdf.text(left, y, shown)
