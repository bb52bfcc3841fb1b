"""A stored study is decided again on purpose: when, why, what the new run replaces, and that no request is lost."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicom_node.again import Request
from dicom_node.assemble import assemble
from dicom_node.cli import DONE, REFUSED, USAGE, app
from dicom_node.config import Settings
from dicom_node.identity import Basis
from dicom_node.index import Index
from dicom_node.ledger import Ledger
from dicom_node.report.words.phrases import Phrases
from dicom_node.work.job import Work
from inference.facts import Occasion, Refused
from tests.site import BUNDLE, Site, make_queue
from tests.studies import STUDY, ct, pet, rtstruct, seg

BASIS = Basis("1.0", "b" * 64, "", "s" * 64)
HOLE = Refused("missing-slices", "PET: a slice is missing.")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(node={"data_dir": tmp_path})


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    Index(settings.index_file).close()
    opened = Ledger(settings.index_file)
    yield opened
    opened.close()


def work(content: int = 0, model: str = "demo") -> Work:
    return Work.of_pair(assemble([*pet(), *ct(8 + content)]), "b" * 64, model)


def decide(ledger: Ledger, *works: Work, basis: Basis = BASIS) -> tuple[str, ...]:
    return ledger.decide(STUDY, works, 1.0, {w.run_id: basis for w in works}, "no work").new


def done(ledger: Ledger, run_id: str, state: str = "done", code: str = "", basis: Basis = BASIS) -> str:
    """It was analysed and sent."""
    ledger.finish(run_id, state, code, "", basis.as_json())  # type: ignore[arg-type]
    ledger.begin_delivery(run_id, "pacs")
    return run_id


def ask(ledger: Ledger, because: str = "", force: bool = False) -> None:
    ledger.ask_again([STUDY], because, force, 2.0)


def last(ledger: Ledger) -> Request:
    return ledger.requests(STUDY)[-1]


def test_nothing_is_done_where_nothing_would_change(ledger: Ledger) -> None:
    first = done(ledger, *decide(ledger, work()))
    ask(ledger)
    assert decide(ledger, work()) == ()
    assert last(ledger).answer.startswith(f"nothing has changed since run {first}")
    assert not ledger.is_asked_again(STUDY)
    assert [r["superseded"] for r in ledger.runs(STUDY)] == [None]


def test_force_does_it_all_the_same_with_another_id_and_names_the_first(ledger: Ledger) -> None:
    first = done(ledger, *decide(ledger, work()))
    ask(ledger, "a second look", force=True)
    (second,) = decide(ledger, work())
    assert second != first
    assert ledger.replaces(second) == (first,)
    assert ledger.occasions(second) == (Occasion("asked", "a second look"),)
    assert ledger.work(second).subject == work().subject
    assert last(ledger).answer == f"decided again: run {second}"
    told = {e.event: e.text for e in ledger.timeline(STUDY) if e.run_id == second}
    assert told == {"decided-again": "it was asked for: a second look"}
    assert decide(ledger, work()) == (), "once"


@pytest.mark.parametrize("what", ["software", "model", "segmenter", "settings"])
def test_it_is_done_where_what_it_is_made_with_is_another_now(ledger: Ledger, what: str) -> None:
    first = done(ledger, *decide(ledger, work()))
    now = replace(BASIS, **{what: "other"})
    assert decide(ledger, work(), basis=now) == (), "not unless somebody asks"
    ask(ledger)
    (second,) = decide(ledger, work(), basis=now)
    assert ledger.replaces(second) == (first,)
    assert [o.kind for o in ledger.occasions(second)] == [what]


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("failed", "analysis-failed"),
        ("refused", "content-changed"),
        ("refused", "segmenter-failed"),
        ("refused", "pixel-data-short"),
    ],
)
def test_a_pair_whose_analysis_did_not_succeed_is_done_again(ledger: Ledger, state: str, code: str) -> None:
    first = done(ledger, *decide(ledger, work()), state, code)
    ask(ledger)
    (second,) = decide(ledger, work())
    assert ledger.replaces(second) == (first,)
    assert [o.kind for o in ledger.occasions(second)] == ["unsuccessful"]


def test_a_run_that_failed_without_any_result_has_no_successor_to_name_it(ledger: Ledger) -> None:
    (first,) = decide(ledger, work())
    ledger.finish(first, "failed", "analysis-failed", "a step failed")
    ask(ledger)
    (second,) = decide(ledger, work())
    assert ledger.replaces(second) == ()


def test_a_run_that_has_not_ended_is_left_alone_unless_forced(ledger: Ledger) -> None:
    (first,) = decide(ledger, work())
    ledger.begin(first, "20260101120000")
    ask(ledger)
    assert decide(ledger, work(), basis=replace(BASIS, model="other")) == ()
    assert f"run {first} has not ended yet" in last(ledger).answer
    ask(ledger, force=True)
    (second,) = decide(ledger, work())
    assert ledger.is_superseded(first)
    ledger.finish(first, "done", made_with=BASIS.as_json())
    assert not ledger.begin_delivery(first, "pacs")
    assert ledger.replaces(second) == ()


def test_two_requests_at_once_are_one_run_and_both_are_answered(ledger: Ledger) -> None:
    done(ledger, *decide(ledger, work()))
    ask(ledger, "one", force=True)
    ask(ledger, "two")
    (second,) = decide(ledger, work())
    assert [r.answer for r in ledger.requests(STUDY)] == [f"decided again: run {second}"] * 2
    assert [o.text for o in ledger.occasions(second)] == ["one", "two"]


def test_every_model_is_asked_again(ledger: Ledger) -> None:
    works = work(0, "demo"), replace(work(0, "other"), run_id="other")
    firsts = [done(ledger, run_id) for run_id in decide(ledger, *works)]
    ask(ledger, force=True)
    seconds = decide(ledger, *works)
    assert [ledger.replaces(second) for second in seconds] == [(first,) for first in firsts]


def test_a_model_of_another_name_replaces_the_one_that_nobody_asks_any_more(ledger: Ledger) -> None:
    first = done(ledger, *decide(ledger, work(0, "demo")))
    ask(ledger)
    (second,) = decide(ledger, replace(work(0, "newer"), run_id="n"), basis=replace(BASIS, model="newer"))
    assert ledger.replaces(second) == (first,)
    assert [o.kind for o in ledger.occasions(second)] == ["model"]
    assert ledger.withdraw(STUDY, [], 3.0) == (second,)
    (third,) = decide(ledger, replace(work(1, "newer"), run_id="m"))
    assert ledger.replaces(third) == (first,), "the second never went out"
    done(ledger, third)
    (fourth,) = decide(ledger, replace(work(2, "newer"), run_id="l"))
    assert ledger.replaces(fourth) == (third,)


def test_other_images_are_a_choice_where_somebody_asked_and_more_content_where_not(ledger: Ledger) -> None:
    done(ledger, *decide(ledger, work()))
    done(ledger, *(second := decide(ledger, work(1))))
    assert [o.kind for o in ledger.occasions(*second)] == ["content"]
    ask(ledger, "other settings")
    third = decide(ledger, work(2))
    assert ledger.occasions(*third) == (Occasion("choice"), Occasion("asked", "other settings"))


def test_a_refusal_is_said_again_only_in_another_way(ledger: Ledger) -> None:
    refusal = Work.of_refusal(pet(), HOLE, "b" * 64)
    first = done(ledger, *decide(ledger, refusal), "refused", HOLE.code)
    ask(ledger)
    assert decide(ledger, refusal) == ()
    assert "would be refused again for the same reason (missing-slices)" in last(ledger).answer
    ask(ledger)
    (second,) = decide(ledger, refusal, basis=replace(BASIS, settings="another language"))
    assert ledger.replaces(second) == (first,)


def test_a_pair_after_a_refusal_is_no_other_model(ledger: Ledger) -> None:
    refusal = Work.of_refusal(pet(), HOLE, "b" * 64)
    first = done(ledger, *decide(ledger, refusal), "refused", HOLE.code, replace(BASIS, model=""))
    (second,) = decide(ledger, work())
    assert ledger.replaces(second) == (first,)
    assert ledger.occasions(second) == (Occasion("content"),)


def test_a_study_nothing_is_decided_for_is_answered_too(ledger: Ledger) -> None:
    ask(ledger)
    assert decide(ledger) == ()
    assert last(ledger).answer == "no work"


def test_a_run_of_an_older_version_that_did_not_say_what_it_was_made_with_is_done_again(ledger: Ledger) -> None:
    first = decide(ledger, work())
    ledger.finish(*first, "done")
    ask(ledger)
    assert [o.kind for o in ledger.occasions(*decide(ledger, work()))] == ["software"]


def test_the_basis_knows_what_changes_results(settings: Settings) -> None:
    now = Basis.of(settings, "m")
    assert Basis.from_json(now.as_json()) == now
    assert Basis.from_json("") is None
    others = [
        settings.model_copy(update={"report": settings.report.model_copy(update={"language": "de"})}),
        settings.model_copy(update={"infer": settings.infer.model_copy(update={"also_suv": ("bsa",)})}),
    ]
    assert [Basis.of(other, "m").changes(now) for other in others] == [("settings",)] * 2
    elsewhere = settings.model_copy(update={"receive": settings.receive.model_copy(update={"port": 4242})})
    assert Basis.of(elsewhere, "m") == now
    assert Basis.of(settings, "n").changes(now) == ("model",)
    segmenter = settings.model_copy(update={"infer": settings.infer.model_copy(update={"segmenter": "mine"})})
    assert Basis.of(segmenter, "m").changes(now) == ("segmenter",)


# -------------------------------------------------------------------------------------------------------- coordinator


@pytest.fixture
def site(settings: Settings) -> Iterator[Site]:
    made = Site(settings)
    yield made
    made.close()


def test_the_coordinator_does_at_once_what_was_asked_while_it_runs(site: Site) -> None:
    site.arrive([*pet(), *ct()], at=100.0)
    site.coordinator.tick(101.0)
    (first,) = site.runs()
    site.ledger.finish(first, "done", made_with=Basis.of(site.settings, BUNDLE).as_json())
    site.ledger.ask_again([STUDY], "", False, 200.0)
    site.coordinator.tick(200.1)
    assert site.runs() == [first]
    assert "nothing has changed" in site.ledger.requests(STUDY)[0].answer
    site.ledger.ask_again([STUDY], "", True, 300.0)
    site.coordinator.tick(300.1)
    assert site.states() == ["done", "queued"]
    site.ledger.ask_again([STUDY], "", False, 300.2)
    site.coordinator.tick(300.3)
    assert len(site.runs()) == 2


def test_what_was_asked_while_the_node_was_down_is_done_at_its_start(site: Site, settings: Settings) -> None:
    make_queue(settings)
    site.arrive([*pet(), *ct()], at=100.0)
    site.coordinator.tick(101.0)
    site.ledger.finish(*site.runs(), "done", made_with=Basis.of(settings, BUNDLE).as_json())
    site.ledger.ask_again([STUDY], "", False, 200.0)
    site.start(bundle="c" * 64)
    site.coordinator.watch_clock(201.0, 0.0)
    site.coordinator.tick(201.1)
    first, second = site.runs()
    assert [o.kind for o in site.ledger.occasions(second)] == ["model"]
    assert site.ledger.is_superseded(first)


def test_a_crash_before_the_new_run_is_queued_does_not_lose_it(site: Site, settings: Settings) -> None:
    make_queue(settings)
    site.arrive([*pet(), *ct()], at=100.0)
    site.coordinator.tick(101.0)
    assert site.ledger.is_settled(STUDY, site.index.arrived(STUDY))
    site.ledger.ask_again([STUDY], "", True, 200.0)
    site.coordinator._submit = lambda *_: None  # type: ignore[method-assign]  # it is killed before
    site.coordinator.tick(200.1)
    assert len(site.runs()) == 2
    assert not site.ledger.is_settled(STUDY, site.index.arrived(STUDY))
    site.start()
    site.coordinator.tick(201.0)
    assert len(site.runs()) == 2
    assert site.ledger.is_settled(STUDY, site.index.arrived(STUDY))


def test_a_study_that_was_refused_is_not_waited_for_again(site: Site, settings: Settings) -> None:
    make_queue(settings)
    site.arrive([*pet()[:4], *pet()[5:], *ct()], at=100.0)
    site.coordinator.tick(701.0)
    assert site.states() == ["queued"]
    site.start()
    site.ledger.ask_again([STUDY], "", True, 5000.0)
    site.coordinator.watch_clock(5000.0, 0.0)
    site.coordinator.tick(5000.1)
    assert len(site.runs()) == 2


def test_runs_done_again_do_not_make_late_slices_wait_longer(site: Site) -> None:
    site.arrive([*pet(), *ct()], at=100.0)
    site.coordinator.tick(101.0)
    for n in range(6):
        site.ledger.ask_again([STUDY], "", True, 200.0 + n)
        site.coordinator.tick(200.1 + n)
    assert len(site.runs()) == 7
    site.arrive([rtstruct()], at=300.0)
    site.coordinator.tick(301.0)
    site.arrive(ct(12)[8:], at=400.0)
    site.tick_until(400.0, 400.0 + 2 * 15 + 1)
    assert len(site.runs()) == 9


def test_a_study_of_our_own_objects_alone_is_answered(site: Site) -> None:
    site.arrive([seg(40, ManufacturerModelName="petct-node")], at=100.0)
    site.ledger.ask_again([STUDY], "", True, 200.0)
    site.coordinator.tick(200.1)
    assert "wrote itself" in site.ledger.requests(STUDY)[0].answer


# ------------------------------------------------------------------------------------------------------------ command


def call(settings: Settings, *arguments: str) -> tuple[int, str]:
    config = settings.node.data_dir / "petct-node.toml"
    config.write_text(f'[node]\ndata_dir = "{settings.node.data_dir}"\n')
    answer = CliRunner().invoke(app, [*arguments, "--config", str(config)])
    return answer.exit_code, answer.output + answer.stderr


def test_the_command_writes_the_request_down_for_a_node_that_does_not_run(site: Site) -> None:
    site.arrive([*pet(), *ct()], at=100.0)
    code, said = call(site.settings, "again", STUDY, "--because", "a newer model", "--force")
    assert (code, "the node does not run" in said) == (DONE, True)
    (request,) = site.ledger.requests(STUDY)
    assert (request.because, request.force, request.answered) == ("a newer model", True, None)
    code, said = call(site.settings, "explain", STUDY)
    assert re.search(r"asked-again +a newer model", said)
    site.coordinator.tick(101.0)
    code, said = call(site.settings, "explain", STUDY)
    assert re.search(r"answered +decided again: run 1", said)
    assert "because it was asked for: a newer model" in said


def test_an_unknown_study_is_refused_and_nothing_is_asked_then(site: Site) -> None:
    site.arrive([*pet(), *ct()], at=100.0)
    code, said = call(site.settings, "again", STUDY, "1.2.3")
    assert (code, "study-unknown" in said) == (REFUSED, True)
    assert site.ledger.requests(STUDY) == []


@pytest.mark.parametrize("text", ["x" * 201, "two\nlines"])
def test_a_reason_is_one_short_line(site: Site, text: str) -> None:
    assert call(site.settings, "again", STUDY, "--because", text)[0] == USAGE


def test_there_is_a_phrase_for_every_occasion() -> None:
    from typing import get_args

    from dicom_node.again import SAID
    from dicom_node.report.words.phrases import LANGUAGES
    from inference.facts import OccasionKind

    kinds = get_args(OccasionKind)
    assert set(SAID) == set(kinds)
    for language, kind in itertools.product(LANGUAGES, kinds):
        assert Phrases(language)(f"occasion-{kind}")
