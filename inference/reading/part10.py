"""The DICOM file format (PS3.10): what stands before the data set, and the deflated data set itself."""

from __future__ import annotations

import re
import zlib

from inference.facts import Refused
from inference.reading.elements import Buffer, Coding, Element, walk

DEFLATED = "1.2.840.10008.1.2.1.99"
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
EXPLICIT = Coding("<", explicit=True)
UID = re.compile(r"[0-9.]{1,64}")
INFLATED_MOST = 1 << 28  # bytes: a deflated data set that grows beyond is refused
INFLATED_KEPT = 1 << 26  # bytes of it that are kept in memory: the header must lie there, the pixels need not
PIECE = 1 << 16  # bytes: inflated a piece at a time
META_MOST = 1 << 16  # bytes: a meta header has some hundreds
META_TAGS = {
    0x00020002: "MediaStorageSOPClassUID",
    0x00020003: "MediaStorageSOPInstanceUID",
    0x00020010: "TransferSyntaxUID",
}


def read_meta(buffer: Buffer) -> tuple[dict[str, str], int]:
    """The UIDs of the File Meta Information (PS3.10 7.1) and where the data set begins."""
    head = bytes(buffer[:132])
    if head[128:] != b"DICM":
        if head[:2] in (b"\x02\x00", b"\x08\x00"):
            raise Refused(
                "no-preamble",
                "The file starts with DICOM elements but lacks the preamble and the DICM prefix (DICOM PS3.10 7.1). "
                "Write it again as a DICOM file, for example with dcmconv.",
            )
        raise Refused("not-dicom", "The file is not a DICOM file: it lacks the DICM prefix (DICOM PS3.10 7.1).")
    end = _end_of_meta(buffer)
    found: list[Element] = []
    walk(bytes(buffer[:end]), 132, EXPLICIT, META_TAGS, found)
    meta = {}
    for element in found:
        text = bytes(buffer[element.start : element.start + element.length]).rstrip(b"\0 ").decode("ascii", "replace")
        meta[META_TAGS[element.tag]] = text
    if meta.get("MediaStorageSOPClassUID") == MEDIA_DIRECTORY:
        raise Refused("media-directory", "The file is a DICOMDIR, a table of contents, not an instance.")
    if not UID.fullmatch(meta.get("TransferSyntaxUID", "")):
        raise Refused(
            "no-transfer-syntax",
            "The file does not say its Transfer Syntax UID (0002,0010); without it the bytes can only be guessed. "
            "Export the instance again from its source.",
        )
    return meta, end


def _end_of_meta(buffer: Buffer) -> int:
    """Where group 2 ends, by its elements: the stated group length is often wrong.

    They ascend (PS3.5 7.1): else a data set that begins with group 2 could unsay the meta header before it.
    """
    at, last = 132, -1
    while bytes(buffer[at : at + 2]) == b"\x02\x00":
        number = int.from_bytes(bytes(buffer[at + 2 : at + 4]), "little")
        if number <= last or at > META_MOST:
            raise Refused(
                "unreadable-structure",
                "The elements of the meta header do not ascend or have no end (DICOM PS3.10 7.1). Send it again.",
            )
        last = number
        long_form = bytes(buffer[at + 4 : at + 6]) in (b"OB", b"UN", b"UT")
        length = bytes(buffer[at + 8 : at + 12]) if long_form else bytes(buffer[at + 6 : at + 8])
        at += (12 if long_form else 8) + int.from_bytes(length, "little")
    if at > len(buffer):
        raise Refused("unreadable-truncated", "The file ends inside its meta header. Send it again.")
    if at > META_MOST:
        raise Refused("unreadable-structure", f"The meta header is longer than {META_MOST} bytes. Send it again.")
    return at


def inflate(buffer: Buffer, start: int) -> tuple[bytes, int]:
    """The deflated data set (PS3.5 A.5): its first ``INFLATED_KEPT`` bytes, and how long it is in all.

    A kilobyte can hold a megabyte of zeros: so it is inflated in pieces, and what is far from the header is counted
    and let go.  Raises Refused: unreadable-deflated.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    kept, size = bytearray(), 0
    with memoryview(buffer) as view:
        try:
            for at in range(start, len(view), PIECE):
                packed: Buffer = view[at : at + PIECE]
                while packed and not inflater.eof:
                    piece = inflater.decompress(packed, PIECE)
                    packed = inflater.unconsumed_tail
                    size += len(piece)
                    if size > INFLATED_MOST:
                        raise _undeflatable(f"grows beyond {INFLATED_MOST >> 20} MiB")
                    kept += piece[: INFLATED_KEPT - len(kept)]
        except zlib.error:
            raise _undeflatable("is damaged") from None
    if not inflater.eof:
        raise _undeflatable("is cut short")
    return bytes(kept), size


def _undeflatable(how: str) -> Refused:
    return Refused("unreadable-deflated", f"The deflated data set {how}. Send it again, uncompressed.")
