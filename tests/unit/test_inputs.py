"""The one preprocessing function: geometry, scaling, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.facts import Refused, Region, Volume
from inference.model.inputs import CanonicalRoi, FixedCrop, network_input, settings_digest
from training.phantom.cohort import CohortSettings, draw, render

FRAME = "2.25.7"


def grid(shape: tuple[int, int, int], spacing: tuple[float, float, float], centre=(0.0, 0.0, 0.0)) -> np.ndarray:
    """Slice → +S, row → +P, column → +L, centred on ``centre``."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, spacing[2]], [0, spacing[1], 0], [spacing[0], 0, 0]])
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def ball(volume: Volume, radius_mm: float, centre=(0.0, 0.0, 0.0)) -> np.ndarray:
    index = np.indices(volume.array.shape).reshape(3, -1).T
    away = np.linalg.norm(volume.to_lps(index) - np.array(centre), axis=1)
    return (away <= radius_mm).reshape(volume.array.shape)


def pair(suv: float = 0.0, hu: int = 40, shape=(40, 40, 40), spacing=(3.0, 2.0, 2.0)) -> tuple[Volume, Volume]:
    affine = grid(shape, spacing)
    return (
        Volume(np.full(shape, suv, np.float32), affine, FRAME),
        Volume(np.full(shape, hu, np.int16), affine.copy(), FRAME),
    )


def test_canonical_roi_brings_every_lesion_to_one_size_and_scale() -> None:
    look = CanonicalRoi()
    for radius_mm in (9.0, 20.0):
        suv, ct = pair(suv=1.0)
        inside = ball(suv, radius_mm)
        suv.array[inside] = 6.0
        seen = network_input(suv, ct, Region.of(inside), look)
        assert seen.array.shape == (3, 16, 16, 16)
        assert seen.array.dtype == np.float32
        occupied = (seen.array[2] > 0.3).sum()
        assert math.cbrt(3 * occupied / (4 * math.pi)) == pytest.approx(look.radius_voxels, rel=0.05)
        middle = seen.array[:, 8, 8, 8]
        assert middle == pytest.approx([1.0, 0.0, 0.6], abs=1e-5)
        assert not seen.array[:, 0, 0, 0].any()
        assert seen.region_ml == pytest.approx(4 / 3 * math.pi * radius_mm**3 / 1000, rel=0.03)
        assert seen.lost_fraction == 0.0
        assert seen.cautions == ()


def test_a_cold_core_belongs_to_the_region() -> None:
    suv, ct = pair()
    outer, core = ball(suv, 18.0), ball(suv, 8.0)
    suv.array[outer], suv.array[core] = 8.0, 2.0
    whole = network_input(suv, ct, Region.of(outer), CanonicalRoi())
    hollow = network_input(suv, ct, Region.of(outer & ~core), CanonicalRoi())
    assert np.array_equal(whole.array, hollow.array)
    assert whole.array[0, 8, 8, 8] == pytest.approx(0.25, abs=0.02)


def test_fixed_crop_keeps_absolute_scale_and_fills_outside_with_air() -> None:
    suv, ct = pair(suv=5.0, hu=-300)
    inside = ball(suv, 12.0)
    seen = network_input(suv, ct, Region.of(inside), FixedCrop())
    assert seen.array.shape == (2, 64, 64, 64)
    assert seen.array[:, 32, 32, 32] == pytest.approx([-0.5, 0.0], abs=1e-6)
    assert seen.array[:, 32, 0, 0] == pytest.approx([-1.0, -1.0])  # outside both images: SUV 0 and air
    edges = np.linalg.norm(seen.grid[:3, :3], axis=0)
    assert edges == pytest.approx([2.0, 2.0, 2.0])


def test_the_cube_runs_along_the_patient_axes_and_sits_on_the_centroid() -> None:
    suv, ct = pair(suv=1.0)
    inside = ball(suv, 10.0, centre=(8.0, -6.0, 12.0))
    suv.array[inside] = 5.0
    left = ball(suv, 4.0, centre=(14.0, -6.0, 12.0))
    suv.array[left] = 15.0
    seen = network_input(suv, ct, Region.of(inside), FixedCrop(size=32))
    middle_mm = seen.grid @ np.array([15.5, 15.5, 15.5, 1.0])
    assert middle_mm[:3] == pytest.approx([8.0, -6.0, 12.0], abs=0.6)
    hottest = np.unravel_index(seen.array[0].argmax(), seen.array[0].shape)
    assert hottest[2] > 16, "the column axis runs to the patient's left (+L)"
    assert abs(hottest[0] - 15.5) < 2
    assert abs(hottest[1] - 15.5) < 2


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations([0, 1, 2]),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    number=st.integers(0, 40),
)
def test_storage_order_changes_nothing(order: list[int], flips: tuple[bool, ...], number: int) -> None:
    cohort = CohortSettings(41, seed=5, extent_mm=80.0)
    phantom = render(draw(cohort)[number], cohort)
    mask = phantom.region.full(phantom.suv.array.shape)
    step = [slice(None, None, -1) if flip else slice(None) for flip in flips]
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1.0
    for new_axis, old_axis in enumerate(order):
        to_old[old_axis, new_axis] = -1.0 if flips[new_axis] else 1.0
        to_old[old_axis, 3] = mask.shape[old_axis] - 1 if flips[new_axis] else 0.0
    stored = Volume(phantom.suv.array.transpose(order)[tuple(step)], phantom.suv.affine @ to_old, "2.25.1")
    region = Region.of(mask.transpose(order)[tuple(step)])
    for look in (CanonicalRoi(), FixedCrop(size=24)):
        expected = network_input(phantom.suv, phantom.ct, phantom.region, look)
        found = network_input(stored, phantom.ct, region, look)
        assert np.allclose(found.array, expected.array, atol=2e-4)
        assert np.allclose(found.grid, expected.grid, atol=1e-6)


def test_an_oblique_grid_shows_the_same_lesion() -> None:
    """A smooth lesion sampled on a turned grid gives nearly the same input."""
    shape, spacing = (60, 60, 60), (2.0, 2.0, 2.0)
    straight = grid(shape, spacing)
    angle = math.radians(17)
    turn = np.eye(4)
    turn[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]

    def sampled(affine: np.ndarray) -> tuple[Volume, Region]:
        volume = Volume(np.zeros(shape, np.float32), affine, FRAME)
        lps = volume.to_lps(np.indices(shape).reshape(3, -1).T)
        scaled = (lps - np.array([3.0, -4.0, 5.0])) / np.array([16.0, 12.0, 20.0])
        volume.array[:] = (9.0 * np.exp(-(scaled**2).sum(axis=1))).reshape(shape)
        return volume, Region.of(volume.array > 3.0)

    ct = Volume(np.full(shape, 40, np.int16), straight, FRAME)
    a, b = (
        network_input(*(sampled(affine)[0], ct, sampled(affine)[1]), CanonicalRoi())
        for affine in (straight, turn @ straight)
    )
    assert np.abs(a.array[0] - b.array[0]).mean() < 0.02
    assert a.region_ml == pytest.approx(b.region_ml, rel=0.02)


def test_what_the_network_does_not_see_is_said() -> None:
    suv, ct = pair(suv=3.0)
    rod = np.zeros(suv.array.shape, bool)
    rod[18:22, 18:22, 2:38] = True
    seen = network_input(suv, ct, Region.of(rod), CanonicalRoi())
    assert [caution.code for caution in seen.cautions] == ["region-cropped"]
    assert seen.lost_fraction > 0.3

    short = Volume(ct.array[:20], ct.affine, FRAME)
    seen = network_input(suv, short, Region.of(ball(suv, 10.0)), CanonicalRoi())
    assert seen.without_ct_fraction == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize(
    "code", ["input-frame-of-reference", "input-region-empty", "input-region-without-uptake", "input-not-finite"]
)
def test_refusals(code: str) -> None:
    suv, ct = pair(suv=0.0 if code == "input-region-without-uptake" else 4.0)
    region = Region.of(ball(suv, 10.0))
    if code == "input-frame-of-reference":
        ct = Volume(ct.array, ct.affine, "2.25.8")
    if code == "input-region-empty":
        region = Region.of(np.zeros(suv.array.shape, bool))
    if code == "input-not-finite":
        suv.array[20, 20, 20] = np.nan
    with pytest.raises(Refused) as refusal:
        network_input(suv, ct, region, CanonicalRoi())
    assert refusal.value.code == code


def test_every_setting_changes_the_digest() -> None:
    digests = [settings_digest(CanonicalRoi()), settings_digest(FixedCrop())]
    digests += [
        settings_digest(CanonicalRoi(**{name: value}))
        for name, value in {
            "size": 24,
            "radius_voxels": 6.0,
            "percentile": 95.0,
            "ct_centre_hu": 0.0,
            "ct_width_hu": 100.0,
            "ct_clip": 3.0,
            "suv_scale": 5.0,
            "suv_clip": 30.0,
        }.items()
    ]
    digests += [
        settings_digest(FixedCrop(**{name: value}))
        for name, value in {
            "size": 96,
            "spacing_mm": 3.0,
            "suv_scale": 5.0,
            "suv_clip": 30.0,
            "ct_window_hu": (-160, 240),
        }.items()
    ]
    assert len(set(digests)) == len(digests)


def test_the_computation_is_the_one_the_shipped_bundle_was_trained_with() -> None:
    """If these numbers move, raise ``inputs.REVISION`` and train the demonstration bundle again."""
    cohort = CohortSettings(1, seed=3)
    phantom = render(draw(cohort)[0], cohort)
    canonical = network_input(phantom.suv, phantom.ct, phantom.region, CanonicalRoi()).array
    crop = network_input(phantom.suv, phantom.ct, phantom.region, FixedCrop()).array
    assert canonical.mean(axis=(1, 2, 3)) == pytest.approx(CANONICAL_MEANS, abs=1e-4)
    assert crop.mean(axis=(1, 2, 3)) == pytest.approx(CROP_MEANS, abs=1e-4)


CANONICAL_MEANS = [0.19002, -0.33014, 0.1329]
CROP_MEANS = [-0.90982, -0.70884]
