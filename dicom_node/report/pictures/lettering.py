"""Text on pictures, in DejaVu Sans as matplotlib brings it: the same letters on every machine."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont


@lru_cache(maxsize=16)
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font at ``size`` pixels."""
    spec = find_spec("matplotlib")  # found, not imported: that would cost half a second
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("matplotlib, whose fonts the pictures use, is not installed")
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(spec.submodule_search_locations[0], "mpl-data", "fonts", "ttf", name), size)


def line_height(size: int) -> int:
    """From one line to the next, pixels."""
    return round(size * 1.28)


def wrapped(text: str, face: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """``text`` broken between words into lines of at most ``width`` pixels; a longer word is broken within."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if face.getlength(longer) <= width:
            line = longer
            continue
        lines.extend([line] if line else [])
        line = word
        while face.getlength(line) > width:
            fits = next(n for n in range(len(line) - 1, 0, -1) if n == 1 or face.getlength(line[:n]) <= width)
            lines.append(line[:fits])
            line = line[fits:]
    return [*lines, line] if line else lines
