"""The set of result files: identity, repeatability, what is said in it, and what odd input does to it."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from PIL import Image

from dicom_node import errors
from dicom_node.report import read_result, summarise, write_refusal, write_results
from dicom_node.report.readback.text import prediction_line
from inference.facts import Analysis, Refused, Result
from tests.report_case import INSIDE, MODEL, NO_LESION, REPORTED, RUN, STATEMENT, WITHHELD, make_analysis, real_analysis

ALL = ["seg", "key_image", "heatmap", "sr_viewer", "sr"]  # in the order they are delivered: what is referred to first
TWO = (((30.0, -20.0, 12.0), 14.0, 8.0), ((-35.0, 10.0, -15.0), 3.0, 5.0))


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return make_analysis(tmp_path_factory.mktemp("set"), balls=TWO)


@pytest.fixture(scope="module")
def results(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    return {r.kind: r for r in write_results(analysis, RUN, tmp_path_factory.mktemp("out"))}


def files(results: dict[str, Result]) -> dict[str, pydicom.Dataset]:
    return {kind: pydicom.dcmread(result.path) for kind, result in results.items()}


def text_of(ds: pydicom.Dataset) -> str:
    return "\n".join(str(e.value) for e in ds.iterall() if e.VR in ("UT", "LO", "LT", "ST", "CS", "SH"))


def test_the_default_set_is_written_and_nothing_else(results: dict[str, Result]) -> None:
    assert list(results) == ALL
    folder = results["seg"].path.parent
    assert sorted(p.name for p in folder.iterdir()) == sorted([*(f"{kind}.dcm" for kind in ALL), "key_image.png"])


def test_a_repeat_seconds_later_in_another_process_writes_the_same_bytes(analysis: Analysis, tmp_path: Path) -> None:
    (tmp_path / "input.pickle").write_bytes(pickle.dumps((analysis, RUN)))
    script = (
        "import pickle, sys; from pathlib import Path; from dicom_node.report import write_results; "
        "a, r = pickle.loads(Path(sys.argv[1]).read_bytes()); write_results(a, r, Path(sys.argv[2]))"
    )
    for name in ("first", "second"):
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "input.pickle"), str(tmp_path / name)],
            check=True,
            timeout=120,
        )
        time.sleep(1.1)
    for path in sorted((tmp_path / "first").iterdir()):
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


def test_no_uid_but_the_sources_is_from_elsewhere(analysis: Analysis, results: dict[str, Result]) -> None:
    """Every UID of the results is a source's, a standard one, or derived: none is random."""
    again = {
        r.kind: pydicom.dcmread(r.path) for r in write_results(analysis, RUN, results["seg"].path.parent / "again")
    }
    for kind, ds in files(results).items():
        uids = [str(e.value) for e in ds.iterall() if e.VR == "UI"]
        assert uids == [str(e.value) for e in again[kind].iterall() if e.VR == "UI"]
        for uid in uids:
            assert uid.startswith(("1.2.840.10008.", "2.25.")), uid


@pytest.mark.parametrize(
    "change",
    [
        {"model": replace(MODEL, version="1.1")},
        {"model": replace(MODEL, digest="f" * 64)},
        {"run": replace(RUN, settings_digest="d" * 64)},
        {"run": replace(RUN, device_uid="2.25.4712")},
    ],
    ids=["version", "weights", "settings", "node"],
)
def test_another_model_setting_or_node_gives_other_uids(
    analysis: Analysis, results: dict[str, Result], tmp_path: Path, change: dict
) -> None:
    run = change.get("run", RUN)
    other = write_results(replace(analysis, model=change.get("model", MODEL)), run, tmp_path)
    for result in other:
        assert result.sop_instance_uid != results[result.kind].sop_instance_uid
        assert result.series_instance_uid != results[result.kind].series_instance_uid


def test_where_several_models_look_each_series_names_its_model(analysis: Analysis, tmp_path: Path) -> None:
    named = replace(analysis, model=replace(MODEL, name="a-name-of-forty-letters-that-is-as-long-as-allowed"[:40]))
    for result in write_results(named, replace(RUN, names_model=True), tmp_path):
        description = str(pydicom.dcmread(result.path).SeriesDescription)
        assert len(description) <= 64
        assert "research use only" in description
        assert description.endswith("]")
        assert "[a-name-of-forty-le" in description


def test_a_late_slice_gives_other_uids(analysis: Analysis, results: dict[str, Result], tmp_path: Path) -> None:
    ct = analysis.pair.ct
    fewer = replace(analysis, pair=replace(analysis.pair, ct=replace(ct, instances=ct.instances[:-1])))
    assert {r.sop_instance_uid for r in write_results(fewer, RUN, tmp_path)}.isdisjoint(
        r.sop_instance_uid for r in results.values()
    )


def test_patient_study_and_equipment_stand_in_every_object(results: dict[str, Result]) -> None:
    for ds in files(results).values():
        assert ds.SpecificCharacterSet == "ISO_IR 192"
        assert str(ds.PatientName) == "Müller^Jörg"
        assert (ds.PatientID, ds.StudyDate, ds.StudyTime, ds.AccessionNumber) == ("P-1", "20260228", "093000", "A1")
        assert (ds.Manufacturer, ds.ManufacturerModelName, ds.DeviceUID) == (
            "petct-node project",
            "petct-node",
            RUN.device_uid,
        )
        assert list(ds.SoftwareVersions) == ["0.1.0", "model demo 1.0"]
        assert (ds.ContentDate, ds.ContentTime, ds.SeriesDate) == ("20260301", "101500.250000", "20260301")
        assert ds.ContributingEquipmentSequence[0].ContributionDateTime == "20260301101500.250000+0100"
        assert "TimezoneOffsetFromUTC" not in ds  # the source names none, and its Study Time is not ours to place
        assert "research use only" in ds.SeriesDescription


def test_times_are_told_in_the_sources_time_zone(tmp_path: Path) -> None:
    analysis = make_analysis(tmp_path / "in", size=(6, 20, 20), header={"TimezoneOffsetFromUTC": "-0500"})
    for result in write_results(analysis, RUN, tmp_path / "out"):
        ds = pydicom.dcmread(result.path)
        assert (ds.TimezoneOffsetFromUTC, ds.ContentDate, ds.ContentTime) == ("-0500", "20260301", "041500.250000")
        assert ds.StudyTime == "093000"


def test_statement_and_research_use_stand_in_every_report_and_picture(results: dict[str, Result]) -> None:
    for kind, ds in files(results).items():
        assert STATEMENT in text_of(ds), kind
        assert "research use only" in text_of(ds), kind


def test_no_patient_data_in_pixels_is_declared(results: dict[str, Result]) -> None:
    for kind in ("key_image", "heatmap"):
        assert files(results)[kind].BurnedInAnnotation == "NO"


def test_numbers_read_back_equal_those_given(analysis: Analysis, results: dict[str, Result]) -> None:
    main, viewer = (read_result(results[kind].path) for kind in ("sr", "sr_viewer"))
    assert (main.kind, viewer.kind) == ("sr", "sr_viewer")
    prediction = main.prediction
    assert prediction is not None
    assert (prediction.probability, prediction.interval) == (0.734, (0.593, 0.846))
    assert (prediction.status, prediction.applicability) == ("reported", "outside")
    assert main.lesion_count == 2
    by_name = {lesion.tracking_id: lesion for lesion in main.lesions}
    assert list(by_name) == ["Lesion 1", "Lesion 1 MTV", "Lesion 2"]  # the second's region is its metabolic volume
    first, second = analysis.lesions
    region, mtv, both = (by_name[name].measures for name in by_name)
    expected_region = {n: getattr(first.on_pet, n) for n in ("suv_max", "suv_mean", "suv_peak")}
    expected_region |= {"volume_ml": first.volume_ml, "mean_hu": first.mean_hu}
    assert region == pytest.approx(expected_region, rel=1e-5)
    assert mtv == pytest.approx(
        {
            "suv_max": first.on_pet.suv_max,
            "suv_mean": first.on_pet.mtv_suv_mean,
            "mtv_ml": first.on_pet.mtv_ml,
            "tlg": first.on_pet.tlg,
            "mtv_threshold": first.on_pet.mtv_threshold,
        },
        rel=1e-5,
    )
    assert set(both) == set(region) | {"mtv_ml", "tlg", "mtv_threshold"}
    assert both["mtv_ml"] == pytest.approx(second.on_pet.mtv_ml, rel=1e-5)
    assert [w.split(":")[0] for w in main.warnings] == ["uptake-time", "two-ct"]
    assert viewer.lesions[0].measures == pytest.approx(expected_region, rel=1e-5)
    json.dumps([asdict(s) for s in summarise(r.path for r in results.values())])


def test_highdicom_reads_reports_and_tracks_the_same_lesions(results: dict[str, Result]) -> None:
    seg = hd.seg.segread(results["seg"].path)
    segments = [seg.get_segment_description(n) for n in seg.segment_numbers]
    tracks = {(d.tracking_id, d.tracking_uid) for d in segments}
    report = hd.sr.srread(results["sr"].path).content
    groups = report.get_volumetric_roi_measurement_groups()
    assert {(g.tracking_identifier, g.tracking_uid) for g in groups} == tracks
    assert len(report.get_image_measurement_groups()) == 1
    planar = hd.sr.srread(results["sr_viewer"].path).content.get_planar_roi_measurement_groups()
    assert {(g.tracking_identifier, g.tracking_uid) for g in planar} < tracks
    assert all(d.algorithm_type == hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC for d in segments)


def test_where_the_model_does_not_apply_no_code_and_no_viewer_takes_its_number_for_a_result(
    analysis: Analysis, results: dict[str, Result], tmp_path: Path
) -> None:
    """The number of a demonstration stands in the main report alone, behind the verdict; viewers show no verdict."""
    applies = {r.kind: r for r in write_results(replace(analysis, prediction=INSIDE), RUN, tmp_path)}
    for found, applicable in ((results, False), (applies, True)):
        summary = read_result(found["sr"].path)
        assert summary.prediction is not None
        assert summary.prediction.label == ("Positive" if applicable else None)
        assert summary.prediction.probability == 0.734
        reports = files(found)
        codes = [e.value for e in reports["sr_viewer"].iterall() if e.keyword == "CodeValue"]
        assert ("DEMO-PROB" in codes) == applicable
        assert bool({"PRED-LO95", "PRED-HI95"} & set(codes)) == applicable
        for kind in ("sr", "sr_viewer"):
            said = text_of(reports[kind])
            assert ("The model does not apply to this study. Demonstration only, not a result: " in said) != applicable
            assert "73.4 %" in said
        line = prediction_line(summary.prediction)
        assert line.startswith("[bold]The model does not apply") != applicable


def test_viewers_first_numbers_are_the_prediction(analysis: Analysis, tmp_path: Path) -> None:
    """OHIF prints the first five numbers of a group; other kinds of group would blank it."""
    results = {r.kind: r for r in write_results(replace(analysis, prediction=INSIDE), RUN, tmp_path)}
    root = files(results)["sr_viewer"].ContentSequence[-1]
    for position, group in enumerate(root.ContentSequence):
        assert any(item.ValueType == "SCOORD" for item in group.ContentSequence)
        names = [i.ConceptNameCodeSequence[0] for i in group.ContentSequence if i.ValueType == "NUM"][:5]
        uptake = ["SUVBW-MAX", "SUVBW-MEAN", "SUVBW-PEAK"]
        prediction = ["DEMO-PROB", "PRED-LO95", "PRED-HI95"]
        assert [n.CodeValue for n in names][: 5 if position == 0 else 3] == (
            [*prediction, *uptake[:2]] if position == 0 else uptake
        )
        meanings = [str(n.CodeMeaning) for n in names]
        assert len(set(meanings)) == 5  # that is all it prints of them
        assert {"SUVmax", "SUVmean"} < set(meanings)


def test_a_model_of_one_member_prints_no_bounds(analysis: Analysis, tmp_path: Path) -> None:
    alone = replace(analysis, prediction=replace(INSIDE, interval=None))
    results = {r.kind: r for r in write_results(alone, RUN, tmp_path)}
    for kind in ("sr", "sr_viewer"):
        report = pydicom.dcmread(results[kind].path)
        codes = [e.value for e in report.iterall() if e.keyword == "CodeValue"]
        assert "DEMO-PROB" in codes
        assert not {"PRED-LO95", "PRED-HI95"} & set(codes)
        assert "73.4 % (no interval: one member)" in text_of(report)
    summary = read_result(results["sr"].path)
    assert summary.prediction is not None
    assert (summary.prediction.probability, summary.prediction.interval) == (0.734, None)
    assert summary.prediction.name == "Predicted probability of demonstration label"
    assert "(no interval: one member)" in prediction_line(summary.prediction)


@pytest.mark.parametrize("prediction", [WITHHELD, replace(REPORTED, applicability="outside")], ids=["said", "forced"])
def test_withheld_leaves_no_probability_and_no_saliency_anywhere(
    analysis: Analysis, tmp_path: Path, prediction
) -> None:
    """Not even where the prediction says reported, if the model is no demonstration and does not apply."""
    model = replace(MODEL, demonstration=False)
    results = {r.kind: r for r in write_results(replace(analysis, prediction=prediction, model=model), RUN, tmp_path)}
    assert list(results) == ALL
    for kind in ("sr", "sr_viewer"):
        codes = [e.value for e in pydicom.dcmread(results[kind].path).iterall() if e.keyword == "CodeValue"]
        assert not {"DEMO-PROB", "PRED-LO95", "PRED-HI95", "10828004", "260385009"} & set(codes)
    summary = read_result(results["sr"].path)
    assert summary.prediction is not None
    assert (summary.prediction.status, summary.prediction.probability) == ("withheld", None)
    assert "withheld" in text_of(pydicom.dcmread(results["sr"].path))
    heatmap = pydicom.dcmread(results["heatmap"].path)
    coloured = heatmap.pixel_array[:, :200].reshape(-1, 3)
    coloured = np.unique(coloured[np.ptp(coloured.astype(int), axis=1) > 0], axis=0)
    assert coloured.tolist() == [[0, 120, 0], [200, 0, 0]]  # outlines alone
    assert "withheld" in heatmap.DerivationDescription


def test_no_lesion(tmp_path: Path) -> None:
    analysis = make_analysis(tmp_path / "in", size=(8, 30, 30), balls=(), prediction=NO_LESION)
    results = {r.kind: r for r in write_results(analysis, RUN, tmp_path / "out")}
    assert list(results) == ["key_image", "heatmap", "sr"]
    summary = read_result(results["sr"].path)
    assert (summary.lesion_count, summary.lesions) == (0, ())
    assert summary.prediction is not None
    assert summary.prediction.status == "none"
    assert "No lesion was found" in text_of(pydicom.dcmread(results["sr"].path))


def test_two_thousand_lesions_are_bounded_and_the_rest_counted(analysis: Analysis, tmp_path: Path) -> None:
    many = tuple(replace(analysis.lesions[n % 2], number=n + 1, tracking_name=f"Lesion {n + 1}") for n in range(2000))
    results = {r.kind: r for r in write_results(replace(analysis, lesions=many), RUN, tmp_path)}
    summary = read_result(results["sr"].path)
    assert summary.lesion_count == 2000
    assert len([lesion for lesion in summary.lesions if "MTV" not in lesion.tracking_id]) == 20
    assert "1980 left out" in text_of(pydicom.dcmread(results["sr"].path))
    assert results["sr"].path.stat().st_size < 256_000
    assert results["seg"].path.stat().st_size < 5_000_000


def test_one_voxel_lesion_in_the_corner(tmp_path: Path) -> None:
    analysis = make_analysis(tmp_path / "in", size=(6, 20, 20), balls=(((-38.0, -38.0, -8.175), 1.0, 6.0),))
    assert analysis.lesions[0].region.mask.shape == (1, 1, 1)
    results = {r.kind: r for r in write_results(analysis, RUN, tmp_path / "out")}
    assert pydicom.dcmread(results["seg"].path).pixel_array.sum() == 1


@pytest.mark.parametrize("slices", [59, 60, 70])
def test_frames_are_sixty_where_the_pet_has_them(tmp_path: Path, slices: int) -> None:
    analysis = make_analysis(tmp_path / "in", size=(slices, 12, 12), balls=(((0.0, 0.0, 0.0), 9.0, 5.0),))
    cold = analysis.suv.array.copy()
    cold[: slices // 2 - 4] = cold[slices // 2 + 4 :] = 0.01  # the body ends near the lesion
    object.__setattr__(analysis, "suv", replace(analysis.suv, array=cold))
    results = {r.kind: r for r in write_results(analysis, RUN, tmp_path / "out")}
    assert pydicom.dcmread(results["heatmap"].path).NumberOfFrames == min(60, slices)


@pytest.mark.parametrize(
    "header",
    [
        {"StudyDate": "", "StudyTime": "", "StudyID": "", "AccessionNumber": ""},
        {"PatientName": "", "PatientID": "", "PatientBirthDate": "", "PatientSex": ""},
        {"BodyPartExamined": ""},
        {"BodyPartExamined": "EXTREMITY", "Laterality": ""},
        {"StudyDescription": "<script>alert(1)</script> ../../etc/passwd '; DROP TABLE"},
    ],
    ids=["study", "patient", "body part", "paired", "hostile"],
)
def test_empty_and_odd_headers_stay_as_they_are(tmp_path: Path, header: dict[str, object]) -> None:
    analysis = make_analysis(tmp_path / "in", size=(6, 20, 20), balls=(((0.0, 0.0, 0.0), 9.0, 5.0),), header=header)
    for result in write_results(analysis, RUN, tmp_path / "out"):
        ds = pydicom.dcmread(result.path)
        for keyword, value in header.items():
            part_of_no_image = keyword == "BodyPartExamined" and result.kind in ("sr", "sr_viewer")
            if keyword != "Laterality" and not part_of_no_image:
                assert str(ds.get(keyword) or "") == value


@pytest.mark.data
@pytest.mark.parametrize("case", ["arabic", "chinese", "japanese", "russian", "utf8_mixed"])
def test_names_of_any_character_set_survive(shared_data: Path, tmp_path: Path, case: str) -> None:
    folder = shared_data / "robustness" / f"name_{case}"
    analysis = real_analysis(folder / "pet", folder / "ct", None, NO_LESION)
    source = pydicom.dcmread(analysis.pair.pet.instances[0].path)
    assert str(source.PatientName)
    for result in write_results(analysis, RUN, tmp_path):
        ds = pydicom.dcmread(result.path)
        assert ds.SpecificCharacterSet == "ISO_IR 192"
        assert str(ds.PatientName) == str(source.PatientName)


@pytest.mark.data
def test_an_undeclared_character_set_loses_no_letter(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "robustness" / "charset_undeclared_latin1"
    analysis = real_analysis(folder / "pet", folder / "ct", None, NO_LESION)
    raw = pydicom.dcmread(analysis.pair.pet.instances[0].path).PatientName.original_string
    for result in write_results(analysis, RUN, tmp_path):
        assert str(pydicom.dcmread(result.path).PatientName) == raw.decode("latin-1")


FAR = (((0.0, 0.0, -150.0), 14.0, 8.0), ((0.0, 0.0, 150.0), 12.0, 6.0), ((20.0, 0.0, -100.0), 10.0, 7.0))


@pytest.mark.parametrize("prediction", [REPORTED, WITHHELD], ids=["reported", "withheld"])
def test_of_a_long_pet_the_heatmap_shows_all_lesions_and_the_slices_round_the_first(tmp_path: Path, prediction) -> None:
    """OHIF 3.13.2 takes 90 frames or more for a video."""
    analysis = make_analysis(tmp_path / "in", size=(130, 20, 24), balls=FAR, prediction=prediction, numbered_down=True)
    results = {r.kind: r for r in write_results(analysis, RUN, tmp_path / "out")}
    heatmap = pydicom.dcmread(results["heatmap"].path)
    assert heatmap.NumberOfFrames == 89
    places = [f.PlanePositionSequence[0].ImagePositionPatient[2] for f in heatmap.PerFrameFunctionalGroupsSequence]
    shown = [round(float(analysis.suv.to_index((0, 0, z))[0])) for z in places]
    far = analysis.lesions[1].region.slices[0]
    near = 89 - (far.stop - far.start)
    # numbered from the head; the index lesion lies near the feet
    assert shown == [*range(far.stop - 1, far.start - 1, -1), *range(near - 1, -1, -1)]
    assert "wholly" not in heatmap.DerivationDescription


def test_lesions_beyond_the_frames_of_the_heatmap_are_named(tmp_path: Path) -> None:
    balls = tuple(((0.0, 0.0, z), 16.0, 8.0) for z in (-150.0, -100.0, -60.0, 0.0, 60.0, 100.0, 150.0))
    analysis = make_analysis(tmp_path / "in", size=(130, 20, 24), balls=balls)
    results = {r.kind: r for r in write_results(analysis, RUN, tmp_path / "out")}
    heatmap = pydicom.dcmread(results["heatmap"].path)
    assert heatmap.NumberOfFrames == 89
    places = [f.PlanePositionSequence[0].ImagePositionPatient[2] for f in heatmap.PerFrameFunctionalGroupsSequence]
    shown = {round(float(analysis.suv.to_index((0, 0, z))[0])) for z in places}
    boxes = {lesion.number: lesion.region.slices[0] for lesion in analysis.lesions}
    missing = [str(n) for n, box in boxes.items() if not shown.issuperset(range(box.start, box.stop))]
    assert 0 < len(missing) < 5
    said = f"Only 89 of the PET's 130 slices: lesions {', '.join(missing)} not wholly shown. "
    assert said in heatmap.DerivationDescription
    assert len(heatmap.DerivationDescription) <= 1024


def test_a_heatmap_that_holds_every_lesion_says_nothing_of_it(results: dict[str, Result]) -> None:
    assert "wholly" not in files(results)["heatmap"].DerivationDescription


def test_the_key_image_is_the_png_at_half_size_for_every_archive(results: dict[str, Result]) -> None:
    """Uncompressed, since it is what is left where nothing else is shown, and so within a megabyte only at 512²."""
    ds = files(results)["key_image"]
    with Image.open(results["key_image"].path.parent / "key_image.png") as png:
        assert png.size == (1024, 1024)
        assert np.array_equal(np.asarray(png.reduce(2)), ds.pixel_array)
    assert ds.pixel_array.shape == (512, 512, 3)
    assert not ds.file_meta.TransferSyntaxUID.is_compressed
    assert results["key_image"].path.stat().st_size < 1_000_000


REFUSED = Refused(
    "dose-missing", "The PET has no Radionuclide Total Dose, so SUV cannot be computed; correct it and send again."
)


@pytest.mark.parametrize("model", [MODEL, None], ids=["model", "no model"])
def test_a_refusal_is_a_result_that_says_why(analysis: Analysis, tmp_path: Path, model) -> None:
    instances = (*analysis.pair.ct.instances, *analysis.pair.pet.instances)
    results = write_refusal(instances, REFUSED, model, RUN, tmp_path)
    assert [r.kind for r in results] == ["key_image", "sr"]
    summary = read_result(results[1].path)
    assert (summary.refusal_code, summary.refusal_reason) == (REFUSED.code, REFUSED.reason)
    assert summary.prediction is None
    coded = [str(e.value) for e in pydicom.dcmread(results[1].path).iterall() if e.keyword == "CodeValue"]
    assert errors.row(REFUSED.code).concept.value in coded
    assert f"Not analysed because: {REFUSED.reason}" in text_of(pydicom.dcmread(results[1].path))
    assert (tmp_path / "key_image.png").is_file()
    again = write_refusal(instances[::-1], REFUSED, model, RUN, tmp_path / "again")
    assert [r.sha256 for r in again] == [r.sha256 for r in results]


def test_a_refusal_of_two_patients_names_one_and_leaves_the_other_out(analysis: Analysis, tmp_path: Path) -> None:
    ct = tuple(replace(i, attributes={**i.attributes, "PatientID": "P-2"}) for i in analysis.pair.ct.instances)
    key_image, main = write_refusal((*ct, *analysis.pair.pet.instances), REFUSED, MODEL, RUN, tmp_path)
    report = pydicom.dcmread(main.path)
    named = {str(e.value) for e in report.iterall() if e.keyword == "ReferencedSOPInstanceUID"}
    assert named == {i.sop_instance_uid for i in (*analysis.pair.pet.instances, key_image)}
    assert report.PatientID == "P-1"


def test_a_refusal_passes_over_unreadable_files(analysis: Analysis, tmp_path: Path) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"not DICOM")
    first, *rest = analysis.pair.pet.instances
    assert len(write_refusal([replace(first, path=str(broken)), *rest], REFUSED, None, RUN, tmp_path / "out")) == 2
    with pytest.raises(Refused) as refused:
        write_refusal([replace(first, path=str(broken))], REFUSED, None, RUN, tmp_path / "none")
    assert refused.value.code == "nothing-to-answer-to"


def test_reading_what_is_no_result_is_refused(analysis: Analysis, tmp_path: Path) -> None:
    (tmp_path / "text.dcm").write_text("hello")
    for path, code in (
        (tmp_path / "text.dcm", "unreadable-file"),
        (tmp_path / "absent.dcm", "unreadable-file"),
        (Path(analysis.pair.ct.instances[0].path), "not-a-result"),
    ):
        with pytest.raises(Refused) as refused:
            read_result(path)
        assert refused.value.code == code


def test_a_pet_joined_of_two_series_is_referred_to_by_both(analysis: Analysis, tmp_path: Path) -> None:
    pet = analysis.pair.pet
    other = "2.25.99"
    joined = (*pet.instances[:14], *(replace(i, series_instance_uid=other) for i in pet.instances[14:]))
    pair = replace(analysis.pair, pet=replace(pet, instances=joined))
    results = {r.kind: r for r in write_results(replace(analysis, pair=pair), RUN, tmp_path)}
    series = pydicom.dcmread(results["seg"].path).ReferencedSeriesSequence
    assert [s.SeriesInstanceUID for s in series] == [pet.series_instance_uid, other]
    named = {str(r.ReferencedSOPInstanceUID) for s in series for r in s.ReferencedInstanceSequence}
    assert named < {i.sop_instance_uid for i in joined}


def test_uids_with_leading_zeros_are_referred_to_unchanged(
    analysis: Analysis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pet = analysis.pair.pet
    odd = tuple(replace(i, sop_instance_uid=f"1.2.840.00.{n:03d}") for n, i in enumerate(pet.instances))
    odd = (pet.instances[0], *odd[1:])  # whose file is read, and must hold what it is said to hold
    pair = replace(analysis.pair, pet=replace(pet, instances=odd))
    caplog.clear()
    for result in write_results(replace(analysis, pair=pair), RUN, tmp_path):
        assert b"1.2.840.00.0" in result.path.read_bytes(), result.kind
    assert not caplog.records  # nothing of the source's values goes to a log either


def test_nothing_of_an_earlier_run_stays_in_the_folder(analysis: Analysis, tmp_path: Path) -> None:
    write_results(analysis, RUN, tmp_path)
    write_results(replace(analysis, lesions=(), prediction=NO_LESION, saliency=None), RUN, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"sr.dcm", "key_image.dcm", "heatmap.dcm", "key_image.png"}


def test_a_source_file_that_is_gone_or_another_is_refused(analysis: Analysis, tmp_path: Path) -> None:
    pet = analysis.pair.pet
    for change, code in (
        ({"path": str(tmp_path / "gone.dcm")}, "source-unreadable"),
        ({"study_instance_uid": "2.25.1"}, "source-changed"),
        ({"sop_instance_uid": "2.25.1"}, "source-changed"),
    ):
        first = replace(pet.instances[0], **change)
        pair = replace(analysis.pair, pet=replace(pet, instances=(first, *pet.instances[1:])))
        with pytest.raises(Refused) as refused:
            write_results(replace(analysis, pair=pair), RUN, tmp_path / "out")
        assert refused.value.code == code


def test_the_reading_door_imports_nothing_heavy() -> None:
    """``petct-node --help`` imports it."""
    script = "import sys, dicom_node.report; print([m for m in ('pydicom', 'highdicom', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
