"""A stored study is analysed again on purpose, through the whole node: successors that say why, nothing overwritten.

One node and one archive; each test adds to the story of the study, whatever the others have done to it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from dicom_node.cli import DONE, app
from dicom_node.demo.node_process import NodeProcess
from dicom_node.demo.orthanc_process import PrivateOrthanc
from tests.late import replaced, reports, runs, wait_until_confirmed
from tests.node_run import KINDS, dicom_files, objects, send, wait_for
from tests.unit.test_contract import remade
from training.phantom.study import write_phantom_study

pytestmark = pytest.mark.peers

NODE_SETTINGS = "[assemble]\nct_quiet_s = 1\nquiet_s = 2\ngive_up_s = 5\n"


@pytest.fixture(scope="module")
def study(node: NodeProcess, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A phantom with its result in the archive."""
    folder = tmp_path_factory.mktemp("phantom")
    uid = write_phantom_study(folder, seed=51).study_instance_uid
    send(node.port, dicom_files(folder))
    wait_until_confirmed(node, uid, 1)
    return uid


def again(node: NodeProcess, study: str, *options: str) -> dict[str, Any]:
    answer = CliRunner().invoke(app, ["again", study, *options, "--json", "--config", str(node.config_file)])
    assert answer.exit_code == DONE, answer.output
    (asked,) = json.loads(answer.stdout)
    return dict(asked)


def comment(report: Dataset) -> str:
    texts = [str(e.value) for e in report.iterall() if e.keyword == "TextValue"]
    return next((text for text in texts if "eplaces an earlier" in text), "")


def newest(node: NodeProcess, orthanc: PrivateOrthanc, study: str) -> Dataset:
    """The report of the last run; it names that of the run before, and no other report names it."""
    wait_until_confirmed(node, study, len(runs(node, study)))
    found = reports(orthanc, study)
    named = {uid: replaced(report) for uid, report in found.items()}
    (last,) = found.keys() - {uid for uids in named.values() for uid in uids}
    assert len(found) == len(runs(node, study))
    assert len(found.keys() & set(named[last])) == 1
    return found[last]


def test_nothing_is_done_where_nothing_would_change(study: str, node: NodeProcess, orthanc: PrivateOrthanc) -> None:
    before, count = objects(orthanc.http_url, study), len(runs(node, study))
    asked = again(node, study, "--wait", "60")
    assert len(runs(node, study)) == count
    assert "nothing has changed since" in asked["answer"]
    assert objects(orthanc.http_url, study) == before


def test_forced_it_gives_a_successor_that_names_the_first_and_says_why(
    study: str, node: NodeProcess, orthanc: PrivateOrthanc
) -> None:
    before = objects(orthanc.http_url, study)
    asked = again(node, study, "--force", "--because", "second reader", "--wait", "60")
    assert asked["answer"].startswith("decided again: run ")
    report = newest(node, orthanc, study)
    assert "replaces an earlier report of this node: a person asked for it (second reader)." in comment(report)
    after = objects(orthanc.http_url, study)
    assert len(after) == len(before) + len(KINDS)
    assert {uid: after[uid] for uid in before} == before, "nothing is overwritten"


def test_what_failed_for_a_reason_that_is_cured_is_done_again(
    study: str, node: NodeProcess, orthanc: PrivateOrthanc
) -> None:
    path = next(p for p in sorted((node.data_dir / "spool").rglob("*")) if p.is_file() and p.stat().st_size > 20_000)
    content = path.read_bytes()
    path.write_bytes(content[:5000])
    again(node, study, "--force", "--wait", "60")
    wait_for(lambda: runs(node, study)[-1]["state"] in ("refused", "failed"))
    assert newest(node, orthanc, study)
    path.write_bytes(content)
    asked = again(node, study, "--wait", "60")
    assert asked["answer"].startswith("decided again")
    report = newest(node, orthanc, study)
    assert [r["state"] for r in runs(node, study)][-2:] in (["refused", "done"], ["failed", "done"])
    assert "the earlier analysis was refused or failed" in comment(report)


def test_a_newer_model_of_another_name_names_the_older_ones_report(
    study: str, node: NodeProcess, orthanc: PrivateOrthanc, tmp_path: Path
) -> None:
    before = len(runs(node, study))
    newer = remade(tmp_path, "newer-model", tracers=("fdg",))
    node.stop()
    asked = again(node, study)
    assert "the node does not run" in asked["state"]
    node._more = f"{NODE_SETTINGS}\n[infer]\nbundle = {json.dumps(str(newer))}\n"
    node.start()
    wait_for(lambda: len(runs(node, study)) == before + 1)
    report = newest(node, orthanc, study)
    assert "the model, or its version, is another now" in comment(report)
    assert report.ContributingEquipmentSequence[1].ManufacturerModelName == "newer-model"
    told = CliRunner().invoke(app, ["explain", study, "--config", str(node.config_file)]).output
    assert "because the model is another now" in told
    assert f"run {before + 1}" in told
