"""The command line: help is quick, bad input gets a sentence and an exit code, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from dicom_node.cli import DONE, FAILED, REFUSED, USAGE, app
from dicom_node.report import write_results
from dicom_node.report.pictures import lettering
from tests.report_case import RUN, make_analysis
from training.phantom.study import write_phantom_study

REPOSITORY = Path(__file__).resolve().parents[2]
COMMANDS = (
    "serve",
    "demo",
    "send",
    "analyse",
    "route",
    "explain",
    "suv",
    "report",
    "doctor",
    "config",
    "train",
    "evaluate",
    "compare",
    "phantom",
    "cohort",
)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    return CliRunner()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli: CliRunner, command: str) -> None:
    answer = cli.invoke(app, [command, "--help"])
    assert answer.exit_code == 0
    assert len(answer.output.splitlines()) > 5


def test_help_lists_the_node_first_and_what_researchers_need_behind_it(cli: CliRunner) -> None:
    told = cli.invoke(app, ["--help"]).output
    node, training = told.split("Train and evaluate")
    assert all(f" {command} " in node for command in ("serve", "analyse", "report"))
    assert all(f" {command} " in training for command in ("train", "evaluate", "compare", "phantom", "cohort"))


@pytest.mark.parametrize(
    "command",
    [
        ["train", "dlr", "--cohort", "cohort.csv", "--out", "run"],
        ["evaluate", "demo", "--cohort", "cohort.csv", "--out", "run"],
        ["compare", "one", "other"],
        ["cohort", "check", "cohort.csv"],
    ],
    ids=["train", "evaluate", "compare", "cohort check"],
)
def test_packages_for_training_that_are_missing_are_named_before_any_work(command: list[str], tmp_path: Path) -> None:
    about = tmp_path / "petct_node-0.1.0.dist-info"
    about.mkdir()
    wanted = "Requires-Dist: numpy>=2; extra == 'training'\nRequires-Dist: no-such-package>=1; extra == 'training'\n"
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: petct-node\nVersion: 0.1.0\n{wanted}")
    code = "from dicom_node.cli import main; main()"
    called = subprocess.run(
        [sys.executable, "-c", code, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"},
        capture_output=True,
        text=True,
    )
    assert called.returncode == REFUSED, called.stderr
    assert "packages-missing" in called.stderr
    assert "no-such-package is not installed" in called.stderr
    assert not (tmp_path / "run").exists()


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = ["torch", "monai", "SimpleITK", "highdicom", "pydicom", "pynetdicom", "numpy", "matplotlib", "sqlalchemy"]
    code = f"import sys, dicom_node.cli; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_an_empty_folder_is_refused_with_a_reason(cli: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    answer = cli.invoke(app, ["analyse", "study", "--out", "out", "--json"])
    assert answer.exit_code == REFUSED, answer.output
    told = json.loads(answer.stdout)
    assert (told["status"], told["reason_code"]) == ("refused", "no-dicom")
    assert "folder" in told["reason"]


def test_suv_of_an_empty_folder_is_refused_with_a_reason(cli: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    answer = cli.invoke(app, ["suv", "study"])
    assert answer.exit_code == REFUSED
    assert "no PET series" in answer.stderr


def test_a_folder_that_is_not_there_is_a_usage_error(cli: CliRunner) -> None:
    answer = cli.invoke(app, ["analyse", "absent", "--out", "out"])
    assert answer.exit_code == USAGE
    assert "absent" in answer.output


def test_a_faulty_configuration_is_a_usage_error(cli: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "petct-node.toml").write_text("[receive]\nport = -1\n")
    answer = cli.invoke(app, ["config"])
    assert answer.exit_code == USAGE
    assert "receive.port" in answer.stderr


def test_a_list_in_the_environment_that_is_no_json_is_a_usage_error(
    cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETCT_NODE__REPORT__ALSO", "pdf")
    answer = cli.invoke(app, ["config"])
    assert answer.exit_code == USAGE
    assert '"report"' in answer.stderr
    assert """PETCT_NODE__REPORT__ALSO='["pdf"]'""" in answer.stderr.replace("\n", "")


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        (("REPORT__LANGUAGE", "it"), "report.language"),
        (("REPORT__ALSO", '["pdf", "pdff"]'), "report.also #2"),
        (("DELIVER__REFUSALS", "some"), "deliver.refusals"),
        (("DELIVER__REFUSALS_EXCEPT", '["no-pett"]'), "deliver.refusals_except #1"),
    ],
)
def test_a_setting_that_nobody_knows_is_named_with_what_was_found(
    setting: tuple[str, str], found: str, cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PETCT_NODE__{setting[0]}", setting[1])
    answer = cli.invoke(app, ["config"])
    assert answer.exit_code == USAGE
    assert found in answer.stderr


@pytest.mark.parametrize("fonts_there", [True, False])
def test_doctor_says_in_which_language_reports_and_pictures_are(
    fonts_there: bool, cli: CliRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PETCT_NODE__REPORT__LANGUAGE", "ja")
    monkeypatch.setenv("PETCT_NODE__REPORT__ALSO", '["pdf", "ko"]')
    if not fonts_there:
        monkeypatch.setattr(lettering, "FONTS", tmp_path)
    lettering.readable.cache_clear()
    lettering.font.cache_clear()
    answer = cli.invoke(app, ["doctor", "--json"])
    lettering.readable.cache_clear()
    finding = next(f for f in json.loads(answer.stdout) if f["thing"] == "reports")
    assert finding["found"].startswith("in ja, the default set, pdf, ko")
    assert finding["state"] == ("ok" if fonts_there else "note")
    assert ("pictures are in English" in finding["found"]) is not fonts_there


def test_doctor_says_what_it_found(cli: CliRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PETCT_NODE__NODE__DATA_DIR", str(tmp_path / "data"))
    answer = cli.invoke(app, ["doctor", "--json"])
    findings = {f["thing"]: f for f in json.loads(answer.stdout)}
    assert findings["Python"]["state"] == "ok"
    assert findings["model bundle"]["state"] == "ok", findings["model bundle"]
    assert not (tmp_path / "data").exists(), "doctor only looks"


def test_doctor_names_a_destination_that_is_down(
    cli: CliRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "petct-node.toml").write_text(
        '[[deliver.destinations]]\nkind = "orthanc"\nname = "archive"\nurl = "http://127.0.0.1:9"\n'
    )
    answer = cli.invoke(app, ["doctor", "--json"])
    finding = next(f for f in json.loads(answer.stdout) if f["thing"] == "destination archive")
    assert finding["state"] == "fault"
    assert answer.exit_code != 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["analyse", ".", "--out", "out", "--region", "manual"], "'given', 'automatic'"),
        (["serve", "--role", "nobody"], "'coordinate'"),
        (["send", ".", "localhost"], "HOST:PORT"),
        (["send", ".", "localhost:104", "--called", "AN AE TITLE THAT IS TOO LONG"], "16"),
        (["send", ".", "localhost:104", "--calling", ""], "16"),
        (["suv", ".", "--mask", "absent.nii.gz"], "absent.nii.gz"),
    ],
)
def test_a_value_that_is_none_of_the_option_s_is_a_usage_error(cli: CliRunner, arguments: list[str], said: str) -> None:
    answer = cli.invoke(app, arguments, env={"COLUMNS": "200"})
    assert answer.exit_code == USAGE, answer.output
    assert said in answer.stderr


def test_brackets_in_a_path_are_text_and_no_markup(cli: CliRunner, tmp_path: Path) -> None:
    folder = tmp_path / "odd [/red] name [[1]]"
    folder.mkdir(parents=True)  # its slash makes two
    answer = cli.invoke(app, ["send", str(folder), "127.0.0.1:1"])
    assert answer.exit_code == REFUSED, answer.output
    assert str(folder) in answer.stderr
    (folder / "bad.toml").write_text("x = [[")
    answer = cli.invoke(app, ["config", "--config", str(folder / "bad.toml")])
    assert answer.exit_code == USAGE
    assert str(folder) in answer.stderr


def test_doctor_prints_its_advice_whole(cli: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.cli.node.out", Console(width=200))
    answer = cli.invoke(app, ["doctor"])
    assert "add [[deliver.destinations]]" in answer.stdout


def test_doctor_does_not_take_a_file_for_the_data_folder(
    cli: CliRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PETCT_NODE__NODE__DATA_DIR", str(tmp_path / "file"))
    findings = {f["thing"]: f for f in json.loads(cli.invoke(app, ["doctor", "--json"]).stdout)}
    assert findings["data folder"]["state"] == "fault"


def test_doctor_outlives_a_package_that_is_missing(cli: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)  # what Python does for an import that fails
    answer = cli.invoke(app, ["doctor", "--json"])
    faults = [f for f in json.loads(answer.stdout) if f["state"] == "fault"]
    assert any("imagecodecs" in f["found"] for f in faults)
    assert answer.exit_code == FAILED


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(cli: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "file").write_text("")
    for out in ("file", "file/below"):
        answer = cli.invoke(app, ["analyse", "study", "--out", out, "--json"])
        assert answer.exit_code == REFUSED
        assert json.loads(answer.stdout)["reason_code"] == "out-not-writable"


def test_a_file_of_someone_else_is_never_replaced(cli: CliRunner, tmp_path: Path) -> None:
    drawn = tmp_path / "study" / "seg.dcm"
    drawn.parent.mkdir()
    drawn.write_bytes(b"a person's own segmentation")
    answer = cli.invoke(app, ["analyse", "study", "--out", "study", "--json"])
    assert answer.exit_code == REFUSED
    assert json.loads(answer.stdout)["reason_code"] == "out-holds-other-files"
    assert drawn.read_bytes() == b"a person's own segmentation"


def test_report_takes_a_folder_and_passes_over_what_is_no_result(cli: CliRunner, tmp_path: Path) -> None:
    write_results(make_analysis(tmp_path / "source"), RUN, tmp_path / "out")  # with key_image.png beside them
    (tmp_path / "out" / "run.json").write_text("{}")
    answer = cli.invoke(app, ["report", "out", "--json"])
    assert answer.exit_code == DONE, answer.output
    assert [found["kind"] for found in json.loads(answer.stdout)] == ["sr", "sr_viewer", "seg", "key_image", "heatmap"]
    answer = cli.invoke(app, ["report", "source"])
    assert answer.exit_code == REFUSED
    assert "source holds no result" in answer.stderr
    cut = (tmp_path / "out" / "sr.dcm").read_bytes()[:150]
    (tmp_path / "out" / "sr.dcm").write_bytes(cut)
    answer = cli.invoke(app, ["report", "out"])
    assert answer.exit_code == REFUSED, "a damaged result is not passed over"
    assert "sr.dcm" in answer.stderr


def test_suv_says_that_a_slice_could_not_be_read(cli: CliRunner, tmp_path: Path) -> None:
    write_phantom_study(tmp_path / "study")
    whole = json.loads(cli.invoke(app, ["suv", "study/PET", "--json"]).stdout)
    assert whole["warnings"] == []
    last = max((tmp_path / "study" / "PET").iterdir())
    last.write_bytes(last.read_bytes()[:-10])
    cut = json.loads(cli.invoke(app, ["suv", "study/PET", "--json"]).stdout)
    assert len(cut["factors"]) == len(whole["factors"]) - 1
    assert [warning["code"] for warning in cut["warnings"]] == ["files-left-out"]
