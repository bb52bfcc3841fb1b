"""Small cohorts on disk for tests: noise with one hot ball, as NIfTI, and a table that names them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

SHAPE = (12, 14, 16)  # slice, row, column
SPACING_MM = (4.0, 3.0, 3.0)


def write_volume(file: Path, array: npt.NDArray[Any], spacing_mm: Sequence[float] = SPACING_MM) -> None:
    """(slice, row, column), slice towards the head."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(v) for v in reversed(spacing_mm)])
    image.SetOrigin((-20.0, -15.0, 100.0))
    sitk.WriteImage(image, str(file), useCompression=False)


def write_study(folder: Path, name: str, seed: int, *, suv: float = 8.0) -> dict[str, str]:
    """PET, CT, iodine map and mask of one made subject; gives the paths as a table names them."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(SHAPE, SPACING_MM, strict=True)), indexing="ij"))
    middle = np.array([(n - 1) / 2 * s for n, s in zip(SHAPE, SPACING_MM, strict=True)]).reshape(3, 1, 1, 1)
    ball = ((grid - middle) ** 2).sum(axis=0) <= 13.0**2
    volumes = {
        "pet": (np.where(ball, suv, 0.8) * rng.uniform(0.8, 1.2, SHAPE)).astype(np.float32),
        "ct": (np.where(ball, 40.0, -800.0) + rng.normal(0.0, 12.0, SHAPE)).astype(np.int16),
        "iodine": (np.where(ball, 2.0, 0.3) + rng.uniform(0.0, 0.3, SHAPE)).astype(np.float32),
        "region": ball.astype(np.uint8),
    }
    paths = {}
    for role, array in volumes.items():
        paths[role] = f"{name}_{role}.nii"
        write_volume(folder / paths[role], array)
    return paths


def write_table(file: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """CSV with the columns of the first row."""
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def write_cohort(folder: Path, subjects: int = 8, **columns: Sequence[Any]) -> Path:
    """Every second subject positive, two centres; ``columns``: more of them, one cell a subject."""
    rows = []
    for i in range(subjects):
        paths = write_study(folder, f"s{i}", i)
        more = {name: cells[i] for name, cells in columns.items()}
        rows.append({"patient": f"P{i}", "centre": "AB"[i // 2 % 2], "label": i % 2, **paths, **more})
    return write_table(folder / "cohort.csv", rows)
