"""Stored pixel values of images and frames, in order: raw ones read by offset, compressed ones by imagecodecs.

imagecodecs releases the interpreter lock, so a few threads decode side by side.  The file of a multi-frame object is
read once, and its frames are decoded one by one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from inference.facts import Instance, Refused
from inference.reading.header import whole

Stored = npt.NDArray[np.integer[Any]]

THREADS = 4
# Voxels of one series that may be asked of memory: 1,024 slices of 1,024 × 1,024.
MOST_VOXELS = 2**30

_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_RLE = "1.2.840.10008.1.2.5"
_JPEG_LOSSY = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51))
_JPEG_LOSSLESS = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (57, 70))
_JPEG_LS = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (80, 81))
_JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 201, 202, 203))


@dataclass(frozen=True, slots=True)
class Format:
    """How the integers of one image are stored (PS3.5 section 8): monochrome, one sample a pixel."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool

    @property
    def dtype(self) -> np.dtype[Any]:
        """Little-endian integers of Bits Allocated."""
        return np.dtype(f"<{'i' if self.signed else 'u'}{self.bits_allocated // 8}")

    @property
    def length(self) -> int:
        """Bytes of one uncompressed image."""
        return self.rows * self.columns * self.bits_allocated // 8


def stored_slices(instances: Sequence[Instance]) -> Iterator[Stored]:
    """The stored values (row, column) of each instance in turn; a slice is the caller's until the next is asked for.

    Raises ``Refused``: pixel data missing, short, undecodable, or of a kind no PET or CT has; or a series too large.
    """
    formats = [pixel_format(i) for i in instances]
    _check_size(formats)
    opened = _opened(instances)
    if all(i.pixel_offset >= 0 for i in instances):
        yield from map(_stored, instances, formats, repeat(opened))
        return
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        yield from pool.map(_stored, instances, formats, repeat(opened))


def all_same(groups: Iterable[Sequence[Instance]]) -> Iterator[bool]:
    """Of each group of images whether all hold the same physical values: stored values, slope and intercept.

    Raises ``Refused`` as ``stored_slices``.
    """
    groups = list(groups)
    opened = _opened(chain.from_iterable(groups))
    for first, *others in groups:
        yield all(_same(first, other, opened) for other in others)


def _same(one: Instance, other: Instance, opened: dict[str, _Pieces]) -> bool:
    rescale = ("RescaleSlope", "RescaleIntercept")
    if [one.get(k) for k in rescale] != [other.get(k) for k in rescale]:
        return False
    return np.array_equal(_stored(one, pixel_format(one), opened), _stored(other, pixel_format(other), opened))


def pixel_format(instance: Instance) -> Format:
    """Read and check the Image Pixel attributes (PS3.3 C.7.6.3)."""
    allocated = whole(instance, "BitsAllocated", 0)
    stored = whole(instance, "BitsStored", allocated)
    usual = (
        whole(instance, "SamplesPerPixel", 1) == 1
        and allocated in (8, 16, 32)
        and 0 < stored <= allocated
        and whole(instance, "HighBit", stored - 1) == stored - 1
    )
    if not usual:
        raise Refused(
            "pixel-format-unsupported",
            "The image is not stored as one 8, 16 or 32 bit integer a pixel (Samples per Pixel, Bits Allocated, "
            "Bits Stored, High Bit); PET and CT images are.",
            sop_instance_uid=instance.sop_instance_uid,
            bits_allocated=allocated,
            bits_stored=stored,
        )
    signed = whole(instance, "PixelRepresentation", 0) == 1
    return Format(whole(instance, "Rows", 0), whole(instance, "Columns", 0), allocated, stored, signed)


def _check_size(formats: Sequence[Format]) -> None:
    voxels = sum(f.rows * f.columns for f in formats)
    if voxels > MOST_VOXELS:
        raise Refused("too-large", f"The series claims {voxels} voxels; at most {MOST_VOXELS} are read.", voxels=voxels)


_Pieces: TypeAlias = Sequence[bytes | memoryview]


def _opened(instances: Iterable[Instance]) -> dict[str, _Pieces]:
    """The encoded frames of the multi-frame objects among ``instances``, by path; each file is read once."""
    encoded = {i.path: i for i in instances if i.frame >= 0 and i.pixel_offset < 0}
    return {path: _pieces(instance) for path, instance in encoded.items()}


def _stored(instance: Instance, form: Format, opened: dict[str, _Pieces]) -> Stored:
    if not instance.pixel_path:
        return _raw(instance, form) if instance.pixel_offset >= 0 else _encoded(instance, form, opened)
    try:
        return _raw(instance, form)
    except Refused:  # decoded on arrival, and removed since to make room
        return _encoded(instance, form, opened)


def _raw(instance: Instance, form: Format) -> Stored:
    """Straight from the file: uncompressed, little endian."""
    if instance.pixel_length < form.length:
        raise _short(instance, form, instance.pixel_length)
    values = np.empty((form.rows, form.columns), form.dtype)
    try:
        descriptor = os.open(instance.pixel_path or instance.path, os.O_RDONLY)
        try:
            got = os.preadv(descriptor, [values.data.cast("B")], instance.pixel_offset)
        finally:
            os.close(descriptor)
    except OSError as fault:
        raise _unreadable(instance, fault) from None
    if got < form.length:
        raise _short(instance, form, got)
    return _significant(instance, values, form)


def _encoded(instance: Instance, form: Format, opened: dict[str, _Pieces]) -> Stored:
    """Compressed, deflated or big-endian pixel data; what was read of a multi-frame object stays in ``opened``."""
    pieces = opened.get(instance.path) or _pieces(instance)
    if instance.frame >= 0:
        opened[instance.path] = pieces
    number = max(instance.frame, 0)
    data = pieces[number] if number < len(pieces) else b""
    if _is_compressed(instance) and data:
        return _decoded(instance, form, bytes(data))
    if len(data) < form.length:
        raise _short(instance, form, len(data))
    as_written = form.dtype.newbyteorder(">") if instance.transfer_syntax_uid == _BIG_ENDIAN else form.dtype
    values = np.frombuffer(data, as_written, form.rows * form.columns)
    return _significant(instance, values.astype(form.dtype).reshape(form.rows, form.columns), form)


def _pieces(instance: Instance) -> _Pieces:
    """What stands for each frame in the Pixel Data of a file, compressed or not, read through pydicom."""
    import pydicom
    from pydicom.encaps import generate_frames

    tags = ["PixelData", "NumberOfFrames", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"]
    try:
        dataset = pydicom.dcmread(instance.path, specific_tags=tags, force=True)
        data, frames = dataset.get("PixelData"), int(dataset.get("NumberOfFrames") or 1)
        if data and _is_compressed(instance):
            table = (dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths"))
            offsets = table if table[0] and table[1] else None
            return list(islice(generate_frames(data, number_of_frames=frames, extended_offsets=offsets), frames))
    except Exception as fault:  # noqa: BLE001 - whatever a broken file makes pydicom raise, the answer is the same
        raise _unreadable(instance, fault) from None
    if not data:
        raise Refused(
            "pixel-data-missing",
            "An image has no Pixel Data (7FE0,0010); the volume is incomplete. Send the series again.",
            sop_instance_uid=instance.sop_instance_uid,
        )
    length = pixel_format(instance).length
    return [memoryview(data)[n * length : (n + 1) * length] for n in range(frames)] if frames > 1 else [data]


def _is_compressed(instance: Instance) -> bool:
    from pydicom.uid import UID

    return UID(instance.transfer_syntax_uid).is_compressed and not _is_deflated(instance)


def _is_deflated(instance: Instance) -> bool:
    return instance.transfer_syntax_uid == "1.2.840.10008.1.2.1.99"


def _decoded(instance: Instance, form: Format, frame: bytes) -> Stored:
    import imagecodecs

    syntax = instance.transfer_syntax_uid
    try:
        if syntax == _RLE:
            packed = imagecodecs.dicomrle_decode(frame, form.dtype)
            decoded = np.frombuffer(packed, form.dtype, form.rows * form.columns).reshape(form.rows, form.columns)
        elif syntax in _JPEG_LOSSLESS:
            decoded = imagecodecs.jpegsof3_decode(frame)  # libjpeg would fill a cut stream with grey and not say so
        elif syntax in _JPEG_LOSSY:
            decoded = imagecodecs.jpeg_decode(_ended(frame))
        elif syntax in _JPEG_LS:
            decoded = imagecodecs.jpegls_decode(frame)
        elif syntax in _JPEG_2000:
            decoded = imagecodecs.jpeg2k_decode(frame)
        else:
            raise Refused(
                "transfer-syntax-unsupported",
                f"Images in transfer syntax {syntax} cannot be decoded here. Send them uncompressed.",
                transfer_syntax_uid=syntax,
            )
    except Refused:
        raise
    except Exception as fault:  # noqa: BLE001 - codecs raise their own kinds; each means the image cannot be had
        raise _unreadable(instance, fault) from None
    _check_decoded(instance, form, decoded)
    values = decoded.astype(form.dtype, copy=decoded.base is not None or not decoded.flags.writeable)
    return _significant(instance, values, form)


def _ended(frame: bytes) -> bytes:
    """A JPEG stream that has its end-of-image marker: the decoder completes a cut one silently."""
    if not frame.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise ValueError("cut JPEG stream")
    return frame


def _check_decoded(instance: Instance, form: Format, decoded: Stored) -> None:
    """The codestream must hold the image that the header describes, in size, depth and (JPEG 2000) sign."""
    fits = decoded.shape == (form.rows, form.columns) and decoded.dtype.itemsize * 8 <= form.bits_allocated
    if not fits:
        raise Refused(
            "pixel-data-disagrees",
            "The compressed image is not of the size and depth that its header states.",
            sop_instance_uid=instance.sop_instance_uid,
            found=f"{decoded.shape} {decoded.dtype}",
        )
    if instance.transfer_syntax_uid in _JPEG_2000 and (decoded.dtype.kind == "i") != form.signed:
        raise Refused(
            "pixel-sign-disagrees",
            "Pixel Representation (0028,0103) says one sign and the JPEG 2000 stream the other; the values could be "
            "wrong by thousands. Send the series uncompressed.",
            sop_instance_uid=instance.sop_instance_uid,
        )


def _significant(instance: Instance, values: Stored, form: Format) -> Stored:
    """Only Bits Stored count, and the sign is theirs: in the bits above old CTs kept overlays (PS3.5 8.1.1).

    Raises ``Refused`` where those bits tell that the header is wrong: a PET never had overlays there, and where they
    repeat the highest stored bit the values have a sign.
    """
    spare = form.bits_allocated - form.bits_stored
    if not spare:
        return values
    significant = _extended(values, spare) if form.signed else values & ((1 << form.bits_stored) - 1)
    if not np.array_equal(significant, values):
        has_sign = not form.signed and np.array_equal(_extended(values, spare), values)
        if has_sign or instance.modality == "PT":
            raise Refused(
                "pixel-bits-disagree",
                f"Pixel values need more than Bits Stored (0028,0101), {form.bits_stored}, or have a sign that Pixel "
                "Representation (0028,0103) denies: the header does not say how they are stored. Correct the series "
                "and send it again.",
                sop_instance_uid=instance.sop_instance_uid,
                bits_stored=form.bits_stored,
            )
    return significant


def _extended(values: Stored, spare: int) -> Stored:
    """The values without the ``spare`` upper bits, which become copies of the sign; of the same type."""
    signed = values.view(f"i{values.dtype.itemsize}")
    return ((signed << spare) >> spare).view(values.dtype)


def _short(instance: Instance, form: Format, found: int) -> Refused:
    return Refused(
        "pixel-data-short",
        f"An image holds {max(found, 0)} of its {form.length} bytes of pixel data; the volume is incomplete. "
        "Send the series again.",
        sop_instance_uid=instance.sop_instance_uid,
        expected=form.length,
        found=max(found, 0),
    )


def _unreadable(instance: Instance, fault: Exception) -> Refused:
    return Refused(
        "pixel-data-unreadable",
        f"The pixel data of an image cannot be read ({type(fault).__name__}). Send the series again, uncompressed.",
        sop_instance_uid=instance.sop_instance_uid,
        file=Path(instance.path).name,
    )
