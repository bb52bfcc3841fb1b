"""What ITK does not say of a NIfTI file: where it was cut off, and for values that are no numbers, it reads zeros.

Fields as in nifti1.h and nifti2.h (https://nifti.nimh.nih.gov).
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

HEADER_BYTES = 544  # of NIfTI-2, which is the longer
BLOCK_BYTES = 2**20
MOST_BYTES = 2**31
FLOATS = {16: "f4", 64: "f8"}  # datatype codes


@dataclass(frozen=True, slots=True)
class _Layout:
    """``offset``, ``length``: of the voxels in the (unpacked) file, bytes.  ``dtype``: of floats, "" for others."""

    offset: int
    length: int
    dtype: str


def what_is_wrong(path: Path) -> str:
    """The end of a sentence about the file, ending in .nii or .nii.gz; "" where it is whole and all are numbers."""
    packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            layout = _layout(file.read(HEADER_BYTES))
            if layout.length > MOST_BYTES:
                return f"its header claims {layout.length} bytes of voxels; at most {MOST_BYTES} are read"
            file.seek(layout.offset)
            has, finite = 0, True
            while block := file.read(min(BLOCK_BYTES, layout.length - has)):
                has += len(block)
                finite = finite and _finite(block, layout.dtype)
            if packed and has == layout.length:
                file.read(1)  # the checksum stands at the end
    except (OSError, EOFError, zlib.error, struct.error, ValueError):
        return "it is no NIfTI file, or damaged; write it again"
    if has < layout.length:
        return f"it is cut off: {has} bytes of voxels, and there should be {layout.length}; copy it again"
    return "" if finite else "it holds values that are no numbers (NaN or infinite), which would be read as 0"


def _finite(block: bytes, dtype: str) -> bool:
    """Whether all whole values of a block are numbers; a cut file may end within one."""
    if not dtype:
        return True
    whole = len(block) // np.dtype(dtype).itemsize
    return bool(np.isfinite(np.frombuffer(block, dtype, count=whole)).all())


def _layout(head: bytes) -> _Layout:
    """Raises ``struct.error`` where the header is none."""
    for order in "<>":
        (version,) = struct.unpack_from(f"{order}i", head)
        if version == 348:
            dims: tuple[int, ...] = struct.unpack_from(f"{order}8h", head, 40)
            kind, bits = struct.unpack_from(f"{order}2h", head, 70)
            (offset,) = struct.unpack_from(f"{order}f", head, 108)
        elif version == 540:
            kind, bits = struct.unpack_from(f"{order}2h", head, 12)
            dims = struct.unpack_from(f"{order}8q", head, 16)
            (offset,) = struct.unpack_from(f"{order}q", head, 168)
        else:
            continue
        axes = dims[1 : 1 + dims[0]] if 0 < dims[0] < len(dims) else ()
        if axes and min(axes) > 0 and 0 <= offset < 2**31 and 0 < bits <= 2048:
            dtype = f"{order}{FLOATS[kind]}" if kind in FLOATS else ""
            return _Layout(int(offset), (prod(axes) * bits + 7) // 8, dtype)
    raise struct.error
