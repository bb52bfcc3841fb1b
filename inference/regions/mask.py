"""A mask from a file, NIfTI or DICOM, on a given grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from inference.facts import BoolArray, Refused, Volume
from inference.geometry.resample import resample

NIFTI_ENDINGS = (".nii", ".nii.gz")


def read_mask(path: Path, grid: Volume) -> BoolArray:
    """The mask's voxels on ``grid`` (slice, row, column), placed by its own geometry.

    NIfTI: non-zero voxels, nearest neighbour, through its RAS affine.  RTSTRUCT and SEG: the union of their regions
    (``inference.regions.region.given_regions``), whoever drew them.  Raises Refused where the file is none of these.
    """
    if path.name.endswith(NIFTI_ENDINGS):
        return resample(_nifti(path, grid.frame_of_reference_uid), grid.affine, grid.array.shape, order=0).astype(bool)
    from inference.reading.instance import read_instance
    from inference.regions.region import given_regions

    full = np.zeros(grid.array.shape, bool)
    for given in given_regions(read_instance(path), grid):
        full |= given.region.full(full.shape)
    return full


def _nifti(path: Path, frame_of_reference_uid: str) -> Volume:
    """NIfTI names no Frame of Reference: that of the grid it is asked for is assumed."""
    import SimpleITK as sitk

    from inference.reading.nifti import what_is_wrong

    if why := what_is_wrong(path):
        raise Refused("mask-unreadable", f"{path.name}: {why}")
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        raise Refused("mask-unreadable", f"{path.name} is not a readable NIfTI file") from None
    if image.GetDimension() != 3:
        raise Refused("mask-unreadable", f"{path.name} has {image.GetDimension()} dimensions; a mask has 3")
    affine = np.eye(4)
    # ITK gives LPS and the order column, row, slice
    direction = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, :3] = direction[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return Volume((sitk.GetArrayFromImage(image) != 0), affine, frame_of_reference_uid)
