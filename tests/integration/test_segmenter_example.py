"""The example package, installed as a user would, finds the lesions of a real study through the command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pydicom
import pytest

EXAMPLE = Path(__file__).resolve().parents[1] / "segmenter_example"
COMMAND = Path(sys.executable).with_name("petct-node")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that holds the example, laid out as pip does, which would need its build backend here."""
    target = tmp_path_factory.mktemp("packages")
    shutil.copy(EXAMPLE / "segmenter_example.py", target)
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = target / f"segmenter_example-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    ((group, points),) = project["entry-points"].items()
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return target


def petct_node(packages: Path, *arguments: str | Path) -> tuple[int, Any, str]:
    """Exit code, the JSON, and standard error."""
    environment = {**os.environ, "PYTHONPATH": str(packages), "OMP_NUM_THREADS": "1"}
    command = [str(COMMAND), *map(str, arguments), "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    return ran.returncode, json.loads(ran.stdout), ran.stderr


@pytest.mark.data
def test_the_example_finds_the_lesion(shared_data: Path, tmp_path: Path, installed: Path) -> None:
    study = shared_data / "cohort_sts" / "STS_002"
    options = ["--region", "automatic", "--segmenter", "fixed-threshold"]
    code, answer, said = petct_node(installed, "analyse", study, "--out", tmp_path / "out", *options)
    assert (code, answer["status"]) == (0, "done")
    assert {lesion["source"] for lesion in answer["lesions"]} == {"automatic"}
    assert answer["lesions"][0]["suv_max"] == pytest.approx(21.67575, rel=1e-5)
    cautions = [w["text"] for w in answer["warnings"] if w["code"] == "region-automatic"]
    assert len(cautions) == 1
    assert "fixed threshold example 0.1" in cautions[0]
    assert "fixed threshold example: (28, 18, 21)" in said
    report = next(r["path"] for r in answer["results"] if r["kind"] == "sr")
    assert "fixed threshold example 0.1" in pydicom.dcmread(report).to_json()


@pytest.mark.data
def test_a_broken_one_refuses_the_study_and_reports_it(shared_data: Path, tmp_path: Path, installed: Path) -> None:
    study = shared_data / "geometry" / "baseline"
    options = ["--region", "automatic", "--segmenter", "broken"]
    code, answer, said = petct_node(installed, "analyse", study, "--out", tmp_path / "out", *options)
    assert (code, answer["status"], answer["reason_code"]) == (3, "refused", "segmenter-failed")
    assert "broken example 0.1" in answer["reason"]
    assert "RuntimeError: no network for" in said
    assert "sr" in {r["kind"] for r in answer["results"]}


@pytest.mark.data
def test_one_that_is_not_installed_is_named(shared_data: Path, tmp_path: Path, installed: Path) -> None:
    study = shared_data / "geometry" / "baseline"
    code, answer, _ = petct_node(installed, "analyse", study, "--out", tmp_path / "out", "--segmenter", "nnunet")
    assert (code, answer["reason_code"]) == (3, "segmenter-not-found")
    assert "fixed-threshold" in answer["reason"]
