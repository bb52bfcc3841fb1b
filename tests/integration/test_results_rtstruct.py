"""The structure set of the automatic lesions, and that our own node takes no object of ours for a person's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_node.assemble.selection import select
from inference.facts import Analysis, Result
from inference.reading.instance import read_instance
from inference.regions.region import given_regions
from tests.optional_objects import ALSO, TWO, with_lesions, write
from tests.report_case import (
    TURNS,
    ball,
    make_analysis,
)
from tests.studies import ct, pet


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return make_analysis(tmp_path_factory.mktemp("in"), balls=TWO, turn=TURNS["oblique"])


@pytest.fixture(scope="module")
def written(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Result]]:
    return write(analysis, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def opened(written: dict[str, list[Result]]) -> dict[str, pydicom.Dataset]:
    return {kind: pydicom.dcmread(written[kind][0].path) for kind in (*ALSO, "seg")}


def test_the_structure_set_gives_our_own_reader_the_same_voxels(analysis: Analysis, opened, written) -> None:
    found = given_regions(read_instance(written["rtstruct"][0].path), analysis.suv)
    segments = opened["seg"].SegmentSequence
    assert [g.name for g in found] == [s.SegmentLabel for s in segments]
    lesions = [region for lesion in analysis.lesions for region in (lesion.region, lesion.on_pet.mtv)]
    shape = analysis.suv.array.shape
    for given, wanted in zip(found, lesions, strict=True):
        assert (given.region.full(shape) == wanted.full(shape)).all()
        assert given.cautions == ()


def test_the_structure_set_refers_to_the_pet_it_was_drawn_on(analysis: Analysis, opened) -> None:
    ds = opened["rtstruct"]
    frame = analysis.suv.frame_of_reference_uid
    assert (ds.ApprovalStatus, ds.file_meta.TransferSyntaxUID.name) == ("UNAPPROVED", "Implicit VR Little Endian")
    assert ds.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID == frame
    series = ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    images = {i.sop_instance_uid: i for i in analysis.pair.pet.instances}
    assert [image.ReferencedSOPInstanceUID for image in series.ContourImageSequence] == list(images)
    for roi, said, contours in zip(
        ds.StructureSetROISequence, ds.RTROIObservationsSequence, ds.ROIContourSequence, strict=True
    ):
        assert (roi.ReferencedFrameOfReferenceUID, roi.ROIGenerationAlgorithm) == (frame, "AUTOMATIC")
        assert said.RTROIInterpretedType == ""
        for contour in contours.ContourSequence:
            image = images[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            normal = np.cross(*np.reshape(image.get("ImageOrientationPatient"), (2, 3)))
            points = np.reshape(contour.ContourData, (-1, 3)).astype(float)
            assert len(points) == contour.NumberOfContourPoints
            assert np.abs((points - image.get("ImagePositionPatient")) @ normal).max() < 1e-3
    volumes = {roi.ROIName: float(roi.ROIVolume) for roi in ds.StructureSetROISequence}
    for lesion in analysis.lesions:
        assert volumes[lesion.tracking_name] == pytest.approx(lesion.volume_ml, rel=1e-6)


def test_a_persons_region_is_never_copied_into_a_structure_set(analysis: Analysis, tmp_path: Path) -> None:
    for source in ("RTSTRUCT", "SEG"):
        given = with_lesions(analysis, *(ball(analysis.suv, c, r) for c, r, _ in TWO), source=source)
        assert write(given, tmp_path)["rtstruct"] == []
    mixed = replace(given, lesions=(given.lesions[0], analysis.lesions[1]))
    (result,) = write(mixed, tmp_path)["rtstruct"]
    names = [roi.ROIName for roi in pydicom.dcmread(result.path).StructureSetROISequence]
    assert names == ["Lesion 2", "Lesion 2 MTV"]


@pytest.mark.parametrize("kind", ["rtstruct", "label_map", "seg"])
def test_our_own_node_takes_none_of_them_for_a_persons_region(
    analysis: Analysis, written: dict[str, list[Result]], tmp_path: Path, kind: str
) -> None:
    frame = analysis.suv.frame_of_reference_uid
    images = [*pet(FrameOfReferenceUID=frame), *ct(FrameOfReferenceUID=frame)]

    def codes_of(**changes: str) -> tuple[str | None, list[str]]:
        ds = pydicom.dcmread(written[kind][0].path)
        for item in (*ds.get("StructureSetROISequence", []), *ds.get("SegmentSequence", [])):
            for keyword in set(changes) & set(item.dir()):
                setattr(item, keyword, changes[keyword])
        ds.ManufacturerModelName = changes.get("ManufacturerModelName", ds.ManufacturerModelName)
        path = tmp_path / f"{len(changes)}.dcm"
        ds.save_as(path)
        chosen = select([*images, read_instance(path)])
        return chosen.region and chosen.region.path, [c.code for c in chosen.choices if not c.chosen]

    assert codes_of() == (None, ["own-object"])
    assert codes_of(ManufacturerModelName="an archive") == (None, ["automatic-region"])
    person = {"ROIGenerationAlgorithm": "MANUAL", "SegmentAlgorithmType": "MANUAL"}
    assert codes_of(ManufacturerModelName="a workstation", **person)[0] is not None
