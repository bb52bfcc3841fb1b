"""What may be said: a probability only where it may be printed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

import dicom_node
import inference
from dicom_node.report import codes, write_results
from dicom_node.report.words import verdict
from inference.facts import Analysis, Caution, Code, Prediction, ReferenceUptake, Tracer
from tests.report_case import INSIDE, MODEL, NO_LESION, REPORTED, RUN, WITHHELD, make_analysis


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return make_analysis(tmp_path_factory.mktemp("verdict"), size=(6, 20, 20))


def test_a_reported_probability_is_said_with_its_interval(analysis: Analysis) -> None:
    assert verdict.headline(replace(analysis, prediction=INSIDE)) == (
        "Predicted probability of demonstration label: 73.4 % (95 % interval 59.3 to 84.6 %)"
    )


def test_that_the_model_does_not_apply_is_said_before_its_number(analysis: Analysis) -> None:
    said = verdict.headline(analysis)
    assert said.startswith("The model does not apply to this study. Demonstration only, not a result: Predicted")
    assert verdict.demonstrates_only(analysis)
    assert not verdict.demonstrates_only(replace(analysis, prediction=INSIDE))
    assert not verdict.demonstrates_only(replace(analysis, prediction=WITHHELD))


def test_a_model_of_one_member_says_that_it_has_no_interval(analysis: Analysis) -> None:
    alone = replace(analysis, prediction=replace(REPORTED, interval=None))
    assert verdict.headline(alone).endswith("demonstration label: 73.4 % (no interval: one member)")


@pytest.mark.parametrize("prediction", [WITHHELD, NO_LESION, replace(REPORTED, status="withheld")])
def test_nothing_is_printed_where_it_was_withheld(analysis: Analysis, prediction: Prediction) -> None:
    silent = replace(analysis, prediction=prediction)
    assert verdict.spoken(silent) is None
    assert verdict.shown_saliency(silent) is None
    assert "%" not in verdict.headline(silent)


def test_only_a_demonstration_model_may_speak_outside_its_domain(analysis: Analysis) -> None:
    real = replace(analysis, model=replace(MODEL, demonstration=False))
    assert verdict.spoken(analysis) is not None
    assert verdict.spoken(real) is None
    assert verdict.state(real) == "withheld"
    assert verdict.spoken(replace(real, prediction=replace(REPORTED, applicability="inside"))) is not None


def test_indeterminate_is_said(analysis: Analysis) -> None:
    prediction = replace(REPORTED, status="indeterminate", label=None)
    assert verdict.headline(replace(analysis, prediction=prediction)).endswith("indeterminate")


def test_inside_with_reasons_is_a_warning() -> None:
    assert verdict.applicability(replace(REPORTED, applicability="inside")) == "warning"
    assert verdict.applicability(replace(REPORTED, applicability="inside", applicability_reasons=())) == "inside"


def test_left_out_lesions_are_counted() -> None:
    assert verdict.lesion_count(2000, 20) == "2000 lesions found; the 20 largest are reported, 1980 left out"
    assert verdict.lesion_count(1, 1) == "1 lesion found"


@pytest.mark.parametrize(
    ("injected", "said"),
    [
        (Tracer("fdg", "F-18", "FDG"), 'Tracer: fdg, F-18; the header says "FDG".'),
        (Tracer("", "Ga-68", "GX-7"), 'Tracer: not known, Ga-68; the header says "GX-7".'),
        (Tracer("", ""), "Tracer: not known."),
    ],
)
def test_the_report_names_the_tracer(analysis: Analysis, tmp_path: Path, injected: Tracer, said: str) -> None:
    results = write_results(replace(analysis, tracer=injected), RUN, tmp_path / "out")
    (report,) = [r.path for r in results if r.kind == "sr"]
    assert said in [str(e.value) for e in pydicom.dcmread(report).iterall() if e.keyword == "TextValue"]


def test_what_makes_the_numbers_doubtful_is_said_first(analysis: Analysis) -> None:
    came = ("gantry-tilt-regridded", "uptake-time", "region-automatic", "saliency-coarse", "decay-factor-disagrees")
    said = verdict.cautions(replace(analysis, cautions=tuple(Caution(code, code) for code in came)))
    ours = [c.code for c in said if c.text == c.code]
    assert ours == [came[4], came[2], came[1], came[0], came[3]]


def test_the_order_names_only_cautions_that_there_are() -> None:
    rooms = [Path(room.__file__).parent for room in (inference, dicom_node)]
    texts = [path.read_text() for room in rooms for path in room.rglob("*.py") if path.name != "verdict.py"]
    assert [code for code in verdict.IMPORTANCE if not any(f'"{code}"' in text for text in texts)] == []


def test_private_codes_are_unique_and_short_enough() -> None:
    private = [c for c in vars(codes).values() if getattr(c, "scheme_designator", "") == codes.PRIVATE_SCHEME]
    private += [*codes.APPLICABILITIES.values(), *codes.PREDICTION_STATES.values()]
    assert len({c.value for c in private}) == len(private)
    assert all(len(c.value) <= 16 and len(c.meaning) <= 64 for c in private)


def test_a_models_long_meaning_is_cut_to_what_dicom_allows() -> None:
    assert len(codes.concept(Code("X", "99X", "long " * 40)).meaning) == 64


def test_a_reference_organ_is_told_with_its_place() -> None:
    said = verdict.reference(ReferenceUptake("liver", 2.204, 0.196, 14.13, (-61.2, 12.0, 431.6)))
    assert said == ("Reference uptake, liver: SUVbw mean 2.20, SD 0.20 g/ml, 14.1 ml round (-61, 12, 432) mm LPS.")
