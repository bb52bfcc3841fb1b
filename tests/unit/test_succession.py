"""Which run counts, what it replaces, and that a superseded one never begins to go out."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.assemble import assemble
from dicom_node.config import Settings
from dicom_node.identity import make_run
from dicom_node.index import Index
from dicom_node.ledger import Ledger
from dicom_node.report import write_refusal
from dicom_node.steps import Steps
from dicom_node.work.analyst import Analyst
from dicom_node.work.job import Work
from dicom_node.work.result_set import ResultSet, publish, reports, temporary_folder
from inference.facts import Predecessor, Refused, Result
from inference.reading.instance import scan_folder
from tests.studies import STUDY, ct, pet, rtstruct

DIGEST = {"demo": "b" * 64, "other": "c" * 64}
HOLE = Refused("missing-slices", "PET: a slice is missing.")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = new_ledger(tmp_path)
    yield opened
    opened.close()


def new_ledger(folder: Path) -> Ledger:
    Index(folder / "index.sqlite").close()
    return Ledger(folder / "index.sqlite")


def work(content: int = 0, model: str = "demo") -> Work:
    """The run of a pair whose content differs from number to number."""
    return Work.of_pair(assemble([*pet(), *ct(8 + content)]), DIGEST[model], model)


def refusal() -> Work:
    return Work.of_refusal(pet(), HOLE, DIGEST["demo"])


def decide(ledger: Ledger, *works: Work) -> tuple[str, ...]:
    return ledger.decide(STUDY, works, 1.0).new


def states(ledger: Ledger) -> list[tuple[str, bool]]:
    return [(str(r["state"]), r["superseded"] is not None) for r in ledger.runs(STUDY)]


def test_what_counts_already_is_not_decided_again(ledger: Ledger) -> None:
    (first,) = decide(ledger, work())
    again = ledger.decide(STUDY, [replace(work(), run_id="the same content by an updated model")], 2.0)
    assert (again.runs, again.new, again.superseded) == ((first,), (), ())


def test_what_has_not_gone_out_is_superseded_without_a_trace_in_the_next(ledger: Ledger) -> None:
    (first,), (second,) = decide(ledger, work(0)), decide(ledger, work(1))
    assert states(ledger) == [("superseded", True), ("queued", False)]
    assert ledger.replaces(second) == ()
    assert not ledger.begin_delivery(first, "pacs")
    assert [(d.state, d.reason) for d in ledger.deliveries(first)] == [("withheld", "superseded")]
    assert [e.event for e in ledger.timeline(STUDY)] == ["superseded"]
    ledger.finish(first, "done")
    assert states(ledger)[0] == ("superseded", True), "nobody heeds how its analysis ended"


def test_what_has_begun_to_go_out_ends_and_has_a_successor(ledger: Ledger) -> None:
    (first,) = decide(ledger, work(0))
    for destination in ("here", "away"):
        ledger.record_delivery(first, destination, "waiting")
    assert ledger.begin_delivery(first, "here")
    (second,) = decide(ledger, work(1))
    assert ledger.replaces(second) == (first,)
    assert ledger.begin_delivery(first, "here"), "half a set is no result: what has begun is finished"
    assert not ledger.begin_delivery(first, "away")
    assert {d.destination: d.state for d in ledger.deliveries(first)} == {"here": "waiting", "away": "withheld"}


def test_a_successor_that_never_went_out_passes_its_predecessor_on(ledger: Ledger) -> None:
    (first,) = decide(ledger, work(0))
    ledger.begin_delivery(first, "pacs")
    (second,) = decide(ledger, work(1))
    assert ledger.withdraw(STUDY, [work(2).subject], 2.0) == (second,)
    (third,) = decide(ledger, work(2))
    assert ledger.replaces(third) == (first,)


def test_results_on_disk_alone_have_gone_out(ledger: Ledger) -> None:
    (first,) = decide(ledger, work(0))
    ledger.keep(first)
    assert ledger.deliveries(first) == []
    assert ledger.replaces(*decide(ledger, work(1))) == (first,)


def test_each_model_has_its_own_line_and_a_refusal_ends_them_all(ledger: Ledger) -> None:
    one, two = decide(ledger, work(0, "demo"), work(0, "other"))
    for run_id in (one, two):
        ledger.begin_delivery(run_id, "pacs")
    assert decide(ledger, work(0, "demo"), work(0, "other")) == ()
    next_one, next_two = decide(ledger, work(1, "demo"), work(1, "other"))
    assert (ledger.replaces(next_one), ledger.replaces(next_two)) == ((one,), (two,))
    ledger.begin_delivery(next_two, "pacs")
    (refused,) = decide(ledger, refusal())
    assert set(ledger.replaces(refused)) == {one, next_two}
    last_one, last_two = decide(ledger, work(2, "demo"), work(2, "other"))
    assert (ledger.replaces(last_one), ledger.replaces(last_two)) == ((one,), (next_two,)), "it was not sent"


def test_a_model_that_is_added_leaves_the_others_result_as_it_is(ledger: Ledger) -> None:
    (one,) = decide(ledger, work(0, "demo"))
    decision = ledger.decide(STUDY, [work(0, "demo"), work(0, "other")], 2.0)
    assert (decision.runs[0], len(decision.new), decision.superseded) == (one, 1, ())
    ledger.begin_delivery(one, "pacs")
    assert ledger.replaces(*decide(ledger, refusal())) == (one,)


def test_the_same_refusal_is_said_once_and_the_result_after_it_names_it(ledger: Ledger) -> None:
    (refused,) = decide(ledger, refusal())
    ledger.begin_delivery(refused, "pacs")
    assert decide(ledger, Work.of_refusal([*pet(), *ct()], HOLE, DIGEST["demo"])) == ()
    assert ledger.replaces(*decide(ledger, work())) == (refused,)


def test_content_that_counts_again_is_a_run_of_its_own(ledger: Ledger) -> None:
    (first,) = decide(ledger, work())
    ledger.begin_delivery(first, "pacs")
    (refused,) = decide(ledger, refusal())
    ledger.begin_delivery(refused, "pacs")
    (again,) = decide(ledger, work())
    assert again != first
    assert ledger.replaces(again) == (refused,)
    assert ledger.work(again).pair([*pet(), *ct()]).digest == work().subject


def test_only_what_is_stale_and_not_out_is_withdrawn(ledger: Ledger) -> None:
    (first,) = decide(ledger, work(0))
    assert ledger.withdraw(STUDY, [work(0).subject], 2.0) == ()
    assert ledger.withdraw(STUDY, [], 2.0) == (first,)
    assert ledger.withdraw(STUDY, [], 3.0) == ()
    (second,) = decide(ledger, work(0))
    ledger.begin_delivery(second, "pacs")
    assert ledger.withdraw(STUDY, [], 4.0) == ()


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh file with all tables, to be copied."""
    folder = tmp_path_factory.mktemp("migrated")
    new_ledger(folder).close()
    return folder / "index.sqlite"


CONTENTS = [work(n) for n in range(3)] + [refusal()]
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), st.integers(0, 3)),
        st.tuples(st.just("withdraw"), st.integers(0, 3)),
        st.tuples(st.just("begin"), st.integers(0, 9)),
    ),
    max_size=14,
)


@given(actions=ACTIONS)
@settings(max_examples=40, deadline=None)
def test_in_any_order_one_run_counts_and_each_result_in_the_archive_is_named_by_the_next(
    actions: Sequence[tuple[str, int]], migrated: Path
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(shutil.copy(migrated, folder)))
        out: list[str] = []  # in the order in which they went
        for action, number in actions:
            runs = ledger.runs(STUDY)
            if action == "decide":
                new = decide(ledger, CONTENTS[number])
                if new:
                    assert ledger.replaces(*new) == tuple(out[-1:])
            elif action == "withdraw":
                gone = ledger.withdraw(STUDY, CONTENTS[number].subject, 2.0)
                assert not set(gone) & set(out)
            elif runs:
                run = runs[number % len(runs)]
                begun = ledger.begin_delivery(run["run_id"], "pacs")
                assert begun == (run["run_id"] in out or run["superseded"] is None)
                if begun and run["run_id"] not in out:
                    out.append(run["run_id"])
            assert sum(run["superseded"] is None for run in ledger.runs(STUDY)) <= 1
        ledger.close()


# -------------------------------------------------------------------------------------------------------------- steps


class WritesAtOnce(Analyst):
    """An analyst that writes the same small set for every run."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.asked: list[str] = []

    def analyse(self, run_id: str, *_: str) -> ResultSet:
        self.asked.append(run_id)
        temporary = temporary_folder(self._settings.results_dir, run_id)
        report = temporary / "sr.dcm"
        report.write_bytes(b"nobody reads it")
        found = ResultSet("done", "", "", True, (Result("sr", "1.2", "1.3", "1.4", STUDY, report, "s"),))
        publish(temporary, self._settings.results_dir / run_id, found)
        return found


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[Steps]:
    away = {"name": "pacs", "kind": "orthanc", "url": "http://127.0.0.1:9", "timeout_s": 1}  # nobody listens there
    settings = Settings(node={"data_dir": tmp_path}, deliver={"destinations": [away]})
    made = Steps(settings, WritesAtOnce(settings))
    yield made
    made._ledger.close()


def asked(steps: Steps) -> list[str]:
    assert isinstance(steps._analyst, WritesAtOnce)
    return steps._analyst.asked


def test_a_superseded_run_is_not_analysed_and_goes_nowhere(ledger: Ledger, steps: Steps) -> None:
    (first,), (second,) = decide(ledger, work(0)), decide(ledger, work(1))
    for run_id in (first, second):
        assert steps.analyse(run_id, steps.begin(run_id), "") == ""
    assert asked(steps) == [second]
    assert (steps.destinations(first), steps.destinations(second)) == ([], ["pacs"])
    assert [d.state for d in ledger.deliveries(first)] == ["withheld"]


def test_a_delivery_that_waits_for_the_archive_ends_when_the_run_is_superseded(ledger: Ledger, steps: Steps) -> None:
    (run_id,) = decide(ledger, work(0))
    steps.analyse(run_id, steps.begin(run_id), "")
    steps.destinations(run_id)
    assert "pacs" in steps.deliver(run_id, "pacs")
    (second,) = decide(ledger, work(1))
    assert ledger.replaces(second) == (), "nothing of the first was ever sent"
    assert steps.deliver(run_id, "pacs") == ""
    assert steps.confirm(run_id, "pacs") == ""
    assert [d.state for d in ledger.deliveries(run_id)] == ["withheld"]


# ------------------------------------------------------------------------------------------------------------- report


@pytest.mark.data
def test_the_report_names_what_it_replaces_and_has_other_uids(tmp_path: Path, shared_data: Path) -> None:
    from pydicom import dcmread

    images = scan_folder(shared_data / "geometry" / "baseline").instances
    earlier = Predecessor("1.2.3", "1.2.4", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.5")
    run = make_run(Settings(), "20260101120000.000000+0000")
    first = write_refusal(images, HOLE, None, run, tmp_path / "first")
    results = [
        write_refusal(images, HOLE, None, replace(run, predecessors=(earlier,)), tmp_path / name)
        for name in ("second", "repeated")
    ]
    report = dcmread(tmp_path / "second" / "sr.dcm")
    (study,) = report.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (named,) = series.ReferencedSOPSequence
    found = (study.StudyInstanceUID, series.SeriesInstanceUID)
    assert (*found, named.ReferencedSOPClassUID, named.ReferencedSOPInstanceUID) == (
        earlier.study_instance_uid,
        earlier.series_instance_uid,
        earlier.sop_class_uid,
        earlier.sop_instance_uid,
    )
    assert b"This report replaces an earlier report" in (tmp_path / "second" / "sr.dcm").read_bytes()
    assert [r.sha256 for r in results[0]] == [r.sha256 for r in results[1]]
    uids = [r.sop_instance_uid for r in itertools.chain(first, results[0])]
    assert len(set(uids)) == len(uids)
    assert "PredecessorDocumentsSequence" not in dcmread(tmp_path / "first" / "sr.dcm")
    assert b"replaces" not in (tmp_path / "first" / "sr.dcm").read_bytes()


@pytest.mark.data
def test_the_reports_of_a_set_are_found_again(tmp_path: Path, shared_data: Path) -> None:
    images = scan_folder(shared_data / "geometry" / "baseline").instances
    assert reports(tmp_path / "run") == ()
    temporary = temporary_folder(tmp_path, "run")
    written = write_refusal(images, HOLE, None, make_run(Settings(), "20260101120000.000000+0000"), temporary)
    publish(temporary, tmp_path / "run", ResultSet("refused", HOLE.code, HOLE.reason, False, written))
    (report,) = [r for r in written if r.kind == "sr"]
    (found,) = reports(tmp_path / "run")
    assert (found.kind, found.created) == ("sr", "2026-01-01T12:00:00+00:00")
    assert (found.sop_instance_uid, found.study_instance_uid) == (report.sop_instance_uid, report.study_instance_uid)


def test_a_region_is_part_of_the_subject(ledger: Ledger) -> None:
    with_region = Work.of_pair(assemble([*pet(), *ct(), rtstruct()]), DIGEST["demo"], "demo")
    assert with_region.subject != work().subject
    assert with_region.content["images_digest"] == work().content["images_digest"] == work().subject
