"""The 25 mask features, on cubes whose answer is known, and as a bundle keeps them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from inference.facts import Refused
from inference.model.inputs import CanonicalRoi, network_input
from inference.model.radiomics import NAMES, RATIOS, REVISION, SETS, LinearHead, radiomics
from inference.model.seen import NetworkInput
from training.phantom.cohort import CohortSettings, draw, render

SIZE = 16


def seen(core: float = 1.0, texture: float = 0.0, radius: float = 6.5) -> NetworkInput:
    """A sphere; its uptake is 1 outside and ``core`` at the centre, CT has white noise of ``texture``."""
    rho = np.sqrt(sum((np.indices((SIZE,) * 3)[axis] - 7.5) ** 2 for axis in range(3))) / radius
    inside = (rho <= 1.0).astype(np.float32)
    pet = 1.0 - (1.0 - core) * np.exp(-((rho / 0.5) ** 2))
    ct = texture * np.random.default_rng(0).standard_normal(rho.shape)
    array = (np.stack([pet, ct, 0.5 * pet]) * inside).astype(np.float32)
    return NetworkInput(array, np.eye(4), 12.0, 0.0, 0.0, 5.0, inside=inside)


def test_there_are_25_finite_features_and_the_sets_are_parts_of_them() -> None:
    found = radiomics(seen(0.6, 0.3))
    assert tuple(found) == NAMES
    assert len(NAMES) == len(set(NAMES)) == 25
    assert all(math.isfinite(value) for value in found.values())
    assert set(SETS["all"]) - set(SETS["without ratios"]) == set(RATIOS)
    assert set(SETS["first order"]) < set(SETS["without ratios"])


def test_a_cold_core_lowers_its_ratios_and_nothing_of_ct() -> None:
    warm, cold = radiomics(seen(1.0, 0.3)), radiomics(seen(0.4, 0.3))
    assert warm["ratio_pet_core_shell"] == pytest.approx(1.0, abs=1e-5)
    assert cold["ratio_pet_core_shell"] < 0.8
    assert cold["ratio_pet_core_p95"] < 0.75
    assert cold["pet_depth_correlation"] < -0.9
    assert all(cold[name] == warm[name] for name in NAMES if name.startswith(("ct_", "ratio_ct")))


def test_texture_shows_in_ct_only() -> None:
    smooth, coarse = radiomics(seen(0.6, 0.1)), radiomics(seen(0.6, 0.4))
    assert coarse["ct_sd"] == pytest.approx(4.0 * smooth["ct_sd"], rel=1e-3)
    assert coarse["ct_fine_sd"] == pytest.approx(4.0 * smooth["ct_fine_sd"], rel=1e-3)
    assert coarse["pet_entropy"] == smooth["pet_entropy"]


def test_a_ball_is_round_and_a_flat_region_is_not() -> None:
    ball = seen()
    flat = ball.inside.copy()
    flat[:, :6], flat[:, 10:] = 0.0, 0.0
    thin = NetworkInput(ball.array * flat, np.eye(4), 4.0, 0.0, 0.0, 5.0, inside=flat)
    assert radiomics(ball)["sphericity"] == pytest.approx(1.0, abs=0.05)
    assert radiomics(ball)["elongation"] == pytest.approx(1.0, abs=0.01)
    assert radiomics(thin)["sphericity"] < 0.85


def test_the_rim_s_weight_does_not_count() -> None:
    full = seen(0.6, 0.3)
    weight = full.inside * 0.7
    dimmed = NetworkInput(full.array * np.float32(0.7), np.eye(4), 12.0, 0.0, 0.0, 5.0, inside=weight)
    a, b = radiomics(full), radiomics(dimmed)
    assert all(b[name] == pytest.approx(a[name], rel=1e-4, abs=1e-4) for name in NAMES)


def test_a_sliver_is_refused_and_another_preset_is_a_mistake() -> None:
    one = seen()
    sliver = np.zeros_like(one.inside)
    sliver[7, 7, 4:12] = 1.0
    with pytest.raises(Refused) as refused:
        radiomics(NetworkInput(one.array * sliver, np.eye(4), 1.0, 0.0, 0.0, 5.0, inside=sliver))
    assert refused.value.code == "radiomics-region"
    with pytest.raises(ValueError, match="canonical"):
        radiomics(NetworkInput(one.array, np.eye(4), 1.0, 0.0, 0.0, 5.0))


@pytest.mark.parametrize("thickness", [2, 3, 4])
def test_thin_regions_give_finite_numbers(thickness: int) -> None:
    one = seen(0.5, 0.3)
    plate = np.zeros_like(one.inside)
    plate[7 : 7 + thickness, 4:12, 4:12] = 1.0
    found = radiomics(NetworkInput(one.array * plate, np.eye(4), 1.0, 0.0, 0.0, 5.0, inside=plate))
    assert all(math.isfinite(value) for value in found.values())


def test_the_planted_score_shows_in_pet_and_in_ct() -> None:
    settings = CohortSettings(24, 5)
    subjects = draw(settings)
    rows = []
    for subject in subjects:
        phantom = render(subject, settings)
        rows.append(list(radiomics(network_input(phantom.suv, phantom.ct, phantom.region, CanonicalRoi())).values()))
    found, score = np.array(rows), [subject.score for subject in subjects]
    related = {name: abs(np.corrcoef(found[:, i], score)[0, 1]) for i, name in enumerate(NAMES)}
    assert related["ratio_pet_core_p95"] > 0.5
    assert related["ct_gradient"] > 0.6
    assert related["volume_log"] < 0.3


def head(**changed: object) -> LinearHead:
    one = {
        "revision": REVISION,
        "names": ("ct_sd",),
        "means": (1.0,),
        "sds": (2.0,),
        "weights": (3.0,),
        "intercept": 0.5,
    }
    return LinearHead.model_validate({**one, **changed})


def test_the_head_adds_the_network_and_clips_what_is_odd() -> None:
    assert head(network_weight=0.25).score({"ct_sd": 3.0}, 4.0) == pytest.approx(0.5 + 1.0 + 3.0)
    assert head().score({"ct_sd": 1e9}, 0.0) == pytest.approx(0.5 + 15.0)


@pytest.mark.parametrize(
    "changed",
    [{"revision": REVISION + 1}, {"names": ("no_feature",)}, {"means": ()}, {"sds": (0.0,)}, {"weights": (math.nan,)}],
)
def test_a_head_that_cannot_be_right_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        head(**changed)
