"""Recipe ``prrt_pfs`` (methods A5): whole bodies and laboratory values are learnt from; the bundle says the same."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from inference.facts import Refused, Volume
from inference.model.applicability import quantities
from inference.model.bundle import load_bundle
from inference.model.contract import Subject
from inference.model.look import see
from inference.model.predict import Model
from inference.suv.tracer import Tracer
from training.evaluate.discrimination import auc_with_interval
from training.prepared import Parts, Prepared
from training.recipe import Conditions, Release
from training.recipes import recipe
from training.recipes.prrt_pfs import FUSED, LOOK, PrrtSettings, laboratory_specs, look_of

COUNT = 36
TINY = PrrtSettings(
    shape=(16, 16, 16),
    spacing_mm=16.0,
    widths=(4, 4, 8, 8),
    stem="small",
    image_width=8,
    value_width=4,
    steps=6,
    batch=6,
    evaluate_every=3,
    members=2,
    trees=10,
)
PARTS = Parts(np.arange(22), np.arange(22, 32))
TEST = np.arange(32, COUNT)
SSTR = Subject(Tracer("dotatoc", "Ga-68"), 60.0, frozenset(), frozenset({"BQML"}))
RELEASE = Release("prrt-pfs", "0.1.0", demonstration=True)


def body(uptake: float, seed: int) -> tuple[Volume, Volume]:
    """A trunk of water in air, 8 mm voxels, with one hot spot."""
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = 8.0 * np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]])
    affine[:3, 3] = [-128.0, -128.0, -120.0]
    k, r, c = np.indices((30, 32, 32))
    inside = ((r - 15.5) / 9.0) ** 2 + ((c - 15.5) / 13.0) ** 2 < 1.0
    ct = np.where(inside, 40, -1000) + rng.normal(0.0, 10.0, inside.shape)
    spot = (k - 14) ** 2 + (r - 15) ** 2 + (c - 18) ** 2 < 9
    suv = np.where(inside, 1.0, 0.0) + uptake * spot + rng.normal(0.0, 0.05, inside.shape)
    return Volume(suv.astype(np.float32), affine, "2.25.7"), Volume(ct.astype(np.int16), affine, "2.25.7")


@lru_cache
def bodies() -> list[tuple[Volume, Volume]]:
    return [body(5.0 + 10.0 * (i % 2), i) for i in range(COUNT)]


@lru_cache
def prepared() -> Prepared:
    labels = np.array([0, 1] * (COUNT // 2), np.int8)
    rng = np.random.default_rng(2)
    seen = [see(suv, ct, None, look_of(TINY)) for suv, ct in bodies()]
    found = [quantities(one, suv) for one, (suv, _) in zip(seen, bodies(), strict=True)]
    names = tuple(f"S{i}" for i in range(COUNT))
    cga = [None if i % 7 == 0 else float(np.exp(5.0 + 2.0 * labels[i] + 0.3 * rng.normal())) for i in range(COUNT)]
    return Prepared(
        patients=names,
        studies=names,
        centres=("A",) * COUNT,
        labels=labels,
        inputs={LOOK: np.stack([one.array for one in seen])},
        values={"cga": tuple(cga), "ldh": tuple(rng.normal(200.0, 30.0, COUNT).tolist())},
        quantities={name: np.array([one[name] for one in found]) for name in found[0]},
        months=np.where(labels == 1, 6.0, 20.0),
        events=np.ones(COUNT, np.int8),
    )


def conditions(folder: Path) -> Conditions:
    return Conditions(seed=3, folder=folder)


@pytest.mark.parametrize("variant", recipe("prrt_pfs").variants)
def test_every_model_learns_and_answers(variant: str, tmp_path: Path) -> None:
    estimator = recipe("prrt_pfs").estimator(TINY, variant).fit(prepared(), PARTS, conditions(tmp_path))
    found = estimator.predict_proba(prepared(), TEST)
    assert found.shape == (len(TEST),)
    assert ((found > 0) & (found < 1)).all()
    if variant == "lab RF":
        assert found[prepared().labels[TEST] == 1].min() > found[prepared().labels[TEST] == 0].max()
    if variant in ("lab RF", "late average"):
        with pytest.raises(Refused, match="comparison only"):
            estimator.save_bundle(tmp_path / "bundle", RELEASE)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, np.ndarray]:
    folder = tmp_path_factory.mktemp("prrt")
    estimator = recipe("prrt_pfs").estimator(TINY, FUSED).fit(prepared(), PARTS, conditions(folder))
    digest = estimator.save_bundle(folder / "bundle", RELEASE)
    assert load_bundle(folder / "bundle").digest == digest
    return Model.load(folder / "bundle", device="cpu", threads=1, warm=True), estimator.predict_proba(prepared(), TEST)


def test_the_served_probability_is_the_evaluated_one(served: tuple[Model, np.ndarray]) -> None:
    model, evaluated = served
    assert not model.needs_region
    for row, expected in zip(TEST, evaluated, strict=True):
        look = model.look(*bodies()[row], None, SSTR, prepared().values_of(int(row)))
        assert look.prediction.probability == pytest.approx(expected, abs=1e-5)
        assert look.saliency is not None
        said = [caution.text for caution in look.cautions if caution.code == "value-filled"]
        assert bool(said) is bool(row % 7 == 0)
        assert not said or "hromogranin" in said[0]


def test_without_any_value_it_speaks_and_says_what_was_filled(served: tuple[Model, np.ndarray]) -> None:
    model, _ = served
    look = model.look(*bodies()[0], None, SSTR)
    (caution,) = [caution for caution in look.cautions if caution.code == "value-filled"]
    assert "LDH" in caution.text
    assert look.prediction.probability is not None


def test_another_tracer_is_not_looked_at(served: tuple[Model, np.ndarray]) -> None:
    model, _ = served
    look = model.look(*bodies()[0], None, replace(SSTR, tracer=Tracer("fdg", "F-18")))
    assert look.prediction.status == "withheld"
    assert "dotatoc" in look.prediction.applicability_reasons[0]


def test_a_study_without_a_body_keeps_its_measures(served: tuple[Model, np.ndarray]) -> None:
    model, _ = served
    suv, ct = bodies()[0]
    look = model.look(suv, Volume(np.full_like(ct.array, -1000), ct.affine, ct.frame_of_reference_uid), None, SSTR)
    assert look.prediction.status == "withheld"
    assert "No body" in look.prediction.applicability_reasons[0]


def test_lost_subjects_are_left_out_or_made_up_for_by_weights(tmp_path: Path) -> None:
    data = prepared()
    months, events = data.months.copy(), data.events.copy()
    months[:4], events[:4] = 8.0, 0
    lost = recipe("prrt_pfs").relabelled(TINY, replace(data, months=months, events=events))
    assert lost.labels[:4].tolist() == [-1] * 4
    parts = Parts(np.arange(4, 22), PARTS.validation)
    found = [
        recipe("prrt_pfs")
        .estimator(TINY.model_copy(update={"censored": how}), FUSED)
        .fit(lost, parts, conditions(tmp_path / how))
        .predict_proba(lost, TEST)
        for how in ("left out", "weighted")
    ]
    assert not np.array_equal(*found)


def test_joint_fusion_finds_what_a_late_average_cannot(tmp_path: Path) -> None:
    """The suppressor of methods A5: the PET shows u + v, the CT u, and only v tells the label."""
    rng = np.random.default_rng(6)
    count = 700
    labels = np.arange(count) % 2
    u, v = rng.normal(0.0, 3.0, count), 2.0 * (labels - 0.5) + rng.normal(0.0, 0.5, count)
    images = np.stack([u + v, u], axis=1)[:, :, None, None, None] / 3.0 + 0.1 * rng.normal(size=(count, 2, 8, 8, 8))
    names = tuple(f"S{i}" for i in range(count))
    data = Prepared(
        patients=names,
        studies=names,
        centres=("A",) * count,
        labels=labels.astype(np.int8),
        inputs={LOOK: images.astype(np.float32)},
        values={"cga": tuple(rng.normal(5.0, 1.0, count).tolist())},
    )
    changes = {"shape": (8, 8, 8), "widths": (4, 4, 4, 4), "dropout": 0.0, "modality_dropout": 0.0}
    changes |= {"steps": 110, "batch": 16, "members": 1, "evaluate_every": 55, "learning_rate": 1e-2}
    settings = TINY.model_copy(update=changes)
    parts, test = Parts(np.arange(300), np.arange(300, 400)), np.arange(400, count)
    aucs = {}
    for variant in ("PET+CT", "late average"):
        estimator = recipe("prrt_pfs").estimator(settings, variant).fit(data, parts, conditions(tmp_path / variant))
        aucs[variant] = auc_with_interval(labels[test] == 1, estimator.predict_proba(data, test)).value
    assert aucs["late average"] < 0.7  # its best is .62, of the PET alone
    assert aucs["PET+CT"] > aucs["late average"] + 0.1


def test_cycles_are_never_offered() -> None:
    assert "cycles" in recipe("prrt_pfs").never
    assert not set(recipe("prrt_pfs").values) & set(recipe("prrt_pfs").never)
    with pytest.raises(ValidationError, match="known only after treatment"):
        PrrtSettings(values=("cga", "cycles"))


def test_the_tables_own_units_are_the_bundles() -> None:
    stated = laboratory_specs(TINY, replace(prepared(), units={"cga": "nmol/l"}), PARTS)
    assert {spec.name: spec.unit for spec in stated} == {"cga": "nmol/l", "ldh": "U/l"}


def test_settings_that_make_no_network_or_input_are_refused() -> None:
    for wrong in ({"shape": (4, 4, 4)}, {"strides": (2, 1, 1, 1)}, {"size": "full", "spacing_mm": 0.1}):
        with pytest.raises(ValidationError):
            PrrtSettings.model_validate(wrong)


def test_the_full_size_has_the_published_kind_of_network() -> None:
    settings = PrrtSettings.model_validate({"size": "full", "members": 2})
    assert (settings.widths, look_of(settings).shape, settings.members) == ((64, 128, 256, 512), (256, 128, 128), 2)
