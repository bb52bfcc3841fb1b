"""Text on pictures: the same letters on every machine, in every language of ``report.language``.

Western languages are drawn in DejaVu Sans as matplotlib brings it; Japanese and Chinese in Noto Sans JP and SC, cut to
size by ``make fonts`` and kept in ``fonts``, since no Python package brings them well kept.  Letters are set one by one
(Pillow's basic layout): the other layout depends on a library that a machine may have or not.

Where a font does not hold the phrases of its language, pictures are in English (``readable``); a letter of something
named from outside that it does not hold is plain or a question mark, never an empty box.
"""

from __future__ import annotations

import logging
import unicodedata
from bisect import bisect_right
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from PIL import ImageFont

from dicom_node.report.words.phrases import Phrases

log = logging.getLogger(__name__)  # where no node runs, this goes to standard error: results go to standard output

FONTS = Path(__file__).with_name("fonts")
SCRIPTS = {"ja": "JP", "zh": "SC"}  # the same Han character is written differently in Japan and China
NOT_FIRST = frozenset(
    "ー々ゝゞぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ〜…‥·°"
)  # of a line, beside punctuation (JIS X 4051)
CLINGS = frozenset(":;!?%»")  # to what stands before the space: French punctuation, the percent sign


@lru_cache(maxsize=64)
def font(size: int, *, bold: bool = False, language: str = "en") -> ImageFont.FreeTypeFont:
    """The font of ``language`` at ``size`` pixels.  Raises OSError where it is not there."""
    weight = "Bold" if bold else "Regular"
    path = FONTS / f"NotoSans{SCRIPTS[language]}-{weight}.ttf" if language in SCRIPTS else _dejavu(bold=bold)
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def _dejavu(*, bold: bool) -> Path:
    spec = find_spec("matplotlib")  # found, not imported: that would cost half a second
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("matplotlib, whose fonts the pictures use, is not installed")
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(spec.submodule_search_locations[0], "mpl-data", "fonts", "ttf", name)


@lru_cache(maxsize=16)
def readable(say: Phrases) -> Phrases:
    """``say`` where the fonts of its language hold all its phrases, else English."""
    try:
        faces = [font(16, bold=bold, language=say.language) for bold in (False, True)]
        missing = sorted({letter for face in faces for letter in say.letters if not _holds(face, letter)})
    except OSError:
        log.warning("pictures are in English: the fonts of %s are not in %s", say.language, FONTS)
        return Phrases()
    if missing:
        log.warning("pictures are in English: letters of %s are missing: %s", say.language, "".join(missing))
        return Phrases()
    return say


def legible(text: str, face: ImageFont.FreeTypeFont) -> str:
    """``text`` in letters that the font holds: of another one its plain form (ź as z), else a question mark."""
    return "".join(letter if _holds(face, letter) else _plain(letter, face) for letter in text)


def _plain(letter: str, face: ImageFont.FreeTypeFont) -> str:
    plain = unicodedata.normalize("NFKD", letter)[0]
    return plain if _holds(face, plain) else "?"


def _holds(face: ImageFont.FreeTypeFont, letter: str) -> bool:
    return _has_glyph(str(face.path), letter)


@lru_cache(maxsize=8192)
def _has_glyph(path: str, letter: str) -> bool:
    """Whether the font draws the letter otherwise than what it has no glyph for."""
    return _look(path, letter) != _look(path, "\uffff")


def _look(path: str, letter: str) -> tuple[tuple[int, int], bytes]:
    drawn = _face(path).getmask(letter)
    return drawn.size, bytes(drawn)


@lru_cache(maxsize=8)
def _face(path: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, 16, layout_engine=ImageFont.Layout.BASIC)


def line_height(size: int) -> int:
    """From one line to the next, pixels."""
    return round(size * 1.28)


def wrapped(text: str, face: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """``text`` broken where its script allows into lines of at most ``width`` pixels; longer words are cut."""
    lines: list[str] = []
    line = ""
    for piece in _pieces(legible(text, face)):
        if face.getlength((line + piece).rstrip()) <= width:
            line += piece
            continue
        lines.extend([line.rstrip()] if line.strip() else [])
        line = piece
        while face.getlength(line.rstrip()) > width:
            fits = max(1, bisect_right(range(len(line)), width, key=lambda n: face.getlength(line[:n])) - 1)
            lines.append(line[:fits])
            line = line[fits:]
    return [*lines, line.rstrip()] if line.strip() else lines


@lru_cache(maxsize=1024)
def _pieces(text: str) -> tuple[str, ...]:
    """What may not be broken: words with the space behind them, single characters of Japanese and Chinese."""
    cuts = [0, *(n for n in range(1, len(text)) if _may_break(text, n)), len(text)]
    return tuple(text[a:b] for a, b in pairwise(cuts) if a < b)


def _may_break(text: str, at: int) -> bool:
    """Whether a line may end before the character ``at``: between words, or beside a wide character.

    No line begins with closing punctuation and none ends with opening (JIS X 4051, GB/T 15834).
    """
    before, after = text[at - 1], text[at]
    if after == " ":
        return False
    if before == " ":
        last = text[:at].rstrip()[-1:]
        return after not in CLINGS and not (last and unicodedata.category(last) in ("Ps", "Pi"))
    if not (_wide(before) or _wide(after)):
        return False
    closing = unicodedata.category(after) in ("Pe", "Pf", "Po") or after in NOT_FIRST
    return not closing and unicodedata.category(before) not in ("Ps", "Pi")


def _wide(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in "WF"
