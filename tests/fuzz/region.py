"""Target: the bytes of an RTSTRUCT or SEG → voxels on a small grid, or a refusal."""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from dicom_node.errors import ROWS
from inference.facts import Refused, Volume
from inference.reading.instance import read_instance
from inference.regions.region import given_regions
from tests.fuzz.header import LONGEST_S

REGION_CLASSES = ("1.2.840.10008.5.1.4.1.1.481.3", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
FOLDER = Path(tempfile.gettempdir())


def try_region(data: bytes) -> Refused | None:
    """Read the object and its regions.  Any other exception is a finding; the refusal is returned."""
    affine = np.array([[0.0, 0, 1, 0], [0, 1, 0, 0], [3.27, 0, 0, 0], [0, 0, 0, 1]])
    grid = Volume(np.zeros((4, 4, 4), np.float32), affine, "1.2.3.1.9")
    began = time.process_time()
    try:
        with tempfile.NamedTemporaryFile(dir=FOLDER, suffix=".dcm") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom on values that break their VR, as in a node
            file.write(data)
            file.flush()
            instance = read_instance(Path(file.name))
            if instance.sop_class_uid not in REGION_CLASSES:
                return None
            found = given_regions(instance, grid, (), grid)
    except Refused as refused:
        _check(refused)
        return refused
    assert all(region.region.mask.any() for region in found)
    assert time.process_time() - began < LONGEST_S, "too slow"
    return None


def _check(refused: Refused) -> None:
    assert refused.code in ROWS, f"{refused.code} is not in the table"
