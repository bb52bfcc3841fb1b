"""Known answers of methods D3 and D4: sphere, ramp, constant; and every number against its definition."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.facts import Refused, Region, Volume
from inference.lesions.measure import PEAK_RADIUS_MM, connected, measure, sphere, suv_peak
from tests.images import ball, grid

SPACINGS = [(3.27, 5.47, 5.47), (3.0, 4.07, 4.07), (2.0, 2.0, 2.0), (5.0, 1.5, 1.5), (1.0, 1.0, 1.0)]
HALVES = list(product((0.0, 0.5), repeat=3))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("centre", HALVES)
def test_the_sphere_is_one_millilitre_round_its_centre(
    spacing: tuple[float, float, float], centre: tuple[float, float, float]
) -> None:
    offsets, weights = sphere(spacing, centre)
    assert weights.sum() == pytest.approx(1.0)
    assert weights @ offsets == pytest.approx(centre, abs=1e-9)
    # a voxel wholly inside the sphere weighs its volume in ml: the sum of weights × 1 ml is then the sphere's volume
    volume_ml = np.prod(spacing) / 1000.0
    whole = weights.max()
    if max(spacing) < 2.5:  # only then is a voxel wholly inside
        assert volume_ml / whole == pytest.approx(1.0, rel=0.005)
    assert np.abs((offsets - centre) * spacing).max() < PEAK_RADIUS_MM + max(spacing)


def test_the_radius_gives_one_millilitre() -> None:
    assert 4 / 3 * np.pi * PEAK_RADIUS_MM**3 == pytest.approx(1000.0, rel=1e-3)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_peak_of_a_constant_is_the_constant(spacing: tuple[float, float, float]) -> None:
    suv = grid((21, 21, 21), spacing, fill=5.0)
    assert suv_peak(suv, Region((8, 8, 8), np.ones((4, 4, 4), bool))) == pytest.approx(5.0, rel=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_peak_of_a_ramp_is_its_value_at_the_best_centre(spacing: tuple[float, float, float]) -> None:
    suv = grid((31, 31, 31), spacing)
    index = np.stack(np.meshgrid(*[np.arange(31)] * 3, indexing="ij"), axis=-1)
    suv.array[:] = index @ [0.1, -0.02, 0.05] + 10.0
    region = Region((14, 14, 14), np.ones((3, 2, 3), bool))
    assert suv_peak(suv, region) == pytest.approx(10.0 + 1.6 - 0.28 + 0.8, rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spacing=st.sampled_from(SPACINGS[:3]))
def test_peak_equals_trying_every_centre(seed: int, spacing: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(seed)
    suv = grid((14, 16, 15), spacing)
    suv.array[:] = rng.gamma(2.0, 2.0, suv.array.shape)
    mask = rng.random((5, 6, 4)) < 0.8
    mask[2, 3, 2] = True
    region = Region((4, 5, 5), mask)
    full = region.full(suv.array.shape)
    best = -np.inf
    for halves in HALVES:
        offsets, weights = sphere(spacing, halves)
        for voxel in np.argwhere(full):
            corners = [range(v, v + 1 + int(h > 0)) for v, h in zip(voxel, halves, strict=True)]
            around = voxel + offsets
            if (around < 0).any() or (around >= suv.array.shape).any():
                continue
            if all(full[c] for c in product(*corners)):
                best = max(best, float(suv.array[tuple(around.T)] @ weights))
    assert suv_peak(suv, region) == pytest.approx(best, rel=1e-5)


def test_peak_is_the_same_after_a_flip() -> None:
    suv = grid((20, 20, 20), (3.0, 4.0, 4.0))
    suv.array[:] = np.random.default_rng(3).gamma(2.0, 2.0, suv.array.shape)
    mask = ball(suv, (40.0, 36.0, 27.0), 14.0)
    flipped = Volume(np.ascontiguousarray(suv.array[::-1, :, ::-1]), suv.affine, "")
    assert suv_peak(suv, Region.of(mask)) == pytest.approx(suv_peak(flipped, Region.of(mask[::-1, :, ::-1])), rel=1e-6)


def test_where_the_sphere_fits_nowhere_the_border_goes_on() -> None:
    suv = grid((3, 9, 9), (3.0, 3.0, 3.0), fill=2.0)
    assert suv_peak(suv, Region((1, 4, 4), np.ones((1, 1, 1), bool))) == pytest.approx(2.0)


def hu_like(suv: Volume, hu: int) -> Volume:
    return Volume(np.full(suv.array.shape, hu, np.int16), suv.affine, suv.frame_of_reference_uid)


def test_a_digital_sphere() -> None:
    """Uniform in nothing: MTV is the digital sphere, whatever box the region is (methods D3)."""
    suv = grid((30, 30, 30), (3.0, 2.0, 2.0))
    inside = ball(suv, (30.0, 28.0, 45.0), 17.0)
    suv.array[inside] = 8.0
    region = Region((3, 3, 3), np.ones((24, 24, 24), bool))
    found = measure(1, region, "SEG", suv, hu_like(suv, 37))
    assert np.array_equal(found.on_pet.mtv.full(suv.array.shape), inside)
    assert found.on_pet.mtv_ml == pytest.approx(inside.sum() * 0.012)
    assert found.on_pet.mtv_suv_mean == pytest.approx(8.0)
    assert found.on_pet.tlg == pytest.approx(found.on_pet.mtv_ml * 8.0)
    assert found.on_pet.mtv_threshold == pytest.approx(0.41 * 8.0)
    assert (found.on_pet.suv_max, found.on_pet.suv_peak) == pytest.approx((8.0, 8.0))
    assert found.volume_ml == pytest.approx(24**3 * 0.012)
    assert found.mean_hu == 37.0
    assert found.tracking_name == "Lesion 1"


def test_numbers_follow_their_definitions() -> None:
    suv = grid((12, 14, 16), (3.0, 2.0, 2.0))
    suv.array[:] = np.random.default_rng(5).uniform(0.0, 1.0, suv.array.shape)
    mask = np.zeros(suv.array.shape, bool)
    mask[4:8, 5:10, 6:11] = True
    suv.array[5, 6, 7], suv.array[6, 7, 8] = 9.0, 5.0  # hang together over a corner
    suv.array[7, 9, 10] = 6.0  # above the threshold but apart
    suv.array[5, 6, 2] = 50.0  # outside the region: not seen
    found = measure(3, Region.of(mask), "RTSTRUCT", suv, hu_like(suv, 40))
    assert found.on_pet.suv_max == 9.0
    assert found.on_pet.suv_mean == pytest.approx(suv.array[mask].mean(dtype=float))
    assert found.on_pet.max_lps_mm == (14.0, 12.0, 15.0)
    assert found.centroid_lps_mm == pytest.approx((16.0, 14.0, 16.5))
    assert found.on_pet.mtv.mask.sum() == 2
    assert found.on_pet.mtv.start == (5, 6, 7)
    assert found.on_pet.mtv_suv_mean == pytest.approx(7.0)
    assert found.on_pet.suv_peak <= found.on_pet.suv_max


def test_mean_hu_is_of_the_cts_own_voxels_in_the_region() -> None:
    suv = grid((8, 8, 8), (4.0, 4.0, 4.0), fill=3.0)
    ct = grid((32, 40, 40), (1.0, 0.8, 0.8))
    ct.array[:] = np.random.default_rng(0).integers(-100, 200, ct.array.shape)
    aside = ct.part_affine((0.1, 0.15, 0.2))  # no CT voxel's centre lies on the border of a PET voxel
    ct = Volume(ct.array.astype(np.int16), aside, ct.frame_of_reference_uid)
    mask = np.zeros((2, 3, 3), bool)
    mask[0, :, 1], mask[1, 1, :] = True, True
    found = measure(1, Region((3, 2, 2), mask), "SEG", suv, ct).mean_hu
    index = np.stack(np.meshgrid(*map(np.arange, ct.array.shape), indexing="ij"), axis=-1)
    nearest = np.floor(suv.to_index(ct.to_lps(index)) + 0.5).astype(int)
    inside = Region((3, 2, 2), mask).full((9, 9, 9))[tuple(np.moveaxis(nearest, -1, 0))]
    assert found == pytest.approx(ct.array[inside].mean(dtype=float), rel=1e-12)


@pytest.mark.parametrize(("code", "empty"), [("region-empty", True), ("region-outside-ct", False)])
def test_nothing_to_measure(code: str, empty: bool) -> None:
    suv = grid((8, 8, 8), (4.0, 4.0, 4.0), fill=3.0)
    ct: Any = hu_like(suv, 0)
    ct.affine[:3, 3] += 0.0 if empty else 500.0
    suv = grid((8, 8, 8), (4.0, 4.0, 4.0), fill=3.0)
    with pytest.raises(Refused) as refused:
        measure(1, Region((0, 0, 0), np.full((2, 2, 2), not empty)), "SEG", suv, ct)
    assert refused.value.code == code


def test_connected_keeps_only_the_seeds_part() -> None:
    mask = np.zeros((5, 5, 5), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[4, 4, 4] = True
    assert np.argwhere(connected(mask, (0, 0, 0))).tolist() == [[0, 0, 0], [1, 1, 1]]
