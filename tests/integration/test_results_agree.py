"""The same number wherever a reader looks: every output against the source images and the SEG's voxels alone."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pypdf
import pytest
from PIL import ImageDraw
from typer.testing import CliRunner

from dicom_node.cli import DONE, app
from dicom_node.commands.analysis_json import describe_analysis
from dicom_node.report import write_results
from dicom_node.report.pictures.slices import Frames
from dicom_node.report.write import OPTIONAL
from inference.facts import Analysis, Result
from tests.report_case import INSIDE, RUN, make_analysis

TWO = (((30.0, -20.0, 12.0), 14.0, 8.0), ((-35.0, 10.0, -15.0), 10.0, 5.0))
PER_STORED = 0.001  # SUVbw of one stored value in the made PET


@dataclass(frozen=True)
class Outputs:
    """What was written of one analysis, and all that was drawn on its pictures."""

    analysis: Analysis
    files: dict[str, Result]
    drawn: list[str]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    made = make_analysis(tmp_path_factory.mktemp("study"), balls=TWO, prediction=INSIDE)
    drawn: list[str] = []
    text = ImageDraw.ImageDraw.text

    def watched(draw: ImageDraw.ImageDraw, xy: Any, told: str, *args: Any, **more: Any) -> None:
        drawn.append(told)
        text(draw, xy, told, *args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageDraw.ImageDraw, "text", watched)
        written = write_results(made, replace(RUN, also=tuple(OPTIONAL)), tmp_path_factory.mktemp("out"))
    return Outputs(made, {result.kind: result for result in written}, drawn)


@pytest.fixture(scope="module")
def measured(outputs: Outputs) -> dict[str, dict[str, float]]:
    """From the DICOM files alone: source pixels below the SEG's voxels; by tracking identifier."""
    pet = {i.sop_instance_uid: i.path for i in outputs.analysis.pair.pet.instances}
    seg = hd.seg.segread(outputs.files["seg"].path)
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    voxel_ml = float(np.prod([float(v) for v in (*measures.PixelSpacing, measures.SpacingBetweenSlices)])) / 1000
    frames = seg.pixel_array.astype(bool)
    values: dict[str, list[float]] = {}
    for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        stored = pydicom.dcmread(pet[source.ReferencedSOPInstanceUID]).pixel_array
        label = seg.get_segment_description(number).SegmentLabel
        values.setdefault(label, []).extend((stored[frame] * PER_STORED).tolist())
    return {
        name: {"max": max(v), "mean": float(np.mean(v)), "ml": len(v) * voxel_ml, "sum_ml": sum(v) * voxel_ml}
        for name, v in values.items()
    }


@pytest.fixture(scope="module")
def expected(outputs: Outputs, measured: dict[str, dict[str, float]]) -> list[dict[str, float]]:
    """Lesion by lesion; the peak, which needs its own sphere, is taken from the analysis."""
    found = []
    for lesion in outputs.analysis.lesions:
        region = measured[lesion.tracking_name]
        mtv = measured.get(f"{lesion.tracking_name} MTV", region)
        numbers = {"suv_max": region["max"], "suv_mean": region["mean"], "volume_ml": region["ml"]}
        found.append({**numbers, "suv_peak": lesion.on_pet.suv_peak, "mtv_ml": mtv["ml"], "tlg": mtv["sum_ml"]})
    assert len(found) == 2
    assert found[0] != found[1]
    return found


def report_json(path: Path) -> dict[str, Any]:
    answer = CliRunner().invoke(app, ["report", str(path), "--json"])
    assert answer.exit_code == DONE, answer.output
    (summary,) = json.loads(answer.stdout)
    return dict(summary)


def test_both_reports_and_the_command_that_reads_them(outputs: Outputs, expected: list[dict[str, float]]) -> None:
    main, viewer = (report_json(outputs.files[kind].path) for kind in ("sr", "sr_viewer"))
    for n, numbers in enumerate(expected, start=1):
        groups = [g for g in main["lesions"] if g["tracking_id"].removesuffix(" MTV") == f"Lesion {n}"]
        told = groups[-1]["measures"] | groups[0]["measures"]
        assert {key: told[key] for key in numbers} == pytest.approx(numbers, rel=2e-3)
        (drawn,) = [g["measures"] for g in viewer["lesions"] if g["tracking_id"] == f"Lesion {n}"]
        shared = set(drawn) & set(numbers)
        assert shared == {"suv_max", "suv_mean", "suv_peak", "volume_ml"}
        assert {key: drawn[key] for key in shared} == {key: told[key] for key in shared}
    prediction = main["prediction"]
    assert (prediction["probability"], prediction["interval"]) == (0.734, [0.593, 0.846])


def test_the_viewer_report_gives_the_index_lesion_the_prediction_of_the_main_one(outputs: Outputs) -> None:
    def percents(kind: str) -> dict[str, float]:
        ds = pydicom.dcmread(outputs.files[kind].path)
        items = [i for i in ds.iterall() if i.keyword == "ContentSequence"]
        numbers = [i for sequence in items for i in sequence.value if i.get("ValueType") == "NUM"]
        units = [(i, i.MeasuredValueSequence[0]) for i in numbers]
        named = {"DEMO-PROB", "PRED-LO95", "PRED-HI95"}
        return {
            str(i.ConceptNameCodeSequence[0].CodeValue): float(value.NumericValue)
            for i, value in units
            if i.ConceptNameCodeSequence[0].CodeValue in named
        }

    assert percents("sr") == percents("sr_viewer") == {"DEMO-PROB": 73.4, "PRED-LO95": 59.3, "PRED-HI95": 84.6}


def test_the_json_of_analyse(outputs: Outputs, expected: list[dict[str, float]]) -> None:
    answer: dict[str, Any] = {}
    describe_analysis(outputs.analysis, answer)
    for lesion, numbers in zip(answer["lesions"], expected, strict=True):
        assert {key: lesion[key] for key in numbers} == pytest.approx(numbers, rel=2e-3)
    assert (answer["prediction"]["probability"], answer["prediction"]["interval"]) == (0.734, [0.593, 0.846])


def test_withheld_is_withheld_there_too(outputs: Outputs) -> None:
    """Whatever the prediction holds, as in every object."""
    real = replace(outputs.analysis.model, demonstration=False)
    for applicability, expected in (("inside", 0.734), ("outside", None)):
        prediction = replace(INSIDE, applicability=applicability)
        answer: dict[str, Any] = {}
        describe_analysis(replace(outputs.analysis, prediction=prediction, model=real), answer)
        assert answer["prediction"]["probability"] == expected
        assert (answer["prediction"]["interval"] is None) == (expected is None)
        assert answer["prediction"]["status"] == ("withheld" if expected is None else "reported")


def test_the_key_image(outputs: Outputs, expected: list[dict[str, float]]) -> None:
    """Drawn to one or two decimals, as rounded there; half a unit of the last is allowed for the stored rounding."""
    first = outputs.drawn.index("SUVmax")
    header = [text.split()[0] for text in outputs.drawn[first : first + 6]]
    assert header == ["SUVmax", "SUVpeak", "MTV", "TLG", "SUVmean", "V"]
    keys = ("suv_max", "suv_peak", "mtv_ml", "tlg", "suv_mean", "volume_ml")
    for n, numbers in enumerate(expected, start=1):
        row = outputs.drawn.index(f"Lesion {n}", first)
        cells = [text for text in outputs.drawn[row + 1 : row + 9] if text.replace(".", "").isdigit()][:6]
        assert [float(cell) for cell in cells] == pytest.approx([numbers[key] for key in keys], abs=0.06)
        assert float(cells[0]) == pytest.approx(numbers["suv_max"], abs=0.006)
    assert "73.4 %" in outputs.drawn
    assert any("59.3 to 84.6 %" in text for text in outputs.drawn)


def test_the_page(outputs: Outputs, expected: list[dict[str, float]]) -> None:
    ds = pydicom.dcmread(outputs.files["pdf"].path)
    page = " ".join(pypdf.PdfReader(io.BytesIO(ds.EncapsulatedDocument)).pages[0].extract_text().split())
    assert "Predicted probability of demonstration label: 73.4 % (95 % interval 59.3 to 84.6 %)" in page
    keys = ("suv_max", "suv_mean", "suv_peak", "volume_ml", "mtv_ml", "tlg")
    for n, numbers in enumerate(expected, start=1):
        cells = page.partition(f"Lesion {n} automatic ")[2].split()[:6]
        assert [float(cell) for cell in cells] == pytest.approx([numbers[key] for key in keys], rel=2e-3, abs=0.006)


def test_the_structure_set_states_the_segs_volumes(outputs: Outputs, measured: dict[str, dict[str, float]]) -> None:
    rois = pydicom.dcmread(outputs.files["rtstruct"].path).StructureSetROISequence
    assert {roi.ROIName: float(roi.ROIVolume) for roi in rois} == pytest.approx(
        {name: numbers["ml"] for name, numbers in measured.items()}, rel=1e-6
    )


def test_the_label_map_has_the_regions_voxels(outputs: Outputs, measured: dict[str, dict[str, float]]) -> None:
    ds = hd.seg.segread(outputs.files["label_map"].path)
    voxel_ml = outputs.analysis.suv.voxel_ml
    regions = {s.SegmentLabel: int(s.SegmentNumber) for s in ds.SegmentSequence if int(s.SegmentNumber)}
    assert regions.keys() == {"Lesion 1", "Lesion 2"}
    for name, label in regions.items():
        assert int((ds.pixel_array == label).sum()) * voxel_ml == pytest.approx(measured[name]["ml"])


@pytest.mark.parametrize("applicability", ["inside", "outside"])
def test_the_heatmap_says_where_the_model_does_not_apply(
    outputs: Outputs, monkeypatch: pytest.MonkeyPatch, applicability: str
) -> None:
    """A demonstration's saliency is drawn all the same."""
    drawn: list[str] = []
    text = ImageDraw.ImageDraw.text

    def watched(draw: ImageDraw.ImageDraw, xy: Any, told: str, *args: Any, **more: Any) -> None:
        drawn.append(told)
        text(draw, xy, told, *args, **more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", watched)
    prediction = replace(INSIDE, applicability=applicability)
    Frames.of(replace(outputs.analysis, prediction=prediction))
    assert ("The model does not apply" in " ".join(drawn)) == (applicability == "outside")
