"""The recipe ``ussl`` from a phantom cohort to a bundle that answers as the estimator does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from inference.facts import Refused
from inference.model.contract import NOBODY
from inference.model.predict import Model
from inference.suv.tracer import Tracer
from training.phantom.images import render_subject
from training.phantom.prepared import prepare_phantom
from training.phantom.settings import PhantomSettings
from training.phantom.subjects import draw_subjects
from training.prepared import Parts, Prepared
from training.recipe import Conditions, Release
from training.recipes.ussl import RECIPE, Ussl, UsslSettings, looks

PHANTOMS = PhantomSettings("ussl", 60, 11, unlabelled={"in-domain": 110})
SETTINGS = UsslSettings(steps=6, batch=4, unlabelled_batch=4, check_every=3)
RELEASE = Release("ussl", "1.0.0", demonstration=True)
PATIENT = replace(NOBODY, tracer=Tracer("fdg", "F-18"))


@pytest.fixture(scope="module")
def cohort() -> Prepared:
    return prepare_phantom(PHANTOMS, looks(SETTINGS))


@pytest.fixture(scope="module")
def parts(cohort: Prepared) -> Parts:
    sets = np.array(cohort.sets)
    train, unlabelled = np.flatnonzero(sets == "train"), np.flatnonzero(sets == "unlabelled")
    return Parts(train[:28], train[28:], unlabelled)


@pytest.mark.parametrize("variant", ["supervised+radiomics", "ussl", "distilled+agreement"])
def test_the_bundle_answers_as_the_estimator(variant: str, cohort: Prepared, parts: Parts, tmp_path: Path) -> None:
    model = Ussl(SETTINGS, variant).fit(cohort, parts, Conditions(1, tmp_path / "work"))
    digest = model.save_bundle(tmp_path / "bundle", RELEASE)
    served = Model.load(tmp_path / "bundle", device="cpu", threads=1)
    assert served.facts.digest == digest
    assert "phantoms" in served.facts.statement
    rows = np.flatnonzero(np.array(cohort.sets) == "external")[:3]
    subjects = draw_subjects(PHANTOMS)
    for row, expected in zip(rows, model.predict_proba(cohort, rows), strict=True):
        images = render_subject(subjects[row], PHANTOMS)
        look = served.look(images.suv, images.anatomy, images.region, PATIENT)
        assert look.prediction.probability == pytest.approx(expected, abs=1e-5)
        assert ("heatmap-of-network" in {c.code for c in look.cautions}) == ("+" in variant)


@pytest.mark.parametrize("variant", ["radiomics", "agreement"])
def test_features_alone_learn_and_are_not_served(variant: str, cohort: Prepared, parts: Parts, tmp_path: Path) -> None:
    model = Ussl(SETTINGS, variant).fit(cohort, parts, Conditions(1, tmp_path))
    found = model.predict_proba(cohort, parts.validation)
    assert ((found > 0) & (found < 1)).all()
    with pytest.raises(Refused) as refused:
        model.save_bundle(tmp_path / "bundle", RELEASE)
    assert refused.value.code == "recipe-variant-not-served"


def test_nothing_is_learnt_from_labels_of_other_rows(cohort: Prepared, parts: Parts, tmp_path: Path) -> None:
    hidden = cohort.labels.copy()
    others = np.setdiff1d(np.arange(len(cohort)), np.concatenate([parts.train, parts.validation]))
    hidden[others] = 1
    first = Ussl(SETTINGS, "distilled+agreement").fit(cohort, parts, Conditions(1, tmp_path / "a"))
    other = replace(cohort, labels=hidden)
    second = Ussl(SETTINGS, "distilled+agreement").fit(other, parts, Conditions(1, tmp_path / "b"))
    assert np.array_equal(first.predict_proba(cohort, others), second.predict_proba(cohort, others))


def test_it_is_named_a_reconstruction_and_publishes_no_figure() -> None:
    assert "reconstruction" in RECIPE.title
    assert RECIPE.published == ()
    assert RECIPE.variants[0] == "supervised+radiomics"


def test_a_method_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError, match="alternation"):
        UsslSettings(method="magic")


def test_a_fixed_crop_still_gets_its_features() -> None:
    assert set(looks(UsslSettings(look="fixed-crop", cube=32))) == {"lesion", "features"}
