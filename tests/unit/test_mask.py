"""A mask from a NIfTI file is read whole or refused: what is missing of it would count as no lesion."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from inference.facts import Refused, Volume
from inference.regions.mask import read_mask

TO_LPS_MM = np.array([[0, 0, 2, 0], [0, 2, 0, 0], [2, 0, 0, 0], [0, 0, 0, 1]], float)  # slices along z
GRID = Volume(np.zeros((8, 8, 8), np.float32), TO_LPS_MM, "1.2.3")


def write(path: Path, values: np.ndarray) -> bytes:
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((2.0, 2.0, 2.0))
    sitk.WriteImage(image, str(path))
    return path.read_bytes()


def test_a_whole_mask_is_read(tmp_path: Path) -> None:
    values = (np.random.default_rng(0).random((8, 8, 8)) < 0.5).astype(np.uint8)
    for name in ("mask.nii", "mask.nii.gz"):
        write(tmp_path / name, values)
        np.testing.assert_array_equal(read_mask(tmp_path / name, GRID), values != 0)


def test_a_file_that_itk_would_read_as_zeros_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.nii", np.ones((8, 8, 8), np.uint8))
    packed = write(tmp_path / "whole.nii.gz", np.ones((8, 8, 8), np.uint8))
    bad = {
        "cut.nii": (whole[:-100], "cut off: 412 bytes"),
        "cut.nii.gz": (packed[:-4], "damaged"),
        "cut_then_packed.nii.gz": (gzip.compress(whole[:-100]), "cut off"),
        "text.nii": (b"no image", "no NIfTI"),
        "nan.nii": (write(tmp_path / "nan.nii", np.full((8, 8, 8), np.nan, np.float32)), "no numbers"),
    }
    for name, (content, why) in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Refused, match=why) as refusal:
            read_mask(tmp_path / name, GRID)
        assert refusal.value.code == "mask-unreadable"
        assert name in refusal.value.reason
