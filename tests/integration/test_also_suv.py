"""SUL and SUVbsa beside SUVbw, in every place that was asked for them; and what the SUV rests on, in the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.sr._concepts_dict import concepts
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.commands.offline import analyse_folder
from dicom_node.commands.suv import suv_folder
from dicom_node.config import Settings
from dicom_node.identity import make_run
from dicom_node.report import summarise
from dicom_node.report.codes import SUV_KINDS
from dicom_node.sections import Infer
from inference.facts import Refused

pytestmark = pytest.mark.data
ALL = ("lbm-janma", "lbm-james", "bsa", "ibw")
# The patient of STS_048: a woman of 64 kg and 154 cm
WEIGHT, BMI = 64.0, 64.0 / 1.54**2
FACTORS = {
    "lbm-janma": 9270 / (8780 + 244 * BMI),
    "lbm-james": 1.07 - 148 * WEIGHT / 154**2,
    "bsa": 71.84 * 154**0.725 * WEIGHT**0.425 / 64_000,
    "ibw": (45.5 + 0.91 * 2) / WEIGHT,
}


@pytest.fixture(scope="module")
def run(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("also")
    answer = analyse_folder(shared_data / "geometry" / "baseline", out, Settings(infer=Infer(also_suv=ALL)))
    assert answer["status"] == "done"
    return answer, next(Path(r["path"]) for r in answer["results"] if r["kind"] == "sr")


def test_the_answer_holds_factors_and_measures(run: tuple[dict[str, Any], Path]) -> None:
    answer, _ = run
    assert {s["name"]: s["factor"] for s in answer["suv"]["also"]} == pytest.approx(FACTORS, rel=1e-12)
    for lesion in answer["lesions"]:
        for name, factor in FACTORS.items():
            wanted = {key: lesion[f"suv_{key}"] * factor for key in ("max", "mean", "peak")}
            assert lesion["also_suv"][name] == pytest.approx(wanted, rel=1e-12)


def test_the_main_report_holds_them_with_their_codes(run: tuple[dict[str, Any], Path]) -> None:
    answer, path = run
    (summary,) = summarise([path])
    first = next(lesion for lesion in summary.lesions if "suv_peak" in lesion.measures)
    for name, factor in FACTORS.items():
        for which in ("max", "mean", "peak"):
            wanted = answer["lesions"][0][f"suv_{which}"] * factor
            assert first.measures[f"{name}_{which}"] == pytest.approx(wanted, rel=1e-5)
    codes = {str(e.value) for e in pydicom.dcmread(path).iterall() if e.keyword in ("CodeValue", "LongCodeValue")}
    assert codes >= {"126405", "126414", "g/ml{SUVlbm(Janma)}", "126406", "126415", "g/ml{SUVlbm(James128)}"}
    assert codes >= {"126403", "126412", "cm2/ml{SUVbsa}", "126404", "126413", "g/ml{SUVibw}"}


def test_the_main_report_holds_what_the_suv_rests_on(run: tuple[dict[str, Any], Path]) -> None:
    answer, path = run
    (summary,) = summarise([path])
    inputs = dict(line.split(" = ") for line in summary.suv_inputs)
    assert inputs == {k: str(v) for k, v in answer["suv"]["inputs"].items()} | {
        "reference_time": answer["suv"]["reference_time"]
    }
    assert set(inputs) >= {"weight_kg", "dose_bq", "half_life_s", "decay_correction", "injection_time", "nuclide"}
    assert float(inputs["uptake_time_min"]) == pytest.approx(118 + 14 / 60)


def test_without_height_or_sex_only_the_others_are_missing(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "robustness" / "sex_and_size_missing"
    answer = analyse_folder(folder, tmp_path, Settings(infer=Infer(also_suv=("lbm-janma", "bsa"))))
    assert answer["status"] == "done"
    assert [w["code"] for w in answer["warnings"]].count("suv-type-unavailable") == 2
    assert answer["suv"]["also"] == []
    with pytest.raises(Refused, match="height-missing"):
        suv_folder(folder, suv_type="lbm-janma")


def test_other_numbers_stand_under_another_uid() -> None:
    plain, more = (make_run(Settings(infer=Infer(also_suv=kinds)), "20260101") for kinds in ((), ALL))
    assert plain.settings_digest != more.settings_digest


@pytest.mark.parametrize(("name", "suv_type"), [("bw", "BW"), ("lbm-janma", "LBMJANMA"), ("bsa", "BSA")])
def test_the_command_gives_the_type_that_is_asked_for(shared_data: Path, name: str, suv_type: str) -> None:
    folder = shared_data / "suv" / "dro"
    command = ["suv", str(folder / "DRO_0_0"), "--type", name, "--mask", str(folder / "mask.nii.gz"), "--json"]
    answer = json.loads(CliRunner().invoke(app, command).stdout)
    plain = suv_folder(folder / "DRO_0_0", mask=folder / "mask.nii.gz")
    sex_other = {"bw": 1.0, "lbm-janma": 50.527062 / 70, "bsa": 18_481.430 / 70_000}[name]  # 70 kg, 175 cm
    assert answer["suv_type"] == suv_type
    assert answer["factors"] == pytest.approx([f * sex_other for f in plain["factors"]], rel=1e-7)
    assert answer["median"] == pytest.approx(plain["median"] * sex_other, rel=1e-5)
    assert answer["scale"]["factor"] == pytest.approx(sex_other, rel=1e-7)


def test_the_codes_are_those_of_the_standard() -> None:
    meanings = {c: v[0] for scheme in ("DCM", "UCUM") for e in concepts[scheme].values() for c, v in e.items()}
    for code in (code for kind in SUV_KINDS.values() for code in kind):
        assert meanings[code.value] == code.meaning
