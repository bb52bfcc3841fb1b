"""Each of the five systems, the whole road: a cohort of phantoms, `train`, its bundle in a running node, a study by
C-STORE, the answer in Orthanc.  The cohorts and networks are tiny: nothing is said about how well they learn."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dicom_node.cli import DONE, app
from dicom_node.demo.node_process import NodeProcess
from dicom_node.demo.orthanc_process import PrivateOrthanc
from dicom_node.demo.orthanc_results import fetch_results
from dicom_node.report import ResultSummary
from tests.node_run import dicom_files, send, wait_for
from training.phantom.kinds import write_ct_study, write_iodine_study, write_sstr_study
from training.phantom.study import write_phantom_study


@dataclass(frozen=True, slots=True)
class System:
    """``study`` writes the kind of study it is for; ``settings``: what makes its training tiny."""

    study: Callable[[Path], Any]
    kind: str
    settings: tuple[str, ...]
    variants: tuple[str, ...]


SYSTEMS = {
    "ussl": System(
        write_phantom_study,
        "PET/CT",
        ("steps=6", "members=1", "unlabelled_batch=4"),
        ("ussl",),
    ),
    "cpc": System(write_phantom_study, "PET/CT", ("steps=6", "members=1"), ("CPC",)),
    "dlr": System(write_ct_study, "CT", ("pixels=64",), ("dlr+clinical",)),
    "dfsigm": System(write_iodine_study, "iodine map", ("pixels=64",), ("fusion",)),
    "prrt_pfs": System(
        lambda folder: write_sstr_study(folder, voxel_mm=16.0),
        "PET/CT",
        ("steps=6", "members=1"),
        ("lab+PET+CT",),
    ),
}


def run(*arguments: Path | str) -> dict[str, Any]:
    answer = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert answer.exit_code == DONE, answer.output
    return json.loads(answer.stdout)


def train(name: str, system: System, folder: Path) -> Path:
    """The bundle that `petct-node train` leaves."""
    run("phantom", name, "--out", folder / "cohort", "--subjects", "48", "--seed", "5", "--unlabelled", "in-domain=0")
    given = [part for text in system.settings for part in ("--set", text)]
    chosen = [part for variant in system.variants for part in ("--variant", variant)]
    table = folder / "cohort" / "cohort.csv"
    answer = run("train", name, "--cohort", table, "--out", folder / "run", "--folds", "2", *given, *chosen)
    assert (folder / "run" / "report.html").is_file()
    return Path(answer["bundle"])


@pytest.mark.peers
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_is_trained_and_serves_the_studies_it_is_for(
    name: str, orthanc: PrivateOrthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETCT_NODE_CACHE", str(tmp_path / "cache"))
    system = SYSTEMS[name]
    bundle = train(name, system, tmp_path)
    truth = system.study(tmp_path / "study")
    served_by = json.loads((bundle / "configs" / "metadata.json").read_text())["petct_node"]
    labs = tmp_path / "labs.csv"
    given = write_labs(labs, truth.study_instance_uid, served_by, tmp_path / "cohort" / "cohort.csv")
    more = f'[infer]\nbundles = ["demo", {json.dumps(str(bundle))}]\n\n[values]\ntable = {json.dumps(str(labs))}\n'
    with NodeProcess(tmp_path / "node", orthanc.http_url, more=more) as node:
        send(node.port, dicom_files(tmp_path / "study"))

        def done() -> list[dict[str, Any]]:
            answer = CliRunner().invoke(
                app, ["explain", truth.study_instance_uid, "--json", "--config", str(node.config_file)]
            )
            runs = json.loads(answer.stdout)["runs"] if answer.exit_code == DONE else []
            return [r for r in runs if Path(r["bundle"]) == bundle and r["state"] == "done"]

        (ended,) = wait_for(done)
        assert ended["kind"] == system.kind
        served = name.replace("_", "-")
        report = wait_for(lambda: _report_of(served, orthanc, truth.study_instance_uid, tmp_path / "back"))
    assert report.prediction is not None
    assert report.prediction.probability is not None  # a demonstration speaks of anything, and says so
    assert report.prediction.name == served_by["probability_code"]["meaning"]
    assert "phantom" in report.model_statement
    assert given <= {value.name for value in report.values if value.value is not None}
    assert bool(given) == (name != "ussl")


def write_labs(file: Path, study: str, served_by: dict[str, Any], cohort: Path) -> set[str]:
    """The site's table with what the model takes from one: the values of a phantom that has them all."""
    wanted = [value["name"] for value in served_by.get("values", []) if value["source"] == "table"]
    with cohort.open(newline="") as rows:
        complete = next(row for row in csv.DictReader(rows) if all(row[name] for name in wanted))
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([["study_instance_uid", *wanted], [study, *(complete[name] for name in wanted)]])
    return set(wanted)


def _report_of(model: str, orthanc: PrivateOrthanc, study: str, folder: Path) -> ResultSummary | None:
    """The main report of this model in the archive, once it is there."""
    shutil.rmtree(folder, ignore_errors=True)
    found = fetch_results(orthanc.http_url, study, folder)
    return next((r for r in found if r.kind == "sr" and r.model.startswith(model)), None)
