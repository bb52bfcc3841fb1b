"""The scale of SUV against what the header and physics say a second time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inference.suv.calibration import calibration_cautions
from inference.suv.rule import suv_rule
from tests.images import HALF_LIFE_S, grid, image

FRAME_S = 180.0
PER_SECOND = math.log(2) / HALF_LIFE_S
OF_THE_FRAME = PER_SECOND * FRAME_S / -math.expm1(-PER_SECOND * FRAME_S)


def codes(values: float | np.ndarray = 1.0, **attributes: object) -> list[str]:
    """The cautions on a volume of 6 slices, 50 × 50 voxels of 0.1 ml, 150 g in all."""
    pets = [image(n, (0, 0, 4.0 * n), "PT", **attributes) for n in range(6)]
    suv = grid((6, 50, 50), (4.0, 5.0, 5.0))
    suv.array[:] = values
    return [c.code for c in calibration_cautions(pets, suv_rule(pets), suv)]


@pytest.mark.parametrize("factor", [None, 1, OF_THE_FRAME, 1.02 * OF_THE_FRAME])
def test_a_decay_factor_that_fits_or_is_not_stated(factor: float | None) -> None:
    assert codes(DecayFactor=factor) == []


def test_a_decay_factor_of_another_reference_time() -> None:
    assert codes(DecayFactor=OF_THE_FRAME * math.exp(PER_SECOND * 3600)) == ["decay-factor-disagrees"]
    late = {"AcquisitionTime": "120000", "DecayFactor": OF_THE_FRAME * math.exp(PER_SECOND * 3600)}
    assert codes(**late) == []  # the scan began at 11, this slice came at 12
    assert "decay-factor-disagrees" not in codes(DecayFactor=3.0, DecayCorrection="NONE")


def test_more_than_was_injected() -> None:
    """70 kg: a hot spot may hold the whole dose, not more."""
    values = np.zeros((6, 50, 50))
    values[2:4, 20:30, 20:30] = 3000.0  # 20 ml
    assert "more-than-the-dose" not in codes(values)
    values[2:4, 20:30, 20:30] = 6000.0
    assert "more-than-the-dose" in codes(values)


@pytest.mark.parametrize("level", [1e-4, 101.0])
def test_values_of_no_pet(level: float) -> None:
    assert "suv-implausible" in codes(level)


@pytest.mark.parametrize(("one", "said"), [(25.0, True), (15.0, False), (0.0, False), (0.001, False)])
def test_a_slice_unlike_its_neighbours(one: float, said: bool) -> None:
    values = np.ones((6, 50, 50))
    values[3] = one
    assert (codes(values) == ["slice-scale-differs"]) is said


def test_a_slice_that_lost_its_scale() -> None:
    values = np.full((6, 50, 50), 2.0)
    values[3] = 0.002
    assert codes(values) == ["slice-scale-differs"]
    values[4:] = 0.002  # the end of the body is no jump
    assert codes(values) == []
