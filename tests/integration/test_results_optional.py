"""The label map and the parametric map."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest

from dicom_node.report import read_result, write_results
from dicom_node.report.objects import parametric_map
from inference.facts import Analysis, Instance, Region, Result, Series
from inference.reading.instance import read_instance
from inference.regions.region import given_regions
from tests.optional_objects import ALSO, TWO, with_lesions, write
from tests.report_case import (
    RUN,
    TURNS,
    WITHHELD,
    ball,
    make_analysis,
)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return make_analysis(tmp_path_factory.mktemp("in"), balls=TWO, turn=TURNS["oblique"])


@pytest.fixture(scope="module")
def written(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Result]]:
    return write(analysis, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def opened(written: dict[str, list[Result]]) -> dict[str, pydicom.Dataset]:
    return {kind: pydicom.dcmread(written[kind][0].path) for kind in (*ALSO, "seg")}


def test_each_is_written_when_it_is_asked_for_and_before_what_names_it(analysis: Analysis, tmp_path: Path) -> None:
    for kind in ALSO:
        kinds = [r.kind for r in write_results(analysis, replace(RUN, also=(kind,)), tmp_path)]
        assert kinds == ["seg", "key_image", "heatmap", kind, "sr_viewer", "sr"]
        assert (tmp_path / f"{kind}.dcm").exists()
    write_results(analysis, RUN, tmp_path)
    assert not any((tmp_path / f"{kind}.dcm").exists() for kind in ALSO)


def test_they_say_whose_they_are_and_for_what_use(opened: dict[str, pydicom.Dataset], written) -> None:
    wanted = {
        "label_map": (9012, "AI lesions label map (research use only)", "SEG"),
        "parametric_map": (9030, "AI saliency map (research use only)", "OT"),
        "rtstruct": (9060, "AI lesions RTSTRUCT (research use only)", "RTSTRUCT"),
    }
    for kind, (number, description, modality) in wanted.items():
        ds = opened[kind]
        assert (ds.SeriesNumber, ds.SeriesDescription, ds.Modality) == (number, description, modality)
        assert (str(ds.PatientName), ds.PatientID, ds.ManufacturerModelName) == ("Müller^Jörg", "P-1", "petct-node")
        assert ds.FrameOfReferenceUID == opened["seg"].FrameOfReferenceUID
        summary = read_result(written[kind][0].path)
        assert (summary.kind, summary.research_use_only) == (kind, True)
    assert opened["label_map"].ContentDescription.startswith("For research use only")
    assert opened["parametric_map"].ContentQualification == "RESEARCH"
    structures = opened["rtstruct"]
    texts = [structures.StructureSetLabel, structures.StructureSetName, structures.StructureSetDescription]
    for roi in structures.StructureSetROISequence:
        texts += [roi.ROIDescription, roi.ROIGenerationDescription]
    assert all("research" in text.lower() for text in texts)


def test_two_runs_write_the_same_bytes(analysis: Analysis, written: dict[str, list[Result]], tmp_path: Path) -> None:
    again = write(analysis, tmp_path)
    for kind in ALSO:
        assert [r.path.read_bytes() for r in again[kind]] == [r.path.read_bytes() for r in written[kind]]


def test_the_label_map_holds_the_regions_by_the_segs_tracking(analysis: Analysis, opened, written) -> None:
    ds = opened["label_map"]
    of_seg = {s.TrackingUID: s.SegmentLabel for s in opened["seg"].SegmentSequence}
    segments = ds.SegmentSequence
    assert [s.SegmentNumber for s in segments] == [1, 2, 0]  # viewers take the n-th for segment n: background last
    assert [of_seg[s.TrackingUID] for s in segments[:-1]] == ["Lesion 1", "Lesion 2"]
    assert "MTV only in the SEG" in ds.ContentDescription
    assert ds.PixelPaddingValue == 0
    assert ds.file_meta.TransferSyntaxUID.name == "RLE Lossless"
    found = given_regions(read_instance(written["label_map"][0].path), analysis.suv)
    for region, lesion in zip(found, analysis.lesions, strict=True):
        assert (region.region.full(analysis.suv.array.shape) == lesion.region.full(analysis.suv.array.shape)).all()


def test_regions_that_share_voxels_go_into_a_map_each_and_lose_none(analysis: Analysis, tmp_path: Path) -> None:
    suv = analysis.suv
    centres = ((0.0, 0.0, 0.0), (8.0, 0.0, 0.0), (40.0, 0.0, 0.0))
    regions = [ball(suv, centre, 12.0) for centre in centres]
    given = with_lesions(analysis, *regions, source="RTSTRUCT")
    maps = write(given, tmp_path)["label_map"]
    assert [m.path.name for m in maps] == ["label_map_001.dcm", "label_map_002.dcm"]
    assert len({m.series_instance_uid for m in maps}) == 1
    headers = [pydicom.dcmread(m.path) for m in maps]
    assert [h.InstanceNumber for h in headers] == [1, 2]
    assert [h.ContentDescription[-6:] for h in headers] == ["1 of 2", "2 of 2"]
    names = [[s.SegmentLabel for s in h.SegmentSequence][:-1] for h in headers]
    assert names == [["Lesion 1", "Lesion 3"], ["Lesion 2"]]
    found = [given_regions(read_instance(m.path), suv) for m in maps]
    for region, wanted in zip((found[0][0], found[1][0], found[0][1]), regions, strict=True):
        assert (region.region.full(suv.array.shape) == wanted).all()


def test_the_parametric_map_holds_the_saliency_itself(analysis: Analysis, written, opened) -> None:
    saliency = analysis.saliency
    wanted = np.zeros(analysis.suv.array.shape, np.float32)
    wanted[Region(saliency.start, saliency.array > -1).slices] = saliency.array
    volume = hd.imread(written["parametric_map"][0].path).get_volume(apply_real_world_transform=True)
    index = np.argwhere(wanted > 0)
    there = volume.map_reference_to_indices(analysis.suv.to_lps(index), round_output=True)
    assert np.array_equal(volume.array[tuple(there.T)], wanted[tuple(index.T)])
    assert np.count_nonzero(volume.array) == len(index)
    ds = opened["parametric_map"]
    mapping = ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "130404"
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    assert "16 mm" in ds.DerivationDescription


def test_the_maps_frames_are_the_pets_slices_up_along_their_normal(analysis: Analysis, opened) -> None:
    """OHIF lays frame n over the n-th slice of its volume, which it sorts so; highdicom's own order is upside down."""
    ds = opened["parametric_map"]
    assert ds.NumberOfFrames == analysis.suv.array.shape[0]
    plane = ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    normal = np.cross(*np.reshape(plane.ImageOrientationPatient, (2, 3)).astype(float))
    groups = ds.PerFrameFunctionalGroupsSequence
    heights = [np.dot(normal, np.array(g.PlanePositionSequence[0].ImagePositionPatient, float)) for g in groups]
    assert (np.diff(heights) > 0).all()
    assert [g.FrameContentSequence[0].DimensionIndexValues for g in groups] == list(range(1, len(groups) + 1))
    images = {i.sop_instance_uid: i for i in analysis.pair.pet.instances}
    for group, height in zip(groups, heights, strict=True):
        source = images[group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert np.dot(normal, source.get("ImagePositionPatient")) == pytest.approx(height, abs=1e-4)


def test_a_map_that_would_be_large_holds_the_boxs_slices(
    analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parametric_map, "MOST_BYTES", 1000)
    ds = pydicom.dcmread(write(analysis, tmp_path)["parametric_map"][0].path)
    saliency = analysis.saliency
    assert ds.NumberOfFrames == saliency.array.shape[0]
    values = np.frombuffer(ds.FloatPixelData, "<f4")
    assert values.max() == 1.0
    assert values.sum() == pytest.approx(float(saliency.array.sum()), rel=1e-5)


def test_withheld_saliency_gives_no_map(tmp_path: Path) -> None:
    withheld = make_analysis(tmp_path / "in", balls=TWO, prediction=WITHHELD)
    kept = make_analysis(tmp_path / "kept", balls=TWO).saliency
    found = write(replace(withheld, saliency=kept), tmp_path / "out")
    assert found["parametric_map"] == []
    assert found["label_map"]
    assert found["rtstruct"]


def test_a_pet_joined_of_two_series_or_in_one_object_is_named_as_it_is(analysis: Analysis, tmp_path: Path) -> None:
    pet_series = analysis.pair.pet
    whole = pet_series.instances[0]
    shapes = {
        "two": [replace(i, series_instance_uid=f"1.2.9.{n // 20}") for n, i in numbered(pet_series)],
        "one": [replace(i, sop_instance_uid=whole.sop_instance_uid, frame=n) for n, i in numbered(pet_series)],
    }
    for name, instances in shapes.items():
        pair = replace(analysis.pair, pet=replace(pet_series, instances=tuple(instances)))
        found = write(replace(analysis, pair=pair), tmp_path / name)
        for kind in (*ALSO, "seg"):
            (result,) = found[kind]
            ds = pydicom.dcmread(result.path)
            named = {e.value for e in ds.iterall() if e.keyword == "ReferencedSOPInstanceUID"}
            assert named <= {i.sop_instance_uid for i in instances} | {whole.study_instance_uid}
            series = {str(e.value) for e in ds.iterall() if e.keyword == "SeriesInstanceUID"} - {ds.SeriesInstanceUID}
            assert series == {i.series_instance_uid for i in instances}
            elements = [e.value for e in ds.iterall() if e.keyword == "ReferencedFrameNumber"]
            frames = {int(n) for value in elements for n in (value if isinstance(value, Iterable) else [value])}
            assert bool(frames) == (name == "one")
            assert frames <= set(range(1, len(instances) + 1))


def numbered(series: Series) -> list[tuple[int, Instance]]:
    return list(enumerate(series.instances))
