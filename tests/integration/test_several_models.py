"""One node, two models, routing rules: two result sets that nobody can mix up, and a story that tells all of it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from typer.testing import CliRunner

from dicom_node.cli import DONE, REFUSED, app
from dicom_node.demo.node_process import NodeProcess
from dicom_node.demo.orthanc_process import PrivateOrthanc
from tests.node_run import KINDS, dicom_files, events, objects, send, wait_for
from tests.unit.test_contract import remade

pytestmark = [pytest.mark.peers, pytest.mark.data]

OTHER_STUDY, HALF_STUDY, GATED_STUDY = "2.25.4711", "2.25.4712", "2.25.4713"
RULES = """[assemble]
quiet_s = 2
give_up_s = 2

[[route]]
name = "FDG"
bundle = "demo"
when = {{ tracer = "fdg", calling_ae_title = "*" }}

[[route]]
name = "too wide: the contract must hold"
bundle = {psma}
when = {{ any = [{{ tracer = ["fdg", "psma*"] }}, {{ station_name = "/x/" }}], not = {{ tracer = "psma*" }} }}
"""


@pytest.fixture(scope="module")
def node(orthanc: PrivateOrthanc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    psma = remade(tmp_path_factory.mktemp("bundle"), "psma-model", tracers=("psma-11", "psma-1007"))
    rules = RULES.format(psma=json.dumps(str(psma)))
    with NodeProcess(tmp_path_factory.mktemp("node"), orthanc.http_url, more=rules) as running:
        yield running


@pytest.fixture(scope="module")
def study(node: NodeProcess, shared_data: Path) -> str:
    """The baseline, answered by both models."""
    files = dicom_files(shared_data / "geometry" / "baseline")
    uid = str(pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    send(node.port, files)
    wait_for(lambda: events(node, uid).count("confirmed") == 2)
    return uid


def explained(node: NodeProcess, *arguments: str) -> Any:
    answer = CliRunner().invoke(app, ["explain", *arguments, "--json", "--config", str(node.config_file)])
    assert answer.exit_code == DONE, answer.output
    return json.loads(answer.stdout)


def test_each_model_gives_a_result_set_of_its_own(node: NodeProcess, orthanc: PrivateOrthanc, study: str) -> None:
    found = [pydicom.dcmread(io.BytesIO(content)) for content in objects(orthanc.http_url, study).values()]
    found = [ds for ds in found if ds.ManufacturerModelName == "petct-node"]
    by_model = {
        name: [ds for ds in found if ds.SeriesDescription.endswith(f"[{name}]")] for name in ("demo", "psma-model")
    }
    assert len(by_model["demo"]) == len(KINDS)
    assert len(found) == len(by_model["demo"]) + len(by_model["psma-model"])
    assert len({ds.SeriesInstanceUID for ds in found}) == len(found)
    assert all("research use only" in ds.SeriesDescription for ds in found)
    assert len({int(ds.SeriesNumber) for ds in found}) == len(found)
    assert {int(ds.SeriesNumber) // 100 for ds in by_model["psma-model"]} == {91}  # the second model of the rules
    withheld = next(ds for ds in by_model["psma-model"] if ds.Modality == "SR" and "results" in ds.SeriesDescription)
    assert "the model is for psma-11 or psma-1007" in withheld.to_json()
    assert not any("psma" in ds.to_json() for ds in by_model["demo"] if ds.Modality == "SR")


def test_explain_tells_it_all(node: NodeProcess, study: str, shared_data: Path) -> None:
    story = explained(node, study)
    assert story["state"] == "done"
    files = dicom_files(shared_data / "geometry" / "baseline")
    assert sum(s["instances"] for s in story["series"]) == len(files)
    assert {tuple(s["senders"]) for s in story["series"]} == {("STORESCU",)}
    assert {Path(run["bundle"]).name for run in story["runs"]} == {"demo", "psma-model"}
    for run in story["runs"]:
        assert run["state"] == "done"
        assert len(run["pet"]["why"]) > 0
        (delivery,) = run["deliveries"]
        assert delivery["state"] == "confirmed"
        assert {r["sop_instance_uid"] for r in delivery["receipts"]} == {r["sop_instance_uid"] for r in run["results"]}
        assert all(Path(r["path"]).is_file() for r in run["results"])
    told = [e for e in story["timeline"] if e["event"] == "pair-complete"]
    assert "Rule 'FDG' matches: the sender's AE title is STORESCU; the tracer is fdg." in told[0]["text"]
    header = pydicom.dcmread(files[0], stop_before_pixels=True)
    assert str(header.PatientID) not in json.dumps(story)


def test_a_study_that_no_rule_wants_is_kept_and_its_story_says_why(
    node: NodeProcess, orthanc: PrivateOrthanc, study: str, shared_data: Path, tmp_path: Path
) -> None:
    for number, path in enumerate(dicom_files(shared_data / "geometry" / "baseline")):
        ds = pydicom.dcmread(path)
        ds.StudyInstanceUID, ds.SOPInstanceUID = OTHER_STUDY, f"{OTHER_STUDY}.9.{number}"
        ds.SeriesInstanceUID = f"{OTHER_STUDY}.{1 if ds.Modality == 'PT' else 2}"
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        if ds.Modality == "PT":
            item = ds.RadiopharmaceuticalInformationSequence[0]
            item.Radiopharmaceutical = "18F-PSMA-1007"
            del item.RadiopharmaceuticalCodeSequence
        ds.save_as(tmp_path / f"{number:03}.dcm")
    send(node.port, dicom_files(tmp_path))
    wait_for(lambda: "not-routed" in events(node, OTHER_STUDY))
    story = explained(node, OTHER_STUDY)
    assert (story["state"], story["runs"]) == ("not-routed", [])
    assert "Rule 'FDG' does not match: the tracer is psma-1007, not fdg." in story["not_answered"][0]["text"]
    assert objects(orthanc.http_url, OTHER_STUDY) == {}


def test_a_refused_study_says_what_to_do(node: NodeProcess, study: str, shared_data: Path, tmp_path: Path) -> None:
    for number, path in enumerate(dicom_files(shared_data / "geometry" / "baseline" / "pet")):
        ds = pydicom.dcmread(path)
        ds.StudyInstanceUID, ds.SeriesInstanceUID = HALF_STUDY, f"{HALF_STUDY}.1"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{HALF_STUDY}.9.{number}"
        ds.save_as(tmp_path / f"{number:03}.dcm")
    send(node.port, dicom_files(tmp_path))
    wait_for(lambda: explained(node, HALF_STUDY)["state"] == "refused")
    (run,) = explained(node, HALF_STUDY)["runs"]
    assert run["refusal"]["code"] == "no-ct"
    assert run["refusal"]["advice"] == "Send the CT of the same examination."


def test_a_study_that_was_never_one_for_us_gets_no_result_but_a_story(
    node: NodeProcess, orthanc: PrivateOrthanc, study: str, shared_data: Path, tmp_path: Path
) -> None:
    for number, path in enumerate(dicom_files(shared_data / "geometry" / "baseline")):
        ds = pydicom.dcmread(path)
        ds.StudyInstanceUID, ds.SeriesInstanceUID = GATED_STUDY, f"{GATED_STUDY}.{1 if ds.Modality == 'PT' else 2}"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{GATED_STUDY}.9.{number}"
        if ds.Modality == "PT":
            ds.SeriesType = ["GATED", "IMAGE"]
        ds.save_as(tmp_path / f"{number:03}.dcm")
    send(node.port, dicom_files(tmp_path))
    wait_for(lambda: "refused" in events(node, GATED_STUDY))
    story = explained(node, GATED_STUDY)
    assert story["runs"] == []
    assert story["not_answered"][0]["text"].startswith("pet-not-static: ")
    assert objects(orthanc.http_url, GATED_STUDY) == {}


def test_it_tells_the_same_when_the_node_is_stopped(node: NodeProcess, study: str) -> None:
    before = explained(node, study)
    node.stop()
    assert explained(node, study) == before
    assert study in {s["study_instance_uid"] for s in explained(node)}
    shown = CliRunner().invoke(app, ["explain", study, "--config", str(node.config_file)])
    assert shown.exit_code == DONE
    assert "pair-complete" in shown.output
    unknown = CliRunner().invoke(app, ["explain", study[:-1], "--config", str(node.config_file)])
    assert unknown.exit_code == REFUSED
    assert study in unknown.stderr.replace("\n", "")
