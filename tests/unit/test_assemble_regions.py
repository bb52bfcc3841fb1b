"""Which of several region objects of a study is taken."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.assemble.selection import Selection, select
from inference.facts import Instance
from tests.studies import ct, one, pet, rtstruct, seg

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"


def taken(*regions: Instance, **more: Any) -> Selection:
    return select([*regions, *ct(), *pet()], **more)


def named(instance: Instance, *names: str, kind: str = "") -> Instance:
    """The structure set with these ROIs in place of its own."""
    rois = [{"ROINumber": n, "ROIName": name, "ROIGenerationAlgorithm": "MANUAL"} for n, name in enumerate(names, 1)]
    kinds = [{"ReferencedROINumber": n, "RTROIInterpretedType": kind} for n in range(1, len(names) + 1)]
    instance.attributes["StructureSetROISequence"] = rois  # type: ignore[index]
    instance.attributes["RTROIObservationsSequence"] = kinds  # type: ignore[index]
    return instance


def left_out(chosen: Selection) -> list[str]:
    return [c.code for c in chosen.choices if not c.chosen]


def test_of_several_the_newest_is_taken_whatever_its_class_and_it_is_said() -> None:
    old, new = rtstruct(3, StructureSetDate="20260101"), seg(4, ContentDate="20260105")
    for regions in ((old, new), (new, old)):
        chosen = taken(*regions)
        assert chosen.region == new
        assert left_out(chosen) == ["older-region"]
        assert [c.code for c in chosen.cautions] == ["several-regions"]
        assert "SEG" in chosen.cautions[0].text
    assert taken(old).cautions == ()


def test_a_newer_object_without_a_lesion_does_not_hide_the_tumour() -> None:
    tumour = rtstruct(3, StructureSetDate="20260101")
    organs = named(rtstruct(4, StructureSetDate="20260105"), "Liver", "Heart", kind="ORGAN")
    chosen = taken(tumour, organs)
    assert chosen.region == tumour
    assert left_out(chosen) == ["region-names-no-lesion"]
    assert [c.code for c in chosen.cautions] == ["several-regions"]
    assert taken(organs).region == organs  # alone it is taken, and refused with its reason where it is read


def test_the_configured_names_decide_between_objects() -> None:
    herd = named(rtstruct(3, StructureSetDate="20260101"), "Herd A", "Herd B")
    other = named(rtstruct(4, StructureSetDate="20260105"), "Ring 1", "Ring 2")
    assert taken(herd, other).region == other
    assert taken(herd, other, region_names=("herd",)).region == herd


def test_what_a_person_rejected_is_not_taken() -> None:
    kept, rejected = rtstruct(3, StructureSetDate="20260101"), rtstruct(4, ApprovalStatus="REJECTED")
    chosen = taken(kept, rejected)
    assert chosen.region == kept
    assert left_out(chosen) == ["rejected-region"]
    assert taken(rejected).region is None


@pytest.mark.parametrize(("algorithms", "wanted"), [(["AUTOMATIC", "MANUAL"], True), (["AUTOMATIC"] * 2, False)])
def test_an_object_counts_as_a_programs_when_all_of_it_is(algorithms: list[str], wanted: bool) -> None:
    segments = [
        {"SegmentNumber": n, "SegmentLabel": "GTV", "SegmentAlgorithmType": a} for n, a in enumerate(algorithms, 1)
    ]
    assert (taken(seg(4, SegmentSequence=segments)).region is not None) == wanted


def test_a_label_map_is_a_region_too() -> None:
    segments = [{"SegmentNumber": 1, "SegmentLabel": "GTV", "SegmentAlgorithmType": "MANUAL"}]
    drawn = one(LABEL_MAP, 7, 0, SegmentSequence=segments, FrameOfReferenceUID="1.2.3.4", ContentDate="20260103")
    assert taken(drawn).region == drawn


def test_numbers_that_are_none_are_left_to_the_reading() -> None:
    """The object is taken, so that the study is refused with its fault and not analysed without the region."""
    broken = seg(4, SegmentSequence=[{"SegmentNumber": "one", "SegmentLabel": "GTV"}])
    assert taken(broken).region == broken
