"""Frames packed as DICOM RLE (PS3.5 annex G): lossless, and shown by viewers that open no raw multi-frame."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import imagecodecs
import numpy as np

from dicom_node.report.pictures.colours import Pixels


def packed(plane: Pixels) -> bytes:
    """One colour plane (rows, columns), PackBits row by row (PS3.5 G.3.1)."""
    return bytes(imagecodecs.packbits_encode(np.ascontiguousarray(plane)))


def packed_planes(pixels: Pixels) -> list[bytes]:
    """The three colour planes; of grey pixels (rows, columns), which are the same three times, packed once."""
    return [packed(pixels)] * 3 if pixels.ndim == 2 else [packed(plane) for plane in np.moveaxis(pixels, -1, 0)]


def frame(*strips: Sequence[bytes]) -> bytes:
    """One RLE frame of strips that lie below each other, each its three packed planes."""
    return _segments([b"".join(planes) for planes in zip(*strips, strict=True)])


def _segments(segments: Sequence[bytes]) -> bytes:
    """RLE header of 64 bytes and the segments, each of even length (PS3.5 G.3, G.5)."""
    even = [segment + b"\0" * (len(segment) % 2) for segment in segments]
    starts = [64 + sum(map(len, even[:n])) for n in range(len(even))]
    return struct.pack("<16L", len(even), *starts, *[0] * (15 - len(even))) + b"".join(even)
