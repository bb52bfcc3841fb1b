"""Recipe ``cpc`` (methods A3): its five models learn, and the bundle gives what was evaluated."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from inference.facts import Refused
from inference.model.applicability import quantities
from inference.model.bundle import load_bundle
from inference.model.contract import Subject
from inference.model.look import see
from inference.model.predict import Model
from inference.suv.tracer import Tracer
from training.evaluate.discrimination import auc_with_interval
from training.phantom.cohort import CohortSettings, Phantom, draw, render
from training.prepared import Parts, Prepared
from training.recipe import Conditions, Release, Stopped
from training.recipes import RECIPES, recipe
from training.recipes.cpc import LOOK, CpcSettings, look_of
from training.record import read_predictions
from training.run.run import Options, Origin, run

COUNT = 48
TINY = CpcSettings(
    steps=6, batch=8, members=2, evaluate_every=3, widths=(4, 4, 8, 8), cube=12, values=("age", "sex", "cea")
)
PARTS = Parts(np.arange(32), np.arange(32, 44))
TEST = np.arange(44, COUNT)
FDG = Subject(Tracer("fdg", "F-18"), 60.0, frozenset(), frozenset({"BQML"}))


@lru_cache
def phantoms() -> list[Phantom]:
    cohort = CohortSettings(COUNT, seed=5, extent_mm=96.0)
    return [render(subject, cohort) for subject in draw(cohort)]


@lru_cache
def prepared() -> Prepared:
    rng = np.random.default_rng(1)
    labels = np.array([0, 1] * (COUNT // 2), np.int8)
    seen = [see(p.suv, p.ct, p.region, look_of(TINY)) for p in phantoms()]
    found = [quantities(one, p.suv) for one, p in zip(seen, phantoms(), strict=True)]
    names = tuple(f"S{i}" for i in range(COUNT))
    age = (60.0 + 10.0 * labels + rng.normal(0, 5, COUNT)).tolist()
    return Prepared(
        patients=names,
        studies=names,
        centres=("A",) * COUNT,
        labels=labels,
        inputs={LOOK: np.stack([one.array for one in seen])},
        values={
            "age": tuple(age),
            "sex": tuple(np.where(rng.random(COUNT) < 0.5, "F", "M").tolist()),
            "cea": tuple(None if i % 5 == 0 else 3.0 for i in range(COUNT)),
        },
        quantities={name: np.array([one[name] for one in found]) for name in found[0]},
    )


def conditions(folder: Path, **changes: object) -> Conditions:
    return Conditions(seed=3, folder=folder, **changes)  # type: ignore[arg-type]


RELEASE = Release("cpc", "0.1.0", demonstration=True, card="Trained in a test.")


@pytest.mark.parametrize("variant", recipe("cpc").variants)
def test_every_model_learns_and_answers(variant: str, tmp_path: Path) -> None:
    estimator = recipe("cpc").estimator(TINY, variant).fit(prepared(), PARTS, conditions(tmp_path))
    found = estimator.predict_proba(prepared(), TEST)
    assert found.shape == (len(TEST),)
    assert ((found > 0) & (found < 1)).all()
    if variant == "clinical":  # the age tells the label
        assert found[1] > found[0]
        with pytest.raises(Refused, match="looks at no image"):
            estimator.save_bundle(tmp_path / "bundle", RELEASE)


def test_the_served_probability_is_the_evaluated_one(tmp_path: Path) -> None:
    data = prepared()
    estimator = recipe("cpc").estimator(TINY, "CPC").fit(data, PARTS, conditions(tmp_path))
    digest = estimator.save_bundle(tmp_path / "bundle", RELEASE)
    assert load_bundle(tmp_path / "bundle").digest == digest
    model = Model.load(tmp_path / "bundle", device="cpu", threads=1, warm=True)
    evaluated = estimator.predict_proba(data, TEST)
    for row, expected in zip(TEST, evaluated, strict=True):
        phantom = phantoms()[row]
        look = model.look(phantom.suv, phantom.ct, phantom.region, FDG, data.values_of(int(row)))
        assert look.prediction.probability == pytest.approx(expected, abs=1e-5)
        assert look.saliency is not None
        filled = [caution.text for caution in look.cautions if caution.code == "value-filled"]
        assert bool(filled) is bool(row % 5 == 0)


def test_a_value_it_always_had_is_needed_when_serving(tmp_path: Path) -> None:
    estimator = recipe("cpc").estimator(TINY, "CPC").fit(prepared(), PARTS, conditions(tmp_path))
    estimator.save_bundle(tmp_path / "bundle", RELEASE)
    model = Model.load(tmp_path / "bundle", device="cpu", threads=1)
    phantom = phantoms()[0]
    look = model.look(phantom.suv, phantom.ct, phantom.region, FDG, {"sex": "F", "cea": 3.0})
    assert look.prediction.status == "withheld"
    assert "age" in look.prediction.applicability_reasons[0]
    strange = model.look(phantom.suv, phantom.ct, phantom.region, FDG, {"age": 300.0, "sex": "F", "cea": 3.0})
    assert strange.prediction.applicability == "outside"
    assert "age lies far outside" in " ".join(strange.prediction.applicability_reasons)


def test_the_same_seed_gives_the_same_bundle_and_another_seed_another(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        estimator = recipe("cpc").estimator(TINY, "PC").fit(prepared(), PARTS, Conditions(seed, tmp_path / name))
        digests.append(estimator.save_bundle(tmp_path / name / "bundle", RELEASE))
    assert digests[0] == digests[1] != digests[2]


def test_single_modality_models_do_not_see_the_other(tmp_path: Path) -> None:
    data = prepared()
    other = data.inputs[LOOK].copy()
    other[:, 1] = 0.7  # another CT
    changed = Prepared(data.patients, data.studies, data.centres, data.labels, {LOOK: other}, data.values)
    for variant, same in (("P", True), ("C", False), ("PC", False)):
        estimator = recipe("cpc").estimator(TINY, variant).fit(data, PARTS, conditions(tmp_path / variant))
        before, after = estimator.predict_proba(data, TEST), estimator.predict_proba(changed, TEST)
        assert np.array_equal(before, after) is same


def test_networks_learn_what_their_modality_shows(tmp_path: Path) -> None:
    """Uptake in the middle tells the label; the CT tells nothing."""
    rng = np.random.default_rng(2)
    labels = np.arange(200) % 2
    images = rng.normal(0.0, 0.3, (200, 3, 12, 12, 12)).astype(np.float32)
    images[:, 0, 4:8, 4:8, 4:8] += labels[:, None, None, None]
    names = tuple(f"S{i}" for i in range(200))
    data = Prepared(names, names, ("A",) * 200, labels.astype(np.int8), {LOOK: images})
    parts, test = Parts(np.arange(80), np.arange(80, 120)), np.arange(120, 200)
    settings = TINY.model_copy(update={"steps": 90, "batch": 16, "members": 1, "evaluate_every": 30})
    aucs = {}
    for variant in ("P", "C"):
        estimator = recipe("cpc").estimator(settings, variant).fit(data, parts, conditions(tmp_path / variant))
        aucs[variant] = auc_with_interval(labels[test] == 1, estimator.predict_proba(data, test)).value
    assert aucs["P"] > 0.9
    assert 0.3 < aucs["C"] < 0.7


def test_a_stopped_fit_says_so_and_goes_on_to_the_same_end(tmp_path: Path) -> None:
    asked = iter([False] * 8 + [True] * 100)
    with pytest.raises(Stopped):
        recipe("cpc").estimator(TINY, "PC").fit(
            prepared(), PARTS, conditions(tmp_path / "stopped", stop=lambda: next(asked))
        )
    resumed = recipe("cpc").estimator(TINY, "PC").fit(prepared(), PARTS, conditions(tmp_path / "stopped"))
    whole = recipe("cpc").estimator(TINY, "PC").fit(prepared(), PARTS, conditions(tmp_path / "whole"))
    assert np.array_equal(resumed.predict_proba(prepared(), TEST), whole.predict_proba(prepared(), TEST))


def test_faults_are_refused_with_their_reason(tmp_path: Path) -> None:
    data = prepared()
    one_class = Parts(np.arange(0, 32, 2), PARTS.validation)
    with pytest.raises(Refused) as refusal:
        recipe("cpc").estimator(TINY, "PC").fit(data, one_class, conditions(tmp_path / "1"))
    assert refusal.value.code == "training-one-class"
    with pytest.raises(Refused, match="none of nothing"):
        recipe("cpc").estimator(CpcSettings(values=("nothing",)), "CPC").fit(data, PARTS, conditions(tmp_path / "2"))
    broken = data.inputs[LOOK].copy()
    broken[7] = np.nan
    bad = Prepared(data.patients, data.studies, data.centres, data.labels, {LOOK: broken})
    with pytest.raises(Refused) as refusal:
        recipe("cpc").estimator(TINY, "PC").fit(bad, PARTS, conditions(tmp_path / "3"))
    assert refusal.value.code == "training-loss-not-finite"


def test_the_paper_like_size_has_the_papers_network_and_what_is_given_stays() -> None:
    settings = CpcSettings.model_validate({"size": "paper-like", "cube": 64})
    assert (settings.widths, settings.cube, settings.learning_rate) == ((64, 128, 256, 512), 64, 1e-4)
    assert look_of(settings).spacing_mm == 3.0


def test_a_run_of_the_recipe_ends_with_a_bundle(tmp_path: Path) -> None:
    settings = TINY.model_copy(update={"steps": 3, "members": 1})
    options = Options(folds=2, seed=1, variants=("CPC", "clinical"))
    record = run(recipe("cpc"), settings, prepared(), tmp_path / "run", options, Origin("test", "made here"))
    assert record.state == "done"
    assert load_bundle(tmp_path / "run" / "bundle").served.tracers == ("fdg",)
    found = read_predictions(tmp_path / "run")
    assert {row.variant for row in found} == {"CPC", "clinical"}
    assert len([row for row in found if row.scheme == "cv" and row.variant == "CPC"]) == COUNT


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_what_the_registry_calls_it(name: str) -> None:
    found = recipe(name)
    assert found.name == name
    assert "reconstruction" in found.title
    assert found.looks(found.settings())
    assert all(model in found.variants or name in ("dlr", "dfsigm") for model, _, _ in found.published)


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(Refused, match="there are ussl, dlr, cpc, dfsigm, prrt_pfs"):
        recipe("usslnet")


def test_a_run_of_a_model_for_comparison_ends_without_a_bundle_and_says_why(tmp_path: Path) -> None:
    options = Options(folds=2, seed=1, variants=("clinical",))
    record = run(recipe("cpc"), TINY, prepared(), tmp_path / "run", options, Origin("test", "made here"))
    assert (record.state, record.bundle_digest) == ("done", "")
    assert "looks at no image" in str(record.facts["clinical, bundle"])
    assert not (tmp_path / "run" / "bundle").exists()
