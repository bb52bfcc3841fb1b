"""Planted leaks are found, and honest tables are not accused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.facts import Refused
from tests.cohort_files import write_table
from training.cohort.findings import Finding
from training.cohort.leakage import leaks, refuse_leaks, refuse_same_images, same_images
from training.cohort.table import Cohort, read_cohort


def cohort(folder: Path, labels: Sequence[Any], roles: str = "", **columns: Sequence[Any]) -> Cohort:
    rows = []
    for i, label in enumerate(labels):
        (folder / f"{i}.nii").touch()
        more = {name: cells[i] for name, cells in columns.items()}
        rows.append({"patient": f"P{i}", "study": f"S{i}", "label": label, "ct": f"{i}.nii"} | more)
    (folder / "cohort.columns.toml").write_text(roles)
    return read_cohort(write_table(folder / "cohort.csv", rows))


def found(table: Cohort) -> dict[str, Finding]:
    return {finding.code: finding for finding in leaks(table)}


HALF = [i % 2 for i in range(40)]


def test_an_honest_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = cohort(
        tmp_path,
        HALF,
        centre=["ABC"[i % 3] for i in range(40)],
        age=rng.normal(60, 10, 40).round(1),
        cea=[v if rng.random() > 0.2 else "" for v in rng.normal(5, 1, 40).round(2)],
        sex=[str(v) for v in rng.choice(["M", "F"], 40)],
    )
    assert found(table) == {}
    refuse_leaks(table)


@pytest.mark.parametrize(
    "copied",
    [HALF, [1 - v for v in HALF], ["pos" if v else "neg" for v in HALF], [5.0 + 2 * v for v in HALF]],
    ids=["copy", "inverse", "words", "scaled"],
)
def test_the_label_among_the_values(tmp_path: Path, copied: Sequence[Any]) -> None:
    table = cohort(tmp_path, HALF, pd_l1=copied)
    assert (found(table)["label-among-values"].level, found(table)["label-among-values"].column) == ("error", "pd_l1")
    with pytest.raises(Refused, match="column pd_l1: it is the label by another name"):
        refuse_leaks(table)


def test_a_value_from_which_the_label_follows(tmp_path: Path) -> None:
    tps = [50.0 + i if label else 0.01 * i for i, label in enumerate(HALF)]
    assert found(cohort(tmp_path, HALF, tps=tps))["label-among-values"].level == "error"
    told = cohort(tmp_path, HALF, roles='baseline = ["tps"]', tps=tps)
    assert found(told)["label-among-values"].level == "warning"


def test_a_strong_honest_value_is_no_leak(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    strong = [2.5 * label + rng.normal() for label in HALF]  # AUC .96
    assert found(cohort(tmp_path, HALF, biomarker=strong)) == {}


def test_few_rows_prove_nothing(tmp_path: Path) -> None:
    assert "label-among-values" not in found(cohort(tmp_path, HALF[:8], sex=["MF"[v] for v in HALF[:8]]))


def test_a_value_that_is_missing_by_label(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    cells = ["" if label else round(float(rng.normal()), 3) for label in HALF]
    cells[1] = 0.1
    warning = found(cohort(tmp_path, HALF, cea=cells))["missing-by-label"]
    assert (warning.level, warning.column) == ("warning", "cea")
    assert "19 of 20 positive and 0 of 20 negative" in warning.text


def test_a_centre_that_tells_the_label(tmp_path: Path) -> None:
    centre = ["A" if label or i % 8 == 0 else "B" for i, label in enumerate(HALF)]
    warning = found(cohort(tmp_path, HALF, centre=centre))["centre-tells-label"]
    assert warning.level == "warning"
    assert "A 80% of 25, B 0% of 15" in warning.text


def test_one_class_and_no_class(tmp_path: Path) -> None:
    assert found(cohort(tmp_path, [1] * 10 + [""] * 5))["one-class"].level == "error"
    assert found(cohort(tmp_path, [""] * 5))["no-label"].level == "error"
    # the labels of unlabelled rows do not count
    sets = ["train"] * 5 + ["unlabelled"] * 5
    assert found(cohort(tmp_path, [1] * 5 + [0] * 5, set=sets))["one-class"].level == "error"


def test_patients_on_both_sides_and_patients_written_twice(tmp_path: Path) -> None:
    patients = [f"P{i}" for i in range(40)]
    patients[39] = "P0"
    patients[1] = "p01"
    patients[10] = "P 2"
    sets = ["train"] * 30 + ["external"] * 10
    rows = found(cohort(tmp_path, HALF, patient=patients, set=sets))
    assert (rows["patient-in-two-sets"].level, rows["patient-in-two-sets"].row) == ("error", 41)
    patients[39] = "p03"
    rows = found(cohort(tmp_path, HALF, patient=patients, set=sets))
    assert (rows["patient-spelling"].level, rows["patient-spelling"].row) == ("warning", 5)
    # P10 and P1, P100 and P10 are others
    many = [f"P{i}" for i in (1, 10, 100, 101, 11, 110)]
    assert "patient-spelling" not in found(cohort(tmp_path, HALF[:6], patient=many))


def test_the_same_image_in_two_rows(tmp_path: Path) -> None:
    table = cohort(tmp_path, HALF, ct=["0.nii", "0.nii", *(f"{i}.nii" for i in range(2, 40))])
    assert (found(table)["same-image"].level, found(table)["same-image"].row) == ("error", 2)

    table = cohort(tmp_path, HALF)
    voxels = {study.study: (f"digest {study.row}",) for study in table.studies}
    assert same_images(table.studies, voxels) == []
    voxels["S7"] = voxels["S3"]
    (finding,) = same_images(table.studies, voxels)
    assert (finding.level, finding.row) == ("error", 5)
    assert "row 9" in finding.text
    with pytest.raises(Refused) as refused:
        refuse_same_images(table.studies, voxels, "cohort.csv")
    assert refused.value.code == "cohort-leak"
    # one patient's image twice is no leak, but counts twice
    studies = [s.model_copy(update={"patient": "one"}) for s in table.studies]
    assert [f.level for f in same_images(studies, voxels)] == ["warning"]


def test_what_the_recipe_never_uses_is_said(tmp_path: Path) -> None:
    from training.recipes import recipe

    table = cohort(tmp_path, HALF, roles='baseline = ["cycles"]', cycles=[1 + i % 5 for i in range(40)])
    prrt = recipe("prrt_pfs")
    assert "cycles" in prrt.never
    (finding,) = [f for f in leaks(table, replace(prrt)) if f.code == "never"]
    assert finding.column == "cycles"
