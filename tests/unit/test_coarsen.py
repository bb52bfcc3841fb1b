"""Blocks of voxels: a linear field stays what it is, everything small leaves its trace, and places do not move."""

from __future__ import annotations

import numpy as np
import pytest

from inference.facts import Volume
from inference.geometry.coarsen import coarsened
from inference.geometry.resample import resample

GRID = np.diag([8.0, 8.0, 8.0, 1.0])


def volume(array: np.ndarray, spacing: tuple[float, float, float] = (3.0, 2.0, 2.0)) -> Volume:
    """Larger than the grid by some blocks on every side."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-25.0, -30.0, -29.0]
    return Volume(array, affine, "2.25.1")


def test_a_linear_field_keeps_its_values_at_its_places() -> None:
    empty = volume(np.zeros((40, 60, 60), np.float32))
    points = empty.to_lps(np.indices(empty.array.shape).reshape(3, -1).T)
    ramp = volume((points @ [1.0, 2.0, -3.0]).reshape(empty.array.shape).astype(np.float32))
    coarse = coarsened(ramp, GRID, (6, 6, 6))
    assert coarse.spacing_mm == (6.0, 8.0, 8.0)
    found = resample(coarse, GRID, (6, 6, 6))
    expected = np.indices((6, 6, 6)).reshape(3, -1).T * 8.0 @ [1.0, 2.0, -3.0]
    assert found.ravel() == pytest.approx(expected, abs=1e-3)


def test_a_single_voxel_is_not_stepped_over() -> None:
    for place in ((12, 21, 22), (13, 20, 19), (17, 25, 23)):
        array = np.zeros((40, 60, 60), np.float32)
        array[place] = 64.0
        assert resample(coarsened(volume(array), GRID, (6, 6, 6)), GRID, (6, 6, 6)).max() > 0.1


def test_integers_are_averaged_without_running_over() -> None:
    coarse = coarsened(volume(np.full((40, 60, 60), 30_000, np.int16)), GRID, (6, 6, 6))
    assert coarse.array.dtype == np.float32
    assert (coarse.array == 30_000.0).all()


def test_a_volume_that_is_as_coarse_or_lies_elsewhere_is_given_back() -> None:
    same = volume(np.zeros((8, 8, 8), np.float32), (5.0, 5.0, 5.0))
    assert coarsened(same, GRID, (6, 6, 6)) is same
    away = GRID.copy()
    away[:3, 3] = 1e4
    fine = volume(np.zeros((8, 8, 8), np.float32))
    assert coarsened(fine, away, (6, 6, 6)) is fine
