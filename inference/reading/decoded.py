"""Pixels decoded ahead of the analysis: one file an object, its frames in a row, plain little-endian integers.

A cache and nothing more: whoever finds no file decodes the object itself.  A file has its final name only when it is
whole.  While it is written it is ``<name>.part``, which also says that somebody is at it.  Where the writer died, the
``.part`` stays, and nobody tries that object ahead of time again: it may be what killed the writer.

Nothing is synced, so a file is to be trusted only until the machine starts anew.  Its name covers that, the object's
bytes, its transfer syntax and the version of the codecs: a file of before a crash or an update is never found.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from inference.facts import Instance
from inference.reading.keywords import MOST_FRAMES
from inference.reading.pixels import stored_slices

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # another one each time the machine starts
UNFINISHED = ".part"


def decode(instance: Instance, folder: Path) -> int:
    """Write the stored values of the object below ``folder``; the bytes written.

    0 where there is nothing to do: the file is there, another process is at it, or one died of it.
    Raises ``Refused`` as ``pixels.stored_slices``, and OSError.
    """
    path = _file_of(instance, folder)
    if not is_encoded(instance) or path.exists():
        return 0
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_suffix(UNFINISHED)
    try:
        with part.open("xb") as file:
            size = sum(file.write(values.data) for values in stored_slices(_frames(instance)))
        part.rename(path)
    except FileExistsError:
        return 0
    except BaseException:  # not a death: nothing is to be remembered
        part.unlink(missing_ok=True)
        raise
    return size


def with_decoded(instance: Instance, folder: Path) -> Instance:
    """The instance, pointing at its decoded pixels where ``decode`` has left them."""
    if not is_encoded(instance):
        return instance
    path = _file_of(instance, folder)
    try:
        length = path.stat().st_size
    except OSError:
        return instance
    return replace(instance, pixel_path=str(path), pixel_offset=0, pixel_length=length)


def is_encoded(instance: Instance) -> bool:
    """Whether its pixels do not lie plain in its own file, and can be decoded ahead of the analysis."""
    return instance.frame < 0 and instance.pixel_offset < 0 and 1 <= _frame_count(instance) <= MOST_FRAMES


def decoded_size(instance: Instance) -> int:
    """Bytes that its decoded pixels will take, as its header says; 0 where that is not to be understood."""
    sizes = [instance.get(keyword) for keyword in ("Rows", "Columns", "BitsAllocated")]
    return math.prod(sizes) // 8 * _frame_count(instance) if all(isinstance(size, int) for size in sizes) else 0


def folder_of_study(study_instance_uid: str) -> str:
    """Name of the folder that holds the files of one study."""
    return hashlib.sha256(study_instance_uid.encode()).hexdigest()


def _frame_count(instance: Instance) -> int:
    count = instance.get("NumberOfFrames", 1)
    return count if isinstance(count, int) else 0


def _frames(instance: Instance) -> list[Instance]:
    """The object's images; of their headers only what its pixels need, which all frames share."""
    count = _frame_count(instance)
    return [replace(instance, frame=number) for number in range(count)] if count > 1 else [instance]


def _file_of(instance: Instance, folder: Path) -> Path:
    content = f"{instance.sha256} {instance.transfer_syntax_uid} {_trusted_while()}"
    name = hashlib.sha256(content.encode()).hexdigest()
    return folder / folder_of_study(instance.study_instance_uid) / f"{name}.raw"


@lru_cache(maxsize=1)
def _trusted_while() -> str:
    return f"{BOOT_ID.read_text().strip()} imagecodecs {version('imagecodecs')}"
