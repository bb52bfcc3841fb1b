"""The one resampler: right in space, the same with and without cropping, and its own types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from inference.facts import Volume
from inference.geometry.resample import resample


def turned(seed: int, spacing_mm: tuple[float, float, float], origin: float) -> np.ndarray[Any, Any]:
    """An affine with orthogonal axes in any direction, left- or right-handed."""
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing_mm
    affine[:3, 3] = origin
    return affine


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    spacing=st.tuples(st.floats(1.0, 4.0), st.floats(1.0, 4.0), st.floats(1.0, 4.0)),
)
def test_a_ramp_in_space_stays_the_ramp(seed: int, spacing: tuple[float, float, float]) -> None:
    """Linear interpolation reproduces a linear function of LPS, whatever both grids are."""
    affine, onto = turned(seed, spacing, 3.0), turned(seed + 1, (0.7, 0.9, 1.1), 0.0)
    index = np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing="ij"), axis=-1)
    affine[:3, 3] = -affine[:3, :3] @ [11.5, 11.5, 11.5]  # the volume's middle at the origin
    onto[:3, 3] = -onto[:3, :3] @ [3.0, 3.0, 3.0]
    volume = Volume(np.zeros((24, 24, 24)), affine, "")
    ramp = np.array([1.5, -2.0, 0.5])
    volume = Volume((volume.to_lps(index) @ ramp + 7.0).astype(np.float32), affine, "")
    there = np.stack(np.meshgrid(*[np.arange(7)] * 3, indexing="ij"), axis=-1) @ onto[:3, :3].T + onto[:3, 3]
    assert resample(volume, onto, (7, 7, 7)) == pytest.approx(there @ ramp + 7.0, abs=1e-3)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shift=st.floats(-60, 60))
def test_cropping_changes_no_value(seed: int, shift: float) -> None:
    """Against an interpolator that sees the whole volume; outside by more than half a voxel is fill."""
    rng = np.random.default_rng(seed)
    volume = Volume(rng.integers(-1024, 3000, (12, 15, 18)).astype(np.int16), turned(seed, (3.0, 2.0, 2.5), 0.0), "")
    onto = turned(seed + 1, (1.7, 1.3, 2.1), shift)
    index = volume.to_index(
        np.stack(np.meshgrid(*[np.arange(9)] * 3, indexing="ij"), -1) @ onto[:3, :3].T + onto[:3, 3]
    )
    limits = np.array(volume.array.shape) - 0.5
    inside = ((index > -0.4999) & (index < limits - 1e-4)).all(axis=-1)
    outside = ((index < -0.5001) | (index > limits + 1e-4)).any(axis=-1)
    wanted = map_coordinates(volume.array.astype(float), np.moveaxis(index, -1, 0), order=1, mode="nearest")
    found = resample(volume, onto, (9, 9, 9), fill=-5000.0)
    assert found.dtype == np.float32
    assert np.abs(found - wanted)[inside].max(initial=0.0) < 0.05
    assert (found[outside] == -5000.0).all()


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.int16, np.float32])
def test_nearest_keeps_type_and_values(kind: type) -> None:
    values = np.random.default_rng(0).integers(0, 2, (5, 6, 7)).astype(kind)
    affine = turned(1, (3.0, 2.0, 2.5), 4.0)
    finer = affine.copy()
    finer[:3, :3] /= 3
    finer[:3, 3] -= finer[:3, :3] @ [1, 1, 1]  # three voxels in each old one
    found = resample(Volume(values, affine, ""), finer, (15, 18, 21), order=0)
    assert found.dtype == values.dtype
    assert np.array_equal(found, values.repeat(3, 0).repeat(3, 1).repeat(3, 2))


def test_far_away_is_fill() -> None:
    volume = Volume(np.ones((4, 4, 4), np.int16), np.eye(4), "")
    far = np.eye(4)
    far[:3, 3] = 1000.0
    assert (resample(volume, far, (3, 3, 3), fill=-1024.0) == -1024.0).all()
