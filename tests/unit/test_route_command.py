"""`petct-node route`: what the node would do with a folder; and `explain` on what a coordinator has decided."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from dicom_node.cli import DONE, REFUSED, USAGE, app
from dicom_node.commands.explain import explain_study, list_studies
from dicom_node.commands.explain_text import print_story
from dicom_node.config import Settings
from dicom_node.errors import ROWS
from dicom_node.index import Fault
from inference.facts import Refused
from tests.site import Site
from tests.studies import STUDY, ct, pet
from tests.unit.test_contract import remade

RULES = """
[[route]]
name = "adult FDG"
bundle = {fdg}
stop = true
when = {{ tracer = "fdg", patient_age = {{ min = 18 }} }}

[[route]]
name = "from scanner one"
bundle = "demo"
when = {{ calling_ae_title = "PETCT1" }}

[[route]]
name = "gone"
bundle = "not-installed"
when = {{ calling_ae_title = "PETCT2" }}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "node.toml"
    fdg = remade(tmp_path, "fdg-model", tracers=("fdg",), units=("BQML",))
    data = f"[node]\ndata_dir = {json.dumps(str(tmp_path / 'data'))}\n"
    file.write_text(data + RULES.format(fdg=json.dumps(str(fdg))))
    return file


def routed(folder: Path, config: Path, *more: str) -> tuple[int, dict[str, Any]]:
    answer = CliRunner().invoke(app, ["route", str(folder), "--config", str(config), "--json", *more])
    return answer.exit_code, json.loads(answer.stdout)


# --------------------------------------------------------------------------------------------------------------- route


@pytest.mark.data
def test_a_study_that_would_run(shared_data: Path, config: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    code, told = routed(shared_data / "geometry" / "baseline", config)
    assert (code, told["status"]) == (DONE, "would-run")
    assert told["tracer"] == {"name": "fdg", "nuclide": "F-18", "text": "FDG -- fluorodeoxyglucose"}
    assert [r["matched"] for r in told["rules"]] == [True, False, False]
    (model,) = told["models"]
    assert (model["name"], model["admitted"], model["reasons"]) == ("fdg-model", True, [])
    assert (told["pet"]["instances"], told["ct"]["instances"]) == (8, 8)
    assert told["suv"]["rule"].startswith("BQML")
    assert sorted(tmp_path.rglob("*")) == before, "nothing is written"


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "code"),
    [
        ("geometry/frame_of_reference_differs", "frame-of-reference-differs"),
        ("geometry/dynamic_pet", "pet-not-static"),
        ("robustness/ct_only", "no-pet"),
        ("robustness/pet_only", "no-ct"),
        ("robustness/patient_mismatch", "patient-mismatch"),
        ("robustness/not_attenuation_corrected", "pet-not-attenuation-corrected"),
        ("robustness/dose_missing", "dose-missing"),
        ("robustness/units_propcps", "units-unsupported"),
        ("geometry/missing_slice_ct", "missing-slices"),
    ],
)
def test_a_study_that_would_be_refused(shared_data: Path, config: Path, folder: str, code: str) -> None:
    exit_code, told = routed(shared_data / folder, config)
    assert (exit_code, told["status"]) == (REFUSED, "refused")
    assert told["reason_code"] == code
    assert told["advice"] == ROWS[code].advice
    assert told["models"] == []


@pytest.mark.data
@pytest.mark.parametrize("folder", ["study_with_extras", "two_ct", "two_pet_ac_and_nac"])
def test_series_left_out_are_told_with_their_reasons(shared_data: Path, config: Path, folder: str) -> None:
    code, told = routed(shared_data / "robustness" / folder, config)
    assert code == DONE
    assert any("left out, " in sentence for sentence in told["story"])
    assert sum("chosen, " in sentence for sentence in told["story"]) == 2


@pytest.mark.data
def test_no_rule_and_the_sender(shared_data: Path, config: Path, tmp_path: Path) -> None:
    text = config.read_text()
    config.write_text(text.replace("min = 18", "min = 99"))
    folder = shared_data / "geometry" / "baseline"
    code, told = routed(folder, config)
    assert (code, told["status"], told["models"]) == (REFUSED, "no-rule", [])
    assert "is not at least 99" in told["rules"][0]["why"]
    assert "not known" in told["rules"][1]["why"]
    code, told = routed(folder, config, "--aet", "petct1")
    assert (code, [m["bundle"] for m in told["models"]]) == (DONE, ["demo"])
    code, told = routed(folder, config, "--aet", "PETCT2")
    assert "bundle-not-found" in told["models"][0]["reasons"][0]
    shown = CliRunner().invoke(app, ["route", str(folder), "--config", str(config), "--aet", "PETCT2"])
    assert "cannot run not-installed" in shown.stdout
    shown = CliRunner().invoke(app, ["route", str(folder), "--config", str(config)])
    assert shown.exit_code == REFUSED
    assert "no rule matches" in shown.stdout


@pytest.mark.data
def test_a_contract_that_does_not_admit_is_told(shared_data: Path, config: Path) -> None:
    text = config.read_text()
    folder = remade(config.parent, "psma-model", tracers=("psma-11",))
    config.write_text(text.replace("fdg-model", folder.name))
    code, told = routed(shared_data / "geometry" / "baseline", config)
    assert code == DONE, "the study would be measured"
    assert not told["models"][0]["admitted"]
    assert "the model is for psma-11" in told["models"][0]["reasons"][0]


def test_wrong_usage(tmp_path: Path, config: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, told = routed(tmp_path / "empty", config)
    assert (code, told["reason_code"]) == (REFUSED, "no-dicom")
    assert CliRunner().invoke(app, ["route", str(tmp_path / "absent")]).exit_code == USAGE
    assert CliRunner().invoke(app, ["route", str(tmp_path), "--aet", "seventeen letters"]).exit_code == USAGE


# ------------------------------------------------------------------------------------------------------------- analyse


def analysed(folder: Path, config: Path, out: Path, *more: str) -> tuple[int, dict[str, Any]]:
    arguments = ["analyse", str(folder), "--out", str(out), "--config", str(config), "--json", *more]
    answer = CliRunner().invoke(app, arguments)
    return answer.exit_code, json.loads(answer.stdout)


@pytest.mark.data
def test_analyse_asks_the_models_that_the_rules_name(shared_data: Path, config: Path, tmp_path: Path) -> None:
    folder, text = shared_data / "geometry" / "baseline", config.read_text()
    code, one = analysed(folder, config, tmp_path / "one")
    assert (code, one["model"]["name"], one["further"]) == (DONE, "fdg-model", [])
    assert {Path(r["path"]).parent for r in one["results"]} == {tmp_path / "one"}

    config.write_text(text.replace("stop = true", ""))
    code, first = analysed(folder, config, tmp_path / "two", "--aet", "PETCT1")
    (second,) = first["further"]
    assert (code, first["model"]["name"], second["model"]["name"]) == (DONE, "fdg-model", "demo")
    assert second["lesions"] == first["lesions"]
    assert second.keys() == first.keys() - {"further"}
    folders = [{Path(r["path"]).parent.name for r in told["results"]} for told in (first, second)]
    assert folders == [{"1-fdg-model"}, {"2-demo"}]

    shown = CliRunner().invoke(app, ["report", str(tmp_path / "two")]).stdout
    assert "[fdg-model]" in shown, "brackets are no markup"
    assert "[demo]" in shown

    code, named = analysed(folder, config, tmp_path / "named", "--aet", "PETCT1", "--bundle", "demo")
    assert (code, named["model"]["name"], named["further"]) == (DONE, "demo", [])


@pytest.mark.data
def test_one_model_that_fails_does_not_keep_the_others_from_looking(
    shared_data: Path, config: Path, tmp_path: Path
) -> None:
    config.write_text(config.read_text().replace("stop = true", ""))
    code, first = analysed(shared_data / "geometry" / "baseline", config, tmp_path / "out", "--aet", "PETCT2")
    (second,) = first["further"]
    assert (first["status"], second["status"], second["reason_code"]) == ("done", "refused", "bundle-not-found")
    assert code == REFUSED


@pytest.mark.data
def test_a_refusal_before_any_model_was_chosen_names_none(shared_data: Path, config: Path, tmp_path: Path) -> None:
    code, told = analysed(shared_data / "geometry" / "missing_slice_pet", config, tmp_path / "out")
    assert (code, told["reason_code"], {r["kind"] for r in told["results"]}) == (
        REFUSED,
        "missing-slices",
        {"sr", "key_image"},
    )
    shown = CliRunner().invoke(app, ["report", str(tmp_path / "out")]).stdout.splitlines()
    assert "Research use only." in shown


@pytest.mark.data
def test_analyse_of_a_study_that_no_rule_wants(shared_data: Path, config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text().replace("min = 18", "min = 99"))
    code, told = analysed(shared_data / "geometry" / "baseline", config, tmp_path / "out")
    assert (code, told["status"], told["reason_code"]) == (REFUSED, "refused", "not-routed")
    assert "is not at least 99" in told["reason"]
    assert told["pet"]["instances"] == 8


@pytest.mark.data
def test_analyse_takes_the_bundle_of_the_configuration(shared_data: Path, config: Path, tmp_path: Path) -> None:
    fdg = next(line for line in config.read_text().splitlines() if "fdg-model" in line)
    config.write_text(f"[infer]\n{fdg}\n")
    code, told = analysed(shared_data / "geometry" / "baseline", config, tmp_path / "out")
    assert (code, told["model"]["name"]) == (DONE, "fdg-model")


# ------------------------------------------------------------------------------------------------------------- explain


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(Settings(node={"data_dir": tmp_path}))
    yield made
    made.close()


def test_a_study_on_its_way_says_what_it_waits_for(site: Site) -> None:
    now = time.time()
    site.arrive(pet(), at=now, association="one")
    site.coordinator.tick(now + 0.2)
    story = explain_study(STUDY, site.settings)
    assert story["state"] == "undecided"
    assert "no-ct" in story["waits"]
    assert story["open_associations"] == 1
    (series,) = story["series"]
    assert (series["senders"], series["instances"], series["associations"]) == (("SCANNER",), 8, 1)


def test_what_was_set_aside_says_why_and_what_to_do(site: Site) -> None:
    faults = [Fault(Refused("pixel-data-short", "Too short.", study_instance_uid=STUDY, n=n), 5.0 + n) for n in (0, 1)]
    site.arrive([*pet(), *ct()], at=4.0)
    site.index.add(faults=faults)
    (aside,) = explain_study(STUDY, site.settings)["set_aside"]
    assert (aside["code"], aside["count"], aside["advice"]) == ("pixel-data-short", 2, ROWS["pixel-data-short"].advice)
    assert aside["first"] < aside["last"]


def test_a_study_of_which_nothing_can_be_used_waits_and_is_then_refused(site: Site) -> None:
    began = time.time()
    refused = Refused("pixel-data-short", "Too short.", study_instance_uid=STUDY, modality="PT")
    site.index.add(faults=[Fault(refused, began)])
    site.coordinator.tick(began)
    story = explain_study(STUDY, site.settings)
    assert (story["state"], "pixel-data-short" in story["waits"]) == ("undecided", True)
    site.coordinator.tick(began + 2 * site.settings.assemble.give_up_s)
    story = explain_study(STUDY, site.settings)
    assert (story["state"], story["waits"]) == ("refused", None)
    assert story["not_answered"][0]["advice"] == ROWS["pixel-data-short"].advice


def test_a_decided_study_has_its_run_and_its_choices(site: Site) -> None:
    site.arrive([*pet(), *ct()], at=100.0)
    site.coordinator.tick(101.0)
    story = explain_study(STUDY, site.settings)
    assert (story["state"], story["waits"]) == ("queued", None)
    (run,) = story["runs"]
    assert run["bundle"] == "demo"
    assert (run["pet"]["instances"], run["ct"]["instances"]) == (8, 8)
    assert run["choices"]
    assert [e["event"] for e in story["timeline"]] == ["last-slice-stored", "pair-complete"]
    assert [s["state"] for s in list_studies(site.settings)] == ["queued"]


def test_a_ct_alone_is_refused_without_a_run_and_says_why(site: Site) -> None:
    site.arrive(ct(), at=100.0)
    site.coordinator.tick(100.0 + 2 * site.settings.assemble.give_up_s)
    story = explain_study(STUDY, site.settings)
    assert (story["state"], story["runs"]) == ("refused", [])
    (told,) = story["not_answered"]
    assert told["text"].startswith("no-pet: ")
    assert told["advice"] == ROWS["no-pet"].advice


def test_people_read_numbers_in_place_of_run_ids(site: Site) -> None:
    give_up = site.settings.assemble.give_up_s
    site.arrive(pet(), at=100.0)
    site.coordinator.tick(100.0 + 2 * give_up)
    site.arrive(ct(), at=200.0 + 2 * give_up)
    site.coordinator.tick(200.0 + 4 * give_up)
    story = explain_study(STUDY, site.settings)
    first, second = (run["run_id"] for run in story["runs"])
    console = Console(file=io.StringIO(), width=200)
    print_story(story, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "run 1: run 2 replaces it" in shown
    assert (shown.count(first), shown.count(second)) == (1, 1)


def test_a_study_the_node_does_not_know(site: Site, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"It has 0 other") as refused:
        explain_study("1.2.3", site.settings)
    assert refused.value.code == "study-unknown"
    site.arrive(pet(), at=1.0)
    with pytest.raises(Refused, match=rf"Very like it: {STUDY}"):
        explain_study(STUDY + "7", site.settings)
    with pytest.raises(Refused, match=r"It has 1 other"):
        explain_study("9.9", site.settings)
    with pytest.raises(Refused, match="no node has run") as refused:
        list_studies(Settings(node={"data_dir": tmp_path / "elsewhere"}))
    assert refused.value.code == "nothing-stored"
    assert not (tmp_path / "elsewhere").exists()
