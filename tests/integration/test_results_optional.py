"""The optional objects that carry places: label map, parametric map and structure set."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient

from dicom_node.assemble.selection import select
from dicom_node.demo.orthanc_process import PrivateOrthanc
from dicom_node.report import read_result, write_results
from dicom_node.report.objects import parametric_map
from inference.facts import Analysis, Instance, Region, Result, Series
from inference.reading.instance import read_instance
from inference.regions.region import given_regions
from tests.integration.test_results_peers import HEADERS, run, tool
from tests.report_case import (
    NO_LESION,
    REPORTED,
    RUN,
    TURNS,
    WITHHELD,
    ball,
    lesion_of,
    make_analysis,
    real_analysis,
)
from tests.studies import ct, pet

ALSO = ("label_map", "parametric_map", "rtstruct")
ASKED = replace(RUN, also=ALSO)
TWO = (((30.0, -20.0, 12.0), 14.0, 8.0), ((-35.0, 10.0, -15.0), 9.0, 5.0))
# What dciodvfy of 2022 says of a SOP class that it does not know (Sup 243 is of 2024), and of a background
OLD_TABLES = ("Information Object Not found", "SegmentNumber not monotonically increasing from one by one")


def write(analysis: Analysis, folder: Path) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {kind: [] for kind in ALSO}
    for result in write_results(analysis, ASKED, folder):
        found.setdefault(result.kind, []).append(result)
    return found


def with_lesions(analysis: Analysis, *regions: np.ndarray, source: str = "automatic") -> Analysis:
    lesions = tuple(lesion_of(analysis.suv, region, n, source) for n, region in enumerate(regions, start=1))
    return replace(analysis, lesions=lesions, saliency=None)


def assert_valid(path: Path) -> None:
    report = run(tool("dciodvfy"), "-new", str(path))
    errors = [line for line in (report.stdout + report.stderr).splitlines() if line.startswith("Error")]
    if path.name.startswith("label_map"):
        errors = [error for error in errors if not any(known in error for known in OLD_TABLES)]
    assert not errors, (path.name, errors)
    dumped = run(tool("dcmdump"), "-q", str(path))
    assert (dumped.returncode, dumped.stderr) == (0, "")


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
    for roi, seen in zip(structures.StructureSetROISequence, structures.RTROIObservationsSequence, strict=True):
        texts += [roi.ROIDescription, roi.ROIGenerationDescription, seen.ROIObservationLabel]
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


def test_the_structure_set_gives_our_own_reader_the_same_voxels(analysis: Analysis, opened, written) -> None:
    found = given_regions(read_instance(written["rtstruct"][0].path), analysis.suv)
    segments = opened["seg"].SegmentSequence
    assert [g.name for g in found] == [s.SegmentLabel for s in segments]
    lesions = [region for lesion in analysis.lesions for region in (lesion.region, lesion.mtv)]
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


@pytest.mark.peers
@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
@pytest.mark.parametrize("turn", ["axial", "feet-first", "oblique"])
def test_validators_find_no_error(tmp_path: Path, header: dict, turn: str) -> None:
    found = write(make_analysis(tmp_path / "in", balls=TWO, header=header, turn=TURNS[turn]), tmp_path / "out")
    for kind in ALSO:
        assert_valid(found[kind][0].path)


def awkward(shape: tuple[int, int, int]) -> dict[str, list[np.ndarray]]:
    """Lesions that are awkward to write: one voxel, at the volume's corners, with holes, filling the volume."""
    one, corners, hollow, touching = (np.zeros(shape, bool) for _ in range(4))
    one[11, 19, 20] = True
    corners[:3, :4, :5] = corners[-1, -1, -1] = True
    hollow[5:12, 5:15, 5:15] = True
    hollow[6:11, 7:10, 7:13] = hollow[8, 12, 6] = False
    touching[3:6, 4, 4] = touching[3:6, 5, 5] = True
    return {
        "one voxel": [one],
        "at the corners": [corners],
        "hollow": [hollow],
        "touching at an edge": [touching],
        "everything": [np.ones(shape, bool)],
        "several": [one, corners, hollow],
    }


@pytest.mark.peers
@pytest.mark.parametrize("which", awkward((24, 40, 44)))
def test_awkward_lesions_give_valid_objects_and_the_same_voxels(analysis: Analysis, tmp_path: Path, which: str) -> None:
    suv = analysis.suv
    regions = awkward(suv.array.shape)[which]
    found = write(with_lesions(analysis, *regions), tmp_path)
    for kind in ("label_map", "rtstruct", "seg", "sr", "sr_viewer"):
        assert_valid(found[kind][0].path)
    for kind in ("label_map", "rtstruct", "seg"):
        given = {g.name: g.region for g in given_regions(read_instance(found[kind][0].path), suv)}
        for number, region in enumerate(regions, start=1):
            assert (given[f"Lesion {number}"].full(suv.array.shape) == region).all(), kind


@pytest.mark.peers
def test_no_lesion_gives_no_object_of_lesions(tmp_path: Path) -> None:
    found = write(make_analysis(tmp_path / "in", balls=(), prediction=NO_LESION), tmp_path / "out")
    assert [found[kind] for kind in ALSO] == [[], [], []]
    assert set(found) - set(ALSO) == {"key_image", "heatmap", "sr"}
    for kind in ("key_image", "heatmap", "sr"):
        assert_valid(found[kind][0].path)


@pytest.mark.peers
def test_two_thousand_lesions_leave_the_twenty_that_the_results_carry(tmp_path: Path) -> None:
    analysis = make_analysis(tmp_path / "in", balls=TWO)
    places = np.argwhere(np.ones((12, 20, 22), bool))[:2000] * 2  # every second voxel: none touches another
    lesions = []
    for number, place in enumerate(places.tolist(), start=1):
        one = Region(tuple(place), np.ones((1, 1, 1), bool))
        name = f"Lesion {number}"
        lesions.append(replace(analysis.lesions[0], number=number, tracking_name=name, region=one, mtv=one))
    found = write(replace(analysis, lesions=tuple(lesions)), tmp_path / "out")
    label_map, structures = (pydicom.dcmread(found[kind][0].path) for kind in ("label_map", "rtstruct"))
    assert len(label_map.SegmentSequence) == 21
    assert [roi.ROIName for roi in structures.StructureSetROISequence] == [f"Lesion {n}" for n in range(1, 21)]
    for kind in (*ALSO, "seg", "sr", "sr_viewer"):
        assert_valid(found[kind][0].path)


@pytest.mark.peers
def test_an_archives_dicomweb_gives_them_back_as_they_were(written: dict[str, list[Result]], tmp_path: Path) -> None:
    with PrivateOrthanc(tmp_path) as orthanc:
        client = DICOMwebClient(orthanc.dicomweb_url)
        for kind in ALSO:
            sent = pydicom.dcmread(written[kind][0].path)
            client.store_instances([sent])
            uids = (sent.StudyInstanceUID, sent.SeriesInstanceUID, sent.SOPInstanceUID)
            returned = client.retrieve_instance(*uids, media_types=(("application/dicom", "*"),))
            assert returned.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
            assert returned == sent


@pytest.mark.peers
@pytest.mark.data
def test_a_real_patient(shared_data: Path, tmp_path: Path) -> None:
    study = shared_data / "study_sts_001"
    real = real_analysis(study / "pet_bqml", study / "ct", study / "rtstruct_ct.dcm", REPORTED)
    ours = replace(real, lesions=tuple(replace(lesion, source="automatic") for lesion in real.lesions))
    found = write(ours, tmp_path / "out")
    for kind in ALSO:
        assert_valid(found[kind][0].path)
    sizes = {kind: found[kind][0].path.stat().st_size for kind in ALSO}
    assert sizes["label_map"] < 500_000
    assert sizes["rtstruct"] < 1_000_000
    assert sizes["parametric_map"] < 40_000_000
    (taken, *_) = given_regions(read_instance(found["rtstruct"][0].path), real.suv)
    assert (taken.region.full(real.suv.array.shape) == real.lesions[0].region.full(real.suv.array.shape)).all()
    expected = json.loads((study / "expected.json").read_text())["rois"]["rtstruct_ct"]
    assert real.suv.array[taken.region.slices][taken.region.mask].max() == pytest.approx(expected["suvmax"], rel=1e-4)
