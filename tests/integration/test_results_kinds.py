"""Results of studies without a PET, of a model that looks at the whole body, and of values beside the images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest

from dicom_node.report import codes, read_result, write, write_refusal, write_results
from dicom_node.report.pictures import colours
from dicom_node.report.pictures.cuts import SOFT_TISSUE
from dicom_node.report.words.phrases import LANGUAGES, Phrases
from inference.facts import Analysis, Caution, Kind, Refused, Result, Run, Saliency, TakenValue
from tests.integration.test_results_peers import assert_of_one_study, assert_valid
from tests.integration.test_results_sr import items, named_as, texts, written
from tests.report_case import INSIDE, MODEL, RUN, VALUES, WITHHELD, make_analysis, without_pet

KINDS: tuple[Kind, ...] = ("CT", "iodine map")
ALL = replace(RUN, also=tuple(write.OPTIONAL))
UPTAKE = ("126401", "126032", "126033", "SUVBW-MAX", "SUVBW-MEAN", "SUVBW-PEAK", "SUV-RULE", "SUV-INPUT")

Made = Callable[[Kind, bool], tuple[Analysis, tuple[Result, ...]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The set with all optional objects, of a CT or iodine map, with saliency or without."""
    done: dict[tuple[Kind, bool], tuple[Analysis, tuple[Result, ...]]] = {}

    def of(kind: Kind, saliency: bool) -> tuple[Analysis, tuple[Result, ...]]:
        if (kind, saliency) not in done:
            folder = tmp_path_factory.mktemp("kind")
            analysis = without_pet(folder / "in", kind, saliency=saliency)
            done[kind, saliency] = analysis, write_results(analysis, ALL, folder / "out")
        return done[kind, saliency]

    return of


def kinds(results: tuple[Result, ...]) -> set[str]:
    return {result.kind for result in results}


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_pet_there_is_all_but_what_shows_one(made: Made, kind: Kind) -> None:
    _, with_saliency = made(kind, True)
    assert kinds(with_saliency) == {*write.DEFAULT, *write.OPTIONAL} - {"mip", "rtstruct"}  # a person drew the region
    _, without = made(kind, False)
    assert kinds(without) == kinds(with_saliency) - {"heatmap", "captures", "parametric_map"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("saliency", [True, False])
def test_what_is_left_out_is_said(made: Made, kind: Kind, saliency: bool) -> None:
    _, results = made(kind, saliency)
    said = [warning.split(":")[0] for warning in read_result(path_of(results, "sr")).warnings]
    assert said == ["left-out-without-pet", *([] if saliency else ["left-out-without-saliency"])]


@pytest.mark.parametrize("pet", [True, False])
def test_a_model_that_never_shows_where_it_looked_has_no_heatmap_and_says_so_once(tmp_path: Path, pet: bool) -> None:
    made = make_analysis(tmp_path / "in", size=(8, 24, 24), prediction=INSIDE) if pet else None
    analysis = made or without_pet(tmp_path / "in", "CT")
    told = Caution("no-heatmap", "There is no heatmap: this kind of model does not show where it looked.")
    silent = replace(analysis, saliency=None, cautions=(told,))
    results = write_results(silent, replace(RUN, also=("captures",)), tmp_path / "out")
    assert kinds(results) == {"seg", "key_image", "sr_viewer", "sr"}
    codes_said = [warning.split(":")[0] for warning in read_result(path_of(results, "sr")).warnings]
    assert [code for code in codes_said if "heatmap" in code or "left-out" in code] == ["no-heatmap"]


def test_what_nobody_asked_for_is_not_said_to_be_missing(tmp_path: Path) -> None:
    results = write_results(without_pet(tmp_path / "in", "CT", saliency=True), RUN, tmp_path / "out")
    assert read_result(path_of(results, "sr")).warnings == ()


def path_of(results: tuple[Result, ...], kind: str) -> Path:
    (path,) = [result.path for result in results if result.kind == kind]
    return path


@pytest.mark.parametrize(
    ("kind", "concept", "unit", "value"),
    [("CT", codes.ATTENUATION, "[hnsf'U]", 75.0), ("iodine map", codes.IODINE, "mg/ml", 2.1)],
)
def test_the_reports_give_volume_and_density_and_no_uptake(
    made: Made, kind: Kind, concept: codes.Code, unit: str, value: float
) -> None:
    analysis, results = made(kind, False)
    for name in ("sr", "sr_viewer"):
        report = written(results, name)
        (item,) = named_as(report, concept.value)
        (measured,) = item.MeasuredValueSequence
        assert (float(measured.NumericValue), measured.MeasurementUnitsCodeSequence[0].CodeValue) == (value, unit)
        assert [c.ConceptCodeSequence[0].CodeValue for c in item.ContentSequence] == [codes.MEAN.value]
        (volume,) = named_as(report, codes.VOLUME.value)
        assert float(volume.MeasuredValueSequence[0].NumericValue) == pytest.approx(analysis.lesions[0].volume_ml)
        assert not [i for code in UPTAKE for i in named_as(report, code)]
    (lesion,) = read_result(path_of(results, "sr")).lesions
    assert set(lesion.measures) == {"volume_ml", "mean_hu" if kind == "CT" else "mean_iodine"}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_such_a_set_speaks_of_a_pet(made: Made, kind: Kind) -> None:
    for saliency in (True, False):
        _, results = made(kind, saliency)
        for result in results:
            ds = pydicom.dcmread(result.path, stop_before_pixels=True)
            said = [str(e.value) for e in ds.iterall() if e.VR in ("LO", "LT", "ST", "UT", "SH")]
            said = [text for text in said if text != codes.PRIVATE_SCHEME]
            found = [text for text in said if "PET" in text or "SUV" in text]
            assert [text for text in found if not text.startswith("left-out-without-pet")] == [], result.kind
    assert written(results, "sr").SeriesDescription == f"AI {kind} results (research use only)"
    (procedure,) = named_as(written(results, "sr"), "121058")
    assert procedure.ConceptCodeSequence[0].CodeValue == "25045-6"


@pytest.mark.parametrize("kind", KINDS)
def test_the_segmentation_lies_on_the_images(made: Made, kind: Kind) -> None:
    analysis, results = made(kind, False)
    seg = hd.seg.segread(path_of(results, "seg"))
    volume = seg.get_volume(combine_segments=False, segment_numbers=[1])
    at = np.argwhere(analysis.lesions[0].region.full(analysis.grid.array.shape))
    there = volume.map_reference_to_indices(analysis.grid.to_lps(at), round_output=True)
    assert volume.array[tuple(there.T)].all()
    assert volume.array.sum() == len(at)
    uids = {i.sop_instance_uid for i in analysis.pair.ct.instances}
    assert {str(ref.ReferencedSOPInstanceUID) for ref in seg.SourceImageSequence} <= uids
    main = written(results, "sr")
    (segment,) = [i for i in items(main) if i.ConceptNameCodeSequence[0].CodeValue == "121191"]
    assert segment.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == seg.SOPInstanceUID
    (source,) = named_as(main, "121232")
    assert analysis.pair.ct.series_instance_uid == source.UID


@pytest.mark.peers
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("saliency", [True, False])
def test_validators_find_no_error(tmp_path: Path, kind: Kind, saliency: bool) -> None:
    analysis = without_pet(tmp_path / "in", kind, saliency=saliency, header={"PatientName": "Doe^John"})
    results = write_results(analysis, replace(RUN, also=("label_map", "parametric_map", "pdf", "ko")), tmp_path / "out")
    for result in results:
        if result.kind != "label_map":  # of a SOP class that is newer than dciodvfy
            assert_valid(result.path)
    sources = (tmp_path / "in" / "alone").iterdir()
    assert_of_one_study([*sources, *(result.path for result in results)])


@pytest.mark.parametrize(("kind", "colour"), [("CT", "grey"), ("iodine map", "warm")])
def test_the_key_image_shows_the_images_in_grey_or_in_their_colours(made: Made, kind: Kind, colour: str) -> None:
    """The lesion's own colour is on it: 75 HU in its window, 2.1 mg/ml between 0 and 5."""
    _, results = made(kind, False)
    pixels = written(results, "key_image").pixel_array
    if colour == "grey":
        level = int(colours.scaled(np.float32(75.0), SOFT_TISSUE.low, SOFT_TISSUE.high))
        wanted = (level, level, level)
    else:
        wanted = tuple(colours.INFERNO[int(colours.scaled(np.float32(2.1), *colours.IODINE_RANGE))])
    assert (pixels == wanted).all(axis=-1).sum() > 500


def test_a_refusal_of_a_ct_alone_speaks_of_no_pet_in_its_series(tmp_path: Path) -> None:
    analysis = without_pet(tmp_path / "in", "CT")
    why = Refused("no-ct", "There is no CT.")
    report = written(write_refusal(analysis.pair.ct.instances, why, MODEL, RUN, tmp_path / "out"), "sr")
    assert report.SeriesDescription == "AI CT results (research use only)"


# -------------------------------------------------------------------------------------------------------------- values


def test_the_main_report_lists_the_values_and_what_was_missing(made: Made) -> None:
    _, results = made("CT", False)
    report = written(results, "sr")
    (container,) = named_as(report, codes.MODEL_VALUES.value)
    assert [item.ValueType for item in container.ContentSequence] == ["NUM", "TEXT", "TEXT"]
    (age,) = container.ContentSequence[0].MeasuredValueSequence
    assert (age.NumericValue, age.MeasurementUnitsCodeSequence[0].CodeValue) == (63, "a")
    assert container.ContentSequence[1].TextValue == "Missing: training median used"
    found = read_result(path_of(results, "sr")).values
    told = [(v.name, v.title, v.unit if v.value is not None else "", v.value, v.source) for v in found]
    assert told == [(v.name, v.title, v.unit if v.value is not None else "", v.value, v.source) for v in VALUES]


def test_many_values_are_counted(tmp_path: Path) -> None:
    analysis = without_pet(tmp_path / "in", "CT")
    many = tuple(TakenValue(f"v{n}", f"Value {n}", "mmol/l", n / 7, "table") for n in range(500))
    results = write_results(replace(analysis, values=many), RUN, tmp_path / "out")
    report = written(results, "sr")
    assert len(read_result(path_of(results, "sr")).values) == 64
    (count,) = named_as(report, codes.VALUE_COUNT.value)
    assert count.MeasuredValueSequence[0].NumericValue == 500
    assert path_of(results, "sr").stat().st_size <= 256 * 1024


def test_without_values_there_is_no_list_of_them(tmp_path: Path) -> None:
    analysis = make_analysis(tmp_path / "in", prediction=INSIDE)
    results = write_results(analysis, RUN, tmp_path / "out")
    assert not named_as(written(results, "sr"), codes.MODEL_VALUES.value)


def test_no_value_of_the_patient_is_in_a_picture(tmp_path: Path) -> None:
    """The key image says how many are missing, and is the same whatever the others are."""
    analysis = without_pet(tmp_path / "in", "CT")
    other = replace(analysis, values=(replace(VALUES[0], value=40.0), *VALUES[1:]))
    fewer = replace(analysis, values=(VALUES[0], replace(VALUES[1], value=3.0), VALUES[2]))
    pictures = [
        written(write_results(case, RUN, tmp_path / str(n)), "key_image").PixelData
        for n, case in enumerate((analysis, other, fewer))
    ]
    assert pictures[0] == pictures[1]
    assert pictures[0] != pictures[2]


# ----------------------------------------------------------------------------------------- a model of the whole body


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_said_of_the_whole_study_stands_beside_no_lesion(tmp_path: Path, language: str) -> None:
    analysis = make_analysis(
        tmp_path / "in", size=(8, 30, 30), balls=(((0.0, 0.0, 0.0), 14.0, 8.0),), prediction=INSIDE
    )
    run: Run = replace(RUN, language=language)
    of_lesion = write_results(analysis, run, tmp_path / "lesion")
    whole = replace(analysis, model=replace(MODEL, whole_body=True))
    of_study = write_results(whole, run, tmp_path / "study")
    sentence = Phrases(language)("of-the-study")
    for results, is_whole in ((of_lesion, False), (of_study, True)):
        main, viewer = written(results, "sr"), written(results, "sr_viewer")
        assert len(named_as(main, "DEMO-PROB")) == 1
        assert len(named_as(viewer, "DEMO-PROB")) == (not is_whole)
        for report in (main, viewer):
            assert any(text.startswith(sentence) for text in texts(report)) == is_whole
    one, other = (written(results, "key_image").PixelData for results in (of_lesion, of_study))
    assert one != other


def test_a_model_of_the_whole_body_speaks_without_a_lesion(tmp_path: Path) -> None:
    analysis = make_analysis(tmp_path / "in", size=(8, 24, 24), balls=(), prediction=INSIDE)
    heat = np.linspace(0, 1, 4 * 6 * 6, dtype=np.float32).reshape(4, 6, 6)
    whole = replace(analysis, model=replace(MODEL, whole_body=True), saliency=Saliency((2, 8, 8), heat, 32.0, 0.1))
    results = write_results(whole, replace(RUN, also=("pdf", "captures", "parametric_map")), tmp_path / "out")
    assert kinds(results) == {"key_image", "heatmap", "sr", "pdf", "captures", "parametric_map"}
    report = written(results, "sr")
    assert len(named_as(report, "DEMO-PROB")) == 1
    assert any(text.startswith("The prediction is of the whole study") for text in texts(report))
    assert read_result(path_of(results, "sr")).lesion_count == 0


def test_a_withheld_verdict_of_a_ct_alone_has_no_saliency(tmp_path: Path) -> None:
    analysis = without_pet(tmp_path / "in", "CT", prediction=WITHHELD, saliency=True)
    results = write_results(analysis, RUN, tmp_path / "out")
    assert kinds(results) == {"seg", "key_image", "sr_viewer", "sr"}
    assert not named_as(written(results, "sr"), "DEMO-PROB")
