"""A run: cross-validation that goes on after a stop or a kill, a final fit, and what lies in the folder."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel
from sklearn.linear_model import LogisticRegression

from dicom_node.cli.recipes import _answer
from inference.facts import Refused
from training.cohort.splits import folds
from training.prepared import Parts, Prepared, Rows
from training.recipe import Conditions, Recipe, Release, Stopped
from training.record import PREDICTIONS_FILE, RUN_FILE, read_predictions, read_record
from training.run.run import STOP_FILE, Options, Origin, run
from training.run.start import lost_to_follow_up, read_settings, said_of, start
from training.run.task import permuted

ORIGIN = Origin(command="petct-node train toy", cohort="cohort.csv")


class ToySettings(BaseModel, extra="forbid"):
    strength: float = 1.0


def _as_json(release: Release) -> dict[str, Any]:
    return {
        "evaluation": release.evaluation,
        "demo": release.demonstration,
        "manifest": release.manifest,
        "card": release.card,
    }


class Toy:
    """Logistic regression on the inputs; counts its fits, and stops where it is told to."""

    fits = 0
    stop_at = -1

    def __init__(self, settings: ToySettings) -> None:
        self.model = LogisticRegression(C=settings.strength)
        self.facts: dict[str, Any] = {}

    def fit(self, data: Prepared, parts: Parts, conditions: Conditions) -> Toy:
        if Toy.fits == Toy.stop_at or conditions.stop():
            raise Stopped
        Toy.fits += 1
        assert not set(parts.train) & set(parts.validation)
        self.model.fit(data.inputs["x"][parts.train], data.labels[parts.train])
        self.facts = {"coefficients": self.model.coef_[0].tolist(), "seed": conditions.seed}
        return self

    def predict_proba(self, data: Prepared, rows: Rows) -> np.ndarray:
        return self.model.predict_proba(data.inputs["x"][rows])[:, 1]

    def save_bundle(self, out: Path, release: Release) -> str:
        out.mkdir(exist_ok=True)
        (out / "release.json").write_text(json.dumps(_as_json(release)))
        return "0" * 64


def _looks(_: ToySettings) -> Mapping[str, Any]:
    return {}


RECIPE = Recipe(
    name="toy",
    title="Toy",
    source="none",
    images="PET/CT",
    settings=ToySettings,
    looks=_looks,
    variants=("toy", "again"),
    estimator=lambda settings, _: Toy(settings),
)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Toy.fits, Toy.stop_at = 0, -1


@pytest.fixture
def data() -> Prepared:
    """120 studies of 100 patients: 20 come twice; the last 20 are external; some have no label."""
    rng = np.random.default_rng(3)
    patients = [f"P{i % 100:03}" for i in range(120)]
    labels = np.array([int(p[1:]) // 2 % 2 for p in patients], np.int8)
    x = rng.normal(size=(120, 4)).astype(np.float32)
    x[:, 0] += 1.5 * labels
    labels[60:66] = -1
    where = ["external" if int(p[1:]) >= 85 else "" for p in patients]
    return Prepared(
        patients=tuple(patients),
        studies=tuple(f"S{i:03}" for i in range(120)),
        centres=tuple("AB"[i % 2] for i in range(120)),
        labels=labels,
        inputs={"x": x},
        sets=tuple(where),
        digest="d" * 64,
    )


def _rows(folder: Path, scheme: str = "cv") -> list[tuple[Any, ...]]:
    rows = [row for row in read_predictions(folder) if row.scheme == scheme]
    return sorted((row.variant, row.repeat, row.fold, row.study, row.probability, row.threshold) for row in rows)


def test_every_labelled_study_that_is_not_external_is_answered_once_a_repeat(data: Prepared, tmp_path: Path) -> None:
    record = run(RECIPE, ToySettings(), data, tmp_path / "run", Options(folds=4, repeats=2), ORIGIN)
    inside = {s for s, g, y in zip(data.studies, data.sets, data.labels, strict=True) if not g and y >= 0}
    rows = [row for row in read_predictions(tmp_path / "run") if row.scheme == "cv"]
    for variant in RECIPE.variants:
        for repeat in range(2):
            answered = [row.study for row in rows if row.variant == variant and row.repeat == repeat]
            assert sorted(answered) == sorted(inside)
    assert record.state == "done"
    assert read_record(tmp_path / "run") == record
    assert not (tmp_path / "run" / "work").exists()


def test_external_studies_are_answered_by_the_final_model_alone(data: Prepared, tmp_path: Path) -> None:
    run(RECIPE, ToySettings(), data, tmp_path / "run", Options(folds=3), ORIGIN)
    external = {s for s, g, y in zip(data.studies, data.sets, data.labels, strict=True) if g and y >= 0}
    rows = read_predictions(tmp_path / "run")
    assert {row.study for row in rows if row.part == "external"} == external
    assert not external & {row.study for row in rows if row.part != "external"}
    said = json.loads((tmp_path / "run/bundle/release.json").read_text())
    assert said["evaluation"]["data"] == "external patients"
    patient_of = dict(zip(data.studies, data.patients, strict=True))
    assert said["evaluation"]["subjects"] == len({patient_of[study] for study in external})


def test_of_several_studies_a_patient_the_patients_are_counted(data: Prepared, tmp_path: Path) -> None:
    run(RECIPE, ToySettings(), replace(data, sets=()), tmp_path / "run", Options(folds=3), ORIGIN)
    said = json.loads((tmp_path / "run/bundle/release.json").read_text())["evaluation"]
    answered = [row for row in read_predictions(tmp_path / "run") if row.variant == "toy" and row.scheme == "cv"]
    assert said["data"] == "patients, out of fold"
    assert said["subjects"] == len({row.patient for row in answered}) < len(answered)


def test_the_card_and_the_manifest_say_what_was_learnt_from(data: Prepared, tmp_path: Path) -> None:
    run(RECIPE, ToySettings(), data, tmp_path / "run", Options(folds=3), ORIGIN)
    said = json.loads((tmp_path / "run/bundle/release.json").read_text())
    inside = {p for p, g, y in zip(data.patients, data.sets, data.labels, strict=True) if not g and y >= 0}
    manifest = said["manifest"]
    assert manifest["learnt_from"] + manifest["calibrated_on"] == len(inside) < manifest["subjects"] == 100
    assert f"learnt from {manifest['learnt_from']} labelled subjects" in said["card"]


class NotServed(Toy):
    """For comparison only."""

    def save_bundle(self, out: Path, release: Release) -> str:  # noqa: ARG002
        raise Refused("recipe-variant-not-served", "It looks at no image.")


def test_the_first_variant_that_can_be_served_becomes_the_bundle(data: Prepared, tmp_path: Path) -> None:
    kinds = {"toy": NotServed, "again": Toy}
    first = replace(RECIPE, estimator=lambda settings, variant: kinds[variant](settings))
    record = run(first, ToySettings(), data, tmp_path / "run", Options(folds=3), ORIGIN)
    said = json.loads((tmp_path / "run/bundle/release.json").read_text())
    assert said["manifest"]["variant"] == "again"
    assert record.bundle_digest
    assert record.facts["toy, bundle"] == "It looks at no image."
    answered = [row for row in read_predictions(tmp_path / "run") if row.variant == "again" and row.part == "external"]
    assert said["evaluation"]["subjects"] == len({row.patient for row in answered})


def test_a_run_without_a_model_to_serve_is_told_to_be_one(data: Prepared, tmp_path: Path) -> None:
    none = replace(RECIPE, estimator=lambda settings, _: NotServed(settings))
    record = run(none, ToySettings(), data, tmp_path / "run", Options(folds=3), ORIGIN)
    answer = _answer(record, tmp_path / "run")
    assert (record.state, answer["bundle"], answer["digest"]) == ("done", None, None)
    assert answer["why_no_bundle"] == "It looks at no image."


class Fixed(Toy):
    """With a threshold of its own."""

    def fit(self, data: Prepared, parts: Parts, conditions: Conditions) -> Toy:
        super().fit(data, parts, conditions)
        self.facts["threshold"] = 0.123
        return self


def test_what_a_fit_fixed_as_its_threshold_is_what_is_tested(data: Prepared, tmp_path: Path) -> None:
    """The node calls by that one; another would be another model's sensitivity."""
    fixed = replace(RECIPE, estimator=lambda settings, _: Fixed(settings))
    run(fixed, ToySettings(), data, tmp_path / "fixed", Options(folds=3), ORIGIN)
    assert {row.threshold for row in read_predictions(tmp_path / "fixed")} == {0.123}


def test_what_was_said_of_the_studies_is_kept(data: Prepared, tmp_path: Path) -> None:
    proposal = ("region-automatic", "a proposal that needs confirmation")
    said = said_of({"S1": (proposal,), "S2": (("note", "N"), proposal)})
    assert [(one.code, one.studies) for one in said] == [("region-automatic", 2), ("note", 1)]
    run(RECIPE, ToySettings(), data, tmp_path / "run", Options(folds=3), replace(ORIGIN, cautions=said))
    assert read_record(tmp_path / "run").cautions == said


def test_who_was_lost_before_the_label_was_known_is_counted(data: Prepared) -> None:
    months = np.full(120, 30.0)
    months[:4], months[60:66] = 3.0, np.nan
    timed = replace(data, months=months, events=np.array([0] * 3 + [1] + [0] * 116, np.int8))
    labels = timed.labels.copy()
    labels[:3] = -1
    (told,) = lost_to_follow_up(timed, replace(timed, labels=labels))
    assert told.studies == 3  # not the six that have neither label nor time
    assert "survival figures" in told.text
    assert lost_to_follow_up(timed, timed) == ()


def test_a_stopped_run_goes_on_and_ends_as_one_that_was_not(data: Prepared, tmp_path: Path) -> None:
    options = Options(folds=4)
    run(RECIPE, ToySettings(), data, tmp_path / "whole", options, ORIGIN)
    whole = Toy.fits
    Toy.fits, Toy.stop_at = 0, 5
    with pytest.raises(Stopped):
        run(RECIPE, ToySettings(), data, tmp_path / "run", options, ORIGIN)
    assert read_record(tmp_path / "run").state == "stopped"
    Toy.stop_at = -1
    run(RECIPE, ToySettings(), data, tmp_path / "run", options, ORIGIN)
    assert Toy.fits == whole  # nothing was fitted twice
    assert _rows(tmp_path / "run") == _rows(tmp_path / "whole")
    assert _rows(tmp_path / "run", "final") == _rows(tmp_path / "whole", "final")


def test_a_line_that_a_kill_cut_is_made_again(data: Prepared, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(RECIPE, ToySettings(), data, folder, Options(folds=4), ORIGIN)
    before = _rows(folder)
    file = folder / PREDICTIONS_FILE
    lines = file.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if b'"cv"' in line]
    fold = json.loads(kept[-1])
    kept = [
        line
        for line in kept
        if (json.loads(line)["variant"], json.loads(line)["fold"]) != (fold["variant"], fold["fold"])
    ]
    file.write_bytes(b"".join(kept) + lines[-1][:30])
    run(RECIPE, ToySettings(), data, folder, Options(folds=4), ORIGIN)
    assert _rows(folder) == before


def test_a_stop_file_ends_the_run_at_the_next_fit(data: Prepared, tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def tell(progress: Any) -> None:
        if progress.done == 2:
            (folder / STOP_FILE).touch()

    with pytest.raises(Stopped):
        run(RECIPE, ToySettings(), data, folder, Options(folds=4), ORIGIN, tell)
    assert Toy.fits == 2
    assert not (folder / STOP_FILE).exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: replace(data, digest="e" * 64), "the cohort changed"),
        (lambda data: data, "settings are others"),
    ],
)
def test_another_run_in_the_folder_is_refused(data: Prepared, tmp_path: Path, change: Any, said: str) -> None:
    folder = tmp_path / "run"
    run(RECIPE, ToySettings(), data, folder, Options(folds=3), ORIGIN)
    other = ToySettings(strength=0.5) if "settings" in said else ToySettings()
    with pytest.raises(Refused, match=said) as refused:
        run(RECIPE, other, change(data), folder, Options(folds=3), ORIGIN)
    assert refused.value.code == "run-folder-used"


def test_a_folder_with_other_files_is_left_alone(data: Prepared, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(Refused, match="other files"):
        run(RECIPE, ToySettings(), data, tmp_path, Options(folds=3), ORIGIN)
    assert [f.name for f in tmp_path.iterdir()] == ["thesis.txt"]


def test_permuted_labels_are_learnt_from_and_tell_nothing(data: Prepared, tmp_path: Path) -> None:
    from sklearn.metrics import roc_auc_score

    run(RECIPE, ToySettings(), data, tmp_path / "run", Options(folds=3, permutations=12, variants=("toy",)), ORIGIN)
    rows = read_predictions(tmp_path / "run")
    aucs = []
    for number in range(12):
        mine = [row for row in rows if row.scheme == f"permuted-{number}"]
        assert len(mine) == len([row for row in rows if row.scheme == "cv"])
        aucs.append(roc_auc_score([row.label for row in mine], [row.probability for row in mine]))
    assert 0.35 < np.mean(aucs) < 0.6
    true = [row for row in rows if row.scheme == "cv"]
    assert roc_auc_score([row.label for row in true], [row.probability for row in true]) > 0.75


def test_permuted_labels_leave_both_classes_in_every_part_and_a_patient_whole(data: Prepared) -> None:
    fold = folds(data, 3, 1, 0)[0]
    found = permuted(data, fold, 7)
    parts = (fold.parts.train, fold.parts.validation, fold.test)
    for rows in parts:
        assert sorted(found.labels[rows]) == sorted(data.labels[rows])
        whole = {data.patients[row] for row in rows}
        assert len({(data.patients[row], found.labels[row]) for row in rows}) == len(whole)
    learnt = np.concatenate(parts)
    assert (found.labels[learnt] != data.labels[learnt]).any()
    outside = np.setdiff1d(np.arange(len(data)), learnt)
    assert (found.labels[outside] == data.labels[outside]).all()


def test_each_centre_is_tested_by_a_model_that_saw_none_of_it(data: Prepared, tmp_path: Path) -> None:
    options = Options(folds=3, leave_centre_out=True, variants=("toy",))
    record = run(RECIPE, ToySettings(), data, tmp_path / "run", options, ORIGIN)
    rows = [row for row in read_predictions(tmp_path / "run") if row.scheme == "centre"]
    assert {row.fold: row.centre for row in rows} == {0: "A", 1: "B"}
    assert len(rows) == len([row for row in read_predictions(tmp_path / "run") if row.scheme == "cv"])
    assert {"centre 0.0", "centre 0.1"} <= set(record.facts["toy"])  # type: ignore[arg-type]


def test_an_unknown_variant_names_those_there_are(data: Prepared, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="toy, again"):
        run(RECIPE, ToySettings(), data, tmp_path / "run", Options(variants=("other",)), ORIGIN)


def test_settings_name_every_fault(tmp_path: Path) -> None:
    assert read_settings(ToySettings, None, ["strength=2"]) == ToySettings(strength=2.0)
    file = tmp_path / "s.toml"
    file.write_text("strength = 3.0\n")
    assert read_settings(ToySettings, file, ["strength=0.5"]) == ToySettings(strength=0.5)
    with pytest.raises(Refused, match=r"strength.*weight.*There are: strength"):
        read_settings(ToySettings, None, ["strength=strong", "weight=1"])
    with pytest.raises(Refused, match="NAME=VALUE"):
        read_settings(ToySettings, None, ["strength"])
    file.write_text("strength = ")
    with pytest.raises(Refused, match=r"s\.toml"):
        read_settings(ToySettings, file, [])


def test_the_record_holds_what_each_fit_told(data: Prepared, tmp_path: Path) -> None:
    record = run(RECIPE, ToySettings(), data, tmp_path / "run", Options(folds=3), ORIGIN)
    facts = json.loads((tmp_path / "run" / RUN_FILE).read_text())["facts"]
    assert set(facts["toy"]) == {"cv 0.0", "cv 0.1", "cv 0.2"}
    seeds = [facts[v]["cv 0.1"]["seed"] for v in RECIPE.variants]
    assert seeds[0] == seeds[1]  # variants are compared like with like
    assert record.versions["torch"]


def test_a_fold_whose_lines_are_not_all_there_is_made_again(data: Prepared, tmp_path: Path) -> None:
    """A full disk, or a kill within a long write, can leave whole lines of a fold without the others."""
    folder = tmp_path / "run"
    run(RECIPE, ToySettings(), data, folder, Options(folds=4), ORIGIN)
    before = _rows(folder)
    file = folder / PREDICTIONS_FILE
    lines = file.read_bytes().splitlines(keepends=True)
    cut = next(line for line in lines if b'"cv"' in line)
    file.write_bytes(b"".join(line for line in lines if line != cut))
    fits = Toy.fits
    run(RECIPE, ToySettings(), data, folder, Options(folds=4), ORIGIN)
    assert Toy.fits == fits + 1
    assert _rows(folder) == before


def test_a_damaged_run_is_refused_not_crashed_on(data: Prepared, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(RECIPE, ToySettings(), data, folder, Options(folds=4), ORIGIN)
    lines = (folder / PREDICTIONS_FILE).read_text()
    (folder / PREDICTIONS_FILE).write_text("no line of ours\n" + lines)
    with pytest.raises(Refused, match="damaged"):
        run(RECIPE, ToySettings(), data, folder, Options(folds=4), ORIGIN)
    (folder / RUN_FILE).write_text('{"recipe": "toy"}')
    with pytest.raises(Refused, match="damaged"):
        run(RECIPE, ToySettings(), data, folder, Options(folds=4), ORIGIN)


def test_asked_to_stop_before_it_began_it_stops(data: Prepared, tmp_path: Path) -> None:
    """Ctrl-C between the last image and the first fold: no refusal of the folder, and nothing fitted."""
    (tmp_path / STOP_FILE).touch()
    with pytest.raises(Stopped):
        run(RECIPE, ToySettings(), data, tmp_path, Options(folds=4), ORIGIN)
    assert Toy.fits == 0
    assert not (tmp_path / STOP_FILE).exists()


def test_stop_is_heard_between_fits_that_do_not_ask(data: Prepared, tmp_path: Path) -> None:
    class Deaf(Toy):
        def fit(self, data: Prepared, parts: Parts, conditions: Conditions) -> Toy:
            return super().fit(data, parts, replace(conditions, stop=lambda: False))

    def tell(progress: Any) -> None:
        if progress.done == 2:
            (tmp_path / STOP_FILE).touch()

    deaf = replace(RECIPE, estimator=lambda settings, _: Deaf(settings))
    with pytest.raises(Stopped):
        run(deaf, ToySettings(), data, tmp_path, Options(folds=4), ORIGIN, tell)
    assert Toy.fits == 3  # the one that had begun, and no other


def test_answers_that_are_no_numbers_are_refused(data: Prepared, tmp_path: Path) -> None:
    class Lost(Toy):
        def predict_proba(self, data: Prepared, rows: Rows) -> np.ndarray:
            return super().predict_proba(data, rows) * np.nan

    lost = replace(RECIPE, estimator=lambda settings, _: Lost(settings))
    with pytest.raises(Refused) as refused:
        run(lost, ToySettings(), data, tmp_path, Options(folds=4), ORIGIN)
    assert refused.value.code == "training-answer-not-finite"
    assert not read_predictions(tmp_path)


def test_a_stop_file_of_a_killed_sitting_is_not_heard_and_memory_that_ends_is_named(tmp_path: Path) -> None:
    def full(_: Any) -> None:  # called after an image: it came as far
        raise MemoryError

    table = tmp_path / "cohort.csv"
    for name in ("a.nii", "b.nii", "c.nii", "d.nii"):
        (tmp_path / name).write_bytes(name.encode())
    table.write_text("patient,study,label,pet,ct\np,s,1,a.nii,b.nii\nq,t,0,c.nii,d.nii\n")
    out = tmp_path / "run"
    out.mkdir()
    (out / STOP_FILE).touch()
    with pytest.raises(Refused) as refused:
        start("cpc", table, out, tell=full)
    assert refused.value.code == "training-out-of-memory"
    assert not (out / STOP_FILE).exists()


def test_a_refusal_comes_whole_out_of_a_process_of_its_own() -> None:
    found = pickle.loads(pickle.dumps(Refused("training-one-class", "Why.", found=3)))
    assert (found.code, found.reason, found.facts) == ("training-one-class", "Why.", {"found": 3})
