"""Bit-packed frames that OHIF cuts apart rightly, or not at all.

The frames of a binary SEG follow each other bit by bit, and an odd number of bytes gets one more (PS3.5 8.1.1, 8.2).
The reader of OHIF 3.13.2 takes that byte for a fault and shows nothing; without it, it cuts frames that begin within a
byte (169 × 169, 249 × 249) at the wrong place and shows a scrambled lesion (measured; docs/viewers.md).  A few frames
without a voxel, which the IOD allows, decide which: whole bytes a frame get an even number, all others an odd one, so
that OHIF refuses them.
"""

from __future__ import annotations

from collections.abc import Set
from itertools import islice

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pack_bits, unpack_bits

Frame = tuple[int, int]  # index of the segment, slice of the grid


def blank_frames(filled: Set[Frame], segments: int, shape: tuple[int, ...]) -> list[Frame]:
    """The frames to add to ``filled`` (at least one), near to it, for the number of bytes wanted: at most 15.

    ``shape``: of the grid (slice, row, column).  Fewer than needed where the grid has no more.
    """
    slices, pixels = shape[0], shape[1] * shape[2]
    odd = pixels % 8 != 0
    wanted = next(more for more in range(16) if -(-pixels * (len(filled) + more) // 8) % 2 == odd)
    held = {k for _, k in filled}
    near = sorted(range(slices), key=lambda k: min(abs(k - other) for other in held))
    return list(islice(((index, k) for k in near for index in range(segments) if (index, k) not in filled), wanted))


def clear_corners(ds: Dataset) -> None:
    """Make the first pixel of every frame empty again: it was set where highdicom would have left the frame out."""
    bits = np.asarray(unpack_bits(ds.PixelData))
    frames = bits[: ds.NumberOfFrames * ds.Rows * ds.Columns].reshape(ds.NumberOfFrames, -1)
    frames[:, 0] = 0
    ds.PixelData = pack_bits(frames, pad=True)
