"""Studies without PET, SSTR PET/CT and values, from files to results: offline, and through a running node."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from dicom_node.cli import DONE, REFUSED, app
from dicom_node.demo.node_process import NodeProcess
from dicom_node.demo.orthanc_process import PrivateOrthanc
from tests.kinds_case import AGE, AORTA, CHROMOGRANIN, NEEDED, SEX, slice_bundle, whole_body_bundle
from tests.node_run import dicom_files, send, wait_for
from tests.unit.test_contract import remade
from training.phantom.kinds import StudyTruth, write_ct_study, write_iodine_study, write_sstr_study

Made = tuple[Path, StudyTruth]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    return {
        "CT": slice_bundle(folder, "CT"),
        "iodine map": slice_bundle(folder, "iodine map"),
        "SSTR": whole_body_bundle(folder, (CHROMOGRANIN, AGE, SEX)),
    }


@pytest.fixture(scope="module")
def ct_study(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("ct")
    return folder, write_ct_study(folder)


@pytest.fixture(scope="module")
def iodine_study(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("iodine")
    return folder, write_iodine_study(folder)


@pytest.fixture(scope="module")
def sstr_study(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("sstr")
    return folder, write_sstr_study(folder, voxel_mm=16.0)


def run(command: str, *arguments: Path | str) -> tuple[int, dict[str, Any]]:
    answer = CliRunner().invoke(app, [command, *map(str, arguments), "--json"])
    return answer.exit_code, json.loads(answer.stdout)


def analysed(study: Path, out: Path, *arguments: Path | str) -> dict[str, Any]:
    code, answer = run("analyse", study, "--out", out, *arguments)
    assert code == {"done": DONE, "refused": REFUSED}.get(answer["status"]), answer
    return answer


def configured(folder: Path, *lines: str) -> Path:
    path = folder / "node.toml"
    path.write_text("\n".join([f"[node]\ndata_dir = {json.dumps(str(folder / 'data'))}", *lines]) + "\n")
    return path


def named(bundles: dict[str, Path]) -> str:
    return f"[infer]\nbundles = {json.dumps([str(path) for path in bundles.values()])}"


# ------------------------------------------------------------------------------------------------------------ CT alone


def test_a_ct_alone_is_measured_and_judged(ct_study: Made, bundles: dict[str, Path], tmp_path: Path) -> None:
    folder, truth = ct_study
    answer = analysed(folder, tmp_path / "out", "--bundle", bundles["CT"])
    assert (answer["status"], answer["kind"], answer["pet"], answer["suv"]) == ("done", "CT", None, None)
    (lesion,) = answer["lesions"]
    planted = truth.lesions[0]
    assert lesion["centroid_lps_mm"] == pytest.approx(planted.centre_lps_mm, abs=2.0)
    assert lesion["volume_ml"] == pytest.approx(4 / 3 * np.pi * np.prod(planted.semi_axes_mm) / 1000, rel=0.1)
    assert -40.0 < lesion["mean_hu"] < 80.0
    assert lesion["suv_max"] is None
    assert 0.0 < answer["prediction"]["probability"] < 1.0
    kinds = {result["kind"] for result in answer["results"]}
    assert {"sr", "seg", "key_image"} <= kinds
    frames = {pydicom.dcmread(r["path"]).get("FrameOfReferenceUID") for r in answer["results"] if r["kind"] == "seg"}
    assert frames == {truth.frame_of_reference_uid}


def test_without_a_region_a_ct_is_refused_and_says_what_to_do(
    ct_study: Made, bundles: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(ct_study[0] / "CT", tmp_path / "study")
    answer = analysed(tmp_path / "study", tmp_path / "out", "--bundle", bundles["CT"])
    assert (answer["status"], answer["reason_code"]) == ("refused", "region-needed")
    assert "RTSTRUCT or SEG" in answer["reason"]
    code, foretold = run("route", tmp_path / "study", "--config", configured(tmp_path, named({"CT": bundles["CT"]})))
    assert (code, foretold["reason_code"]) == (REFUSED, "region-needed")
    assert {result["kind"] for result in answer["results"]} == {"key_image", "sr"}


def test_a_pet_ct_model_does_not_take_a_ct_alone(ct_study: Made, tmp_path: Path) -> None:
    answer = analysed(ct_study[0], tmp_path / "out", "--bundle", "demo")
    assert (answer["status"], answer["reason_code"]) == ("refused", "no-pet")


# ---------------------------------------------------------------------------------------------------------- iodine map


def test_an_iodine_map_is_measured_in_mg_per_ml(iodine_study: Made, bundles: dict[str, Path], tmp_path: Path) -> None:
    folder, truth = iodine_study
    answer = analysed(folder, tmp_path / "out", "--bundle", bundles["iodine map"])
    assert (answer["status"], answer["kind"]) == ("done", "iodine map")
    assert answer["ct"]["series_instance_uid"] == truth.series["IODINE"]
    (lesion,) = answer["lesions"]
    assert lesion["mean_hu"] is None
    assert lesion["mean_iodine"] == pytest.approx(truth.iodine_mg_ml, abs=0.4)
    assert answer["prediction"]["probability"] is not None


def test_an_iodine_map_is_no_ct(iodine_study: Made, bundles: dict[str, Path], tmp_path: Path) -> None:
    for part in ("IODINE", "REGION"):
        shutil.copytree(iodine_study[0] / part, tmp_path / "study" / part)
    answer = analysed(tmp_path / "study", tmp_path / "out", "--bundle", bundles["CT"])
    assert (answer["status"], answer["reason_code"]) == ("refused", "no-pet-ct")
    both = analysed(iodine_study[0], tmp_path / "both", "--bundle", bundles["CT"])
    assert both["ct"]["series_instance_uid"] == iodine_study[1].series["CT"]


def test_without_its_unit_an_iodine_map_is_refused(
    iodine_study: Made, bundles: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(iodine_study[0], tmp_path / "study")
    for path in dicom_files(tmp_path / "study" / "IODINE"):
        ds = pydicom.dcmread(path)
        ds.RescaleType = "US"
        del ds.RealWorldValueMappingSequence
        ds.save_as(path)
    answer = analysed(tmp_path / "study", tmp_path / "out", "--bundle", bundles["iodine map"])
    assert (answer["status"], answer["reason_code"]) == ("refused", "iodine-unit-unknown")


def test_a_value_that_divides_the_map_is_asked_for(iodine_study: Made, tmp_path: Path) -> None:
    bundle = slice_bundle(tmp_path, "iodine map", (AORTA,))
    answer = analysed(iodine_study[0], tmp_path / "without", "--bundle", bundle)
    assert answer["prediction"]["probability"] is None
    assert "aorta_iodine" in answer["prediction"]["applicability_reasons"][0]
    assert len(answer["lesions"]) == 1
    (tmp_path / "v.json").write_text('{"aorta_iodine": 4.2}')
    answer = analysed(iodine_study[0], tmp_path / "with", "--bundle", bundle, "--values", tmp_path / "v.json")
    assert answer["prediction"]["probability"] is not None


# ----------------------------------------------------------------------------------------------------- SSTR and values


def test_values_of_a_file_and_of_the_header_are_taken(
    sstr_study: Made, bundles: dict[str, Path], tmp_path: Path
) -> None:
    folder, truth = sstr_study
    header = pydicom.dcmread(dicom_files(folder / "PET")[0], stop_before_pixels=True)
    labs = tmp_path / "labs.csv"
    labs.write_text(f"Accession Number,CgA (ug/L)\nother,7\n{truth.accession_number},250\n")
    answer = analysed(folder, tmp_path / "out", "--bundle", bundles["SSTR"], "--values", labs)
    told = {value["name"]: (value["value"], value["source"]) for value in answer["values"]}
    assert told["cga"] == (250.0, "table")
    assert told["sex"] == (header.PatientSex, "header")
    assert told["age"][1] == "header"
    assert answer["tracer"]["name"] == "dotatoc"
    given = answer["prediction"]["probability"]
    without = analysed(folder, tmp_path / "none", "--bundle", bundles["SSTR"])
    assert {value["name"]: value["value"] for value in without["values"]}["cga"] is None
    assert "value-filled" in {caution["code"] for caution in without["warnings"]}
    assert without["prediction"]["probability"] != given
    uids = [{r["sop_instance_uid"] for r in one["results"]} for one in (answer, without)]
    assert not uids[0] & uids[1]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("accession_number,cga\n{accession},1\n{accession},2\n", "rows 2, 3 are all of this study"),
        ("accession_number,patient_id,cga\n{accession},SOMEBODY,1\n", "its patient_id does not"),
        ("accession_number,cga\n{accession},1,2\n", "row 2 has 3 cells"),
        ("accession_number,sex,cga\n{accession},{other_sex},1\n", "sex in the given values is not the image header's"),
        ("accession_number,cga\nother,1\n", "no row is of this study"),
    ],
)
def test_values_that_cannot_be_trusted_withhold_the_verdict_and_keep_the_measures(
    sstr_study: Made, bundles: dict[str, Path], tmp_path: Path, table: str, reason: str
) -> None:
    folder, truth = sstr_study
    header = pydicom.dcmread(dicom_files(folder / "PET")[0], stop_before_pixels=True)
    other_sex = "M" if header.PatientSex == "F" else "F"
    labs = tmp_path / "labs.csv"
    labs.write_text(table.format(accession=truth.accession_number, other_sex=other_sex))
    answer = analysed(folder, tmp_path / "out", "--bundle", bundles["SSTR"], "--values", labs)
    assert answer["status"] == "done"
    assert answer["prediction"]["probability"] is None
    assert any(reason in one for one in answer["prediction"]["applicability_reasons"])
    assert answer["suv"] is not None


# ------------------------------------------------------------------------------------------------------------- routing


def test_each_study_goes_to_the_bundle_whose_contract_admits_it(
    ct_study: Made, iodine_study: Made, sstr_study: Made, bundles: dict[str, Path], tmp_path: Path
) -> None:
    fdg = remade(tmp_path, "fdg-model", tracers=("fdg",))
    config = configured(tmp_path, named({"FDG": fdg, **bundles}))
    wanted = {"CT": ct_study, "iodine map": iodine_study, "SSTR": sstr_study}
    for name, (folder, _) in wanted.items():
        code, answer = run("route", folder, "--config", config)
        assert code == DONE, answer
        looks = [answer, *answer["further"]]
        chosen = [model["bundle"] for look in looks for model in look["models"]]
        if name == "iodine map":  # the CT that was taken with it is looked at as a CT alone
            assert chosen == [str(bundles["iodine map"]), str(bundles["CT"])]
        else:
            assert chosen == [str(bundles[name])]
    assert any("the model is for fdg" in rule["why"] for rule in answer["rules"])


def test_where_no_contract_admits_a_study_it_is_measured_all_the_same(sstr_study: Made, tmp_path: Path) -> None:
    psma = whole_body_bundle(tmp_path, (), tracers=("psma-11",))
    fdg = remade(tmp_path, "fdg-model", tracers=("fdg",))
    config = configured(tmp_path, named({"FDG": fdg, "PSMA": psma}))
    code, answer = run("route", sstr_study[0], "--config", config)
    assert code == DONE
    assert [model["bundle"] for model in answer["models"]] == [str(fdg)]
    assert not answer["models"][0]["admitted"]
    assert "withholds its verdict" in answer["rules"][0]["why"]


# -------------------------------------------------------------------------------------------------------- a live node


@pytest.fixture(scope="module")
def node(
    orthanc: PrivateOrthanc, bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    labs = tmp_path_factory.mktemp("labs") / "labs.csv"
    labs.write_text("accession_number;cga\nnobody;1\n")
    needing = whole_body_bundle(tmp_path_factory.mktemp("needing"), (CHROMOGRANIN, NEEDED))
    used = {"CT": bundles["CT"], "SSTR": needing}
    more = f"{named(used)}\n\n[values]\ntable = {json.dumps(str(labs))}\n\n[assemble]\nquiet_s = 2\ngive_up_s = 5\n"
    with NodeProcess(tmp_path_factory.mktemp("node"), orthanc.http_url, more=more) as running:
        yield running


def explained(node: NodeProcess, study: str, command: str = "explain") -> Any:
    answer = CliRunner().invoke(app, [command, study, "--json", "--config", str(node.config_file)])
    return json.loads(answer.stdout) if answer.exit_code == DONE else {"runs": [], "state": ""}


def _confirmed(run: dict[str, Any]) -> bool:
    """What has not gone out is withheld when more of the study comes, and has no successor that names it."""
    return any(delivery["state"] == "confirmed" for delivery in run["deliveries"])


@pytest.mark.peers
def test_a_ct_waits_for_its_region_and_is_then_analysed(node: NodeProcess, ct_study: Made) -> None:
    folder, truth = ct_study
    study = truth.study_instance_uid
    send(node.port, dicom_files(folder / "CT"))
    wait_for(lambda: [r for r in explained(node, study)["runs"] if r["state"] == "refused" and _confirmed(r)])
    (first,) = explained(node, study)["runs"]
    assert (first["code"], first["kind"], first["pet"]) == ("region-needed", "CT", None)
    send(node.port, dicom_files(folder / "REGION"))
    wait_for(lambda: [r for r in explained(node, study)["runs"] if r["state"] == "done"])
    last = explained(node, study)["runs"][-1]
    assert last["replaces"] == [first["run_id"]]
    assert Path(last["bundle"]).name == "ct-model"
    assert {"sr", "seg"} <= {result["kind"] for result in last["results"]}


@pytest.mark.peers
def test_a_row_that_comes_later_is_used_when_the_study_is_asked_for_again(node: NodeProcess, sstr_study: Made) -> None:
    folder, truth = sstr_study
    study = truth.study_instance_uid
    send(node.port, [*dicom_files(folder / "PET"), *dicom_files(folder / "CT")])
    wait_for(lambda: explained(node, study)["state"] == "done")
    (first,) = explained(node, study)["runs"]
    sr = next(Path(r["path"]) for r in first["results"] if r["kind"] == "sr")
    assert "Gamma-GT" in pydicom.dcmread(sr).to_json()
    table = Path(json.loads(node.config_file.read_text().split("table = ")[1].splitlines()[0]))
    secret = "73.25"
    table.write_text(f"accession_number;cga;ggt\n{truth.accession_number};180,5;{secret}\n")
    answer = CliRunner().invoke(app, ["again", study, "--json", "--config", str(node.config_file)])
    assert answer.exit_code == DONE, answer.output
    wait_for(lambda: [r for r in explained(node, study)["runs"] if r["replaces"] and r["state"] == "done"])
    last = explained(node, study)["runs"][-1]
    assert "values are others now" in last["because"]
    assert {r["sop_instance_uid"] for r in last["results"]}.isdisjoint(r["sop_instance_uid"] for r in first["results"])
    logs = "".join(path.read_text() for path in node.config_file.parent.rglob("*.log"))
    assert "model warm" in logs
    assert secret not in logs
    unchanged = CliRunner().invoke(app, ["again", study, "--json", "--config", str(node.config_file)])
    assert "nothing has changed" in unchanged.stdout
