"""The strip below every frame of a series of pictures: colour bars with units, and what the colours do not mean.

Letters are not smoothed: sharp ones pack into a tenth of the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from dicom_node.report.pictures import colours
from dicom_node.report.pictures.colours import Pixels
from dicom_node.report.pictures.lettering import font, wrapped
from dicom_node.report.words.phrases import Phrases
from inference.facts import FloatArray

NARROWEST = 192  # pixels: below it a legend cannot be read
LETTERS = {"ja": 14, "zh": 14}  # pixels: Han characters of fewer cannot be told apart; in other languages OTHERS
OTHERS, BAR = 11, 10


@dataclass(frozen=True, slots=True)
class Bar:
    """A horizontal colour bar (rows, columns, 3) with the texts before and after it."""

    before: str
    pixels: Pixels
    after: str


def suv_bar(width: int) -> Bar:
    """Inverse grey, as the PET is shown."""
    levels = 255 - colours.scaled(_ramp(width), 0, 1)
    return Bar("SUVbw g/ml 0", colours.grey(levels), f"{colours.SUV_RANGE[1]:.0f}")


def ct_bar(width: int, window: tuple[float, float]) -> Bar:
    """Grey, as the CT is shown between two values in HU."""
    low, high = (f"{value:.0f}".replace("-", "−") for value in window)
    return Bar(f"HU {low}", colours.grey(colours.scaled(_ramp(width), 0, 1)), high)


def iodine_bar(width: int) -> Bar:
    """Grey, as an iodine map is shown below saliency."""
    return Bar("mg/ml 0", colours.grey(colours.scaled(_ramp(width), 0, 1)), f"{colours.IODINE_RANGE[1]:.0f}")


def saliency_bar(width: int, before: str) -> Bar:
    """As saliency looks where the PET below it is white, and where it is black."""
    below = np.repeat(np.array([[255]] * (BAR // 2) + [[0]] * (BAR - BAR // 2), np.uint8), bar_width(width), axis=1)
    return Bar(before, colours.saliency_over(colours.grey(below), _ramp(width)), "1")


def bar_width(width: int) -> int:
    return max(40, width - 130)


def _ramp(width: int) -> FloatArray:
    return np.repeat(np.linspace(0, 1, bar_width(width), dtype=np.float32)[None, :], BAR, axis=0)


def legend(width: int, bars: Sequence[Bar], notes: Sequence[str], say: Phrases) -> Pixels:
    """The strip: (rows, ``width``, 3)."""
    size = _letters(say)
    face = font(size, language=say.language)
    lines = [line for note in notes for line in wrapped(note, face, width - 8)]
    image, draw = _blank(width, 4 + (size + 4) * len(bars) + (size + 3) * len(lines) + 4)
    draw.line((0, 0, width, 0), (120, 120, 120))
    top, named = 4, round(max([88.0, *(face.getlength(bar.before) + 4 for bar in bars)]))
    for bar in bars:
        draw.text((named, top - 1), bar.before, (0, 0, 0), face, anchor="ra")
        image.paste(Image.fromarray(bar.pixels), (named + 4, top))
        draw.text((named + 4 + bar.pixels.shape[1] + 4, top - 1), bar.after, (0, 0, 0), face)
        top += size + 4
    for line in lines:
        draw.text((4, top), line, (0, 0, 0), face)
        top += size + 3
    return np.asarray(image)


def caption(width: int, text: str, say: Phrases) -> Pixels:
    """A strip of one line: (rows, ``width``), grey."""
    face = font(_letters(say), language=say.language)
    image, draw = _blank(width, 3 + sum(face.getmetrics()))
    draw.text((4, 2), text, (0, 0, 0), face)
    return np.asarray(image)[..., 0]


def _letters(say: Phrases) -> int:
    return LETTERS.get(say.language, OTHERS)


def _blank(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width, height), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    draw.fontmode = "1"
    return image, draw
