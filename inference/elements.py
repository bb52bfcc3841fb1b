"""Walk the elements of a DICOM data set without trusting it (PS3.5 section 7).

No recursion, no allocation by stated lengths, no value is read: only tags, VRs and where values lie.  Depth and count
are bounded, so hostile or broken bytes end in ``Refused`` in bounded time.
"""

from __future__ import annotations

import struct
from collections.abc import Container
from dataclasses import dataclass, field
from functools import lru_cache
from mmap import mmap

from pydicom.datadict import dictionary_VR

from inference.facts import Refused

Buffer = bytes | mmap | memoryview

DEEPEST = 32  # sequences inside sequences; real objects (SR, functional groups) stay below 15
MOST_ELEMENTS = 2_000_000  # all levels together; a segmentation of 600 frames has about 25,000
UNDEFINED = 0xFFFFFFFF
PIXEL_DATA = 0x7FE00010
PIXELS = frozenset({0x7FE00008, 0x7FE00009, PIXEL_DATA})  # float, double float, integer
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LONG_FORM = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})


@dataclass(frozen=True, slots=True)
class Coding:
    """How elements are written: byte order ("<" or ">") and whether the VR is spelled out."""

    order: str
    explicit: bool


IMPLICIT = Coding("<", explicit=False)


@dataclass(slots=True)
class Element:
    """Where one element lies: its value is ``buffer[start:start + length]``.

    ``items``: the items of a sequence that was asked for, else None.  ``length`` is -1 where it is undefined.
    ``vr``: as written, or by the data dictionary for implicit VR; "UN" where neither knows.
    """

    tag: int
    vr: str
    start: int
    length: int
    items: list[list[Element]] | None = None


@dataclass(slots=True)
class _Frame:
    """One open sequence or item; ``end`` bounds it, and closes it where its length is ``defined``."""

    sequence: bool
    end: int
    defined: bool
    coding: Coding
    elements: list[Element] | None = None
    items: list[list[Element]] | None = None


@dataclass(slots=True)
class _Walk:
    buffer: Buffer
    wanted: Container[int]
    stack: list[_Frame]
    position: int
    left: int = field(default=MOST_ELEMENTS)


def walk(buffer: Buffer, start: int, coding: Coding, wanted: Container[int], found: list[Element]) -> None:
    """Append the top-level elements of the data set at ``buffer[start:]`` to ``found``, up to and with the pixel data.

    Only elements whose tag is in ``wanted`` are kept (sequences with their items), and the pixel data.  ``found`` keeps
    what was read before a fault.  What follows the pixel data is not looked at.
    Raises Refused: unreadable-truncated, unreadable-structure, nesting-too-deep, too-many-elements.
    """
    walk = _Walk(buffer, wanted, [_Frame(False, len(buffer), True, coding, elements=found)], start)
    try:
        while walk.stack:
            frame = walk.stack[-1]
            if walk.position >= frame.end:
                _close_at_end(walk, frame)
            elif frame.sequence:
                _open_item(walk, frame)
            elif _read_element(walk, frame, top=len(walk.stack) == 1):
                return
    except struct.error:
        raise _truncated() from None


def _close_at_end(walk: _Walk, frame: _Frame) -> None:
    if walk.position > frame.end or not frame.defined:
        raise _truncated()
    walk.stack.pop()


def _open_item(walk: _Walk, frame: _Frame) -> None:
    group, number, length = struct.unpack_from(frame.coding.order + "HHL", walk.buffer, walk.position)
    tag = group << 16 | number
    walk.position += 8
    _count(walk)
    if tag == SEQUENCE_END and not frame.defined:
        walk.stack.pop()
        return
    if tag != ITEM:
        raise _malformed(f"a sequence holds {tag:08X} where an item begins")
    elements: list[Element] | None = None
    if frame.items is not None:
        elements = []
        frame.items.append(elements)
    defined = length != UNDEFINED
    end = walk.position + length if defined else frame.end
    if end > frame.end:
        raise _truncated()
    walk.stack.append(_Frame(False, end, defined, frame.coding, elements=elements))


def _read_element(walk: _Walk, frame: _Frame, *, top: bool) -> bool:
    """Read one element header and step over or into its value.  True: it was the pixel data, nothing more to read."""
    tag, vr, length = _header(walk, frame.coding)
    if tag == ITEM_END and not frame.defined:
        walk.stack.pop()
        return False
    if tag >> 16 == 0xFFFE and tag != 0xFFFEFFFC:
        raise _malformed(f"a delimiter {tag:08X} outside a sequence")
    _count(walk)
    if vr == "UN":
        vr = _known_vr(tag) if not frame.coding.explicit or tag in walk.wanted or length == UNDEFINED else vr
    defined = length != UNDEFINED
    end = walk.position + length if defined else frame.end
    if end > frame.end:
        raise _truncated()
    element = Element(tag, vr, walk.position, length if defined else -1)
    keep = frame.elements is not None and (not top or tag in walk.wanted or tag in PIXELS)
    if keep and frame.elements is not None:
        frame.elements.append(element)
    if top and tag in PIXELS:
        if not defined:
            element.length = -1
            _check_fragments(walk, frame)
        return True
    if vr != "SQ" and defined:
        walk.position = end
        return False
    _open_sequence(walk, frame, element, end, keep=keep)
    return False


def _open_sequence(walk: _Walk, frame: _Frame, element: Element, end: int, *, keep: bool) -> None:
    if sum(f.sequence for f in walk.stack) >= DEEPEST:
        raise Refused(
            "nesting-too-deep",
            f"the data set nests sequences more than {DEEPEST} deep; no DICOM object needs that. "
            "Ask the sender which software wrote it.",
        )
    if keep:
        element.items = []
    # PS3.5 6.2.2: what was written as UN is implicit little endian inside
    written = walk.buffer[element.start - 8 : element.start - 6] if frame.coding.explicit else b"SQ"
    was_unknown = frame.coding.explicit and bytes(written) != b"SQ" and element.length >= -1 and _is_un(walk, element)
    coding = IMPLICIT if was_unknown else frame.coding
    walk.stack.append(_Frame(True, end, element.length >= 0, coding, items=element.items))
