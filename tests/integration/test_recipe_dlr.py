"""Deep-learning radiomics end to end: fit, calibrate, bundle, and the node's answer equals the recipe's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dicom_node.cli import DONE, REFUSED, app
from inference.facts import Refused
from inference.model.bundle import load_bundle
from inference.model.contract import NOBODY
from inference.model.predict import Model
from training.phantom.images import render_subject
from training.phantom.prepared import prepare_phantom
from training.phantom.settings import PhantomSettings
from training.phantom.subjects import draw_subjects
from training.prepared import Parts, Prepared
from training.recipe import Conditions, Estimator, Release, Stopped
from training.recipes import recipe
from training.recipes.backbone import BackboneSettings, train_backbone
from training.recipes.dfsigm import AORTA

TINY = {"pixels": 32, "width": 4, "stem": "small"}
SUBJECTS = 60
FAST = ("logistic regression", "gradient boosting", "k nearest neighbours")
DEMONSTRATION = Release("tiny", "1", demonstration=True)


def cohort(name: str, folder: Path, **settings: object) -> tuple[Prepared, Parts]:
    made = recipe(name)
    looks = made.looks(made.settings(**TINY, **settings))
    data = prepare_phantom(PhantomSettings(preset=name, subjects=SUBJECTS, seed=5), looks, cache=folder)
    rows = np.arange(SUBJECTS)
    return data, Parts(rows[:40], rows[40:50])


def fitted(name: str, variant: str, data: Prepared, parts: Parts, folder: Path, **settings: object) -> Estimator:
    made = recipe(name)
    estimator = made.estimator(made.settings(**TINY, **settings), variant)
    return estimator.fit(data, parts, Conditions(3, folder / "fit"))


def looked(bundle: Path, name: str, row: int, data: Prepared) -> tuple[float, object]:
    """The node's probability of a phantom, from its images and its row of the table, and its heatmap."""
    cohort_settings = PhantomSettings(preset=name, subjects=SUBJECTS, seed=5)
    images = render_subject(draw_subjects(cohort_settings)[row], cohort_settings)
    subject = replace(NOBODY, kind=recipe(name).images)
    model = Model.load(bundle, threads=1)
    look = model.look(None, images.anatomy, images.region, subject, data.values_of(row))
    assert look.prediction.probability is not None, look.prediction.applicability_reasons
    return look.prediction.probability, look


@pytest.fixture(scope="module")
def dlr(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Parts]:
    return cohort("dlr", tmp_path_factory.mktemp("dlr"))


@pytest.mark.parametrize(("variant", "classifier"), [("dlr+clinical", FAST[0]), ("dlr", FAST[1])])
def test_the_node_gives_the_recipes_probability(
    variant: str, classifier: str, dlr: tuple[Prepared, Parts], tmp_path: Path
) -> None:
    data, parts = dlr
    estimator = fitted("dlr", variant, data, parts, tmp_path, classifiers=(classifier,))
    digest = estimator.save_bundle(tmp_path / "bundle", DEMONSTRATION)
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.digest == digest
    assert bundle.served.images == "CT"
    assert [spec.name for spec in bundle.served.values] == (
        list(recipe("dlr").values) if variant == "dlr+clinical" else []
    )
    expected = estimator.predict_proba(data, np.arange(50, 53))
    for row, probability in zip(range(50, 53), expected, strict=True):
        found, look = looked(tmp_path / "bundle", "dlr", row, data)
        assert found == pytest.approx(probability, abs=1e-5)
        has_map = classifier == "logistic regression"
        assert (look.saliency is not None) == has_map
        assert ("no-heatmap" in {c.code for c in look.cautions}) != has_map


def test_the_card_says_what_weights_and_what_is_kept(dlr: tuple[Prepared, Parts], tmp_path: Path) -> None:
    data, parts = dlr
    estimator = fitted("dlr", "dlr", data, parts, tmp_path, classifiers=FAST)
    estimator.save_bundle(tmp_path / "bundle", DEMONSTRATION)
    card = (tmp_path / "bundle" / "docs" / "README.md").read_text()
    assert "random, seed 0" in card
    assert "no feature vectors of training patients" in card
    assert set(estimator.facts["inner_auc"]) == set(FAST)
    assert estimator.facts["classifier"] in FAST[:2]


def test_the_same_fit_gives_the_same_bytes_and_shares_the_features(dlr: tuple[Prepared, Parts], tmp_path: Path) -> None:
    data, parts = dlr
    digests = [
        fitted("dlr", "dlr+clinical", data, parts, tmp_path, classifiers=FAST[:1]).save_bundle(
            tmp_path / f"bundle{i}", DEMONSTRATION
        )
        for i in range(2)
    ]
    assert digests[0] == digests[1]
    assert len(list(tmp_path.glob("deep-features-*.npy"))) == 1


def test_test_rows_take_no_part(dlr: tuple[Prepared, Parts], tmp_path: Path) -> None:
    """Other images, labels and values of the test rows change nothing for the validation rows."""
    data, parts = dlr
    test = np.arange(50, SUBJECTS)
    inputs, labels = np.array(data.inputs["slices"]), data.labels.copy()
    inputs[test], labels[test] = 0.7, 1 - labels[test]
    values = {name: (*column[:50], *[column[0]] * len(test)) for name, column in data.values.items()}
    spoilt = replace(data, inputs={"slices": inputs}, labels=labels, values=values, digest="")
    for variant in ("dlr+clinical", "clinical"):
        asked = [
            fitted("dlr", variant, d, parts, tmp_path, classifiers=FAST[:1]).predict_proba(d, parts.validation)
            for d in (data, spoilt)
        ]
        assert asked[0] == pytest.approx(asked[1], abs=1e-12)


def test_values_alone_learn_and_are_not_served(dlr: tuple[Prepared, Parts], tmp_path: Path) -> None:
    data, parts = dlr
    estimator = fitted("dlr", "clinical", data, parts, tmp_path)
    assert estimator.predict_proba(data, parts.validation).shape == (10,)
    with pytest.raises(Refused) as refusal:
        estimator.save_bundle(tmp_path / "bundle", DEMONSTRATION)
    assert refusal.value.code == "recipe-variant-not-served"
    with pytest.raises(Refused) as refusal:
        fitted("dlr", "dlr+clinical", replace(data, values={}), parts, tmp_path, classifiers=FAST[:1])
    assert refusal.value.code == "recipe-values-missing"


def test_a_value_that_training_always_had_is_asked_for(dlr: tuple[Prepared, Parts], tmp_path: Path) -> None:
    data, parts = dlr
    fitted("dlr", "dlr+clinical", data, parts, tmp_path, classifiers=FAST[:1]).save_bundle(
        tmp_path / "bundle", DEMONSTRATION
    )
    cohort_settings = PhantomSettings(preset="dlr", subjects=SUBJECTS, seed=5)
    images = render_subject(draw_subjects(cohort_settings)[0], cohort_settings)
    without = data.values_of(0) | {"age": None}
    model = Model.load(tmp_path / "bundle", threads=1)
    look = model.look(None, images.anatomy, images.region, replace(NOBODY, kind="CT"), without)
    assert look.prediction.status == "withheld"
    assert "age" in look.prediction.applicability_reasons[0]


def test_an_iodine_map_relative_to_the_aorta(tmp_path: Path) -> None:
    data, parts = cohort("dfsigm", tmp_path / "cache", normalise=True)
    estimator = fitted("dfsigm", "fusion", data, parts, tmp_path, normalise=True)
    estimator.save_bundle(tmp_path / "bundle", DEMONSTRATION)
    served = load_bundle(tmp_path / "bundle").served
    assert served.images == "iodine map"
    assert {spec.name: spec.missing for spec in served.values}[AORTA] == "refused"
    found, look = looked(tmp_path / "bundle", "dfsigm", 55, data)
    assert found == pytest.approx(estimator.predict_proba(data, np.array([55]))[0], abs=1e-5)
    assert look.saliency is not None
    assert len(estimator.facts["selection"]["kept"]) <= 12


def test_a_fit_that_is_asked_to_stop_stops(dlr: tuple[Prepared, Parts], tmp_path: Path) -> None:
    data, parts = dlr
    made = recipe("dlr")
    with pytest.raises(Stopped):
        made.estimator(made.settings(**TINY), "dlr").fit(data, parts, Conditions(0, tmp_path, stop=lambda: True))


def test_pretraining_writes_weights_that_the_recipe_takes(dlr: tuple[Prepared, Parts], tmp_path: Path) -> None:
    settings = BackboneSettings(pixels=32, width=4, stem="small", slices=1, subjects=24, steps=12, batch=4)
    report = train_backbone(tmp_path / "weights", settings, Conditions(0, tmp_path))
    again = train_backbone(tmp_path / "again", settings, Conditions(0, tmp_path))
    assert report.file.read_bytes() == again.file.read_bytes()
    assert json.loads((tmp_path / "weights" / "backbone.json").read_text())["explained"] == dict(report.explained)
    data, parts = dlr
    options = {"classifiers": FAST[:1], "weights": report.file}
    pretrained = fitted("dlr", "dlr", data, parts, tmp_path, **options)
    assert "phantoms" in pretrained.facts["weights"]
    random = fitted("dlr", "dlr", data, parts, tmp_path, classifiers=FAST[:1])
    rows = parts.validation
    assert not np.allclose(pretrained.predict_proba(data, rows), random.predict_proba(data, rows))
    made = recipe("dlr")
    other = made.settings(**TINY | {"pixels": 48}, weights=report.file)
    with pytest.raises(Refused, match="32 pixels") as refusal:
        made.estimator(other, "dlr").fit(data, parts, Conditions(0, tmp_path / "fit"))
    assert refusal.value.code == "backbone-weights"


def test_the_command_pretrains(tmp_path: Path) -> None:
    options = ("pixels=32", "width=4", "slices=1", "subjects=20", "steps=2", "batch=4")
    arguments = ["train", "backbone", "--out", str(tmp_path / "weights"), "--json"]
    answer = CliRunner().invoke(app, [*arguments, *(part for one in options for part in ("--set", one))])
    assert answer.exit_code == DONE, answer.output
    assert Path(json.loads(answer.stdout)["file"]).is_file()
    assert CliRunner().invoke(app, [*arguments, "--set", "colour=3"]).exit_code == REFUSED


@pytest.mark.parametrize(
    ("fault", "code"), [("absent", "backbone-file"), ("pickle", "backbone-file"), ("other", "backbone-weights")]
)
def test_weights_that_do_not_fit_are_refused(
    fault: str, code: str, dlr: tuple[Prepared, Parts], tmp_path: Path
) -> None:
    file = tmp_path / "weights.safetensors"
    if fault == "pickle":
        file.write_bytes(b"\x80\x04\x95" + bytes(100))
    if fault == "other":
        from safetensors.numpy import save_file

        save_file({"conv1.weight": np.zeros((8, 3, 7, 7), np.float32)}, file)
    data, parts = dlr
    with pytest.raises(Refused) as refusal:
        fitted("dlr", "dlr", data, parts, tmp_path, weights=file)
    assert refusal.value.code == code
