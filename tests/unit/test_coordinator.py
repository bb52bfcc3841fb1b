"""What the coordinator decides, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.config import Settings
from dicom_node.coordinate import Coordinator
from dicom_node.index import Fault
from inference.facts import Instance, Refused
from tests.site import Site, make_queue
from tests.studies import STUDY, ct, pet, rtstruct, seg


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(node={"data_dir": tmp_path})


@pytest.fixture
def site(settings: Settings) -> Iterator[Site]:
    made = Site(settings)
    yield made
    made.close()


def test_a_complete_study_is_registered_once(site: Site) -> None:
    site.arrive([*pet(), *ct()], at=100.0)
    site.coordinator.tick(100.1)
    assert site.runs() == []
    for now in (100.4, 101.0, 102.0):
        site.coordinator.tick(now)
    assert len(site.runs()) == 1
    assert [e.event for e in site.ledger.timeline(STUDY)] == ["last-slice-stored", "pair-complete"]


def test_the_same_study_again_and_our_own_objects_start_nothing(site: Site) -> None:
    site.arrive([*pet(), *ct()], at=100.0)
    site.coordinator.tick(101.0)
    site.arrive([*pet(), *ct()], at=200.0)
    site.arrive([seg(40, ManufacturerModelName="petct-node"), seg(41, "AUTOMATIC")], at=200.0)
    for now in (200.1, 201.0, 300.0):
        site.coordinator.tick(now)
    assert len(site.runs()) == 1


def test_a_late_region_starts_a_new_run(site: Site) -> None:
    site.arrive([*pet(), *ct()], at=100.0)
    site.coordinator.tick(101.0)
    site.arrive([rtstruct()], at=200.0)
    site.coordinator.tick(201.0)
    assert len(site.runs()) == 2


def test_a_missing_slice_is_waited_for_and_then_answered(site: Site) -> None:
    site.arrive([*pet()[:4], *pet()[5:], *ct()], at=100.0)
    for now in (101.0, 400.0, 699.0):
        site.coordinator.tick(now)
    assert site.runs() == []
    site.coordinator.tick(701.0)
    (run,) = site.runs()
    refusal = site.ledger.work(run)
    assert refusal.is_refusal
    assert refusal.refusal().code == "missing-slices"
    assert len(refusal.images([*pet(), *ct()])) == 15


def test_nobody_waits_for_the_answer_to_a_ct_alone(site: Site) -> None:
    site.arrive(ct(), at=100.0)
    site.coordinator.tick(701.0)
    assert site.runs() == []
    assert [(e.event, e.text[:6]) for e in site.ledger.timeline(STUDY)] == [("refused", "no-pet")]


def test_a_pet_that_was_never_one_for_us_is_told_by_its_story_alone(site: Site) -> None:
    site.arrive([*pet(SeriesType=["GATED", "IMAGE"]), *ct()], at=100.0)
    site.coordinator.tick(701.0)
    assert site.runs() == []
    assert [e.text.split(":")[0] for e in site.ledger.timeline(STUDY)] == ["pet-not-static"]


def test_beside_such_a_pet_the_fault_of_another_is_answered(site: Site) -> None:
    site.arrive(
        [*pet(CorrectedImage=["DECY"]), *pet(series=9, SeriesType=["WHOLE BODY", "REPROJECTION"]), *ct()], at=100.0
    )
    site.coordinator.tick(701.0)
    assert site.ledger.work(*site.runs()).refusal().code == "pet-not-attenuation-corrected"


@pytest.mark.parametrize(
    ("deliver", "answered"),
    [({"refusals": "all"}, ["no-pet"]), ({"refusals": "all", "refusals_except": ["no-pet"]}, [])],
    ids=["all", "all but this"],
)
def test_a_ct_alone_is_answered_where_all_refusals_are_wanted(
    tmp_path: Path, deliver: dict, answered: list[str]
) -> None:
    site = Site(Settings(node={"data_dir": tmp_path}, deliver=deliver))
    site.arrive(ct(), at=100.0)
    site.coordinator.tick(701.0)
    assert [site.ledger.work(run).refusal().code for run in site.runs()] == answered
    site.close()


def test_a_study_that_was_answered_before_hears_of_every_refusal(tmp_path: Path) -> None:
    """What was delivered no longer holds, whatever is left out else."""
    site = Site(Settings(node={"data_dir": tmp_path}, deliver={"refusals_except": ["missing-slices"]}))
    first = delivered(site)
    site.arrive(pet(10, NumberOfSlices=8)[9:], at=200.0)
    site.tick_until(200.0, 801.0, every_s=20.0)
    site.coordinator.tick(802.0)
    refused = site.runs()[-1]
    assert site.ledger.work(refused).refusal().code == "missing-slices"
    assert site.ledger.replaces(refused) == (first,)
    site.close()


def test_two_patients_in_one_study_are_refused_soon(site: Site) -> None:
    site.arrive([*pet(), *ct(PatientID="Other")], at=100.0)
    site.coordinator.tick(116.0)
    (run,) = site.runs()
    assert site.ledger.work(run).refusal().code == "patient-mismatch"


def test_after_a_restart_an_unqueued_run_is_taken_up_and_a_settled_study_is_left_alone(
    site: Site, settings: Settings
) -> None:
    site.arrive([*pet(), *ct()], at=100.0)
    site.coordinator.tick(101.0)  # registered, but no queue takes it yet
    assert not site.ledger.is_settled(STUDY, site.index.arrived(STUDY))
    make_queue(settings)
    site.start()
    site.coordinator.tick(102.0)
    assert site.ledger.is_settled(STUDY, site.index.arrived(STUDY))
    site.start(bundle="c" * 64)  # an update of the model does not analyse the archive again
    site.coordinator.tick(103.0)
    assert len(site.runs()) == 1


def test_a_row_that_comes_late_into_the_index_is_not_lost_in_a_restart(site: Site, settings: Settings) -> None:
    make_queue(settings)
    site.arrive([*pet(), *ct()], at=100.0)
    site.coordinator.tick(101.0)
    site.arrive([rtstruct()], at=99.0)  # its receiver was killed, and found it again in the spool
    site.start()
    site.coordinator.tick(200.0)
    assert len(site.runs()) == 2


# ------------------------------------------------------------------------------------------- silence, clocks, crowds


def test_an_archive_that_keeps_its_association_open_costs_a_short_silence(site: Site) -> None:
    site.arrive([*pet(), *ct()], at=100.0, association="kept")
    site.tick_until(100.5, 114.5)
    assert site.runs() == []
    site.tick_until(115.0, 115.5)
    assert len(site.runs()) == 1
    assert "still open" in site.ledger.timeline(STUDY)[-1].text


def our_own(number: int) -> Instance:
    return seg(50 + number, ManufacturerModelName="petct-node")


@pytest.mark.parametrize("association", ["kept", ""])
def test_results_of_ours_that_come_back_delay_nothing(site: Site, association: str) -> None:
    """Those of an earlier version, say, after PET and CT: over the association that brought these, or over others."""
    site.arrive([*pet(), *ct(InstanceNumber=None)], at=100.0, association=association)
    for n in range(140):
        site.arrive([our_own(n)], at=100.5 + 0.5 * n, association=association)
        site.coordinator.tick(100.6 + 0.5 * n)
    decided = {e.event: e.at for e in site.ledger.timeline(STUDY)}
    assert decided["pair-complete"] == pytest.approx(160.1 if association else 115.1, abs=0.6)
    assert decided["last-slice-stored"] == 100.0
    site.release("kept")
    site.arrive([our_own(900)], at=300.0)
    site.tick_until(300.0, 320.0)
    assert site.states() == ["queued"]


def test_a_clock_that_is_set_back_holds_no_study_up(site: Site) -> None:
    site.coordinator.watch_clock(5000.0, 50.0)
    site.arrive([*pet(NumberOfSlices=...), *ct()], at=5001.0)
    site.coordinator.tick(5001.1)
    site.coordinator.watch_clock(1402.0, 52.0)  # an hour back
    site.tick_until(1402.0, 1416.5)
    assert site.runs() == []
    site.coordinator.tick(1417.0)
    assert len(site.runs()) == 1


def test_what_comes_while_a_look_is_taken_is_not_of_another_clock(site: Site) -> None:
    site.coordinator.watch_clock(90.0, 0.0)
    site.arrive([*pet()[1:], *ct()], at=1000.3)
    site.coordinator.tick(1000.2)
    assert site.runs() == []


def test_a_clock_that_jumps_ahead_is_no_silence(site: Site) -> None:
    site.coordinator.watch_clock(1000.0, 50.0)
    site.arrive([*pet()[1:], *ct()], at=1001.0)
    site.coordinator.tick(1001.1)
    for second in range(3):
        site.coordinator.watch_clock(4602.0 + second, 52.0 + second)
        site.coordinator.tick(4602.0 + second)
    assert site.runs() == []
    site.tick_until(5190.0, 5202.5)
    assert site.ledger.work(*site.runs()).is_refusal


def test_the_time_that_a_node_was_down_is_no_silence(site: Site) -> None:
    site.arrive([*pet()[1:], *ct()], at=1000.0)
    site.start()
    site.coordinator.watch_clock(9000.0, 0.0)
    site.tick_until(9000.0, 9590.0, every_s=10.0)
    assert site.runs() == []
    site.coordinator.tick(9601.0)
    assert site.ledger.work(*site.runs()).is_refusal


def test_what_is_new_does_not_wait_for_all_that_is_due(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.coordinate.TURN_S", 0.0)  # in each turn one that is new and one that is due
    for n in range(5):
        site.arrive(renamed([*pet()[1:], *ct()], f"{STUDY}.{n}"), at=100.0)
        site.coordinator.tick(100.5)
    site.arrive([*pet(), *ct()], at=800.0)
    site.coordinator.tick(801.0)  # the five are to be refused
    assert len(site.runs()) == 1
    assert [len(site.runs(f"{STUDY}.{n}")) for n in range(5)].count(1) == 1
    for n in range(4):
        site.arrive(renamed(pet(), f"{STUDY}.9{n}"), at=802.0)
        site.coordinator.tick(802.0 + 0.1 * n)
    assert all(site.runs(f"{STUDY}.{n}") for n in range(5)), "nor the other way round"


def renamed(instances: list[Instance], study: str) -> list[Instance]:
    """The same as a study of its own."""
    return [
        replace(
            i,
            study_instance_uid=study,
            series_instance_uid=i.series_instance_uid.replace(STUDY, study),
            sop_instance_uid=i.sop_instance_uid.replace(STUDY, study),
        )
        for i in instances
    ]


def test_a_study_of_which_nothing_can_be_used_has_a_story(site: Site) -> None:
    facts = {"study_instance_uid": STUDY, "series_instance_uid": f"{STUDY}.1", "modality": "PT"}
    refused = Refused("header-too-large", "Its header is too large.", **facts)
    site.index.add(faults=[Fault(refused, 100.0, Path("aside"))])
    site.tick_until(100.0, 699.0, every_s=10.0)
    assert site.ledger.timeline(STUDY) == ()
    site.coordinator.tick(701.0)
    (event,) = site.ledger.timeline(STUDY)
    assert event.event == "refused"
    assert "Its header is too large." in event.text
    assert site.runs() == []


# ------------------------------------------------------------------------------------------------------------ late


def more_ct(count: int, first: int = 8) -> list[Instance]:
    """Further slices at the end of the CT; the first six lie within the PET's extent and its margin."""
    return ct(first + count)[first:]


def delivered(site: Site, at: float = 100.0) -> str:
    """A study that was decided; its result is on its way to an archive."""
    site.arrive([*pet(), *ct()], at=at)
    site.coordinator.tick(at + 1.0)
    (run_id,) = site.runs()
    assert site.ledger.begin_delivery(run_id, "pacs")
    return run_id


def test_late_slices_supersede_a_run_at_once_and_are_then_waited_for(site: Site) -> None:
    site.arrive([*pet(), *ct()], at=100.0)
    site.coordinator.tick(101.0)
    site.arrive(more_ct(1), at=105.0)
    site.coordinator.tick(105.1)
    assert site.states() == ["superseded"]
    site.tick_until(106.0, 119.0)
    assert site.states() == ["superseded"]
    site.coordinator.tick(120.1)
    assert site.states() == ["superseded", "queued"]
    assert site.ledger.replaces(site.runs()[1]) == ()


def test_a_series_that_trickles_in_gives_one_successor(site: Site) -> None:
    first = delivered(site)
    for n, late in enumerate(more_ct(6)):
        site.arrive([late], at=200.0 + 4.0 * n)
        site.tick_until(200.0 + 4.0 * n, 203.5 + 4.0 * n)
    site.tick_until(224.0, 260.0)
    _, successor = site.runs()
    assert site.ledger.replaces(successor) == (first,)


def test_the_slower_it_trickles_the_longer_is_waited(site: Site) -> None:
    delivered(site)
    for n, late in enumerate(more_ct(6)):
        site.arrive([late], at=200.0 + 40.0 * n)
        site.tick_until(200.0 + 40.0 * n, 239.5 + 40.0 * n)
    site.tick_until(440.0, 1100.0, every_s=5.0)
    assert len(site.runs()) == 4  # after 15, 30 and 60 s of silence, not six times


def test_a_region_after_the_result_is_analysed_at_once(site: Site) -> None:
    first = delivered(site)
    site.arrive([rtstruct()], at=200.0)
    site.coordinator.tick(200.5)
    _, successor = site.runs()
    assert site.ledger.replaces(successor) == (first,)


def test_late_ct_slices_beyond_the_pet_change_nothing(site: Site) -> None:
    site.arrive([*pet(), *ct(16)], at=100.0)
    site.coordinator.tick(101.0)
    site.arrive(more_ct(20, first=16), at=102.0, association="late")
    site.tick_until(102.0, 110.0)
    site.release("late")
    site.tick_until(110.0, 200.0, every_s=5.0)
    assert site.states() == ["queued"]


def test_a_result_that_late_slices_put_in_doubt_has_a_refusal_for_successor(site: Site) -> None:
    first = delivered(site)
    site.arrive(pet(10, NumberOfSlices=8)[9:], at=200.0)  # a hole where the ninth should be
    site.tick_until(200.0, 799.0, every_s=20.0)
    assert site.runs() == [first]
    site.coordinator.tick(801.0)
    _, refused = site.runs()
    assert site.ledger.work(refused).refusal().code == "missing-slices"
    assert site.ledger.replaces(refused) == (first,)


def test_a_refusal_names_what_is_missing_and_the_result_after_it_replaces_it(site: Site) -> None:
    hole = pet()[4]
    site.arrive([i for i in [*pet(), *ct()] if i != hole], at=100.0)
    site.coordinator.tick(701.0)
    (refused,) = site.runs()
    reason = site.ledger.work(refused).refusal().reason
    assert reason.startswith("PET: ")
    assert "Missing are the positions 12 mm" in reason
    site.ledger.begin_delivery(refused, "pacs")
    site.arrive([hole], at=800.0)
    site.coordinator.tick(800.5)
    _, result = site.runs()
    assert site.ledger.replaces(result) == (refused,)
    assert not site.ledger.work(result).is_refusal


def test_a_pet_alone_is_answered_with_what_it_lacks(site: Site) -> None:
    site.arrive(pet(), at=100.0)
    site.tick_until(101.0, 699.0, every_s=50.0)
    assert site.runs() == []
    site.coordinator.tick(701.0)
    assert site.ledger.work(*site.runs()).refusal().code == "no-ct"


def test_a_restart_in_the_middle_finds_its_way(site: Site) -> None:
    site.arrive([*pet(), *ct()], at=100.0)
    site.coordinator.tick(101.0)
    site.arrive(more_ct(1), at=105.0)
    site.coordinator.tick(105.1)  # superseded, and killed while waiting
    site.start()
    site.tick_until(106.0, 119.0)
    assert site.states() == ["superseded"]
    site.coordinator.tick(121.0)
    site.start()
    site.coordinator.tick(122.0)
    assert site.states() == ["superseded", "queued"]


def test_an_association_for_every_image_delays_nothing(site: Site) -> None:
    """Images of PET and CT in turn, 40 ms apart, each over its own association, the next open before the last ends."""
    images = [image for both in zip(pet(30), ct(30), strict=True) for image in both]
    for n, image in enumerate(images):
        now = 100.0 + 0.04 * n
        site.arrive([image], at=now, association=f"a{n}")
        site.release(f"a{n - 1}")
        site.coordinator.tick(now + 0.01)
    assert site.runs() == []
    last = 100.0 + 0.04 * (len(images) - 1)
    site.release(f"a{len(images) - 1}")
    site.coordinator.tick(last + 0.1)
    site.coordinator.tick(last + 0.45)  # five gaps of 80 ms between CT slices
    assert len(site.runs()) == 1


def test_a_study_that_no_model_is_asked_about_is_settled_with_the_reason(tmp_path: Path) -> None:
    rule = {"name": "theirs", "bundle": "demo", "when": {"calling_ae_title": "ANOTHER"}}
    choosy = Site(Settings(node={"data_dir": tmp_path}, route=[rule]))
    make_queue(choosy.settings)
    choosy.arrive([*pet(), *ct()], at=100.0, association="a")
    choosy.release("a")
    choosy.coordinator.tick(101.0)
    assert choosy.runs() == []
    (event,) = choosy.ledger.timeline(STUDY)
    assert event.event == "not-routed"
    assert "theirs" in event.text
    assert choosy.ledger.is_settled(STUDY, choosy.index.arrived(STUDY))
    choosy.close()


# ------------------------------------------------------------------------------------------------------ two studies

OTHER = f"{STUDY}.99"


def elsewhere(instances: list[Instance]) -> list[Instance]:
    """The same images as another study of the same session."""
    return [replace(i, study_instance_uid=OTHER) for i in instances]


@pytest.fixture
def joining(tmp_path: Path) -> Iterator[Site]:
    made = Site(Settings(node={"data_dir": tmp_path / "joining"}, assemble={"two_studies": True}))
    yield made
    made.close()


@pytest.mark.parametrize("ct_first", [True, False])
def test_a_ct_of_another_study_is_used_where_that_is_allowed(joining: Site, site: Site, ct_first: bool) -> None:
    for node in (joining, site):
        for n, part in enumerate((elsewhere(ct()), pet()) if ct_first else (pet(), elsewhere(ct()))):
            node.arrive(part, at=100.0 + 10.0 * n)
            node.tick_until(100.0 + 10.0 * n, 109.5 + 10.0 * n)
        node.tick_until(120.0, 140.0)
        node.coordinator.tick(720.0)  # nobody waits for a PET of the CT's study any more
    (run,) = joining.runs()
    assert [site.ledger.work(r).refusal().code for r in site.runs()] == ["no-ct"]
    assert site.runs(OTHER) == joining.runs(OTHER) == []
    work = joining.ledger.work(run)
    assert (work.study_instance_uid, work.studies) == (STUDY, (STUDY, OTHER))
    pair = work.pair([*pet(), *elsewhere(ct())])
    assert (pair.pet.study_instance_uid, pair.ct.study_instance_uid) == (STUDY, OTHER)
    assert [c.code for c in pair.cautions] == ["ct-of-another-study"]
    assert [e.event for e in joining.ledger.timeline(OTHER)] == ["used-with-another-study"]


@pytest.mark.parametrize(
    "other",
    [{"PatientID": "P2"}, {"PatientName": "Doe^John"}, {"IssuerOfPatientID": "B"}, {"FrameOfReferenceUID": "9.9"}],
)
def test_another_patient_or_place_is_never_joined(joining: Site, other: dict[str, str]) -> None:
    joining.arrive([*pet(), *elsewhere(ct(**other))], at=100.0)
    joining.coordinator.tick(701.0)
    assert joining.ledger.work(*joining.runs()).refusal().code == "no-ct"


def test_the_ct_of_its_own_study_comes_before_anothers(joining: Site) -> None:
    joining.arrive([*pet(), *elsewhere(ct(series=9))], at=100.0)
    joining.tick_until(100.0, 120.0)
    (first,) = joining.runs()
    joining.ledger.begin_delivery(first, "pacs")
    joining.arrive(ct(), at=130.0)
    joining.tick_until(130.0, 150.0)
    _, second = joining.runs()
    assert joining.ledger.work(second).studies == (STUDY,)
    assert joining.ledger.replaces(second) == (first,)


def test_what_came_to_the_other_study_before_a_kill_is_not_forgotten(joining: Site) -> None:
    make_queue(joining.settings)
    joining.arrive(pet(), at=100.0)
    joining.coordinator.tick(701.0)
    joining.arrive(elsewhere(ct()), at=800.0)
    joining.start()  # killed before it looked
    joining.tick_until(800.0, 820.0)
    refused, result = joining.runs()
    assert joining.ledger.work(refused).is_refusal
    assert not joining.ledger.work(result).is_refusal


def test_one_bundle_under_two_names_runs_once(tmp_path: Path) -> None:
    rules = [{"name": "by name", "bundle": "demo"}, {"name": "by path", "bundle": "/bundles/demo"}]
    made = Site(Settings(node={"data_dir": tmp_path}, route=rules))
    made.arrive([*pet(), *ct()], at=100.0)
    made.coordinator.tick(101.0)
    assert [run["lane"] for run in made.ledger.runs(STUDY)] == ["demo"]
    made.close()


def test_each_rule_that_matches_gives_a_run_and_none_gives_a_story(tmp_path: Path) -> None:
    rules = [
        {"name": name, "bundle": name, "when": {"pet_slices": {"max": most}}} for name, most in (("a", 8), ("b", 7))
    ]
    made = Site(Settings(node={"data_dir": tmp_path}, route=[*rules, {"name": "c", "bundle": "c"}]))
    made.coordinator = Coordinator(made.settings, {name: name * 64 for name in "abc"})
    made.arrive([*pet(), *ct()], at=100.0)
    made.coordinator.tick(101.0)
    assert sorted(run["lane"] for run in made.ledger.runs(STUDY)) == ["a", "c"]
    made.close()
    none = Site(Settings(node={"data_dir": tmp_path / "none"}, route=rules[1:]))
    none.arrive([*pet(), *ct()], at=100.0)
    none.coordinator.tick(101.0)
    assert none.runs() == []
    (event,) = none.ledger.timeline(STUDY)
    assert (event.event, event.text) == (
        "not-routed",
        "Rule 'b' does not match: the number of PET slices is not at most 7.",
    )
    none.close()
