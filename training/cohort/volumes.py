"""Volumes from NIfTI and MHA files, through SimpleITK: already in SUVbw, HU or mg/ml, in LPS millimetres.

Such a file names no Frame of Reference and no unit: the table's column says what it holds, and that all files of a row
lie in one space.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from inference.facts import Caution, Refused, Volume
from inference.load import AIR_HU, MOST_AT_LIMIT, MOST_HU, MOST_IODINE_MG_PER_ML
from inference.reading.nifti import what_is_wrong

ENDINGS = (".nii", ".nii.gz", ".mha")
MOST_VOXELS = 2**28  # a gigabyte as float32
MOST_SUV = 500.0  # hotter than any tissue: Bq/ml, perhaps
HEADER_BYTES = 2**16
UNREADABLE = "cohort-image"


def is_volume_file(path: Path) -> bool:
    """Whether the name ends as a volume's."""
    return path.is_file() and path.name.lower().endswith(ENDINGS)


def read_volume(path: Path, frame_of_reference_uid: str) -> Volume:
    """The values of a file as float32 (slice, row, column), finite.  Raises ``Refused`` ``cohort-image``."""
    import SimpleITK as sitk

    _check_detached(path)
    if not path.name.lower().endswith(".mha") and (why := what_is_wrong(path)):
        raise _refused(path, why)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        size, components = reader.GetSize(), reader.GetNumberOfComponents()
        if len(size) != 3 or components != 1 or min(size) < 2:
            raise _refused(path, f"it is no volume of one value a voxel (size {size}, {components} value(s))")
        if prod(size) > MOST_VOXELS:
            raise _refused(path, f"it has {prod(size)} voxels; at most {MOST_VOXELS} are read")
        reader.SetOutputPixelType(sitk.sitkFloat32)
        image = reader.Execute()
    except RuntimeError:
        raise _refused(path, "SimpleITK cannot read it") from None
    array = sitk.GetArrayFromImage(image)
    affine = _affine(image)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-9:
        raise _refused(path, "its geometry is none (spacing or direction)")
    if not np.isfinite(array).all():
        raise _refused(path, "it holds values that are no numbers")
    return Volume(array, affine, frame_of_reference_uid)


def as_suv(volume: Volume, path: Path) -> tuple[Volume, tuple[Caution, ...]]:
    """PET in SUVbw (g/ml); what looks like another unit is said."""
    highest = float(volume.array.max())
    if highest <= 0.0:
        raise _refused(path, "it holds no uptake; a PET file is in SUVbw (g/ml)")
    text = f"SUVbw reaches {highest:.0f}: the file may be in Bq/ml."
    return volume, (Caution("suv-implausible", text),) if highest > MOST_SUV else ()


def as_hu(volume: Volume) -> Volume:
    """CT in HU as int16, from air on, as ``inference.load.load_ct`` gives it."""
    hu = np.rint(volume.array).clip(AIR_HU, MOST_HU).astype(np.int16)
    return Volume(hu, volume.affine, volume.frame_of_reference_uid)


def as_iodine(volume: Volume, path: Path) -> Volume:
    """Iodine in mg/ml.  Raises ``Refused`` where the values cannot be."""
    if np.count_nonzero(volume.array > MOST_IODINE_MG_PER_ML) > MOST_AT_LIMIT * volume.array.size:
        raise _refused(path, f"more than {MOST_AT_LIMIT:.0%} of it lies above {MOST_IODINE_MG_PER_ML:g} mg/ml")
    return volume


def _affine(image: Any) -> Any:
    """(slice, row, column, 1) → LPS mm; ITK has the order column, row, slice."""
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, :3] = direction[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return affine


def _check_detached(path: Path) -> None:
    """An MHA whose voxels lie in another file: what it holds would not be what the digest is of."""
    if path.suffix.lower() != ".mha":
        return
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    for line in head.split(b"\n"):
        key, _, value = line.partition(b"=")
        if key.strip() == b"ElementDataFile":
            if value.strip() != b"LOCAL":
                raise _refused(path, "its voxels lie in another file; save it as one file")
            return


def _refused(path: Path, why: str) -> Refused:
    return Refused(UNREADABLE, f"{path.name}: {why}.")
