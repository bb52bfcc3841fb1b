"""Element values as plain JSON types: text, int, float, list, nested dict (DICOM PS3.5 section 6)."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VM, keyword_for_tag
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from inference.facts import Refused
from inference.reading.elements import Buffer, Element, known_vr

LONGEST = 1 << 16  # bytes: longer single values are nothing we compute with
MOST_BYTES = 1 << 24  # of all values together: they are kept as text in the index; real headers have some kilobytes
# No quantity in a header is greater (the highest dose is 1e11 Bq); DS could say 1e300, and sums would overflow.
MOST_NUMBER = 1e15
CACHED = 256  # bytes: the slices of a series repeat their short values
NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
UNSPLIT = frozenset({"LT", "ST", "UT", "UR"})  # a backslash in these is text
# written in the Specific Character Set (PS3.5 6.1.2.3)
LOCAL_TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
TEXT = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}) | LOCAL_TEXT
DIGITS = frozenset({"DS", "IS"})
DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(slots=True)
class Values:
    """Reads values from ``data``, and remembers by keyword what it could not read or had to guess."""

    data: Buffer
    unreadable: list[str] = field(default_factory=list)
    guessed: list[str] = field(default_factory=list)
    left: int = MOST_BYTES

    def of(self, elements: Sequence[Element], charset: tuple[str, ...] = ("",)) -> dict[str, Any]:
        """The public elements of one data set or item, by keyword.

        None where empty.  A list, always, where the dictionary allows several values (Image Type, Image Position), and
        for sequences; never a list where it allows one.  A value that breaks its VR is left out.
        Raises Refused (unreadable-structure) where an element is there twice.
        """
        out: dict[str, Any] = {}
        for element in elements:
            keyword = _keyword(element.tag)
            if not keyword:
                continue
            if keyword in out:
                raise Refused(
                    "unreadable-structure",
                    f"The data set has {keyword} twice, so its content depends on the reader. Send it again.",
                )
            try:
                out[keyword] = self.value(element, charset, keyword)
            except (ValueError, struct.error):
                if keyword not in self.unreadable:
                    self.unreadable.append(keyword)
            if keyword == "SpecificCharacterSet":
                declared = out.get(keyword)
                charset = tuple(v or "" for v in declared) if isinstance(declared, list) else (declared or "",)
        return out

    def value(self, element: Element, charset: tuple[str, ...], keyword: str) -> Any:
        """One value.  Raises ValueError or struct.error where it breaks its VR."""
        if (element.items is not None) != (known_vr(element.tag) == "SQ"):
            raise ValueError(keyword)
        if element.items is not None:
            return [self.of(item, charset) for item in element.items]
        if not 0 <= element.length <= LONGEST:
            raise ValueError(keyword)
        raw = bytes(self.data[element.start : element.start + element.length])
        self.left -= element.length
        if len(raw) < element.length or self.left < 0:
            raise Refused(
                "header-too-large",
                f"The header holds more than {MOST_BYTES >> 20} MiB of values that this node keeps; no PET, CT or "
                "region has. Send the instance again from its source.",
            )
        read = _leaf if len(raw) <= CACHED else _leaf.__wrapped__
        vr, many = _kind(element.tag, element.vr)
        values, guessed = read(vr, many, raw, element.order, charset)
        if guessed and keyword not in self.guessed:
            self.guessed.append(keyword)
        if not values:
            return None
        return list(values) if many else values[0]


@lru_cache(maxsize=4096)
def _keyword(tag: int) -> str:
    return "" if tag & 0x10000 else keyword_for_tag(tag)


@lru_cache(maxsize=4096)
def _kind(tag: int, written: str) -> tuple[str, bool]:
    """The VR to read by, and whether several values are allowed.

    The dictionary's VR where both are text: a number written as LO is still a number.  ValueError where one is text and
    the other is not: nobody who reads the value would look for that.
    """
    known = known_vr(tag)
    many = known != "UN" and dictionary_VM(tag) != "1"
    if known in TEXT and (written in TEXT or written == "UN"):
        return known, many
    if (written in NUMBERS) != (known in NUMBERS or known in DIGITS) and known != "UN":
        raise ValueError(written)  # text where a number must stand, or the other way round
    return written, many


@lru_cache(maxsize=16384)
def _leaf(vr: str, many: bool, raw: bytes, order: str, charset: tuple[str, ...]) -> tuple[tuple[Any, ...], bool]:
    """The values, none where empty, and whether their characters had to be guessed."""
    if vr in TEXT:
        text, guessed = _decode(raw.rstrip(b"\0 "), vr, charset)
        if not text:
            return (), guessed
        if vr in UNSPLIT or not (many or vr in DIGITS):
            return (text if vr in UNSPLIT else text.strip(" \0"),), guessed
        values: tuple[Any, ...] = tuple(_part(part.strip(" \0"), vr) for part in text.split("\\"))
    else:
        values, guessed = _numbers(vr, raw, order), False
    if len(values) > 1 and not many:
        raise ValueError(vr)
    return values, guessed


def _numbers(vr: str, raw: bytes, order: str) -> tuple[Any, ...]:
    if vr == "AT":
        pairs = struct.unpack(f"{order}{len(raw) // 2}H", raw)
        return tuple(g << 16 | e for g, e in zip(pairs[::2], pairs[1::2], strict=True))
    if vr not in NUMBERS:
        raise ValueError(vr)
    values = struct.unpack(f"{order}{len(raw) // struct.calcsize('<' + NUMBERS[vr])}{NUMBERS[vr]}", raw)
    if not all(abs(v) <= MOST_NUMBER for v in values):  # NaN fails too
        raise ValueError(vr)
    return values


def _part(text: str, vr: str) -> Any:
    if vr not in DIGITS:
        return text
    if not DECIMAL.fullmatch(text):
        raise ValueError(vr)
    number = float(text)
    if not abs(number) <= MOST_NUMBER or (vr == "IS" and not number.is_integer()):
        raise ValueError(vr)
    return int(number) if vr == "IS" else number


def _decode(raw: bytes, vr: str, charset: tuple[str, ...]) -> tuple[str, bool]:
    """Text in the declared character set; Latin-1, marked as guessed, where the bytes do not fit it."""
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii"), False
    if vr not in LOCAL_TEXT or charset == ("",):
        return raw.decode("latin-1"), True
    parts = raw.split(b"=") if vr == "PN" else [raw]
    delimiters = PN_DELIMS | {0x5C} if vr == "PN" else TEXT_VR_DELIMS | {0x5C}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # pydicom replaces characters with only a warning
            encodings = convert_encodings(list(charset))
            return "=".join(decode_bytes(part, encodings, delimiters) for part in parts), False
    except (UserWarning, UnicodeError, LookupError):
        return raw.decode("latin-1"), True
