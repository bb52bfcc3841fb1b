"""What of a study is looked at, and its voxels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from inference.facts.refusal import Caution

FloatArray = npt.NDArray[np.floating[Any]]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Instance:
    """One SOP instance as it lies on disk.

    ``attributes`` holds the header values that assembly, SUV and geometry need, keyed by DICOM keyword, as plain
    JSON types (str, int, float, list, nested dict for sequence items); an attribute that is absent is not a key,
    one that is empty is ``None``.  ``pixel_offset``/``pixel_length`` locate the value of an uncompressed
    little-endian Pixel Data in the file (bytes); for encoded data ``pixel_offset`` is -1.
    ``sha256`` is the hex digest of the file's data set as stored (from the end of the meta header on).
    ``pixel_path`` is the file that ``pixel_offset`` and ``pixel_length`` count in where it is another one than
    ``path``: frames decoded on arrival.  ``frame`` is the zero-based frame of a multi-frame object that this
    stands for, whose ``attributes`` are then those of the frame as a single-frame image would have them; else -1.
    """

    path: str
    sha256: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    modality: str
    pixel_offset: int
    pixel_length: int
    attributes: Mapping[str, Any]
    pixel_path: str = ""
    frame: int = -1

    def get(self, keyword: str, default: Any = None) -> Any:
        """The attribute's value; ``default`` where it is absent or empty."""
        value = self.attributes.get(keyword)
        return default if value is None else value


@dataclass(frozen=True, slots=True)
class Series:
    """The instances of one series chosen for the pair, sorted along the slice normal, and why it was chosen."""

    study_instance_uid: str
    series_instance_uid: str
    instances: tuple[Instance, ...]
    why: str


Kind = Literal["PET/CT", "CT", "iodine map"]
"""What is looked at: a PET with its CT, a CT alone, or an iodine map of a dual-energy CT alone."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What of a study is looked at, and, where one was sent, a human's region (RTSTRUCT or SEG) on it.

    ``kind``: "PET/CT" is a PET series with the CT series that belongs to it; the other kinds have no PET (``pet`` is
    None), and ``ct`` is then that CT or iodine map.
    ``story`` is the list of choices made and their reasons, in plain sentences, for people.
    """

    pet: Series | None
    ct: Series
    region: Instance | None
    cautions: tuple[Caution, ...] = ()
    story: tuple[str, ...] = ()
    kind: Kind = "PET/CT"

    @property
    def reference(self) -> Series:
        """The series on whose grid regions lie and results are shown: the PET, without one the CT or iodine map."""
        return self.pet or self.ct

    @property
    def series(self) -> tuple[Series, ...]:
        """The series of images, the reference first."""
        return (self.pet, self.ct) if self.pet else (self.ct,)

    @property
    def images(self) -> tuple[Instance, ...]:
        """All slices, those of the reference first."""
        return tuple(i for series in self.series for i in series.instances)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the content: SOP Instance UIDs and bytes of all instances, in any order of arrival."""
        instances = [*self.images, *([self.region] if self.region else [])]
        lines = sorted({f"{i.sop_instance_uid} {i.sha256}" for i in instances})  # frames of one object count once
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Volume:
    """A regular image volume.

    ``array``: (slice, row, column).  ``affine``: 4×4, (slice, row, column, 1) → LPS mm.
    """

    array: npt.NDArray[Any]
    affine: FloatArray
    frame_of_reference_uid: str

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distances between voxel centres along (slice, row index, column index), mm."""
        k, r, c = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(k), float(r), float(c)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000.0)

    def to_lps(self, index: npt.ArrayLike) -> FloatArray:
        """Voxel indices (…, 3) as (slice, row, column) → LPS mm (…, 3)."""
        lps_mm: FloatArray = np.asarray(index, float) @ self.affine[:3, :3].T + self.affine[:3, 3]
        return lps_mm

    def part_affine(self, start: npt.ArrayLike) -> FloatArray:
        """The affine of the part that begins at the voxel ``start`` (slice, row, column)."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_lps(start)
        return affine

    def to_index(self, lps_mm: npt.ArrayLike) -> FloatArray:
        """LPS mm (…, 3) → fractional voxel indices (slice, row, column) (…, 3)."""
        inverse = np.linalg.inv(self.affine)
        index: FloatArray = np.asarray(lps_mm, float) @ inverse[:3, :3].T + inverse[:3, 3]
        return index


@dataclass(frozen=True, slots=True)
class Region:
    """A set of voxels of a grid, kept as its box: ``mask`` (slice, row, column) lies at ``start`` in the full array."""

    start: tuple[int, int, int]
    mask: BoolArray

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Indexing of the full array that gives the box."""
        k, r, c = (slice(s, s + n) for s, n in zip(self.start, self.mask.shape, strict=True))
        return k, r, c

    def full(self, shape: tuple[int, ...]) -> BoolArray:
        """The region as a Boolean array of the whole grid."""
        out = np.zeros(shape, bool)
        out[self.slices] = self.mask
        return out

    def moved(self, by: tuple[int, int, int]) -> Region:
        """A region found inside a box that begins at ``by``, in the full grid."""
        k, r, c = (a + b for a, b in zip(self.start, by, strict=True))
        return Region((k, r, c), self.mask)

    @classmethod
    def of(cls, full: BoolArray) -> Region:
        """Crop a full-grid mask to its bounding box.  An empty mask gives a box of size 0 at the origin."""
        where = [np.flatnonzero(full.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
        if any(w.size == 0 for w in where):
            return cls((0, 0, 0), np.zeros((0, 0, 0), bool))
        box = tuple(slice(int(w[0]), int(w[-1]) + 1) for w in where)
        return cls((box[0].start, box[1].start, box[2].start), full[box].copy())
