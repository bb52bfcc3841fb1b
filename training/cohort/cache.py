"""What was prepared once, kept by content: bytes of the images, settings, and the code that looked at them.

An entry is one ``.npz`` (arrays alone, no pickle; its members carry checksums), written beside its place and moved
there, so that a kill leaves no half of one.  An entry that cannot be read is made again.  The folder may be removed at
any time.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import inference

FORMAT = 2
OWN_SOURCES = ("images.py", "volumes.py", "seen.py")  # of this room: what else decides on an entry


class Facts(BaseModel):
    """What is known of one row besides the array.

    ``quantities``: ``inference.model.applicability``.  ``measured``: of the lesion (suv_max, mtv_ml …).  ``radiomics``:
    features by name, empty where the look gives none.  ``source``: of the region.  ``voxels``: digests of the images.
    ``cautions``: (code, text).  ``header``: age and sex of the DICOM header, where it has them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    quantities: dict[str, float]
    measured: dict[str, float]
    radiomics: dict[str, float]
    source: str
    voxels: tuple[str, ...]
    cautions: tuple[tuple[str, str], ...]
    header: dict[str, float | str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """``array``: float32, the network's input."""

    array: npt.NDArray[np.float32]
    facts: Facts


@lru_cache(maxsize=1)
def code_digest() -> str:
    """SHA-256 (hex) over the sources that turn files into inputs: a mended SUV rule must not leave old arrays."""
    root = Path(inference.__file__).parent
    own = [Path(__file__).with_name(name) for name in OWN_SOURCES]
    whole = hashlib.sha256(f"{FORMAT} {np.__version__}".encode())
    for file in [*sorted(p for p in root.rglob("*.py") if "bundles" not in p.parts), *own]:
        whole.update(file.read_bytes())
    return whole.hexdigest()


def entry_path(folder: Path, said: Mapping[str, str]) -> Path:
    """Where the entry lies that is decided by ``said`` and by the code."""
    text = "\n".join(f"{key}={value}" for key, value in sorted(said.items()))
    digest = hashlib.sha256(f"{code_digest()}\n{text}".encode()).hexdigest()
    return folder / digest[:2] / f"{digest}.npz"


def write_entry(path: Path, entry: Entry) -> None:
    """In one step; two processes that write the same entry write the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.{os.getpid()}.partial")
    text = np.frombuffer(entry.facts.model_dump_json().encode(), np.uint8)
    try:
        with partial.open("wb") as file:
            np.savez(file, array=entry.array, facts=text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_entry(path: Path) -> Entry | None:
    """None where there is none, or it is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            array, text = stored["array"], stored["facts"]
        facts = Facts.model_validate_json(text.tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, ValidationError):
        return None
    return Entry(array, facts) if array.dtype == np.float32 else None
