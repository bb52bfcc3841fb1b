"""What the structured reports and the key object selection say, and that the main report is the root of its set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.report import codes, read_result, write, write_refusal, write_results
from dicom_node.report.evidence import Evidence
from dicom_node.report.objects import segmentation, sr, sr_viewer
from dicom_node.report.objects.measures import lesions_with_other_suv
from dicom_node.report.source import ALWAYS
from dicom_node.report.words import verdict
from dicom_node.report.words.phrases import Phrases
from inference.facts import Analysis, Caution, Code, Instance, Predecessor, Refused, Result, Run, SuvScale
from tests.report_case import MODEL, NO_LESION, REPORTED, RUN, make_analysis

TWO = (((30.0, -20.0, 12.0), 14.0, 8.0), ((-35.0, 10.0, -15.0), 9.0, 5.0))
ALL_KINDS = tuple(write.OPTIONAL)
SR = "1.2.840.10008.5.1.4.1.1.88.34"
REFUSED = Refused("dose-missing", "The PET has no Radionuclide Total Dose; correct it and send again.")
SCALES = tuple(
    SuvScale(name, suv_type, factor, "a formula of some authors, with their coefficients and the year")
    for name, suv_type, factor in (
        ("lbm-janma", "LBMJANMA", 0.71),
        ("lbm-james", "LBMJAMES128", 0.73),
        ("bsa", "BSA", 253.0),
        ("ibw", "IBW", 0.9),
    )
)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return make_analysis(tmp_path_factory.mktemp("sr"), balls=TWO)


@pytest.fixture(scope="module")
def everything(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, ...]:
    """The set with all optional objects."""
    return write_results(analysis, replace(RUN, also=ALL_KINDS), tmp_path_factory.mktemp("everything"))


def written(results: tuple[Result, ...], kind: str) -> Dataset:
    (path,) = [result.path for result in results if result.kind == kind]
    return pydicom.dcmread(path)


def items(ds: Dataset) -> Iterator[Dataset]:
    """Every content item of the tree."""
    for item in ds.get("ContentSequence") or []:
        yield item
        yield from items(item)


def named_as(ds: Dataset, value: str) -> list[Dataset]:
    """The items whose Concept Name is this code."""
    return [
        i for i in items(ds) if i.get("ConceptNameCodeSequence") and i.ConceptNameCodeSequence[0].CodeValue == value
    ]


def texts(ds: Dataset) -> list[str]:
    return [str(item.TextValue) for item in items(ds) if "TextValue" in item]


def in_evidence(ds: Dataset) -> set[str]:
    return {
        str(ref.ReferencedSOPInstanceUID)
        for study in ds.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for ref in series.ReferencedSOPSequence
    }


# --------------------------------------------------------------------------------------------------------------- root


def test_the_main_report_names_every_other_object_of_its_set(everything: tuple[Result, ...]) -> None:
    report = written(everything, "sr")
    others = {r.sop_instance_uid: r.kind for r in everything if r.kind != "sr"}
    assert {*write.DEFAULT, *ALL_KINDS} - {"sr"} == set(others.values())
    assert others.keys() <= in_evidence(report)
    (container,) = named_as(report, codes.RESULT_SET.value)
    named = {str(i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID): i for i in container.ContentSequence}
    assert named.keys() == others.keys()
    for result in everything:
        if result.kind == "sr":
            continue
        item = named[result.sop_instance_uid]
        assert item.ConceptNameCodeSequence[0].CodeValue == codes.RESULTS[result.kind].value
        assert item.ReferencedSOPSequence[0].ReferencedSOPClassUID == result.sop_class_uid
        is_image = "Rows" in pydicom.dcmread(result.path, stop_before_pixels=True)
        is_image &= result.kind != "label_map"  # DCMTK 3.6.7 would refuse the report
        assert item.ValueType == ("IMAGE" if is_image else "COMPOSITE")


def test_what_names_another_object_is_delivered_after_it(everything: tuple[Result, ...]) -> None:
    order = [r.kind for r in everything]
    assert order[-2:] == ["sr", "ko"]
    assert order.index("seg") < order.index("sr_viewer")


def test_a_refusals_report_names_its_key_image(analysis: Analysis, tmp_path: Path) -> None:
    key_image, report = write_refusal(analysis.pair.pet.instances, REFUSED, None, RUN, tmp_path)
    (container,) = named_as(pydicom.dcmread(report.path), codes.RESULT_SET.value)
    (item,) = container.ContentSequence
    assert item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == key_image.sop_instance_uid
    assert key_image.sop_instance_uid in in_evidence(pydicom.dcmread(report.path))


def test_the_viewers_report_holds_groups_with_contours_alone(everything: tuple[Result, ...]) -> None:
    """OHIF shows nothing of an SR that holds more."""
    report = written(everything, "sr_viewer")
    assert not named_as(report, codes.RESULT_SET.value)
    (measurements,) = named_as(report, "126010")
    assert all(any(i.ValueType == "SCOORD" for i in group.ContentSequence) for group in measurements.ContentSequence)


# ------------------------------------------------------------------------------------------------------------ numbers


def test_each_uptake_of_the_viewers_report_has_a_name_of_its_own_and_keeps_its_derivation(
    everything: tuple[Result, ...],
) -> None:
    viewer, main = written(everything, "sr_viewer"), written(everything, "sr")
    for name, derivation in (
        (codes.SUV_MAX, codes.MAXIMUM),
        (codes.SUV_MEAN, codes.MEAN),
        (codes.SUV_PEAK, codes.PEAK),
    ):
        found = named_as(viewer, name.value)
        assert len(found) == len(TWO)
        for item in found:
            unit = item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue
            assert unit == codes.G_PER_ML_SUV_BW.value
            assert derivation.value in [c.ConceptCodeSequence[0].CodeValue for c in item.ContentSequence]
        assert not named_as(main, name.value)  # which has the standard form
    assert {item.ConceptNameCodeSequence[0].CodeMeaning for item in named_as(main, "126401")} == {"SUVbw"}
    shown = read_result(next(r.path for r in everything if r.kind == "sr_viewer")).lesions[0].measures
    told = read_result(next(r.path for r in everything if r.kind == "sr")).lesions[0].measures
    assert {key: shown[key] for key in ("suv_max", "suv_mean", "suv_peak")} == {
        key: told[key] for key in ("suv_max", "suv_mean", "suv_peak")
    }


def test_the_interval_stands_below_the_probability_as_well(everything: tuple[Result, ...]) -> None:
    """73.4 %, 59.3 to 84.6 %, as distances from it (TID 310), in its own unit."""
    (probability,) = named_as(written(everything, "sr"), "DEMO-PROB")
    offsets = {}
    for item in probability.ContentSequence:
        assert item.RelationshipType == "HAS PROPERTIES"
        (value,) = item.MeasuredValueSequence
        assert value.MeasurementUnitsCodeSequence[0].CodeValue == "%"
        offsets[item.ConceptNameCodeSequence[0].CodeValue] = float(value.NumericValue)
    assert offsets == {"371886008": 11.2, "371885007": 14.1}


def test_without_an_interval_there_is_none_below_it(analysis: Analysis, tmp_path: Path) -> None:
    alone = replace(analysis, prediction=replace(REPORTED, interval=None))
    (probability,) = named_as(written(write_results(alone, RUN, tmp_path), "sr"), "DEMO-PROB")
    assert "ContentSequence" not in probability


# --------------------------------------------------------------------------------------------------------------- size


def reports_alone(analysis: Analysis, run: Run, folder: Path) -> tuple[Result, ...]:
    """Both reports without the pictures, which take long where there is much to say."""
    pair = analysis.pair
    evidence = Evidence.of(pair.pet.instances[0], pair.digest, analysis.model, run)
    parts = segmentation.segments(verdict.shown_lesions(analysis.lesions), evidence)
    objects = {"seg": [segmentation.segmentation(analysis, evidence, parts)]}
    objects["sr_viewer"] = [sr_viewer.viewer_report(analysis, evidence, parts)]
    objects["sr"] = [sr.main_report(analysis, evidence, parts, objects)]
    return tuple(evidence.write(found[0], kind, folder) for kind, found in objects.items())


@pytest.mark.parametrize("language", ["en", "fr", "ja"])
def test_a_report_keeps_its_size_whatever_there_is_to_say(analysis: Analysis, tmp_path: Path, language: str) -> None:
    lesions = tuple(replace(analysis.lesions[0], number=n, tracking_name=f"Lesion {n}") for n in range(1, 2001))
    cautions = tuple(
        Caution(f"code-{n}", "One long warning about the study, with what to do. " * 5) for n in range(300)
    )
    full = replace(analysis, lesions=lesions, cautions=cautions, also_suv=SCALES)
    main, viewer = (
        result
        for result in reversed(reports_alone(full, replace(RUN, language=language), tmp_path))
        if result.kind != "seg"
    )
    assert main.path.stat().st_size <= 256 * 1024
    assert viewer.path.stat().st_size <= 256 * 1024
    summary = read_result(main.path)
    assert len(summary.lesions) == 40
    told = [lesion for lesion in summary.lesions if "lbm-janma_max" in lesion.measures]
    assert len(told) == lesions_with_other_suv(4) == 5
    say = Phrases(language)
    assert say("other-suv-some", number=5) in summary.comments
    assert 50 < len(summary.warnings) < 120
    assert summary.warnings[-1] == say("warnings-left-out", number=302 - len(summary.warnings))


def many(instances: tuple[Instance, ...], count: int) -> tuple[Instance, ...]:
    """So many images under UIDs of 64 characters, the longest there are; the first ones are files."""
    arm = 1 if instances[0].modality == "PT" else 2
    uids = (f"1.{arm}.{n + 1}.{'9' * 64}"[:64] for n in range(len(instances), count))
    return (*instances, *(replace(instances[0], sop_instance_uid=uid) for uid in uids))


def whole_body(analysis: Analysis, images: int) -> Analysis:
    """Of 20 lesions, each with a region and a metabolic volume, and of so many images, a third of them PET."""
    lesions = tuple(replace(analysis.lesions[0], number=n, tracking_name=f"Lesion {n}") for n in range(1, 21))
    pet, ct = analysis.pair.pet, analysis.pair.ct
    assert pet is not None
    pair = replace(
        analysis.pair,
        pet=replace(pet, instances=many(pet.instances, images // 3)),
        ct=replace(ct, instances=many(ct.instances, images - images // 3)),
    )
    return replace(analysis, lesions=lesions, pair=pair)


def one_of_many(kind: str, number: int, evidence: Evidence) -> Dataset:
    """An object as the report names it."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", evidence.uid(f"{kind} {number}")
    ds.SeriesInstanceUID, ds.StudyInstanceUID = evidence.uid(f"{kind} series"), evidence.source.StudyInstanceUID
    ds.Rows, ds.Columns, ds.Modality = 1, 1, "OT"
    for keyword in ALWAYS:
        setattr(ds, keyword, None)
    return ds


OBJECTS = {**dict.fromkeys(ALL_KINDS, 1), "key_image": 1, "heatmap": 1, "captures": 898, "label_map": 20}


def main_alone(analysis: Analysis, run: Run, folder: Path, objects: dict[str, int]) -> Result:
    """The main report of a set with so many objects of each kind."""
    evidence = Evidence.of(analysis.pair.images[0], analysis.pair.digest, analysis.model, run)
    parts = segmentation.segments(verdict.shown_lesions(analysis.lesions), evidence)
    found = {kind: [one_of_many(kind, n, evidence) for n in range(count)] for kind, count in objects.items()}
    found["seg"] = [segmentation.segmentation(analysis, evidence, parts)]
    return evidence.write(sr.main_report(analysis, evidence, parts, found), "sr", folder)


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("images", [900, 6000])
def test_a_whole_body_with_all_objects_and_all_there_is_to_say_is_within_its_bound(
    analysis: Analysis, tmp_path: Path, language: str, images: int
) -> None:
    cautions = tuple(Caution(f"code-{n}", "A warning about the study, with what to do. " * 9) for n in range(300))
    full = replace(whole_body(analysis, images), cautions=cautions, also_suv=SCALES)
    result = main_alone(full, replace(RUN, language=language, predecessors=EARLIER), tmp_path, OBJECTS)
    assert result.path.stat().st_size <= 256 * 1024
    summary = read_result(result.path)
    assert len(summary.lesions) == 40
    assert len(summary.warnings) > 40


def test_all_source_images_are_listed_where_there_is_room(analysis: Analysis, tmp_path: Path) -> None:
    case = replace(whole_body(analysis, 900), lesions=analysis.lesions)
    ds = pydicom.dcmread(main_alone(case, RUN, tmp_path, {"key_image": 1}).path)
    assert {i.sop_instance_uid for i in case.pair.images} <= in_evidence(ds)
    assert not any("source images of series" in text for text in texts(ds))


def test_of_images_without_room_the_ends_the_middle_and_those_referred_to_are_listed_and_it_is_said(
    analysis: Analysis, tmp_path: Path
) -> None:
    case = whole_body(analysis, 3000)
    assert case.pair.pet is not None
    ds = pydicom.dcmread(main_alone(case, RUN, tmp_path, {"key_image": 1}).path)
    listed = in_evidence(ds)
    for series in case.pair.series:
        found = [i.sop_instance_uid for i in series.instances]
        assert {found[0], found[len(found) // 2], found[-1]} <= listed
        said = f"Of the {len(found)} source images of series {series.series_instance_uid}, "
        assert any(text.startswith(said) for text in texts(ds)) == (not listed.issuperset(found))
    assert not listed.issuperset(i.sop_instance_uid for i in case.pair.ct.instances)
    named = {str(r.ReferencedSOPInstanceUID) for i in items(ds) for r in i.get("ReferencedSOPSequence") or []}
    assert named <= listed


def test_of_many_captures_three_are_named_and_their_number(analysis: Analysis, tmp_path: Path) -> None:
    ds = pydicom.dcmread(main_alone(analysis, RUN, tmp_path, {"captures": 898, "pdf": 1}).path)
    evidence = Evidence.of(analysis.pair.images[0], analysis.pair.digest, analysis.model, RUN)
    named = [
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in named_as(ds, codes.RESULTS["captures"].value)
    ]
    assert named == [evidence.uid(f"captures {n}") for n in (0, 449, 897)]
    assert set(named) <= in_evidence(ds)
    (count,) = named_as(ds, codes.RESULT_COUNT.value)
    assert count.MeasuredValueSequence[0].NumericValue == 898
    assert read_result(tmp_path / "sr.dcm").counts == {"captures": 898}


def test_which_voxels_the_groups_hold_is_said_once(everything: tuple[Result, ...]) -> None:
    said = texts(written(everything, "sr"))
    for sentence in (
        "Groups named after a lesion: the voxels of its region, proposed automatically, needs confirmation.",
        "Groups whose name ends in MTV: ",
    ):
        assert len([text for text in said if text.startswith(sentence)]) == 1


def test_one_other_kind_of_suv_is_given_for_all_lesions(analysis: Analysis, tmp_path: Path) -> None:
    lesions = tuple(replace(analysis.lesions[0], number=n, tracking_name=f"Lesion {n}") for n in range(1, 21))
    results = reports_alone(replace(analysis, lesions=lesions, also_suv=SCALES[:1]), RUN, tmp_path)
    summary = read_result(next(result.path for result in results if result.kind == "sr"))
    assert len([lesion for lesion in summary.lesions if "lbm-janma_max" in lesion.measures]) == 20
    assert not any("Other kinds of SUV" in comment for comment in summary.comments)
    assert [warning.split(":")[0] for warning in summary.warnings] == ["uptake-time", "two-ct"]


def test_long_names_of_a_model_are_cut_where_dicom_has_64_characters(analysis: Analysis, tmp_path: Path) -> None:
    """A cut that would end in a space ends before it: trailing spaces are no part of a value (PS3.5 6.2)."""
    long = "x" * 63 + " and what does not fit"
    model = replace(MODEL, name="n" * 64, version="v" * 64, probability_code=Code("LONG-PROB", "99PETCTNODE", long))
    for result in write_results(replace(analysis, model=model), replace(RUN, names_model=True), tmp_path):
        for element in pydicom.dcmread(result.path).iterall():
            if element.VR in ("LO", "SH") and element.VM == 1:
                assert len(str(element.value)) <= (64 if element.VR == "LO" else 16), element
                assert str(element.value) == str(element.value).strip(), element


# ----------------------------------------------------------------------------------------------------- several models


def test_each_model_has_series_numbers_of_its_own(
    everything: tuple[Result, ...], analysis: Analysis, tmp_path: Path
) -> None:
    run = replace(RUN, also=ALL_KINDS, series_block=2)
    second = write_results(analysis, run, tmp_path)
    numbers = [{r.kind: int(pydicom.dcmread(r.path).SeriesNumber) for r in results} for results in (everything, second)]
    assert all(9001 <= number < 9100 for number in numbers[0].values())
    assert numbers[1] == {kind: number + 200 for kind, number in numbers[0].items()}
    assert not {r.sop_instance_uid for r in everything} & {r.sop_instance_uid for r in second}


# -------------------------------------------------------------------------------------------------------- a second run

EARLIER = tuple(
    Predecessor("1.2.3", f"1.2.4.{n}", SR, f"1.2.5.{n}", kind, "2026-02-28T09:30:00.5+01:00", "demo 0.9")
    for n, kind in enumerate(("sr", "sr_viewer"))
)


def predecessors(report: Dataset) -> list[str]:
    return [
        str(document.ReferencedSOPInstanceUID)
        for study in report.get("PredecessorDocumentsSequence") or []
        for series in study.ReferencedSeriesSequence
        for document in series.ReferencedSOPSequence
    ]


def test_both_reports_name_what_they_replace_and_when_it_was_made(analysis: Analysis, tmp_path: Path) -> None:
    results = write_results(analysis, replace(RUN, predecessors=EARLIER), tmp_path)
    main, viewer = written(results, "sr"), written(results, "sr_viewer")
    assert predecessors(main) == ["1.2.5.0", "1.2.5.1"]
    assert predecessors(viewer) == ["1.2.5.1"]
    assert len(main.PredecessorDocumentsSequence) == 1  # one item for each study
    for report in (main, viewer):
        assert any(text.startswith("This report replaces an earlier report") for text in texts(report))
        assert "Replaced: report of 2026-02-28 09:30:00+01:00, demo 0.9." in texts(report)


def test_what_an_older_version_left_without_words_is_named_all_the_same(analysis: Analysis, tmp_path: Path) -> None:
    silent = replace(EARLIER[0], created="", model="")
    results = write_results(analysis, replace(RUN, predecessors=(silent,)), tmp_path)
    for kind in ("sr", "sr_viewer"):  # there was none for viewers: the main one is named
        report = written(results, kind)
        assert predecessors(report) == ["1.2.5.0"]
        assert not any(text.startswith("Replaced:") for text in texts(report))


def test_a_refusal_names_both_reports_that_it_replaces(analysis: Analysis, tmp_path: Path) -> None:
    run = replace(RUN, predecessors=EARLIER)
    _, report = write_refusal(analysis.pair.pet.instances, REFUSED, MODEL, run, tmp_path)
    assert predecessors(pydicom.dcmread(report.path)) == ["1.2.5.0", "1.2.5.1"]


# -------------------------------------------------------------------------------------------------------- key objects


def test_the_key_objects_are_the_lesions_slices_the_key_image_and_the_report(
    analysis: Analysis, everything: tuple[Result, ...]
) -> None:
    document = hd.ko.KeyObjectSelectionDocument.from_dataset(written(everything, "ko"))
    assert document.ConceptNameCodeSequence[0].CodeValue == "113000"
    named = [str(i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for i in document.content.get_references()]
    own = {r.kind: r.sop_instance_uid for r in everything}
    assert named[-2:] == [own["key_image"], own["sr"]]
    assert set(named[:-2]) < {i.sop_instance_uid for i in analysis.pair.pet.instances}
    assert len(named[:-2]) == len(TWO)
    assert in_evidence(document) == set(named)
    for lesion in analysis.lesions:  # the slice on which it is largest holds it
        slices = [analysis.pair.pet.instances[k].sop_instance_uid for k in range(*lesion.region.slices[0].indices(99))]
        assert set(slices) & set(named)


def test_of_a_multi_frame_pet_the_frames_are_meant(analysis: Analysis, tmp_path: Path) -> None:
    pet = analysis.pair.pet
    whole = pet.instances[0]
    frames = tuple(replace(i, sop_instance_uid=whole.sop_instance_uid, frame=n) for n, i in enumerate(pet.instances))
    joined = replace(analysis, pair=replace(analysis.pair, pet=replace(pet, instances=frames)))
    document = written(write_results(joined, replace(RUN, also=("ko",)), tmp_path), "ko")
    references = [i.ReferencedSOPSequence[0] for i in document.ContentSequence if "ReferencedSOPSequence" in i]
    (image,) = [r for r in references if r.ReferencedSOPInstanceUID == whole.sop_instance_uid]
    assert len(image.ReferencedFrameNumber) == len(TWO)
    for lesion in analysis.lesions:
        box = lesion.region.slices[0]
        assert any(box.start < number <= box.stop for number in image.ReferencedFrameNumber)


def test_without_a_lesion_key_image_and_report_are_left(tmp_path: Path) -> None:
    analysis = make_analysis(tmp_path / "in", size=(8, 20, 20), balls=(), prediction=NO_LESION)
    results = write_results(analysis, replace(RUN, also=("ko",)), tmp_path / "out")
    document = hd.ko.KeyObjectSelectionDocument.from_dataset(written(results, "ko"))
    assert len(document.content.get_references()) == 2
