"""The record of the work: runs, result sets, decisions of the coordinator, and what the engine may be asked."""

from __future__ import annotations

import errno
import multiprocessing
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from dicom_node.assemble import assemble
from dicom_node.config import Settings
from dicom_node.index import Arrival, Index
from dicom_node.ledger import Ledger
from dicom_node.report import read_result
from dicom_node.succession import Decision
from dicom_node.work.analyst import AnalysisEnded, Analyst, _Desk
from dicom_node.work.job import Work
from dicom_node.work.patience import NotNow, is_of_the_machine, patiently
from dicom_node.work.result_set import MANIFEST, ResultSet, publish, read_set, sweep, temporary_folder
from dicom_node.workflow import DELIVERIES_AT_ONCE, WorkQueue, _define, open_queues, prepare_database, start_engine
from inference.facts import Refused, Result
from inference.reading.instance import scan_folder
from tests.site import make_queue
from tests.studies import STUDY, ct, pet, rtstruct
from tests.unit.test_contract import remade

BUNDLE = "b" * 64
ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(node={"data_dir": tmp_path})


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    index = Index(settings.index_file)
    index.close()
    opened = Ledger(settings.index_file)
    yield opened
    opened.close()


# --------------------------------------------------------------------------------------------------------------- work


def test_a_pair_comes_back_from_the_ledger_as_it_was(ledger: Ledger) -> None:
    pair = assemble([*pet(), *ct(), rtstruct()])
    work = Work.of_pair(pair, BUNDLE)
    assert ledger.decide(STUDY, [work], 1.0).new == (work.run_id,)
    assert ledger.decide(STUDY, [work], 2.0) == Decision((work.run_id,))
    again = ledger.work(work.run_id).pair([rtstruct(), *reversed(ct()), *pet()])
    assert again == pair


def test_content_and_model_name_the_run() -> None:
    run = Work.of_pair(assemble([*pet(), *ct()]), BUNDLE).run_id
    assert Work.of_pair(assemble([*reversed(pet()), *ct()]), BUNDLE).run_id == run
    assert Work.of_pair(assemble([*pet(), *ct()]), "c" * 64).run_id != run
    assert Work.of_pair(assemble([*pet(), *ct(), rtstruct()]), BUNDLE).run_id != run


def test_other_content_than_the_run_was_made_for_is_refused() -> None:
    work = Work.of_pair(assemble([*pet(), *ct()]), BUNDLE)
    changed = [replace(i, sha256="0" * 64) if i.modality == "CT" else i for i in [*pet(), *ct()]]
    for instances in (changed, pet()):
        with pytest.raises(Refused) as caught:
            work.pair(instances)
        assert caught.value.code == "content-changed"


def test_the_ledger_holds_no_patient_data(ledger: Ledger, settings: Settings) -> None:
    ledger.decide(STUDY, [Work.of_pair(assemble([*pet(), *ct()]), BUNDLE)], 1.0)
    ledger.decide(STUDY, [Work.of_refusal(pet(), Refused("no-ct", "No CT."), BUNDLE)], 2.0)
    with sqlite3.connect(settings.index_file) as connection:
        rows = str(connection.execute("SELECT * FROM pairs").fetchall())
    connection.close()
    assert len(rows) > 500
    assert not any(text in rows for text in ("Doe", "P1", "19600101"))


# ------------------------------------------------------------------------------------------------------------- ledger


def test_the_first_start_stays(ledger: Ledger) -> None:
    work = Work.of_pair(assemble([*pet(), *ct()]), BUNDLE)
    ledger.decide(work.study_instance_uid, [work], 1.0)
    assert ledger.begin(work.run_id, "20260101120000.000000+0000") == "20260101120000.000000+0000"
    assert ledger.begin(work.run_id, "20260101130000.000000+0000") == "20260101120000.000000+0000"


def test_what_is_confirmed_stays_confirmed(ledger: Ledger) -> None:
    for reason in ("", "away", "still away"):
        ledger.record_delivery("run", "pacs", "waiting", reason)
    (waiting,) = ledger.deliveries("run")
    assert (waiting.state, waiting.attempts, waiting.reason) == ("waiting", 2, "still away")
    for state in ("delivered", "confirmed", "waiting"):
        ledger.record_delivery("run", "pacs", state)  # type: ignore[arg-type]
    assert ledger.deliveries("run")[0].state == "confirmed"


def test_an_event_keeps_its_first_time(ledger: Ledger) -> None:
    ledger.tell(STUDY, "pair-complete", run_id="r", at=1.0)
    ledger.tell(STUDY, "pair-complete", run_id="r", at=2.0)
    ledger.tell(STUDY, "last-slice-stored", run_id="r", at=0.5)
    assert [(e.event, e.at) for e in ledger.timeline(STUDY)] == [("last-slice-stored", 0.5), ("pair-complete", 1.0)]


# --------------------------------------------------------------------------------------------------------- result set


def written(folder: Path, content: bytes = b"x") -> ResultSet:
    path = folder / "sr.dcm"
    path.write_bytes(content)
    return ResultSet("done", "", "", True, (Result("sr", "1.2", "1.3", "1.4", "1.5", path, "s"),), {"total": 1.0})


def test_a_set_appears_whole_and_the_first_one_stays(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert read_set(folder) is None
    for content in (b"first", b"second"):
        temporary = temporary_folder(tmp_path, "run")
        publish(temporary, folder, written(temporary, content))
    found = read_set(folder)
    assert found is not None
    assert found.results[0].path.read_bytes() == b"first"
    assert (found.state, found.demonstration, found.timings_s) == ("done", True, {"total": 1.0})
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_what_a_crash_left_is_swept_away(tmp_path: Path) -> None:
    half = temporary_folder(tmp_path, "run")
    written(half)
    assert read_set(tmp_path / "run") is None
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())
    assert not (half / MANIFEST).exists()


# ------------------------------------------------------------------------------------------------------------- engine


def test_a_run_is_queued_once_and_durably(settings: Settings) -> None:
    queue = WorkQueue(settings)
    assert not queue.submit("run-1")  # no worker has made the tables
    make_queue(settings)
    assert queue.submit("run-1")
    assert queue.submit("run-1")
    queue.close()
    file = settings.node.data_dir / "workflow.sqlite"
    connection = sqlite3.connect(file)
    rows = connection.execute("SELECT workflow_uuid, status FROM workflow_status").fetchall()
    assert rows == [("run-1", "ENQUEUED")]
    assert """'{"namedArgs":{},"positionalArgs":["run-1"]}'""" in "".join(connection.iterdump())  # no pickle
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL, SQLite's own default
    connection.close()


def test_the_workflow_file_is_prepared_and_a_server_is_left_alone(tmp_path: Path) -> None:
    prepare_database("postgresql+psycopg://nobody@nowhere/none")
    prepare_database(f"sqlite:///{tmp_path / 'w.sqlite'}")
    assert (tmp_path / "w.sqlite").exists()


def _run_engine(url: str, folder: str) -> None:
    """The engine with its real workflows; steps that only write down what was delivered."""

    class Steps:
        settings = Settings(deliver={"retry_first_s": 0.2, "retry_longest_s": 1.0})

        def begin(self, run_id: str) -> str:
            if run_id == "faulty":
                raise KeyError(run_id)
            return run_id

        def analyse(self, *_: str) -> str:
            return ""

        def destinations(self, _run_id: str) -> list[str]:
            return ["pacs"]

        def deliver(self, run_id: str, _destination: str) -> str:
            tries = Path(folder, f"tries-{run_id}")
            tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
            return "it will never take this one" if run_id.startswith("poison") else ""

        def confirm(self, run_id: str, _destination: str) -> str:
            Path(folder, f"confirmed-{run_id}").touch()
            return ""

        def give_up(self, run_id: str, reason: str) -> None:
            Path(folder, f"failed-{run_id}").write_text(reason)

    start_engine(url)
    _define(Steps())  # type: ignore[arg-type]
    open_queues(["pacs"])
    time.sleep(120)


@pytest.fixture
def engine(settings: Settings, tmp_path: Path) -> Iterator[WorkQueue]:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_run_engine, args=(settings.workflow_url, str(tmp_path)), daemon=True)
    process.start()
    queue = WorkQueue(settings)
    yield queue
    queue.close()
    process.kill()
    process.join()


def submit_all(queue: WorkQueue, run_ids: list[str]) -> None:
    end = time.monotonic() + 60
    for run_id in run_ids:
        while not queue.submit(run_id):
            assert time.monotonic() < end
            time.sleep(0.1)


def wait_for_file(path: Path) -> None:
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end, path.name
        time.sleep(0.05)


def test_deliveries_that_never_succeed_and_faulty_runs_hold_up_nobody_else(engine: WorkQueue, tmp_path: Path) -> None:
    poison = [f"poison-{n}" for n in range(DELIVERIES_AT_ONCE)]
    submit_all(engine, [*poison, "faulty", "good"])
    wait_for_file(tmp_path / "confirmed-good")
    for run_id in poison:  # and they are tried again, for ever
        while len((tmp_path / f"tries-{run_id}").read_text()) < 3:
            time.sleep(0.05)
    assert "begin" in (tmp_path / "failed-faulty").read_text()


# ------------------------------------------------------------------------------------------------------------ analyst


@pytest.mark.data
def test_an_analysis_is_ended_at_its_limit_and_the_next_one_works(settings: Settings, shared_data: Path) -> None:
    instances = scan_folder(shared_data / "geometry" / "baseline").instances
    work = Work.of_pair(assemble(instances), BUNDLE)
    index, ledger = Index(settings.index_file), Ledger(settings.index_file)
    index.add([Arrival(i, 1.0) for i in instances])
    ledger.decide(work.study_instance_uid, [work], 1.0)
    started = ledger.begin(work.run_id, "20260101120000.000000+0000")
    hurried = settings.model_copy(update={"infer": settings.infer.model_copy(update={"time_limit_s": 0.3})})
    impatient, patient = Analyst(hurried), Analyst(settings)
    try:
        with pytest.raises(AnalysisEnded, match="took longer than"):
            impatient.analyse(work.run_id, started)
        patient.warm_up()
        pid = patient.pid
        assert pid is not None
        os.kill(pid, 9)
        while pid in {c.pid for c in multiprocessing.active_children()}:
            time.sleep(0.01)
        found = patient.analyse(work.run_id, started)  # it is started again
        assert patient.pid != pid
        assert found.state in ("done", "refused")
        assert found.results
        assert found == patient.analyse(work.run_id, started)
    finally:
        for analyst in (impatient, patient):
            analyst.close()
        index.close()
        ledger.close()


@pytest.mark.data
def test_a_run_is_answered_by_the_model_it_was_made_for(settings: Settings, shared_data: Path, tmp_path: Path) -> None:
    """Also where the configuration names others by now; where its bundle is gone the run is refused, not held up."""
    instances = scan_folder(shared_data / "geometry" / "baseline").instances
    other = remade(tmp_path / "bundles", "other")
    works = [Work.of_pair(assemble(instances), digit * 64, name) for digit, name in (("c", str(other)), ("d", "gone"))]
    index, ledger = Index(settings.index_file), Ledger(settings.index_file)
    index.add([Arrival(i, 1.0) for i in instances])
    ledger.decide(works[0].study_instance_uid, works, 1.0)
    analyst = Analyst(settings)
    try:
        done, refused = (analyst.analyse(w.run_id, "20260101120000.000000+0000") for w in works)
    finally:
        for opened in (analyst, index, ledger):
            opened.close()
    assert (done.state, refused.state, refused.code) == ("done", "refused", "bundle-not-found")
    models = [next(read_result(r.path).model for r in s.results if r.kind == "sr") for s in (done, refused)]
    assert models[0].startswith("other ")
    assert "demo" not in models[1], "the node's own model was never asked"


def test_a_model_that_cannot_be_loaded_is_no_studys_fault(settings: Settings, ledger: Ledger) -> None:
    broken = settings.model_copy(update={"infer": settings.infer.model_copy(update={"bundle": "gone"})})
    analyst = Analyst(broken)
    try:
        with pytest.raises(NotNow, match="does not start"):
            analyst.analyse("run", "20260101120000.000000+0000")
    finally:
        analyst.close()
    assert not settings.results_dir.exists()


def test_a_full_disk_is_waited_out_and_not_reported_as_a_failed_analysis(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object, **__: object) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise OSError("With tag (7FE0,0010) got exception: No space left on device") from error  # as pydicom does

    monkeypatch.setattr("inference.analyse.analyse", full)
    desk = object.__new__(_Desk)
    desk._settings, desk._models, desk._segmenter = settings, {"demo": None}, None  # type: ignore[dict-item]
    with pytest.raises(OSError, match="No space left") as caught:
        desk._answer(Work.of_pair(assemble([*pet(), *ct()]), BUNDLE), [*pet(), *ct()], None, tmp_path, "")  # type: ignore[arg-type]
    assert is_of_the_machine(caught.value)
    assert not list(tmp_path.iterdir())


def test_what_is_the_machines_is_waited_out_and_what_is_not_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.work.patience.FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr("dicom_node.work.patience.LONGEST_PAUSE_S", 0.002)
    locked = OperationalError("INSERT", {}, sqlite3.OperationalError("database is locked"))
    faults: list[Exception] = [OSError(errno.ENOSPC, "full"), locked, NotNow("no model")] * 10

    def step(answer: str) -> str:
        if faults:
            raise faults.pop()
        return answer

    assert patiently(step)("done") == "done"
    faults[:] = [OSError("a broken picture")]
    with pytest.raises(OSError, match="broken picture"):
        patiently(step)("done")
