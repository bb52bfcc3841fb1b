"""The index follows what arrives, by any number of writers, and finds what it missed."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sqlite3
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import dicom_node.migrations
from dicom_node import database
from dicom_node.index import Arrival, Association, Fault, Index
from dicom_node.ledger import Ledger
from dicom_node.receive.arrivals import ArrivalWriter, add, recover, recover_until_done
from dicom_node.receive.spool import Meta, Spool
from inference.facts import Instance, Refused
from inference.reading.instance import read_instance, scan_folder
from inference.reading.keywords import FUNCTIONAL_GROUPS, MULTIFRAME_CLASSES
from tests.made_series import ct_image, write_ct_series

STUDY, SERIES = "1.2.3.1", "1.2.3.1.1"


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / "node" / "index.sqlite")


def association(name: str = "a", process: int = 0) -> Association:
    return Association(name, process, "SCANNER", "127.0.0.1", 1.0)


def instances(tmp_path: Path, count: int, **uids: str) -> list[Instance]:
    return [read_instance(p) for p in write_ct_series(tmp_path / "made", count, **uids)]


def spooled(spool: Spool, tmp_path: Path, count: int, **uids: str) -> list[Instance]:
    stored = []
    for path in write_ct_series(tmp_path / "made", count, **uids):
        instance, data = read_instance(path), path.read_bytes()
        meta = Meta(instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid)
        kept = spool.store(meta, [data[data.index(b"\x08\x00\x05\x00CS") :]]).instance
        assert kept is not None
        stored.append(kept)
    return stored


def test_instances_come_back_as_they_were(index: Index, tmp_path: Path) -> None:
    made = instances(tmp_path, 3)
    assert index.add([Arrival(i, 10.0 + n, association()) for n, i in enumerate(made)]) == []
    assert index.study_instances(STUDY) == made
    assert index.study_instances("1.2.3.999") == []
    assert index.arrivals(SERIES) == [10.0, 11.0, 12.0]
    assert index.last_arrival(STUDY) == 12.0
    assert index.last_arrival("1.2.3.999") == 0.0
    assert index.senders(STUDY) == [("SCANNER", "127.0.0.1")]


def test_open_associations_are_those_that_sent_something_of_the_study(index: Index, tmp_path: Path) -> None:
    one, two = instances(tmp_path, 2)
    index.add([Arrival(one, 1.0, association("a")), Arrival(two, 2.0, association("b", process=1))])
    assert index.open_associations(STUDY) == 2
    index.add(released=["a"])
    assert index.open_associations(STUDY) == 1
    assert index.open_associations("1.2.3.999") == 0
    index.close_associations(process=0)
    assert index.open_associations(STUDY) == 1
    index.close_associations(process=1)
    assert index.open_associations(STUDY) == 0


def test_changes_are_followed_by_a_cursor(index: Index, tmp_path: Path) -> None:
    assert index.studies_changed_since(0) == ([], 0)
    (one,) = instances(tmp_path, 1)
    (other,) = instances(tmp_path, 1, study="1.2.3.2", series="1.2.3.2.1")
    index.add([Arrival(one, 1.0, association())])
    studies, cursor = index.studies_changed_since(0)
    assert studies == [STUDY]
    assert index.studies_changed_since(cursor) == ([], cursor)
    index.add([Arrival(other, 2.0)])
    index.add(released=["a"])
    studies, cursor = index.studies_changed_since(cursor)
    assert studies == ["1.2.3.2", STUDY]
    index.add([Arrival(one, 3.0, association())])
    assert index.studies_changed_since(cursor) == ([], cursor), "the same instance again is nothing new"


def test_another_object_under_the_same_uid_is_not_taken(index: Index, tmp_path: Path) -> None:
    (one,) = instances(tmp_path, 1)
    index.add([Arrival(one, 1.0)])
    stranger = ct_image(1, study="1.2.3.2")
    stranger.save_as(tmp_path / "other.dcm", enforce_file_format=True)
    other = read_instance(tmp_path / "other.dcm")
    assert other.sop_instance_uid == one.sop_instance_uid
    assert index.add([Arrival(other, 2.0)]) == [other]
    assert index.study_instances("1.2.3.2") == []
    assert index.study_instances(STUDY) == [one]


def test_faults_belong_to_their_study_until_the_instance_comes_in_order(index: Index, tmp_path: Path) -> None:
    (one,) = instances(tmp_path, 1)
    facts = {"study_instance_uid": STUDY, "sop_instance_uid": one.sop_instance_uid}
    cut = Fault(Refused("unreadable-truncated", "cut short", **facts), 1.0, tmp_path / "cut.dcm")
    index.add(faults=[cut, cut])
    ((path, refused),) = index.study_set_aside(STUDY)
    assert path == tmp_path / "cut.dcm"
    assert (refused.code, refused.reason, refused.facts) == ("unreadable-truncated", "cut short", facts)
    assert index.studies_changed_since(0)[0] == [STUDY]
    index.add([Arrival(one, 2.0)])
    assert index.study_set_aside(STUDY) == []
    index.add(faults=[Fault(Refused("sop-instance-conflict", "two", **facts), 3.0, tmp_path / "two.dcm")])
    assert len(index.study_set_aside(STUDY)) == 1


def test_what_was_committed_is_durable_and_readers_do_not_block(index: Index, tmp_path: Path) -> None:
    with index.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    with index.engine.begin():  # a writer at work
        assert index.study_instances(STUDY) == []


def _write(path: Path, folder: Path, process: int) -> None:
    own = Index(path)
    made = [read_instance(p) for p in sorted(folder.glob("*.dcm"))]
    for n, instance in enumerate(made):
        own.add([Arrival(instance, float(n), association(str(process), process))], released=[str(process)])


def test_writers_at_once(index: Index, tmp_path: Path) -> None:
    folders = []
    for process in range(2):
        folders.append(tmp_path / str(process))
        write_ct_series(folders[-1], 10, study=STUDY, series=f"1.2.3.1.{process + 1}")
    context = multiprocessing.get_context("spawn")
    arguments = [(Path(str(index.engine.url.database)), folder, n) for n, folder in enumerate(folders)]
    writers = [context.Process(target=_write, args=a) for a in arguments]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert len(index.study_instances(STUDY)) == 20


def test_what_the_index_missed_is_found_in_the_spool(index: Index, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    made = spooled(spool, tmp_path, 6)
    index.add([Arrival(i, 1.0) for i in made[:2]])
    spool.put_aside(made[5], Refused("sop-instance-conflict", "two", study_instance_uid=STUDY))
    Path(made[4].path).write_bytes(b"no longer what it was")
    calls: list[int] = []
    assert recover(spool, index, calls.append) == 3
    assert {i.sop_instance_uid for i in index.study_instances(STUDY)} == {i.sop_instance_uid for i in made[:4]}
    assert [r.code for _, r in index.study_set_aside(STUDY)] == ["sop-instance-conflict"]
    assert calls == [3]
    assert recover(spool, index) == 0


def test_what_is_known_is_skipped_by_name(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "spool")
    index.add([Arrival(i, 1.0) for i in spooled(spool, tmp_path, 3)])
    monkeypatch.setattr("dicom_node.receive.arrivals.read_instance", None)
    assert recover(spool, index) == 0


def test_a_uid_of_another_study_is_set_aside(index: Index, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    (one,) = spooled(spool, tmp_path, 1)
    (other,) = spooled(spool, tmp_path, 1, study="1.2.3.2")
    assert one.sop_instance_uid == other.sop_instance_uid
    add(spool, index, [Arrival(one, 1.0), Arrival(other, 2.0)])
    assert index.study_instances("1.2.3.2") == []
    assert [r.code for _, r in index.study_set_aside("1.2.3.2")] == ["sop-instance-conflict"]
    assert [str(p) for p in spool.scan()] == [one.path]


def test_the_writer_writes_soon_and_at_the_end_of_an_association(index: Index, tmp_path: Path) -> None:
    writer = ArrivalWriter(Spool(tmp_path / "spool"), index)
    made = instances(tmp_path, 3)
    try:
        writer.put(Arrival(made[0], 1.0, association()))
        wait_for(lambda: len(index.study_instances(STUDY)) == 1)
        writer.put(Arrival(made[1], 2.0, association()))
        writer.put("a")
        wait_for(lambda: index.open_associations(STUDY) == 0)
        assert len(index.study_instances(STUDY)) == 2
        writer.put(Arrival(made[2], 3.0))
    finally:
        writer.close()
    assert len(index.study_instances(STUDY)) == 3


def test_the_writer_tries_again(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [sqlite3.OperationalError("disk full")]
    real = index.add

    def add_or_fail(*args: object) -> list[Instance]:
        if failures:
            raise failures.pop()
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(index, "add", add_or_fail)
    monkeypatch.setattr("dicom_node.receive.arrivals.RETRY_S", 0.01)
    writer = ArrivalWriter(Spool(tmp_path / "spool"), index)
    writer.put(Arrival(instances(tmp_path, 1)[0], 1.0))
    wait_for(lambda: len(index.study_instances(STUDY)) == 1)
    writer.close()
    assert not failures


def wait_for(condition: object, limit_s: float = 10.0) -> None:
    assert callable(condition)
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_migrations_make_the_tables_that_the_code_uses(index: Index) -> None:
    with index.engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), database.metadata)
    assert [d for d in differences if "alembic_version" not in str(d)] == []


def test_what_an_older_version_wrote_is_kept_and_completed(tmp_path: Path) -> None:
    """Runs are numbered, all but the last superseded; deliveries that had begun have; frames are found again."""
    file = tmp_path / "index.sqlite"
    config = Config()
    config.set_main_option("script_location", str(Path(dicom_node.migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    config.set_main_option("sqlalchemy.url", f"sqlite:///{file}")
    command.upgrade(config, "0002")
    (image,) = instances(tmp_path, 1)
    content = json.dumps({name: getattr(image, name) for name in Instance.__slots__})
    with sqlite3.connect(file) as connection:
        for run in ("first", "second"):
            row = (run, STUDY, '{"digest": "d"}', "done", None, "", "")
            connection.execute("INSERT INTO pairs VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        for run, state in (("first", "confirmed"), ("second", "waiting")):
            connection.execute("INSERT INTO outbox VALUES (?, 'pacs', ?, 1, '', 5.0)", (run, state))
        enhanced = json.dumps(json.loads(content) | {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.2.1"})
        multiframe = ("1.8", "2.8", "2.8.1", image.sha256, image.path, enhanced, 1.0, None)
        connection.execute("INSERT INTO instances VALUES (?, ?, ?, ?, ?, ?, ?, ?)", multiframe)
        connection.executemany("INSERT INTO settled VALUES (?, 1)", [(STUDY,), ("2.8",)])
        row = (image.sop_instance_uid, STUDY, SERIES, image.sha256, image.path, content, 1.0, None)
        connection.execute("INSERT INTO instances VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        connection.execute("INSERT INTO instances VALUES (?, ?, ?, ?, ?, ?, ?, ?)", ("1.9", "2.9", "2.9.1", *row[3:]))
    connection.close()

    opened = Index(file)
    assert opened.studies_sharing_frame(STUDY) == ["2.8", "2.9"]
    opened.close()
    ledger = Ledger(file)
    assert ledger.is_settled(STUDY, 1)
    assert not ledger.is_settled("2.8", 1), "it had multi-frame images, which that version refused"
    first, second = ledger.runs(STUDY)
    assert (first["run_id"], second["run_id"]) == ("first", "second")
    assert first["superseded"] is not None
    assert second["superseded"] is None
    assert ledger.begin_delivery("first", "pacs")
    assert ledger.deliveries("second")[0].state == "waiting"
    assert ledger.withdraw(STUDY, [], 9.0) == ("second",)
    ledger.close()
    with sqlite3.connect(file) as connection:
        begun = dict(connection.execute("SELECT run_id, begun FROM outbox").fetchall())
    connection.close()
    assert begun == {"first": 5.0, "second": None}
    command.downgrade(config, "0002")


def test_what_an_older_reader_left_out_of_a_header_is_read_again_once(
    index: Index, tmp_path: Path, shared_data: Path
) -> None:
    spool = tmp_path / "spool"
    shutil.copytree(shared_data / "geometry" / "legacy_converted_enhanced", spool)
    made = [i for i in scan_folder(spool).instances if i.sop_class_uid in MULTIFRAME_CLASSES]
    assert len(made) == 2
    index.add([Arrival(i, 1.0, association()) for i in made])
    study = made[0].study_instance_uid
    for keyword in FUNCTIONAL_GROUPS:
        older = f"UPDATE instances SET reading = 'older', content = json_remove(content, '$.attributes.{keyword}')"
        with index.engine.begin() as connection:
            connection.exec_driver_sql(older)
    Path(made[1].path).rename(tmp_path / "away")
    first = {i.sop_instance_uid: i for i in index.study_instances(study)}
    assert first[made[0].sop_instance_uid] == made[0]
    assert FUNCTIONAL_GROUPS[1] not in first[made[1].sop_instance_uid].attributes  # its file is not there: as stored
    (tmp_path / "away").rename(made[1].path)
    assert index.study_instances(study) == made
    shutil.rmtree(spool)
    assert index.study_instances(study) == made
    assert index.senders(study) == [("SCANNER", "127.0.0.1")]


def test_head_is_the_newest_migration() -> None:
    folder = Path(dicom_node.migrations.__file__).parent
    assert ScriptDirectory(str(folder)).get_current_head() == dicom_node.migrations.HEAD


def test_what_arrived_only_grows_and_counts_what_was_set_aside(index: Index, tmp_path: Path) -> None:
    made = instances(tmp_path, 3)
    index.add([Arrival(i, 10.0) for i in made])
    assert index.arrived(STUDY) == 3
    index.add([Arrival(made[0], 20.0)], [Fault(Refused("pixel-data-short", "Short.", study_instance_uid=STUDY), 20.0)])
    assert index.arrived(STUDY) == 4
    assert index.arrived("1.2.3.999") == 0


def test_what_could_not_be_written_does_not_tell_the_log_who_the_patient_is(index: Index, tmp_path: Path) -> None:
    made = instances(tmp_path, 2)
    hide_table(index)
    with pytest.raises(sa.exc.OperationalError) as caught:
        index.add([Arrival(i, 10.0) for i in made])
    assert "instances" in str(caught.value)
    assert not any(text in str(caught.value) for text in ("Łukasz", "ukasz", "T-1"))


def hide_table(index: Index, name: str = "instances", as_: str = "hidden") -> None:
    """Every statement on it fails at once, as on a broken disk."""
    with index.engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO {as_}")


def test_the_spool_is_looked_through_again_until_the_index_takes_it(index: Index, tmp_path: Path) -> None:
    spool, stop = Spool(tmp_path / "spool"), threading.Event()
    stored = spooled(spool, tmp_path, 3)
    hide_table(index)
    looking = threading.Thread(target=recover_until_done, args=(spool, index, stop, 0.05))
    looking.start()
    try:
        time.sleep(0.3)
        assert looking.is_alive()
        hide_table(index, "hidden", "instances")
        looking.join(10.0)
        assert not looking.is_alive()
        assert {i.path for i in index.study_instances(STUDY)} == {i.path for i in stored}
    finally:
        stop.set()
        looking.join(10.0)
