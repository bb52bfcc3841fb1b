"""What the coordinator makes of studies that are looked at as several things, or have no PET."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dicom_node.assemble import Complete, Traffic, Wait, judge
from dicom_node.config import Settings
from dicom_node.contracts import Contracts
from dicom_node.coordinate import Coordinator
from dicom_node.sections import Assemble
from tests.kinds_case import CHROMOGRANIN, served_for
from tests.site import Site
from tests.studies import STUDY, ct, pet, rtstruct
from tests.unit.test_kinds import drawn_on

CONTRACTS = Contracts(
    {
        "petct": served_for("PET/CT", tracers=("fdg",), values=(CHROMOGRANIN,)),
        "ct": served_for("CT"),
    },
    {"petct": "a" * 64, "ct": "c" * 64},
)
RULES = [{"name": "both", "bundle": "petct"}, {"name": "its CT, too", "bundle": "ct"}]


def site(folder: Path, **settings: Any) -> Site:
    made = Site(Settings(node={"data_dir": folder}, **settings))
    made.coordinator = Coordinator(made.settings, CONTRACTS.digests, CONTRACTS)
    return made


def lanes(made: Site) -> list[str]:
    return [run["lane"] for run in made.ledger.runs(STUDY) if run["superseded"] is None]


def test_a_study_with_pet_gets_a_run_of_each_kind_only_where_a_rule_says_so(tmp_path: Path) -> None:
    ruled = site(tmp_path / "ruled", route=RULES)
    listed = site(tmp_path / "listed", infer={"bundles": ["petct", "ct"]})
    for made, expected in ((ruled, ["ct", "petct"]), (listed, ["petct"])):
        made.arrive([*pet(), *ct(), drawn_on(2)], at=100.0)
        made.coordinator.tick(150.0)
        assert sorted(lanes(made)) == expected
    kinds = {made.ledger.work(run).content["kind"] for made in (ruled,) for run in ruled.runs()}
    assert kinds == {"PET/CT", "CT"}
    ruled.coordinator.tick(300.0)
    assert len(ruled.runs()) == 2
    ruled.arrive([rtstruct(12, StructureSetDate="20270101")], at=400.0)
    ruled.tick_until(400.0, 450.0)
    assert sorted(lanes(ruled)) == ["ct", "petct"]
    assert len(ruled.runs()) == 4
    for made in (ruled, listed):
        made.close()


def test_a_pet_ct_does_not_wait_for_the_region_that_its_ct_lacks(tmp_path: Path) -> None:
    made = site(tmp_path, route=RULES)
    made.arrive([*pet(), *ct()], at=100.0)
    made.coordinator.tick(101.0)
    assert sorted(lanes(made)) == ["ct", "petct"]
    made.close()


def test_a_ct_alone_runs_on_a_node_for_it_and_nowhere_else(tmp_path: Path) -> None:
    for name, settings, expected in (
        ("listed", {"infer": {"bundles": ["petct", "ct"]}}, ["ct"]),
        ("only", {"infer": {"bundle": "ct"}}, ["ct"]),
        ("petct", {"infer": {"bundle": "petct"}}, []),
    ):
        made = site(tmp_path / name, **settings)
        made.arrive([*ct(), rtstruct()], at=100.0)
        made.tick_until(100.0, 130.0, 5.0)
        assert lanes(made) == expected, name
        made.close()


def test_a_pet_that_no_bundle_is_for_is_not_routed(tmp_path: Path) -> None:
    made = Site(Settings(node={"data_dir": tmp_path}, infer={"bundles": ["ct", "other"]}))
    both = Contracts({"ct": served_for("CT"), "other": served_for("CT")}, {"ct": "c" * 64, "other": "d" * 64})
    made.coordinator = Coordinator(made.settings, both.digests, both)
    made.arrive([*pet(), *ct(), drawn_on(2)], at=100.0)
    made.tick_until(100.0, 130.0, 5.0)
    assert made.runs() == []
    (event,) = made.ledger.timeline(STUDY)
    assert event.event == "not-routed"
    assert "the model is for a CT alone, and this is PET/CT" in event.text
    made.close()


def test_the_ct_of_a_pet_that_comes_later_is_not_taken_for_a_ct_alone(tmp_path: Path) -> None:
    made = site(tmp_path, infer={"bundles": ["petct", "ct"]})
    made.arrive(ct(), at=100.0)
    made.tick_until(100.0, 690.0, 30.0)
    assert made.runs() == []
    made.arrive(pet(), at=690.0)
    made.tick_until(690.0, 710.0, 5.0)
    assert lanes(made) == ["petct"]
    made.close()


def test_how_long_a_ct_waits_for_its_region(tmp_path: Path) -> None:
    rules, kinds = Assemble(), ("CT",)

    def verdict(now: float, *instances: Any, awaits_pet: bool) -> Any:
        return judge([*ct(), *instances], Traffic(0.0), now, rules, kinds=kinds, awaits_pet=awaits_pet)

    assert isinstance(verdict(1.0, rtstruct(), awaits_pet=False), Wait)
    assert isinstance(verdict(16.0, rtstruct(), awaits_pet=False), Complete)
    assert isinstance(verdict(1.0, rtstruct(), awaits_pet=True), Wait)
    assert isinstance(verdict(16.0, rtstruct(), awaits_pet=True), Complete)
    assert isinstance(verdict(1.0, awaits_pet=False), Wait)
    assert isinstance(verdict(16.0, awaits_pet=False), Complete)
    assert isinstance(verdict(16.0, awaits_pet=True), Wait)
    assert isinstance(verdict(601.0, awaits_pet=True), Complete)


def test_the_fault_of_a_ct_that_a_person_drew_on_is_answered(tmp_path: Path) -> None:
    for name, drawn, answered in (("drawn", [rtstruct()], 1), ("not", [], 0)):
        made = site(tmp_path / name, infer={"bundle": "ct"})
        made.arrive([*ct()[:3], *ct()[4:], *drawn], at=100.0)
        made.coordinator.tick(701.0)
        assert len(made.runs()) == answered
        assert [made.ledger.work(run).refusal().code for run in made.runs()] == ["missing-slices"] * answered
        made.close()


def test_values_that_come_later_are_an_occasion_when_somebody_asks(tmp_path: Path) -> None:
    labs = tmp_path / "labs.csv"
    labs.write_text("accession_number,cga\nnobody,1\n")
    made = site(tmp_path / "node", infer={"bundles": ["petct", "ct"]}, values={"table": labs})
    images = [*pet(AccessionNumber="A-1"), *ct(AccessionNumber="A-1")]
    made.arrive(images, at=100.0)
    made.coordinator.tick(101.0)
    (first,) = made.runs()
    basis = made.coordinator._runs.basis(made.ledger.work(first), images)
    made.ledger.finish(first, "done", made_with=basis.as_json())
    made.ledger.ask_again([STUDY], "", False, 200.0)
    made.coordinator.tick(201.0)
    assert made.runs() == [first]
    labs.write_text("accession_number,cga\nA-1,250\n")
    made.coordinator.tick(300.0)
    assert made.runs() == [first]
    made.ledger.ask_again([STUDY], "", False, 400.0)
    made.coordinator.tick(401.0)
    _, second = made.runs()
    assert [occasion.kind for occasion in made.ledger.occasions(second)] == ["values"]
    made.close()
