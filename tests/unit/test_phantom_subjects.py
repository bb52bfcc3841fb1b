"""The subjects of a phantom cohort: what depends on what, and that nothing but the planted scores tells the label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from inference.facts import Refused
from training.phantom.latents import Clustered, GaussianSources, empirical_auc
from training.phantom.presets import PRESETS, Levels
from training.phantom.settings import PhantomSettings, label_model_named
from training.phantom.subjects import PhantomSubject, draw_subjects, scores_of
from training.phantom.truth import bayes_auc_with_centre, bayes_aucs, bayes_aucs_as_given, truth_of


def drawn(preset: str, count: int, **changed: Any) -> list[PhantomSubject]:
    return draw_subjects(PhantomSettings(preset, subjects=count, **({"unlabelled": {}} | changed)))


def auc(subjects: list[PhantomSubject], reading: Callable[[PhantomSubject], float]) -> float:
    return empirical_auc(np.array([s.label for s in subjects]), np.array([reading(s) for s in subjects]))


@pytest.mark.parametrize("name", PRESETS)
def test_a_larger_cohort_contains_the_smaller_one(name: str) -> None:
    assert drawn(name, 12, seed=4)[:5] == drawn(name, 5, seed=4)
    assert drawn(name, 5, seed=5) != drawn(name, 5, seed=4)


@pytest.mark.parametrize("name", PRESETS)
def test_shares_of_the_columns_add_up(name: str) -> None:
    preset = PRESETS[name]
    assert sum(part.share for part in preset.parts) == pytest.approx(1.0)
    total = sum(column.share**2 for column in preset.informative)
    assert total == pytest.approx(1.0 if "clinical" in preset.label_model.sources else 0.0)
    assert all(sum(c.odds) == pytest.approx(1.0) for c in preset.columns if isinstance(c, Levels))


def test_parts_have_the_papers_sizes() -> None:
    assert Counter(s.part for s in drawn("cpc", 331)) == {"train": 180, "internal": 77, "external": 74}
    assert Counter(s.part for s in drawn("dfsigm", 267)) == {"train": 143, "internal": 60, "external": 64}
    assert {s.centre for s in drawn("cpc", 331) if s.part == "external"} == {1}
    assert {s.centre for s in drawn("ussl", 100) if s.part == "train"} == {0, 1, 2}


@pytest.mark.parametrize("name", ["dlr", "cpc", "dfsigm", "prrt_pfs"])
def test_the_columns_of_the_table_hold_the_clinical_score(name: str) -> None:
    subjects = drawn(name, 3000, missing=0.0)
    columns = PRESETS[name].informative

    def reading(subject: PhantomSubject) -> float:
        told = [float(subject.values[c.name] or 0.0) for c in columns]
        x = [(np.log(v / c.middle) if c.log else v - c.middle) / c.width for v, c in zip(told, columns, strict=True)]
        return float(np.dot([c.share for c in columns], x))

    assert auc(subjects, reading) == pytest.approx(auc(subjects, lambda s: s.scores["clinical"]), abs=0.003)


def test_what_shall_tell_nothing_tells_nothing() -> None:
    subjects = drawn("cpc", 3000)
    for reading in (
        lambda s: s.number,
        lambda s: s.scene.lesion.radius_mm,
        lambda s: s.scene.lesion.suv,
        lambda s: s.scene.lesion.hu,
        lambda s: len(s.scene.distractors),
        lambda s: s.scene.surroundings_hu,
        lambda s: s.scene.contour_scale,
        lambda s: len(s.patient),
        lambda s: ["T1", "T2", "T3", "T4"].index(s.values["t_stage"]),
    ):
        assert auc(subjects, reading) == pytest.approx(0.5, abs=0.035)
    metastases = drawn("prrt_pfs", 2000)
    assert auc(metastases, lambda s: len(s.metastases)) == pytest.approx(0.5, abs=0.05)


def test_that_a_value_is_missing_tells_nothing() -> None:
    subjects = drawn("dlr", 3000, missing=0.3)
    assert np.mean([s.values["cea"] is None for s in subjects]) == pytest.approx(0.3, abs=0.03)
    assert auc(subjects, lambda s: float(s.values["cea"] is None)) == pytest.approx(0.5, abs=0.03)
    assert all(s.values["sex"] is not None for s in subjects)


def test_tumour_size_in_the_table_is_the_lesions() -> None:
    for s in drawn("dlr", 50):
        assert s.scene is not None
        assert s.values["tumour_size"] == pytest.approx(2 * s.scene.lesion.radius_mm, rel=0.2)


def test_flips_are_of_training_labels_only_and_more_contain_the_fewer() -> None:
    clean, some, more = (drawn("cpc", 800, flip_labels=share) for share in (0.0, 0.1, 0.3))
    assert all(s.given == s.label for s in clean)
    wrong = [{s.number for s in cohort if s.given != s.label} for cohort in (some, more)]
    assert wrong[0] < wrong[1]
    assert all(s.part == "train" for s in more if s.given != s.label)
    training = [s for s in more if s.part == "train"]
    assert np.mean([s.given != s.label for s in training]) == pytest.approx(0.3, abs=0.07)
    assert scores_of(more)["pet"].tolist() == scores_of(clean)["pet"].tolist()


def test_the_leak_shows_within_the_cohort_and_vanishes_within_each_centre() -> None:
    honest, leaky = drawn("ussl", 1500), drawn("ussl", 1500, leak=True)
    train = [s for s in leaky if s.part == "train"]
    assert auc(train, lambda s: s.centre) > 0.75
    assert auc([s for s in honest if s.part == "train"], lambda s: s.centre) < 0.58
    settings = PhantomSettings("ussl", leak=True)
    assert bayes_auc_with_centre(settings) > bayes_aucs(settings)["pet+ct"] + 0.02
    assert bayes_auc_with_centre(PhantomSettings("ussl")) < bayes_aucs(PhantomSettings("ussl"))["pet+ct"] + 0.005
    for centre in (0, 1, 2):
        own = [s for s in train if s.centre == centre]
        assert auc(own, lambda s: s.scores["pet"]) < 0.94


def test_prevalence_shifts_between_centres() -> None:
    subjects = [s for s in drawn("ussl", 4000) if s.part == "train"]
    rate = [np.mean([s.hidden for s in subjects if s.centre == centre]) for centre in range(3)]
    assert rate == pytest.approx([0.45, 0.50, 0.37], abs=0.04)


def test_progression_times_fit_the_labels_and_the_early_censored_have_none() -> None:
    subjects = drawn("prrt_pfs", 2000)
    for s in subjects:
        assert s.months is not None
        if s.given is None:
            assert s.months <= 12
            assert s.event == 0
        elif s.given:
            assert s.months <= 12
            assert s.event == 1
        else:
            assert s.months > 12
    assert np.mean([s.given is None for s in subjects]) == pytest.approx(0.05, abs=0.02)
    known = [s for s in subjects if s.given is not None]
    assert auc(known, lambda s: -float(s.values["cycles"] or 0)) > 0.8  # the trap: known only after baseline


def test_survival_of_the_treated_follows_the_joint_score() -> None:
    from lifelines.utils import concordance_index

    subjects = [s for s in drawn("cpc", 6000) if s.months is not None]
    assert len(subjects) == pytest.approx(6000 * 50 / 331, rel=0.1)
    score = (
        1.092 * scores_of(subjects)["pet"] + 0.742 * scores_of(subjects)["ct"] + 0.358 * scores_of(subjects)["clinical"]
    )
    months, event = [s.months for s in subjects], [s.event for s in subjects]
    assert concordance_index(months, -score, event) == pytest.approx(0.624, abs=0.04)


def test_unlabelled_subjects_have_no_label_and_names_of_their_own() -> None:
    kinds = {"in-domain": 4, "other-scanner": 3, "other-tracer": 3, "wrong-organ": 3, "noise": 2}
    subjects = draw_subjects(PhantomSettings("ussl", subjects=5, unlabelled=kinds))
    more = subjects[5:]
    assert Counter(s.kind for s in more) == kinds
    assert all(s.given is None and s.part == "unlabelled" and s.outlier == "" for s in more)
    assert len({s.patient for s in subjects}) == len(subjects)
    assert {s.centre for s in more if s.kind == "other-scanner"} == {3}
    assert all(s.scene and s.scene.lesion.suv == 20.0 for s in more if s.kind == "other-tracer")
    assert [s.scores for s in more[:4]] != [s.scores for s in subjects[:4]]


def test_the_default_numbers_are_the_presets() -> None:
    settings = PhantomSettings("ussl")
    assert (settings.count, settings.more) == (400, {"in-domain": 1200})


@pytest.mark.parametrize(
    "wrong",
    [
        {"preset": "none"},
        {"subjects": 0},
        {"seed": -1},
        {"size": "huge"},
        {"flip_labels": 0.6},
        {"flip_labels": float("nan")},
        {"image_outliers": -0.1},
        {"prevalence": 1.0},
        {"unlabelled": {"other": 1}},
        {"unlabelled": {"noise": -1}},
        {"preset": "dlr", "unlabelled": {"other-tracer": 1}},
        {"preset": "prrt_pfs", "leak": True},
        {"preset": "prrt_pfs", "unlabelled": {"noise": 1}},
        {"preset": "dlr", "label_model": Clustered()},
        {"label_model": GaussianSources({"pet": 1.0})},
    ],
)
def test_settings_that_make_no_cohort_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=r".+") as refused:
        PhantomSettings(**({"preset": "ussl"} | wrong))
    assert refused.value.code == "phantom-setting"


def test_label_models_by_name() -> None:
    assert label_model_named(None) is None
    model = label_model_named("continuous")
    assert model is not None
    assert PhantomSettings("ussl", label_model=model).of.prevalence == 0.5
    with pytest.raises(Refused, match="clustered"):
        label_model_named("other")


def test_the_truth_tells_the_optimum_for_every_set_of_sources() -> None:
    settings = PhantomSettings("cpc", subjects=3)
    truth = truth_of(settings, draw_subjects(settings))
    assert set(truth["bayes_auc"]) == {
        "pet",
        "ct",
        "clinical",
        "pet+ct",
        "pet+clinical",
        "ct+clinical",
        "pet+ct+clinical",
    }
    assert len(truth["subjects"]) == 3
    assert truth["settings"]["seed"] == 0
    dlr = PhantomSettings("dlr", missing=0.3)
    assert bayes_aucs_as_given(dlr)["ct+clinical"] < bayes_aucs(dlr)["ct+clinical"] - 0.005
