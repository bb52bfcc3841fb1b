"""One DICOM file → one ``Instance``: identity, the header values that later steps need, and where the pixels lie.

The file is never decoded and never trusted: see ``inference.reading.elements`` for the bounds.
"""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path
from typing import Any

from pydicom.datadict import tag_for_keyword

from inference.facts import Caution, Instance, Refused
from inference.reading.elements import PIXEL_DATA, PIXELS, Buffer, Coding, Element, walk
from inference.reading.keywords import (
    FRAME_KEYWORDS,
    FRAME_MACROS,
    FUNCTIONAL_GROUPS,
    IDENTITY,
    KEYWORDS,
    MOST_FRAMES,
    MULTIFRAME_CLASSES,
    PRIVATE,
)
from inference.reading.part10 import DEFLATED, EXPLICIT, UID, inflate, read_meta
from inference.reading.values import Values


def _tags(keywords: Iterable[str]) -> frozenset[int]:
    return frozenset(t for t in map(tag_for_keyword, keywords) if t is not None)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Tags to keep: those of the keywords, and private blocks of the two groups above."""

    tags: frozenset[int]
    groups: frozenset[int] = frozenset(p.group for p in PRIVATE)

    def __contains__(self, tag: object) -> bool:
        return tag in self.tags or (isinstance(tag, int) and tag >> 16 in self.groups)


GROUPS = _tags(FUNCTIONAL_GROUPS)
WANTED_OF_FRAMES = _Wanted(_tags(KEYWORDS))
WANTED = _Wanted(WANTED_OF_FRAMES.tags - GROUPS)  # a segmentation may have a hundred thousand frames
WITHIN = dict.fromkeys(GROUPS | _tags(FRAME_MACROS), _tags(FRAME_KEYWORDS))
CODINGS = {
    "1.2.840.10008.1.2": Coding("<", explicit=False),
    "1.2.840.10008.1.2.2": Coding(">", explicit=True),
}
NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"})  # little endian, pixels lie plain in the file
MAP_FROM = 1 << 26  # bytes: larger files are mapped, not read
HAS_PIXELS = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(2|2\.1|2\.2|128|128\.1|130|66\.4|66\.7)")  # CT, PET, SEG


def read_instance(path: Path) -> Instance:
    """Read one DICOM file (PS3.10) as far as its pixel data.

    ``sha256`` covers the bytes from the end of the meta header to the end of the file.
    Raises Refused: not-dicom, no-preamble, no-transfer-syntax, media-directory, no-identity, uid-invalid,
    identity-mismatch, unreadable-file, unreadable-truncated, unreadable-structure, unreadable-deflated,
    nesting-too-deep, too-many-elements, pixel-data-missing, pixel-data-short.  Its ``facts`` hold those of
    ``sop_class_uid``, ``sop_instance_uid``, ``study_instance_uid``, ``series_instance_uid``, ``modality`` that could
    be read.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size <= MAP_FROM:
                return read_buffer(file.read(), str(path))
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                return read_buffer(mapped, str(path))
    except OSError as error:
        raise Refused(
            "unreadable-file", f"The file cannot be read: {error.strerror}. Check the disk and its rights."
        ) from None


def read_buffer(buffer: Buffer, path: str) -> Instance:
    """As ``read_instance``, for the bytes of a file already in memory; ``path`` is only recorded."""
    meta, start = read_meta(buffer)
    syntax = meta["TransferSyntaxUID"]
    found: list[Element] = []
    data, begin, size = (buffer, start, len(buffer)) if syntax != DEFLATED else _inflated(buffer, start)
    coding = CODINGS.get(syntax, EXPLICIT)
    may_have_frames = meta.get("MediaStorageSOPClassUID") in (None, *MULTIFRAME_CLASSES)
    wanted = WANTED_OF_FRAMES if may_have_frames else WANTED
    try:
        walk(data, begin, coding, wanted, found, WITHIN, size)
    except Refused as refused:
        raise Refused(refused.code, refused.reason, **_known(_values(data, found))) from None
    attributes = _values(data, found)
    _check_identity(attributes, meta)
    pixels = next((e for e in found if e.tag in PIXELS), None)
    try:
        _check_pixels(attributes, pixels)
    except Refused as refused:
        raise Refused(refused.code, refused.reason, **_known(attributes)) from None
    plain = pixels is not None and pixels.tag == PIXEL_DATA and pixels.length >= 0 and syntax in NATIVE
    with memoryview(buffer) as view, view[start:] as data_set:
        sha256 = hashlib.sha256(data_set).hexdigest()
    return Instance(
        path=path,
        sha256=sha256,
        sop_class_uid=attributes["SOPClassUID"],
        sop_instance_uid=attributes["SOPInstanceUID"],
        study_instance_uid=attributes["StudyInstanceUID"],
        series_instance_uid=attributes["SeriesInstanceUID"],
        transfer_syntax_uid=syntax,
        modality=attributes.get("Modality") or "",
        pixel_offset=pixels.start if plain and pixels else -1,
        pixel_length=max(pixels.length, 0) if pixels else 0,
        attributes=attributes,
    )


def _inflated(buffer: Buffer, start: int) -> tuple[bytes, int, int]:
    kept, size = inflate(buffer, start)
    return kept, 0, size


def _values(data: Buffer, found: Sequence[Element]) -> dict[str, Any]:
    """The attributes as plain JSON types, as ``facts.Instance`` and ``KEYWORDS`` describe them."""
    values = Values(data)
    frames = max((len(e.items or ()) for e in found if e.tag in GROUPS), default=0)
    passed_over = PIXELS if frames <= MOST_FRAMES else PIXELS | GROUPS
    attributes = values.of([e for e in found if e.tag not in passed_over])
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        # "US or SS" by Pixel Representation (PS3.5 6.2): implicit VR cannot say which
        if attributes.get("PixelRepresentation") == 1 and (attributes.get(keyword) or 0) > 0x7FFF:
            attributes[keyword] -= 0x10000
    without_creator = _add_private(attributes, values, [e for e in found if e.tag >> 16 in WANTED.groups])
    notes = {
        "UnreadableValues": values.unreadable,
        "GuessedText": values.guessed,
        "WithoutPrivateCreator": without_creator,
    }
    return attributes | {name: keywords for name, keywords in notes.items() if keywords}


def _add_private(attributes: dict[str, Any], values: Values, found: Sequence[Element]) -> list[str]:
    """Add private values by their private creator, or at block 10 where no creator claims it: returns those."""
    elements = {e.tag: e for e in found}
    creators = {
        e.tag: bytes(values.data[e.start : e.start + min(e.length, 64)]).strip(b"\0 ").decode("latin-1")
        for e in found
        if 0x10 <= e.tag & 0xFFFF <= 0xFF and e.length >= 0
    }
    without_creator = []
    for private in PRIVATE:
        blocks = [t & 0xFF for t, name in creators.items() if t >> 16 == private.group and name == private.creator]
        if not blocks and private.group << 16 | 0x10 in creators:
            continue
        element = elements.get(private.group << 16 | (blocks[0] if blocks else 0x10) << 8 | private.number)
        if element is None:
            continue
        as_known = Element(element.tag, private.vr, element.start, element.length, element.order)
        try:
            attributes[private.keyword] = values.value(as_known, ("",), private.keyword)
        except ValueError:
            values.unreadable.append(private.keyword)
            continue
        if not blocks:
            without_creator.append(private.keyword)
    return without_creator


def _known(attributes: dict[str, Any]) -> dict[str, Any]:
    """What a refusal may tell of the instance: its UIDs and modality, as far as they are well formed."""
    names = dict(
        zip(IDENTITY, ("sop_class_uid", "sop_instance_uid", "study_instance_uid", "series_instance_uid"), strict=True)
    )
    known = {name: attributes[k] for k, name in names.items() if _is_uid(attributes.get(k))}
    modality = attributes.get("Modality")
    return known | ({"modality": modality} if isinstance(modality, str) else {})


def _is_uid(value: object) -> bool:
    return isinstance(value, str) and UID.fullmatch(value) is not None


def _check_identity(attributes: dict[str, Any], meta: dict[str, str]) -> None:
    for keyword in IDENTITY:
        value = attributes.get(keyword)
        if value is None:
            raise Refused(
                "no-identity",
                f"The instance has no {keyword}; without it, it belongs nowhere. Send it again from its source.",
                **_known(attributes),
            )
        if not _is_uid(value):
            raise Refused(
                "uid-invalid",
                f"{keyword} is not 1 to 64 digits and dots (DICOM PS3.5 9). The sending software must correct it.",
                **_known(attributes),
            )
    for in_meta, keyword in (
        ("MediaStorageSOPClassUID", "SOPClassUID"),
        ("MediaStorageSOPInstanceUID", "SOPInstanceUID"),
    ):
        if meta.get(in_meta) not in (None, attributes[keyword]):
            raise Refused(
                "identity-mismatch",
                f"The file's meta header and its data set name different {keyword}s: one of them is wrong. "
                "Send the instance again from its source.",
                **_known(attributes),
            )


def _check_pixels(attributes: dict[str, Any], pixels: Element | None) -> None:
    """Refuse an image without its pixels: Rows × Columns × Samples × Frames × Bits against the bytes present."""
    if pixels is None:
        if HAS_PIXELS.fullmatch(attributes["SOPClassUID"]):
            raise Refused(
                "pixel-data-missing", "The image instance has no Pixel Data (7FE0,0010). Send the instance again."
            )
        return
    if pixels.length < 0:
        return
    needed = [attributes.get(k) for k in ("Rows", "Columns", "BitsAllocated")]
    needed += [attributes.get(k) or 1 for k in ("SamplesPerPixel", "NumberOfFrames")]
    sizes = [n for n in needed if isinstance(n, int) and n > 0]
    if len(sizes) < len(needed):
        raise Refused(
            "unreadable-structure",
            "Pixel Data is there, but Rows, Columns, Bits Allocated or Number of Frames is absent or not one positive "
            "number. Send the instance again from its source.",
        )
    expected = ceil(prod(sizes) / 8)
    if pixels.length < expected:
        raise Refused(
            "pixel-data-short",
            f"Pixel Data has {pixels.length} bytes where Rows × Columns × Frames need {expected}. "
            "Send the instance again.",
        )


@dataclass(frozen=True, slots=True)
class Scan:
    """What a folder holds: every instance once, and what was set aside with its reason."""

    instances: tuple[Instance, ...]
    set_aside: tuple[tuple[Path, Refused], ...]


def scan_folder(root: Path, progress: Callable[[int, int], None] | None = None) -> Scan:
    """Read every file below ``root`` (in order of their paths), or the one file ``root`` is.

    The same SOP Instance UID again: same bytes → taken once; other bytes → the first is kept, the other set aside as
    sop-instance-conflict.  ``progress`` is called with (files read, files in all).
    Raises Refused: no-such-folder.
    """
    if not root.exists():
        raise Refused("no-such-folder", f"There is no file or folder {root}. Check the path.")
    paths = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
    kept: dict[str, Instance] = {}
    set_aside: list[tuple[Path, Refused]] = []
    for done, path in enumerate(paths, 1):
        try:
            instance = read_instance(path)
            first = kept.setdefault(instance.sop_instance_uid, instance)
            if first.sha256 != instance.sha256:
                set_aside.append((path, conflict(instance)))
        except Refused as refused:
            set_aside.append((path, refused))
        if progress is not None:
            progress(done, len(paths))
    return Scan(tuple(kept.values()), tuple(set_aside))


def conflict(instance: Instance) -> Refused:
    """The refusal of a second, different object under a SOP Instance UID already taken."""
    return Refused(
        "sop-instance-conflict",
        "Two different objects carry the same SOP Instance UID; a UID may not be used again (DICOM PS3.5 9). "
        "The first is kept, this one is set aside. Find out at the sender which one is right.",
        **_known(dict(instance.attributes)),
    )


def reading_cautions(instances: Sequence[Instance]) -> tuple[Caution, ...]:
    """What reading these instances had to guess or leave out, once for all of them."""
    texts = {
        "UnreadableValues": ("value-unreadable", "left out because their values break the rules of their type"),
        "GuessedText": ("text-guessed", "hold characters outside the declared character set, read as Latin-1"),
        "WithoutPrivateCreator": ("private-creator-missing", "read although their private creator is absent"),
    }
    cautions = []
    for name, (code, text) in texts.items():
        if keywords := sorted({k for i in instances for k in i.attributes.get(name, ())}):
            cautions.append(Caution(code, f"{', '.join(keywords)}: {text}."))
    return tuple(cautions)
