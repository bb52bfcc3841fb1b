"""Walk the elements of a DICOM data set without trusting it (PS3.5 section 7).

No recursion, no allocation by stated lengths, no value is read: only tags, VRs and where values lie.  Depth and count
are bounded, so hostile or broken bytes end in ``Refused`` in bounded time.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import lru_cache
from mmap import mmap

from pydicom.datadict import dictionary_VR

from inference.facts import Refused

Buffer = bytes | mmap | memoryview

DEEPEST = 32  # sequences inside sequences; real objects (SR, functional groups) stay below 15
MOST_ELEMENTS = 1_000_000  # all levels together; a segmentation of 600 frames has about 25,000
MOST_KEPT = 300_000  # elements and items that are wanted, 0.2 kB of memory each; 2,000 enhanced frames have 100,000
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

    ``vr``: as written, or by the data dictionary for implicit VR; "UN" where neither knows.  ``length``: -1 where it
    is undefined.  ``order``: byte order of numbers, "<" or ">".  ``items``: of a sequence that was asked for.
    """

    tag: int
    vr: str
    start: int
    length: int
    order: str
    items: list[list[Element]] | None = None


@dataclass(slots=True)
class _Frame:
    """One open sequence or item; ``end`` bounds it, and closes it where its length is ``defined``.

    ``wanted``: the tags to keep in it, None for all.
    """

    sequence: bool
    end: int
    defined: bool
    coding: Coding
    elements: list[Element] | None = None
    items: list[list[Element]] | None = None
    wanted: Container[int] | None = None


@dataclass(slots=True)
class _Walk:
    buffer: Buffer
    within: Mapping[int, Container[int]]
    stack: list[_Frame]
    position: int
    left: int
    left_to_keep: int


def walk(
    buffer: Buffer,
    start: int,
    coding: Coding,
    wanted: Container[int],
    found: list[Element],
    within: Mapping[int, Container[int]] | None = None,
    size: int | None = None,
) -> None:
    """Append the top-level elements of the data set at ``buffer[start:]`` to ``found``, up to and with the pixel data.

    Only elements whose tag is in ``wanted`` are kept (sequences with their items), and the pixel data; of the sequences
    named in ``within`` only the elements listed there.  ``found`` keeps what was read before a fault.  What follows the
    pixel data is not looked at.  ``size``: where the data set ends, if ``buffer`` holds only its beginning.
    Raises Refused: unreadable-truncated, unreadable-structure, nesting-too-deep, too-many-elements.
    """
    top = _Frame(False, len(buffer) if size is None else size, True, coding, elements=found, wanted=wanted)
    walk = _Walk(buffer, within or {}, [top], start, MOST_ELEMENTS, MOST_KEPT)
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
    tag, length = _item_header(walk, frame.coding)
    if tag == SEQUENCE_END and not frame.defined:
        walk.stack.pop()
        return
    if tag != ITEM:
        raise _malformed(f"a sequence holds {tag:08X} where an item begins")
    elements: list[Element] | None = None
    if frame.items is not None:
        elements = []
        frame.items.append(elements)
        _count_kept(walk)
    item = _Frame(False, *_extent(walk, frame, length), frame.coding, elements=elements, wanted=frame.wanted)
    walk.stack.append(item)


def _read_element(walk: _Walk, frame: _Frame, *, top: bool) -> bool:
    """Read one element header and step over or into its value.  True: it was the pixel data, nothing more to read."""
    tag, vr, length = _element_header(walk, frame.coding)
    if tag == ITEM_END and not frame.defined:
        walk.stack.pop()
        return False
    if tag in (ITEM, ITEM_END, SEQUENCE_END):
        raise _malformed(f"{tag:08X} stands where an element begins")
    end, defined = _extent(walk, frame, length)
    inside = frame.coding
    wanted = frame.wanted is None or tag in frame.wanted
    if vr == "UN" and (not defined or not top or wanted):
        # an archive that did not know the element wrote UN; its content is then implicit little endian (PS3.5 6.2.2)
        vr, inside = ("SQ" if not defined else known_vr(tag)), IMPLICIT
    element = Element(tag, vr, walk.position, length if defined else -1, inside.order)
    keep = frame.elements is not None and (wanted or (top and tag in PIXELS))
    if keep and frame.elements is not None:
        frame.elements.append(element)
        _count_kept(walk)
    if top and tag in PIXELS:
        if not defined:
            _check_fragments(walk, frame)
        return True
    if vr == "SQ" or not defined:
        _open_sequence(walk, element, _Frame(True, end, defined, inside, wanted=walk.within.get(tag)), keep=keep)
    else:
        walk.position = end
    return False


def _open_sequence(walk: _Walk, element: Element, frame: _Frame, *, keep: bool) -> None:
    if len(walk.stack) > 2 * DEEPEST:
        raise Refused(
            "nesting-too-deep",
            f"The data set nests sequences more than {DEEPEST} deep; no DICOM object needs that. "
            "Ask who maintains the sending software to correct it.",
        )
    if keep:
        element.items = frame.items = []
    walk.stack.append(frame)


def _check_fragments(walk: _Walk, frame: _Frame) -> None:
    """Encapsulated pixel data must have fragments after the offset table, and its end (PS3.5 A.4)."""
    fragments = 0
    while True:
        tag, length = _item_header(walk, frame.coding)
        if tag == SEQUENCE_END:
            break
        if tag != ITEM or length == UNDEFINED:
            raise _malformed("compressed Pixel Data is not a row of fragments")
        walk.position, _ = _extent(walk, frame, length)
        fragments += length > 0
    if not fragments:
        raise Refused(
            "pixel-data-missing", "Pixel Data (7FE0,0010) holds no compressed frame. Send the instance again."
        )


def _extent(walk: _Walk, frame: _Frame, length: int) -> tuple[int, bool]:
    """Where a value of this stated length ends at the latest, and whether the length is defined."""
    if length == UNDEFINED:
        return frame.end, False
    end = walk.position + length
    if end > frame.end:
        raise _truncated()
    return end, True


def _item_header(walk: _Walk, coding: Coding) -> tuple[int, int]:
    group, number, length = struct.unpack_from(coding.order + "HHL", walk.buffer, walk.position)
    walk.position += 8
    _count(walk)
    return group << 16 | number, length


def _element_header(walk: _Walk, coding: Coding) -> tuple[int, str, int]:
    """Tag, VR and stated length; the position moves to the value (PS3.5 7.1)."""
    at, order = walk.position, coding.order
    group, number = struct.unpack_from(order + "HH", walk.buffer, at)
    tag = group << 16 | number
    _count(walk)
    if not coding.explicit or group == 0xFFFE:
        walk.position += 8
        return tag, known_vr(tag), struct.unpack_from(order + "L", walk.buffer, at + 4)[0]
    vr = bytes(walk.buffer[at + 4 : at + 6])
    if not (vr.isalpha() and vr.isupper()):
        raise _malformed(f"element {tag:08X} has no value representation although the transfer syntax is explicit")
    if vr in LONG_FORM:
        walk.position += 12
        return tag, vr.decode(), struct.unpack_from(order + "L", walk.buffer, at + 8)[0]
    walk.position += 8
    return tag, vr.decode(), struct.unpack_from(order + "H", walk.buffer, at + 6)[0]


@lru_cache(maxsize=8192)
def known_vr(tag: int) -> str:
    """The data dictionary's VR, the first where it gives a choice; "UN" for private and unknown elements."""
    try:
        return dictionary_VR(tag)[:2]
    except KeyError:
        return "UN"


def _count(walk: _Walk) -> None:
    walk.left -= 1
    if walk.left < 0:
        raise Refused(
            "too-many-elements",
            f"The data set has more than {MOST_ELEMENTS} elements; that is beyond any object this node reads.",
        )


def _count_kept(walk: _Walk) -> None:
    walk.left_to_keep -= 1
    if walk.left_to_keep < 0:
        raise Refused(
            "too-many-elements",
            f"The data set has more than {MOST_KEPT} elements of kinds that this node keeps; no PET, CT or region has.",
        )


def _truncated() -> Refused:
    return Refused(
        "unreadable-truncated",
        "The file ends, or an item ends, inside an element: it was cut short or its lengths are wrong. Send it again.",
    )


def _malformed(what: str) -> Refused:
    return Refused(
        "unreadable-structure", f"The data set breaks the rules of DICOM PS3.5: {what}. Send it again from the source."
    )
