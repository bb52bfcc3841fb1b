"""kill -9 of each process in turn while a study is on its way: one set of results comes out, whole and unchanged."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import psutil
import pytest

from dicom_node.config import Settings
from dicom_node.demo.node_process import NodeProcess
from dicom_node.demo.orthanc_process import PrivateOrthanc
from dicom_node.ledger import Ledger
from dicom_node.work.result_set import read_set
from tests.late import more_ct, replaced, reports, runs, wait_until_confirmed
from tests.node_run import KINDS, dicom_files, events, objects, send_until_done, wait_for
from training.phantom.study import write_phantom_study

pytestmark = [pytest.mark.peers, pytest.mark.slow]

HALF_WAY = 40  # of the phantom's 180 slices


def pids(node: NodeProcess) -> Mapping[str, int]:
    return cast(Mapping[str, int], node.state["pids"])


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def in_the_spool(node: NodeProcess) -> int:
    return sum(1 for path in (node.data_dir / "spool" / "instances").rglob("*") if path.is_file())


def kill_receivers(node: NodeProcess, _study: str) -> None:
    for name, pid in pids(node).items():
        if name.startswith("receiver"):
            kill(pid)


def kill_coordinator(node: NodeProcess, _study: str) -> None:
    kill(pids(node)["coordinator"])


def kill_worker(node: NodeProcess, study: str) -> None:
    wait_for(lambda: "analysis-started" in events(node, study))
    kill(pids(node)["worker"])


def kill_analyst(node: NodeProcess, study: str) -> None:
    wait_for(lambda: "analysis-started" in events(node, study))
    for child in psutil.Process(pids(node)["worker"]).children():
        if "spawn_main" in " ".join(child.cmdline()):
            child.kill()


def kill_supervisor(node: NodeProcess, _study: str) -> None:
    """All the others must end with it, or the successor would not get its locks."""
    kill(cast(int, node.state["pid"]))
    node.stop()
    node.start()


@pytest.mark.parametrize(
    ("seed", "strike"),
    list(enumerate([kill_receivers, kill_coordinator, kill_worker, kill_analyst, kill_supervisor], 11)),
    ids=["receivers", "coordinator", "worker", "analyst", "supervisor"],
)
def test_one_whole_set_comes_out(
    seed: int, strike: Callable[[NodeProcess, str], None], node: NodeProcess, orthanc: PrivateOrthanc, tmp_path: Path
) -> None:
    study = write_phantom_study(tmp_path, seed=seed).study_instance_uid
    before = in_the_spool(node)
    with ThreadPoolExecutor(1) as scanner:
        sending = scanner.submit(send_until_done, node, dicom_files(tmp_path))
        wait_for(lambda: in_the_spool(node) >= before + HALF_WAY)
        strike(node, study)
        sending.result()
    wait_for(lambda: "confirmed" in events(node, study))

    ledger = Ledger(node.index_file)
    (run,) = ledger.runs(study)
    receipts = ledger.receipts(run["run_id"])
    ledger.close()
    found = read_set(node.result_folder(run["run_id"]))
    assert run["state"] == "done"
    assert found is not None
    assert {r.kind for r in found.results} == KINDS == {r["kind"] for r in receipts}
    assert objects(orthanc.http_url, study) == {r.sop_instance_uid: r.path.read_bytes() for r in found.results}
    assert {r["how"] for r in receipts} == {"read back, same bytes"}
    assert not list((node.data_dir / "results").glob(".*"))
    times = {line for r in found.results for line in written_times(r.path)}
    assert times == {str(run["started_at"])[:14]}, "a repeat must use the start on record"


def written_times(path: Path) -> Iterator[str]:
    from pydicom import dcmread

    ds = dcmread(path, stop_before_pixels=True)
    yield f"{ds.InstanceCreationDate}{ds.InstanceCreationTime}"[:14]


def test_a_study_that_kills_every_analysis_is_set_aside_with_a_reason_and_the_next_one_is_done(
    node: NodeProcess, orthanc: PrivateOrthanc, tmp_path: Path
) -> None:
    wait_for(lambda: "model warm" in node.log.read_text())
    poison, good = (write_phantom_study(tmp_path / str(seed), seed=seed).study_instance_uid for seed in (21, 22))
    send_until_done(node, dicom_files(tmp_path / "21"))
    attempts, sending = Settings().infer.attempts, None
    with ThreadPoolExecutor(1) as scanner:
        while count_ended(node, poison) < attempts:  # a kill before the model is warm uses up none
            warm = count(node, "model warm")
            kill_analyst(node, poison)  # it is at this study: the queue hands out one at a time
            sending = sending or scanner.submit(send_until_done, node, dicom_files(tmp_path / "22"))
            wait_for(lambda warm=warm: count(node, "model warm") > warm or count_ended(node, poison) == attempts)
        assert sending is not None
        sending.result()
    wait_for(lambda: all("confirmed" in events(node, study) for study in (poison, good)))
    assert (run_of(node, poison)["state"], run_of(node, good)["state"]) == ("failed", "done")
    assert "the analysing process died" in str(run_of(node, poison)["reason"])
    assert [len(objects(orthanc.http_url, study)) for study in (poison, good)] == [2, len(KINDS)]


def count(node: NodeProcess, pattern: str) -> int:
    """How often the node's log says it."""
    return len(re.findall(pattern, node.log.read_text()))


def count_ended(node: NodeProcess, study: str) -> int:
    """How many analyses of the study ended without an answer."""
    wait_for(lambda: "analysis-started" in events(node, study))
    return count(node, f"analysis ended.*{run_of(node, study)['run_id']}")


def run_of(node: NodeProcess, study: str) -> Mapping[str, object]:
    ledger = Ledger(node.index_file)
    try:
        (run,) = ledger.runs(study)
        return run
    finally:
        ledger.close()


def test_a_successor_names_what_it_replaces_whoever_is_killed_meanwhile(
    node: NodeProcess, orthanc: PrivateOrthanc, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    study = write_phantom_study(folder, seed=31).study_instance_uid
    send_until_done(node, dicom_files(folder))
    wait_until_confirmed(node, study, 1)
    (first,), (contours,) = (reports(orthanc, study, number) for number in (9001, 9002))
    send_until_done(node, more_ct(folder, 1, 2))
    kill_coordinator(node, study)
    wait_for(lambda: events(node, study).count("analysis-started") == 2)
    kill(pids(node)["worker"])
    wait_until_confirmed(node, study, 2)
    assert [(r["state"], r["superseded"] is None) for r in runs(node, study)] == [("done", False), ("done", True)]
    assert len(objects(orthanc.http_url, study)) == 2 * len(KINDS)
    found = reports(orthanc, study)
    (successor,) = found.keys() - {first}
    assert replaced(found[successor]) == [first, contours]


def test_a_study_that_is_asked_for_again_gets_one_successor_whoever_is_killed_meanwhile(
    node: NodeProcess, orthanc: PrivateOrthanc, tmp_path: Path
) -> None:
    study = write_phantom_study(tmp_path, seed=41).study_instance_uid
    send_until_done(node, dicom_files(tmp_path))
    wait_until_confirmed(node, study, 1)
    before = objects(orthanc.http_url, study)
    ledger = Ledger(node.index_file)
    for because in ("first", "second"):
        ledger.ask_again([study], because, True, time.time())
    wait_for(lambda: all(request.answered for request in ledger.requests(study)))
    kill_coordinator(node, study)  # the run is registered, and perhaps not yet on the queue
    wait_for(lambda: events(node, study).count("analysis-started") == 2)
    kill(pids(node)["worker"])
    wait_until_confirmed(node, study, 2)
    answers = {request.answer for request in ledger.requests(study)}
    ledger.close()
    assert [(r["state"], r["superseded"] is None) for r in runs(node, study)] == [("done", False), ("done", True)]
    assert answers == {f"decided again: run {runs(node, study)[1]['run_id']}"}
    after = objects(orthanc.http_url, study)
    assert len(after) == 2 * len(before)
    assert {uid: after[uid] for uid in before} == before, "nothing is overwritten"
