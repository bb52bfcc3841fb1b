"""`petct-node evaluate`: a bundle on a cohort of files gives the estimator's own probabilities, and a report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dicom_node.cli import REFUSED, app
from inference.facts import Refused
from inference.model.bundle import find_bundle
from training.cohort.prepare import prepare
from training.cohort.table import read_cohort
from training.phantom.settings import PhantomSettings
from training.phantom.write import write_cohort
from training.prepared import Parts, Prepared
from training.recipe import Conditions, Estimator, Release
from training.recipes import recipe
from training.recipes.cpc import CpcSettings
from training.record import HEATMAP_CHECKS, read_predictions
from training.run.served import APPLIES, evaluate_bundle

TINY = CpcSettings(
    steps=4, batch=4, members=1, evaluate_every=2, widths=(4, 4, 8, 8), cube=12, values=("age", "suv_max")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(autouse=True)
def _cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETCT_NODE_CACHE", str(folder / "cache"))


@pytest.fixture(scope="module")
def tables(folder: Path) -> dict[str, Path]:
    """Two phantom cohorts of other subjects."""
    settings = {"train": PhantomSettings("cpc", 24, 1), "other": PhantomSettings("cpc", 16, 2)}
    return {name: write_cohort(folder / name, one).table for name, one in settings.items()}


def read(table: Path, folder: Path) -> Prepared:
    return prepare(read_cohort(table), recipe("cpc").looks(TINY), cache=folder / "cache").data


@pytest.fixture(scope="module")
def trained(folder: Path, tables: dict[str, Path]) -> tuple[Estimator, Path]:
    data = read(tables["train"], folder)
    (folder / "fit").mkdir()
    inside = np.flatnonzero(np.array(data.sets) != "external")
    estimator = recipe("cpc").estimator(TINY, "CPC")
    estimator.fit(data, Parts(inside[:-8], inside[-8:]), Conditions(seed=1, folder=folder / "fit"))
    manifest = {"cohort_digest": data.digest, "settings": TINY.model_dump(mode="json")}
    estimator.save_bundle(folder / "bundle", Release("cpc", "0.1.0", demonstration=True, manifest=manifest))
    return estimator, folder / "bundle"


def test_probabilities_are_the_estimators_and_the_report_is_there(
    folder: Path, tables: dict[str, Path], trained: tuple[Estimator, Path]
) -> None:
    estimator, bundle = trained
    out = folder / "out"
    command = ["evaluate", str(bundle), "--cohort", str(tables["other"]), "--out", str(out), "--json", "--no-heatmaps"]
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 0, told.output
    answer = json.loads(told.stdout)
    assert answer["left_out"] == 0
    data = read(tables["other"], folder)
    expected = dict(zip(data.studies, estimator.predict_proba(data, np.arange(len(data))), strict=True))
    rows = read_predictions(out)
    mine = [row for row in rows if row.variant == "CPC"]
    assert {row.study for row in mine} == set(expected)
    assert {(row.scheme, row.part) for row in rows} == {("final", "external")}
    for row in mine:
        assert row.probability == pytest.approx(expected[row.study], abs=1e-5)
    assert {row.variant for row in rows} <= {"CPC", f"CPC, {APPLIES}"}
    page = (out / "report.html").read_text()
    assert "external test of cpc 0.1.0" in page
    assert json.loads((out / "report.json").read_text())["findings"]["kind"] == "external test"
    assert CliRunner().invoke(app, command).exit_code == 0  # the same again replaces itself


def test_rows_that_were_learnt_from_do_not_count(
    folder: Path, tables: dict[str, Path], trained: tuple[Estimator, Path]
) -> None:
    _, bundle = trained
    data = read(tables["train"], folder)
    external = {study for study, part in zip(data.studies, data.sets, strict=True) if part == "external"}
    record, _ = evaluate_bundle(bundle, tables["train"], folder / "own", threads=1)
    assert {row.study for row in read_predictions(folder / "own")} == external
    assert record.subjects == len(external) < 24
    checks = record.facts[HEATMAP_CHECKS]
    assert isinstance(checks, dict)
    assert checks["released"] is (checks["failures"] == [])
    assert 0 < checks["mask_share"] < 1


def test_the_shipped_model_answers_any_pet_ct_cohort(folder: Path, tables: dict[str, Path]) -> None:
    record, data = evaluate_bundle(find_bundle("demo"), tables["other"], folder / "demo", threads=1, heatmaps=False)
    rows = [row for row in read_predictions(folder / "demo") if row.variant == "demo"]
    assert len(rows) == 16
    assert record.bundle_digest
    assert {row.study for row in rows} == set(data.studies)


def test_a_missing_value_leaves_the_study_out_with_the_reason(
    folder: Path, tables: dict[str, Path], trained: tuple[Estimator, Path]
) -> None:
    _, bundle = trained
    table = tables["other"].with_name("holes.csv")
    header, *lines = tables["other"].read_text().splitlines()
    age = header.split(",").index("age")
    cells = lines[0].split(",")
    cells[age] = ""
    table.write_text("\n".join([header, ",".join(cells), *lines[1:]]) + "\n")
    record, _ = evaluate_bundle(bundle, table, folder / "holes", threads=1, heatmaps=False)
    (why,) = record.left_out.values()  # the training always had it, so nothing stands in
    assert "age" in why
    assert len({row.study for row in read_predictions(folder / "holes")}) == 15


def test_a_column_in_another_unit_is_refused(
    folder: Path, tables: dict[str, Path], trained: tuple[Estimator, Path]
) -> None:
    _, bundle = trained
    table = tables["other"].with_name("months.csv")
    header, *lines = tables["other"].read_text().splitlines()
    names = ["age (mo)" if name == "age" else name for name in header.split(",")]
    table.write_text("\n".join([",".join(names), *lines]) + "\n")
    with pytest.raises(Refused, match=r"age .* in mo, and the model takes it in a") as refused:
        evaluate_bundle(bundle, table, folder / "months", threads=1, heatmaps=False)
    assert refused.value.code == "evaluate-other-unit"


def test_mistakes_are_refused(folder: Path, tables: dict[str, Path], trained: tuple[Estimator, Path]) -> None:
    _, bundle = trained
    (folder / "full").mkdir()
    (folder / "full" / "thesis.tex").write_text("all my work")
    whole = ["evaluate", str(bundle), "--cohort", str(tables["other"]), "--out"]
    for argument, code in (
        ([*whole, str(folder / "full")], "run-folder-used"),
        (["evaluate", str(folder), "--cohort", str(tables["other"]), "--out", str(folder / "x")], "bundle-not-found"),
        ([*whole, str(folder / "x"), "--device", "abacus"], "device-unknown"),
    ):
        answer = CliRunner().invoke(app, argument)
        assert answer.exit_code == REFUSED
        assert code in answer.output
    assert (folder / "full" / "thesis.tex").read_text() == "all my work"
    unlabelled = tables["other"].with_name("unlabelled.csv")
    header, *lines = tables["other"].read_text().splitlines()
    label = header.split(",").index("label")
    rows = [line.split(",") for line in lines]
    unlabelled.write_text("\n".join([header, *(",".join([*r[:label], "", *r[label + 1 :]]) for r in rows)]) + "\n")
    answer = CliRunner().invoke(
        app, ["evaluate", str(bundle), "--cohort", str(unlabelled), "--out", str(folder / "u"), "--no-heatmaps"]
    )
    assert answer.exit_code == REFUSED
    assert "report-nothing-tested" in answer.output
