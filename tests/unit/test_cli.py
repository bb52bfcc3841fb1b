"""The command line: help is quick, bad input gets a sentence and an exit code, never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicom_node.cli import REFUSED, USAGE, app

COMMANDS = ("serve", "demo", "send", "analyse", "suv", "report", "doctor", "config", "train")


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    return CliRunner()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli: CliRunner, command: str) -> None:
    answer = cli.invoke(app, [command, "--help"])
    assert answer.exit_code == 0
    assert len(answer.output.splitlines()) > 5


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
