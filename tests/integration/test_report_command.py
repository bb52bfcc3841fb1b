"""`petct-node report`: every object of ours for people and machines, from the DICOM alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from dicom_node import errors
from dicom_node.cli import DONE, REFUSED, app
from dicom_node.report import read_result, summarise, write_refusal, write_results
from dicom_node.report.readback.kinds import ORDER
from dicom_node.report.readback.text import print_summaries
from dicom_node.report.words.phrases import LANGUAGES
from dicom_node.report.write import DEFAULT, OPTIONAL
from inference.facts import Analysis, Predecessor, Refused, Result, SuvScale
from tests.report_case import MODEL, PATIENT, RUN, WITHHELD, make_analysis

EARLIER = Path(__file__).parent.parent / "earlier_results"
TWO = (((30.0, -20.0, 12.0), 14.0, 8.0), ((-35.0, 10.0, -15.0), 9.0, 5.0))
NO_CT = Refused("no-ct", "There is no CT that belongs to the PET; send it.")
KEYS = [
    *("path", "kind", "sop_class_uid", "sop_instance_uid", "series_instance_uid", "study_instance_uid"),
    *("series_description", "created", "node_version", "model", "model_statement", "research_use_only"),
    *("content", "language", "model_parameters", "prediction", "lesions", "lesion_count", "suv_rule"),
    *("suv_also", "suv_inputs", "warnings", "comments", "refusal_code", "refusal_class", "refusal_reason"),
    *("refusal_advice", "replaces", "replaced_by", "members", "counts", "values", "patient"),
]
LESION_KEYS = [
    *("tracking_id", "tracking_uid", "segment_number", "image_sop_instance_uid", "source", "measures"),
    *("algorithm", "description"),
]
NAMED_KEYS = ["kind", "sop_class_uid", "sop_instance_uid", "study_instance_uid", "path"]
PATIENT_KEYS = ["name", "patient_id", "issuer", "birth_date", "sex", "study_date", "accession_number"]


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    made = make_analysis(tmp_path_factory.mktemp("study"), balls=TWO)
    return replace(made, also_suv=(SuvScale("lbm-janma", "LBMJANMA", 0.7, "Janmahasatian"),))


@pytest.fixture(scope="module")
def every(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """The default set and all optional objects."""
    run = replace(RUN, also=tuple(OPTIONAL))
    return {r.kind: r for r in write_results(analysis, run, tmp_path_factory.mktemp("every"))}


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    return CliRunner()


def told(cli: CliRunner, *arguments: object) -> list[dict[str, Any]]:
    answer = cli.invoke(app, ["report", *map(str, arguments), "--json"])
    assert answer.exit_code == DONE, answer.output
    found: list[dict[str, Any]] = json.loads(answer.stdout)
    return found


def printed(*paths: Path, width: int = 100, patient: bool = False) -> str:
    console = Console(file=StringIO(), width=width)
    print_summaries(summarise(paths, patient=patient), console)
    said: str = console.file.getvalue()  # type: ignore[attr-defined]
    return said


def main_of(results: tuple[Result, ...]) -> Result:
    return next(result for result in results if result.kind == "sr")


def test_every_kind_is_known_again(every: dict[str, Result]) -> None:
    assert set(every) == {*DEFAULT, *OPTIONAL}
    for kind, result in every.items():
        summary = read_result(result.path)
        assert (summary.kind, summary.sop_instance_uid) == (kind, result.sop_instance_uid)
        assert summary.research_use_only
        assert summary.content or kind in ("sr", "sr_viewer"), kind
    assert set(ORDER) >= set(every)


def test_a_series_that_an_archive_has_named_anew_is_known_again(every: dict[str, Result], tmp_path: Path) -> None:
    for kind in DEFAULT:
        ds = pydicom.dcmread(every[kind].path)
        ds.SeriesDescription = "imported"
        ds.save_as(tmp_path / "renamed.dcm")
        assert read_result(tmp_path / "renamed.dcm").kind == kind


def test_the_json_has_the_keys_that_scripts_depend_on(cli: CliRunner, every: dict[str, Result]) -> None:
    found = told(cli, every["sr"].path.parent)
    assert list(dict.fromkeys(result["kind"] for result in found)) == [kind for kind in ORDER if kind in every]
    for result in found:
        assert list(result) == KEYS
        assert result["patient"] is None
        assert all(list(lesion) == LESION_KEYS for lesion in result["lesions"])
        assert all(list(named) == NAMED_KEYS for named in (*result["members"], *result["replaces"]))
    main = found[0]
    assert main["created"] == "2026-03-01T10:15:00.250000+01:00"
    assert (main["model"], main["node_version"], main["language"]) == ("demo 1.0", "0.1.0", "en")
    assert main["lesions"][0]["algorithm"] == "petct-node lesions 0.1.0"
    assert main["lesions"][0]["measures"]["lbm-janma_max"] == pytest.approx(5.6)
    assert len(main["suv_also"]) == 1
    assert any(parameter == f"manifest sha256:{MODEL.digest}" for parameter in main["model_parameters"])


def test_the_main_report_says_which_of_its_set_are_there(
    cli: CliRunner, every: dict[str, Result], tmp_path: Path
) -> None:
    main = told(cli, every["sr"].path.parent)[0]
    named = {member["kind"]: member["path"] for member in main["members"]}
    assert named == {kind: str(result.path) for kind, result in every.items() if kind in named}
    assert {*every} - {*named} <= {"sr", "ko"}
    shutil.copytree(every["sr"].path.parent, tmp_path / "some")
    (tmp_path / "some" / "heatmap.dcm").unlink()
    members = {m["kind"]: m["path"] for m in told(cli, "some")[0]["members"]}
    assert [kind for kind, path in members.items() if path is None] == ["heatmap"]
    said = printed(tmp_path / "some", width=200)
    assert f"not among these files: {every['heatmap'].sop_instance_uid}" in said


def test_a_report_that_is_replaced_says_so(analysis: Analysis, cli: CliRunner, tmp_path: Path) -> None:
    first = main_of(write_results(analysis, RUN, tmp_path / "first"))
    uids = (first.study_instance_uid, first.series_instance_uid, first.sop_class_uid, first.sop_instance_uid)
    again = replace(RUN, started_at="20260302101500.250000+0100", predecessors=(Predecessor(*uids),))
    second = main_of(write_results(analysis, again, tmp_path / "second"))
    found = {r["sop_instance_uid"]: r for r in told(cli, "second", "first")}
    assert found[first.sop_instance_uid]["replaced_by"] == second.sop_instance_uid
    (replaced,) = found[second.sop_instance_uid]["replaces"]
    assert (replaced["sop_instance_uid"], replaced["path"]) == (first.sop_instance_uid, "first/sr.dcm")
    assert found[second.sop_instance_uid]["replaced_by"] is None
    said = printed(tmp_path, width=200)
    assert f"replaced: by report {second.sop_instance_uid}" in said
    assert f"replaces: report {first.sop_instance_uid}" in said
    (alone,) = told(cli, "second/sr.dcm")
    assert alone["replaces"][0]["path"] is None


def test_nothing_names_the_patient_unless_asked(cli: CliRunner, every: dict[str, Result]) -> None:
    folder = every["sr"].path.parent
    private = [str(PATIENT[keyword]) for keyword in ("PatientName", "PatientID", "PatientBirthDate")]
    for asked in ([], ["--json"]):
        without = cli.invoke(app, ["report", str(folder), *asked])
        assert without.exit_code == DONE
        assert not any(value in without.stdout for value in private)
    with_patient = cli.invoke(app, ["report", str(folder), "--patient"])
    assert all(value in with_patient.stdout for value in private)
    patient = told(cli, folder, "--patient")[0]["patient"]
    assert list(patient) == PATIENT_KEYS
    assert patient["name"] == "Müller^Jörg"


def test_a_refusal_has_code_class_and_advice(analysis: Analysis, cli: CliRunner, tmp_path: Path) -> None:
    write_refusal(analysis.pair.pet.instances, NO_CT, MODEL, RUN, tmp_path / "refused")
    report, picture = told(cli, "refused")
    row = errors.row("no-ct")
    assert (report["refusal_code"], report["refusal_reason"]) == ("no-ct", NO_CT.reason)
    assert report["refusal_class"] == [row.concept.value, row.concept.meaning]
    assert report["refusal_advice"] == f"{row.who}: {row.advice}"
    assert (report["prediction"], report["lesions"], picture["kind"]) == (None, [], "key_image")
    said = printed(tmp_path / "refused", width=200)
    for text in ("not analysed: (no-ct)", NO_CT.reason, row.concept.meaning, row.advice):
        assert said.count(text) == 1, text


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_report_in_any_language_says_the_same(
    analysis: Analysis, every: dict[str, Result], tmp_path: Path, language: str
) -> None:
    english = read_result(every["sr"].path)
    run = replace(RUN, language=language)
    summary = read_result(main_of(write_results(analysis, run, tmp_path / "other")).path)
    assert summary.language == language
    for field in ("prediction", "lesion_count", "suv_rule", "suv_inputs", "warnings"):
        assert getattr(summary, field) == getattr(english, field), field
    assert [lesion.measures for lesion in summary.lesions] == [lesion.measures for lesion in english.lesions]
    refused = main_of(write_refusal(analysis.pair.pet.instances, NO_CT, MODEL, run, tmp_path / "refused"))
    assert read_result(refused.path).refusal_reason == NO_CT.reason


def test_results_of_earlier_formats_are_read(cli: CliRunner) -> None:
    (first,) = told(cli, EARLIER / "format_1")
    second = {Path(result["path"]).stem: result for result in told(cli, EARLIER / "format_2")}
    for report in (first, second["sr"]):
        assert (report["kind"], report["model"], report["language"]) == ("sr", "demo 1.0", "en")
        assert report["created"] == "2026-03-01T10:15:00.250000+01:00"
        assert report["prediction"]["interval"] == [0.593, 0.846]
        assert [lesion["tracking_id"] for lesion in report["lesions"]] == ["Lesion 1", "Lesion 1 MTV"]
        assert report["lesions"][0]["measures"]["suv_max"] == 8.0
    assert {kind: result["kind"] for kind, result in second.items()} == {
        **{kind: kind for kind in ("sr", "sr_viewer", "seg")},
        "refused": "sr",
    }
    assert [(m["kind"], Path(m["path"]).name) for m in second["sr"]["members"]] == [("seg", "seg.dcm")]
    assert second["sr"]["replaces"][0]["sop_instance_uid"] == "1.2.5.1"
    assert second["refused"]["refusal_code"] == "no-ct"
    assert [m["path"] for m in first["members"]] == [None]
    third = {Path(result["path"]).stem: result for result in told(cli, EARLIER / "format_3")}
    assert third["sr"]["lesions"][1]["description"].startswith("For research use only. Voxels SUVbw at or above")
    assert {m["kind"] for m in third["sr"]["members"]} == {"seg", "sr_viewer", "key_image", "heatmap"}
    assert third["refused"]["refusal_code"] == "no-ct"


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_terminal(every: dict[str, Result], width: int) -> None:
    said = printed(every["sr"].path.parent, width=width)
    assert max(map(len, said.splitlines())) <= width
    rows = [line.split() for line in said.splitlines() if line.strip().startswith("Lesion ")]
    assert [" ".join(row[:3]) for row in rows[:4]] == ["Lesion 1 1", "Lesion 1 MTV", "Lesion 2 3", "Lesion 2 MTV"]
    assert rows[0][-4:] == ["8.00", "4.20", "7.44", "11.41"]  # each lesion on one line, with all its numbers


def test_several_studies_stand_apart(analysis: Analysis, every: dict[str, Result], tmp_path: Path) -> None:
    other = make_analysis(
        tmp_path / "in", size=(8, 24, 24), header={"TimezoneOffsetFromUTC": "-0500"}, prediction=WITHHELD
    )
    written = write_results(other, RUN, tmp_path / "out")
    for result in written:  # as if of another study
        ds = pydicom.dcmread(result.path)
        ds.StudyInstanceUID = "2.25.77"
        ds.save_as(result.path)
    said = printed(tmp_path / "out", every["sr"].path.parent, width=120)
    assert said.count("Study 2.25.") == 2
    assert said.count("Study 2.25.77 ") == 1
    assert "2026-03-01 04:15:00-05:00" in said


def test_what_is_not_ours_is_told_by_what_it_is(analysis: Analysis, cli: CliRunner) -> None:
    answer = cli.invoke(app, ["report", analysis.pair.pet.instances[0].path])
    assert answer.exit_code == REFUSED
    assert "not a result written by petct-node, but Positron Emission Tomography Image Storage" in " ".join(
        answer.stderr.split()
    )


def test_a_damaged_result_is_refused(every: dict[str, Result], tmp_path: Path) -> None:
    damaged = {"seg": "SegmentSequence", "sr": "StudyInstanceUID", "rtstruct": "StructureSetROISequence"}
    for kind, keyword in damaged.items():
        ds = pydicom.dcmread(every[kind].path)
        del ds[keyword]
        ds.save_as(tmp_path / f"{kind}.dcm")
        with pytest.raises(Refused) as refused:
            read_result(tmp_path / f"{kind}.dcm")
        assert (refused.value.code, refused.value.facts["file"]) == ("unreadable-file", f"{kind}.dcm")


def test_a_number_that_is_none_is_damage(every: dict[str, Result], tmp_path: Path) -> None:
    data = every["sr"].path.read_bytes()
    number = f"{8.0:.6g}".encode()
    assert b"8.0" in data
    (tmp_path / "sr.dcm").write_bytes(data.replace(b"8.0 ", b"nan ").replace(number + b".0", b"nan"))
    with pytest.raises(Refused) as refused:
        read_result(tmp_path / "sr.dcm")
    assert refused.value.code == "unreadable-file"


def test_a_file_cannot_steer_the_terminal(every: dict[str, Result], tmp_path: Path) -> None:
    ds = pydicom.dcmread(every["sr"].path)
    ds.SeriesDescription = "AI PET/CT results\x1b[2J[red]x"
    for element in ds.iterall():
        if element.keyword == "TextValue":
            element.value = f"\x1b]0;title\x07{element.value}[/bold]"
    ds.save_as(tmp_path / "sr.dcm")
    said = printed(tmp_path / "sr.dcm")
    assert "\x1b" not in said
    assert "\x07" not in said
    assert "[red]x" in said


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_a_summary_or_a_refusal(every: dict[str, Result], tmp_path: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["sr", "sr_viewer", "rtstruct", "ko", "seg", "pdf"]))
    content = bytearray(every[kind].path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(132, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.dcm"
    path.write_bytes(content[: data.draw(st.integers(140, len(content)))])
    try:
        summary = read_result(path, patient=True)
    except Refused as refused:
        assert refused.code in ("unreadable-file", "not-a-result")  # noqa: PT017 - a refusal is one of two answers
        return
    assert summary.kind in ORDER
