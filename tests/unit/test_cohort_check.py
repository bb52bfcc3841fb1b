"""`petct-node cohort check`: all findings at once, and an exit code that a script can use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicom_node.cli import DONE, REFUSED, app
from tests.cohort_files import write_cohort, write_table
from training.cohort.check import check_cohort

REAL = {"pet": "pet", "ct": "ct", "region": "rtstruct.dcm"}


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["cohort", "check", *arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_a_good_cohort(tmp_path: Path) -> None:
    table = write_cohort(tmp_path, 12, cea=[i if i % 4 else "" for i in range(12)])
    code, text = run(str(table))
    assert code == DONE, text
    for said in ("12 of 12 patients", "50.0% positive", "12 can be read", "3 of 12", "0 error(s)"):
        assert said in text
    code, text = run(str(table), "--json")
    answer = json.loads(text)
    assert (code, answer["rows"], answer["labelled"], answer["prevalence"]) == (DONE, 12, 12, 0.5)
    assert answer["centres"] == [
        {"name": "A", "rows": 6, "positive": 3, "negative": 3},
        {"name": "B", "rows": 6, "positive": 3, "negative": 3},
    ]
    assert answer["images"] == [{"kind": "PET/CT", "named": 12, "readable": 12}]
    assert answer["regions"] == {"mask": 12}


def test_all_that_is_wrong_is_listed(tmp_path: Path) -> None:
    table = write_cohort(tmp_path, 12, marker=[i % 2 for i in range(12)], cycles=[i % 5 for i in range(12)])
    (tmp_path / "s3_ct.nii").write_bytes(b"damaged")
    (tmp_path / "s5_pet.nii").write_bytes((tmp_path / "s4_pet.nii").read_bytes())
    code, text = run(str(table), "--json")
    answer = json.loads(text)
    assert code == REFUSED
    assert answer["images"] == [{"kind": "PET/CT", "named": 12, "readable": 11}]
    found = {(f["level"], f["code"], f["row"], f["column"]) for f in answer["findings"]}
    assert found == {
        ("error", "label-among-values", None, "marker"),
        ("error", "image", 5, ""),
        ("error", "same-image", 6, ""),
        ("warning", "post-baseline", None, "cycles"),
    }
    code, text = run(str(table), "--no-images")
    assert code == REFUSED
    assert "marker" in text
    assert "damaged" not in text


def test_faults_of_the_table(tmp_path: Path) -> None:
    table = write_cohort(tmp_path, 4, months=[1, -2, "x", 3], event=[1, 1, 1, 1])
    code, text = run(str(table))
    assert code == REFUSED
    assert "row 3, column months" in text
    assert "row 4, column months" in text
    code, text = run(str(tmp_path / "none.csv"))
    assert code == REFUSED
    assert "Traceback" not in text


def test_for_a_recipe(tmp_path: Path) -> None:
    table = write_cohort(tmp_path, 12, age=[50 + i for i in range(12)], shoe=[40 + i for i in range(12)])
    code, text = run(str(table), "--recipe", "cpc", "--json")
    assert code == DONE, text
    used = {c["name"]: c["used"] for c in json.loads(text)["columns"]}
    assert used == {"age": True, "shoe": False}
    assert run(str(table), "--recipe", "nothing")[0] == REFUSED


def test_few_patients_are_said(tmp_path: Path) -> None:
    found = check_cohort(write_cohort(tmp_path, 6), read_images=False)
    assert [f.code for f in found.findings] == ["few-patients"]
    assert "at most 3 folds" in found.findings[0].text


@pytest.mark.data
def test_the_real_patients(shared_data: Path) -> None:
    assert shared_data.is_dir()
    code, text = run(str(Path(__file__).parents[1] / "cohorts" / "sts.csv"), "--json")
    answer = json.loads(text)
    assert (code, answer["rows"], answer["errors"], answer["regions"]) == (DONE, 20, 0, {"RTSTRUCT": 20})
    assert answer["findings"] == []


@pytest.mark.data
def test_a_row_with_another_patients_images(tmp_path: Path, shared_data: Path) -> None:
    """Sex and age of the table against the header, and one patient under two names."""
    folder = shared_data / "cohort_sts"
    rows = [
        {"patient": f"STS_{n:03d}", "label": i % 2, "sex": sex, "age": age}
        | {role: str(folder / f"STS_{n:03d}" / path) for role, path in REAL.items()}
        for i, (n, sex, age) in enumerate([(8, "m", 28), (10, "F", 75), (12, "", 62), (15, "F", 34)])
    ]
    rows.append(rows[3] | {"patient": "another", "label": 0, "ct": rows[3]["ct"] + "/."})
    (tmp_path / "copy").mkdir()
    for file in (folder / "STS_015" / "pet").iterdir():
        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    rows[4]["pet"] = str(tmp_path / "copy")
    found = check_cohort(write_table(tmp_path / "cohort.csv", rows))
    told = {(f.level, f.code, f.row) for f in found.findings}
    assert {
        ("error", "another-patient", 2),
        ("warning", "another-age", 3),
        ("error", "same-image", 5),
        ("warning", "one-patient-twice", 5),
    } <= told
    assert not [f for f in found.findings if f.row == 4]
