"""The whole-body input: right place, right scale, and what it loses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from inference.facts import Refused, Volume
from inference.model.applicability import out_of_range, quantities
from inference.model.explain import saliency_on_grid
from inference.model.inputs import settings_digest
from inference.model.look import needs_region, see
from inference.model.whole_body import WholeBody, whole_body_input

LOOK = WholeBody(shape=(32, 24, 24), spacing_mm=16.0)
FRAME = "2.25.5"


def volume(
    value: Callable[[np.ndarray], np.ndarray],
    spacing: tuple[float, float, float],
    size: tuple[int, int, int],
    z0: float,
) -> Volume:
    """An axial volume centred on x = y = 0; slices from z0 up; ``value`` of LPS points."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, spacing[2]], [0, spacing[1], 0], [spacing[0], 0, 0]])
    affine[:3, 3] = [-(size[2] - 1) / 2 * spacing[2], -(size[1] - 1) / 2 * spacing[1], z0]
    empty = Volume(np.zeros(size, np.float32), affine, FRAME)
    points = empty.to_lps(np.indices(size).reshape(3, -1).T)
    return Volume(value(points).reshape(size).astype(np.float32), affine, FRAME)


def patient(points: np.ndarray) -> np.ndarray:
    """Water in a tube of 150 × 110 mm, 20 mm to the left."""
    return np.where(((points[:, 0] - 20) / 150) ** 2 + (points[:, 1] / 110) ** 2 < 1, 40.0, -1000.0)


def hot(points: np.ndarray) -> np.ndarray:
    """SUV 1 in the body and 50 in a ball at (60, -30, 300)."""
    ball = np.linalg.norm(points - [60.0, -30.0, 300.0], axis=1) < 30.0
    return np.where(ball, 50.0, np.where(patient(points) > 0, 1.0, 0.0))


def pair(z0: float = 0.0, length_mm: float = 480.0) -> tuple[Volume, Volume]:
    count = int(length_mm / 5)
    return volume(hot, (5, 5, 5), (count, 80, 80), z0), volume(patient, (4, 4, 4), (int(640 / 4), 110, 110), -80.0)


def test_defaults_are_those_of_the_specification() -> None:
    look = WholeBody()
    assert (look.shape, look.spacing_mm, look.suv_clip, look.ct_window_hu) == ((256, 128, 128), 4.0, 30.0, (-160, 240))
    assert not needs_region(look)
    assert look.channels == ("PET absolute", "CT")


def test_what_is_seen_lies_where_it_lay_and_is_scaled() -> None:
    suv, ct = pair()
    seen = see(suv, ct, None, LOOK)
    assert seen.array.shape == (2, *LOOK.shape)
    assert seen.array.dtype == np.float32
    assert (seen.array.min(), seen.array.max()) == (0.0, 1.0)  # 50 g/ml is clipped to 30
    index = np.argwhere(seen.array[0] > 0.9)
    centre = (seen.grid @ np.array([*index.mean(axis=0), 1.0]))[:3]
    assert centre == pytest.approx([60.0, -30.0, 300.0], abs=8.0)
    inside = seen.array[:, 16, 12, 11]
    assert inside == pytest.approx([1.0 / 30.0, (40 + 160) / 400], abs=1e-3)


def test_it_is_centred_on_the_body_within_the_pet_and_counts_it() -> None:
    suv, ct = pair()
    seen = whole_body_input(suv, ct, LOOK)
    middle = (seen.grid @ np.array([*((np.array(LOOK.shape) - 1) / 2), 1.0]))[:3]
    assert middle == pytest.approx([20.0, 0.0, 237.5], abs=6.0)
    assert seen.region_ml == pytest.approx(np.pi * 150 * 110 * 480 / 1000, rel=0.05)
    assert (seen.lost_fraction, seen.without_ct_fraction, seen.cautions) == (0.0, 0.0, ())
    found = quantities(seen, suv)
    assert found["body_suv_max"] == pytest.approx(50.0, rel=0.05)
    assert found["body_ml"] == seen.region_ml
    assert not {"region_ml", "suv_max", "lost_percent"} & set(found)  # those are a lesion's
    (told,) = out_of_range(found, {"body_ml": (1.0, 2.0)})
    assert told.startswith("the body's volume")
    assert found["slice_spacing_mm"] == 5.0


def test_what_does_not_fit_is_said() -> None:
    suv, ct = pair()
    seen = whole_body_input(suv, ct, WholeBody(shape=(15, 24, 24), spacing_mm=16.0))  # 240 of 480 mm
    assert seen.lost_fraction == pytest.approx(0.5, abs=0.03)
    assert [caution.code for caution in seen.cautions] == ["body-cropped"]


@settings(max_examples=5, deadline=None)
@given(z0=st.floats(-60.0, 60.0), length=st.floats(200.0, 500.0))
def test_a_shorter_scan_moves_the_box_and_nothing_else(z0: float, length: float) -> None:
    suv, ct = pair(z0, length)
    seen = whole_body_input(suv, ct, LOOK)
    middle = (seen.grid @ np.array([*((np.array(LOOK.shape) - 1) / 2), 1.0]))[:3]
    assert middle[2] == pytest.approx(z0 + (suv.array.shape[0] - 1) * 2.5, abs=8.0)
    assert seen.lost_fraction < 0.02


def test_a_heatmap_over_a_box_that_is_no_cube_lies_where_its_cell_does() -> None:
    suv, ct = pair()
    seen = whole_body_input(suv, ct, LOOK)
    cells = np.zeros((8, 6, 6), np.float32)
    cells[5, 2, 3] = 2.0
    saliency = saliency_on_grid(cells, seen, 4, suv)
    assert (saliency.cell_mm, saliency.raw_max) == (64.0, pytest.approx(2.0, rel=0.1))
    hottest = np.array(np.unravel_index(saliency.array.argmax(), saliency.array.shape)) + saliency.start
    expected = (seen.grid @ np.array([20.0, 8.0, 12.0, 1.0]))[:3]
    assert suv.to_lps(hottest) == pytest.approx(expected, abs=5.0)


def test_a_turned_stack_of_slices_gives_the_same() -> None:
    """Head-first or feet-first order of the slices is no other patient."""
    suv, ct = pair()
    affine = suv.affine.copy()
    affine[:3, 3] = suv.to_lps([suv.array.shape[0] - 1, 0, 0])
    affine[:3, 0] *= -1.0
    again = whole_body_input(Volume(suv.array[::-1].copy(), affine, FRAME), ct, LOOK)
    assert np.allclose(again.array, whole_body_input(suv, ct, LOOK).array, atol=1e-5)


@pytest.mark.parametrize("fault", ["air", "elsewhere", "frame", "nan", "no PET"])
def test_what_cannot_be_looked_at_is_refused(fault: str) -> None:
    suv, ct = pair()
    if fault == "air":
        ct = Volume(np.full_like(ct.array, -1000.0), ct.affine, FRAME)
    if fault == "elsewhere":
        suv = volume(hot, (5, 5, 5), (40, 80, 80), 5000.0)
    if fault == "frame":
        ct = Volume(ct.array, ct.affine, "2.25.6")
    if fault == "nan":
        suv.array[50, 40, 40] = np.nan
    with pytest.raises(Refused) as refusal:
        see(None if fault == "no PET" else suv, ct, None, LOOK)
    assert (
        refusal.value.code
        == {
            "air": "input-without-body",
            "elsewhere": "input-without-body",
            "frame": "input-frame-of-reference",
            "nan": "input-not-finite",
            "no PET": "input-without-pet",
        }[fault]
    )


@pytest.mark.parametrize(
    "wrong", [{"shape": (4, 64, 64)}, {"shape": (512, 512, 512)}, {"ct_window_hu": (240.0, -160.0)}]
)
def test_settings_that_make_no_box_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        WholeBody.model_validate(wrong)


def test_every_setting_changes_the_digest() -> None:
    changed = [{}, {"shape": (64, 64, 64)}, {"spacing_mm": 8.0}, {"suv_clip": 20.0}, {"ct_window_hu": (-160.0, 300.0)}]
    assert len({settings_digest(WholeBody.model_validate(one)) for one in changed}) == len(changed)
