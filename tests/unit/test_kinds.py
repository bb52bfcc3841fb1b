"""What a study is looked at as, and which of its CTs or iodine maps is taken where there is no PET."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.assemble import Complete, GiveUp, Traffic, Wait, assemble, judge
from dicom_node.assemble.kinds import kinds_of
from dicom_node.assemble.routing import Router
from dicom_node.contracts import Contracts
from dicom_node.rules import Route
from dicom_node.sections import Assemble
from dicom_node.work.job import Work
from inference.facts import Instance, Kind, Pair, Refused
from tests.kinds_case import served_for
from tests.studies import ct, pet, rtstruct, seg

ALL: tuple[Kind, ...] = ("PET/CT", "CT", "iodine map")
IODINE = {"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "MAT_SPECIFIC"], "SeriesDescription": "Iodine map"}
UNIT = {"RescaleType": "MGML", "RescaleSlope": "0.01", "RescaleIntercept": "-10"}


def iodine(slices: int = 8, series: int = 6, **attributes: Any) -> list[Instance]:
    return ct(slices, series, **{**IODINE, **UNIT, **attributes})


def drawn_on(series: int, **attributes: Any) -> Instance:
    frame = ct(1)[0].attributes["FrameOfReferenceUID"]
    named = [{"SeriesInstanceUID": ct(1, series)[0].series_instance_uid}]
    study = [{"RTReferencedSeriesSequence": named}]
    frames = [{"FrameOfReferenceUID": frame, "RTReferencedStudySequence": study}]
    return rtstruct(9, ReferencedFrameOfReferenceSequence=frames, **attributes)


def chosen(pair: Pair) -> int:
    return int(pair.ct.series_instance_uid.rsplit(".", 1)[1])


def refused(instances: list[Instance], kind: Kind) -> str:
    with pytest.raises(Refused) as refusal:
        assemble(instances, kind=kind)
    return refusal.value.code


@pytest.mark.parametrize(
    ("instances", "wanted", "by_name", "kinds"),
    [
        ([*pet(), *ct()], ("PET/CT",), (), ("PET/CT",)),
        ([*pet(), *ct()], ALL, (), ("PET/CT",)),
        ([*pet(), *ct()], ALL, ALL, ("PET/CT", "CT")),
        ([*pet(), *ct()], ("CT",), ("CT",), ("CT",)),
        ([*pet(), *ct()], ("CT",), (), ("PET/CT",)),  # whom no bundle wants: not routed
        (ct(), ALL, (), ("CT",)),
        (ct(), ("PET/CT",), (), ("PET/CT",)),
        ([*ct(), *iodine()], ALL, (), ("iodine map", "CT")),
        ([*ct(), *iodine()], ("PET/CT", "CT"), (), ("CT",)),
        (iodine(), ("PET/CT", "CT"), (), ("PET/CT",)),
        ([], ALL, (), ("PET/CT",)),
        ([], ("iodine map",), (), ("iodine map",)),
    ],
)
def test_what_a_study_is_looked_at_as(
    instances: list[Instance], wanted: tuple[Kind, ...], by_name: tuple[Kind, ...], kinds: tuple[Kind, ...]
) -> None:
    assert kinds_of(instances, wanted, by_name) == kinds


def test_a_ct_alone_has_no_pet_and_lies_on_its_own_images() -> None:
    pair = assemble([*ct(12), rtstruct()], kind="CT")
    assert (pair.kind, pair.pet, len(pair.ct.instances)) == ("CT", None, 12)
    assert pair.reference is pair.ct
    assert pair.region is not None
    assert pair.digest == assemble([rtstruct(), *reversed(ct(12))], kind="CT").digest
    work = Work.of_pair(pair, "b" * 64, "ct-model")
    assert work.pair([*ct(12), rtstruct()]) == pair
    assert (work.studies, work.content["pet"], work.content["kind"]) == ((ct()[0].study_instance_uid,), None, "CT")


def test_a_tilted_ct_alone_is_refused_since_results_lie_on_its_images() -> None:
    from tests.unit.test_pairing import tilted

    assert assemble([*pet(20), *tilted(ct(60, start_mm=-60.0), 15.0)]).pet is not None
    assert refused(tilted(ct(60), 15.0), "CT") == "sheared-stack"


def test_the_ct_that_a_person_drew_on_is_taken() -> None:
    soft = ct(20, 2, ConvolutionKernel="STANDARD")
    sharp = ct(20, 5, ConvolutionKernel="BONE")
    assert chosen(assemble([*soft, *sharp, rtstruct()], kind="CT")) == 2
    assert chosen(assemble([*soft, *sharp, drawn_on(5)], kind="CT")) == 5
    automatic = drawn_on(5, StructureSetROISequence=[{"ROIName": "x", "ROIGenerationAlgorithm": "AUTOMATIC"}])
    assert chosen(assemble([*soft, *sharp, automatic], kind="CT")) == 2
    elsewhere = [*ct(20, 7, ConvolutionKernel="STANDARD", FrameOfReferenceUID="1.2.3"), *sharp]
    pair = assemble([*elsewhere, rtstruct()], kind="CT")
    assert (chosen(pair), pair.region is not None) == (5, True)
    assert any("a region was drawn on another series" in sentence for sentence in pair.story)


def test_without_a_region_the_best_ct_is_taken_and_the_other_told() -> None:
    pair = assemble([*ct(8, 2), *ct(40, 3), *ct(40, 5, ConvolutionKernel="LUNG")], kind="CT")
    assert chosen(pair) == 3
    told = " ".join(pair.story)
    assert "it shows less of the body" in told
    assert "its kernel is sharper" in told


def test_an_iodine_map_is_never_the_ct_of_a_pet() -> None:
    pair = assemble([*pet(), *iodine(series=1_0), *ct()])
    assert chosen(pair) == 2
    assert any("it is an iodine map" in sentence for sentence in pair.story)
    assert refused([*pet(), *iodine()], "PET/CT") == "ct-not-hu"
    assert refused(iodine(), "CT") == "no-pet-ct"


def test_one_iodine_map_is_taken_and_of_several_only_the_one_that_was_drawn_on() -> None:
    assert chosen(assemble([*ct(), *iodine(), seg()], kind="iodine map")) == 6
    both = [*iodine(series=6), *iodine(series=7)]
    assert refused([*both, rtstruct()], "iodine map") == "several-iodine-maps"
    assert chosen(assemble([*both, drawn_on(7)], kind="iodine map")) == 7
    assert refused(iodine(RescaleType="US"), "iodine map") == "iodine-unit-unknown"


def test_a_study_that_is_several_things_is_decided_once_all_are_complete() -> None:
    both = [*ct(8, 2), *iodine()]
    kinds: tuple[Kind, ...] = ("iodine map", "CT")
    rules = Assemble()
    done = judge(both, Traffic(0.0), 100.0, rules, kinds=kinds)
    assert isinstance(done, Complete)
    assert [pair.kind for pair in done.pairs] == ["iodine map", "CT"]
    holed = [*ct(8, 2)[:3], *ct(8, 2)[4:], *iodine()]
    waits = judge(holed, Traffic(0.0), 100.0, rules, kinds=kinds)
    assert isinstance(waits, Wait)
    assert [pair.kind for pair in waits.pairs] == ["iodine map"]
    late = judge(holed, Traffic(0.0), rules.give_up_s + 1.0, rules, kinds=kinds)
    assert isinstance(late, Complete)
    assert [pair.kind for pair in late.pairs] == ["iodine map"]
    assert "missing-slices" in late.why
    assert isinstance(judge(holed[:7], Traffic(0.0), rules.give_up_s + 1.0, rules, kinds=("CT",)), GiveUp)


# ------------------------------------------------------------------------------------------------------------- routing

CONTRACTS = Contracts(
    {
        "fdg": served_for("PET/CT", tracers=("fdg",)),
        "sstr": served_for("PET/CT", tracers=("dotatoc",)),
        "chest": served_for("CT", body_parts=("CHEST",)),
        "iodine": served_for("iodine map"),
    }
)


def routed(pair: Pair, bundles: list[str], rules: list[dict[str, Any]] | None = None) -> tuple[str, ...]:
    told = [Route.model_validate(rule) for rule in rules or []]
    return Router(told, bundles, CONTRACTS).models(pair, []).bundles


def test_without_rules_the_contract_chooses() -> None:
    everything = list(CONTRACTS.by_name)
    of_pet = assemble([*pet(), *ct()])
    assert routed(of_pet, everything) == ("fdg",)
    assert routed(of_pet, ["sstr", "chest"]) == ("sstr",)  # it measures; its verdict is withheld
    assert routed(of_pet, ["chest"]) == ("chest",)  # one bundle says itself why not
    assert routed(assemble(ct(BodyPartExamined="CHEST"), kind="CT"), everything) == ("chest",)
    assert routed(assemble(iodine(), kind="iodine map"), everything) == ("iodine",)


def test_a_rule_is_asked_only_of_what_its_bundle_looks_at() -> None:
    rules = [
        {"name": "chest CT", "bundle": "chest", "stop": True},
        {"name": "PET", "bundle": "fdg", "when": {"images": "PET/CT"}},
        {"name": "contrast", "bundle": "chest", "when": {"images": "CT", "contrast_agent": "*"}},
    ]
    of_pet = assemble([*pet(), *ct()])
    assert routed(of_pet, [], rules) == ("fdg",)  # the first rule does not stop what it is not for
    assert routed(assemble(ct(), kind="CT"), [], rules) == ("chest",)
    assert routed(assemble(ct(), kind="CT"), [], rules[2:]) == ()
    assert routed(assemble(ct(ContrastBolusAgent="Iomeprol"), kind="CT"), [], rules[2:]) == ("chest",)
    told = Router([Route.model_validate(rules[0])], [], CONTRACTS).models(of_pet, []).why
    assert told == ("Rule 'chest CT' is not asked: its bundle is for a CT alone.",)
