"""The input contract: a model never speaks of a tracer, patient or image that it was not made for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from dicom_node.assemble import assemble
from dicom_node.commands.offline import analyse_folder
from dicom_node.config import read_settings
from inference.analyse import analyse
from inference.facts import Instance, Tracer
from inference.model.bundle import PACKAGED, load_bundle, save_bundle
from inference.model.contract import NOBODY, Subject, breaches, subject_of
from inference.model.predict import Forward, Model
from inference.reading.instance import scan_folder
from inference.suv.patient import age_years
from tests.studies import pet
from tests.unit.test_bundle import served

FDG_SUBJECT = Subject(Tracer("fdg", "F-18"), 64.0, frozenset({"CHEST"}), frozenset({"BQML"}))
FDG_CODE = {"CodeValue": "C-B1031", "CodingSchemeDesignator": "SRT", "CodeMeaning": "FDG"}
PSMA, DOTATOC = {"Radiopharmaceutical": "18F-PSMA-1007"}, {"Radiopharmaceutical": "Ga-68 DOTATOC"}


def remade(tmp_path: Path, name: str = "strict", **changes: Any) -> Path:
    """The shipped bundle with another contract."""
    shipped = load_bundle(PACKAGED / "demo")
    other = shipped.served.model_copy(update={"name": name} | changes)
    save_bundle(tmp_path / name, other, shipped.members, shipped.statistics, model_card="# strict\n")
    return tmp_path / name


class Untouched:
    """A backend that must not be asked."""

    name, precision, cell_voxels = "none", "fp32", 8

    def forward(self, array: npt.NDArray[np.float32]) -> Sequence[Forward]:
        raise AssertionError(f"the network was run on {array.shape}")


# ------------------------------------------------------------------------------------------------------- each condition


@pytest.mark.parametrize(
    ("contract", "subject", "told"),
    [
        ({}, NOBODY, ""),
        ({"tracers": ("fdg",)}, FDG_SUBJECT, ""),
        ({"tracers": ("psma-1007", "fdg")}, FDG_SUBJECT, ""),
        ({"tracers": ("psma-1007",)}, FDG_SUBJECT, "for psma-1007, and what was injected: fdg"),
        ({"tracers": ("psma-11",)}, replace(FDG_SUBJECT, tracer=Tracer("psma", "Ga-68")), "injected: psma"),
        ({"tracers": ("fdg",)}, NOBODY, "is not known"),
        ({"tracer": "[18F]FDG"}, NOBODY, "is not known"),  # a bundle whose author only wrote it for people
        ({"tracer": "[18F]FDG"}, FDG_SUBJECT, ""),
        ({"tracer": "[18F]FDG", "tracers": ("psma-11",)}, FDG_SUBJECT, "for psma-11"),
        ({"tracer": "none (simulated uptake)"}, NOBODY, ""),
        ({"age_years": (18, 90)}, FDG_SUBJECT, ""),
        ({"age_years": (18, 63)}, FDG_SUBJECT, "is another"),
        ({"age_years": (18, 63)}, NOBODY, "age is not known"),
        ({"body_parts": ("chest",)}, FDG_SUBJECT, ""),
        ({"body_parts": ("HEAD", "NECK")}, FDG_SUBJECT, "here it is CHEST"),
        ({"body_parts": ("HEAD",)}, NOBODY, "not given"),
        ({"units": ("BQML",)}, FDG_SUBJECT, ""),
        ({"units": ("BQML",)}, replace(FDG_SUBJECT, units=frozenset({"BQML", "GML"})), "BQML, GML"),
    ],
)
def test_conditions(contract: dict[str, Any], subject: Subject, told: str) -> None:
    found = breaches(served(**contract), subject)
    assert told in " ".join(found)
    assert bool(found) is bool(told)
    assert "64" not in " ".join(found)


def test_all_breaches_are_told() -> None:
    contract = {"tracers": ("fdg",), "age_years": (18, 90), "body_parts": ("CHEST",), "units": ("BQML",)}
    assert len(breaches(served(**contract), NOBODY)) == 4


@pytest.mark.parametrize("wrong", [{"tracers": ("FDG",)}, {"age_years": (90, 18)}, {"units": ("",)}])
def test_a_contract_nobody_could_meet_is_no_bundle(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        served(**wrong)


def test_a_contract_is_kept_in_the_bundle_and_its_absence_changes_no_byte(tmp_path: Path) -> None:
    folder = remade(tmp_path, tracers=("fdg",), age_years=(18.0, 90.0))
    assert load_bundle(folder).served.tracers == ("fdg",)
    assert load_bundle(folder).served.age_years == (18.0, 90.0)
    plain = remade(tmp_path, "plain")
    assert '"tracers"' not in (plain / "configs" / "metadata.json").read_text()


# ------------------------------------------------------------------------------------------------------------------ age


def aged(**header: Any) -> list[Instance]:
    return [replace(i, attributes={**i.attributes, **header}) for i in pet()[:2]]


@pytest.mark.parametrize(
    ("header", "years"),
    [
        ({"PatientAge": "063Y"}, 63.0),
        ({"PatientAge": "006M"}, 0.5),
        ({"PatientAge": "063Y", "PatientBirthDate": "19450101", "StudyDate": "20080601"}, 63.0),
        ({"PatientBirthDate": "19450602", "StudyDate": "20080601"}, 62.0),
        ({"PatientBirthDate": "20080101", "StudyDate": "20080601"}, 152 / 365.25),
        ({"PatientAge": "063Y", "PatientBirthDate": "20000101", "StudyDate": "20080601"}, None),
        ({"PatientAge": "63"}, None),
        ({"PatientAge": "163Y"}, None),
        ({"PatientBirthDate": "20100101", "StudyDate": "20080601"}, None),
        ({}, None),
    ],
)
def test_age(header: dict[str, str], years: float | None) -> None:
    blank = dict.fromkeys(("PatientAge", "PatientBirthDate", "StudyDate"))
    assert age_years(aged(**blank | header)) == (None if years is None else pytest.approx(years))


def test_slices_of_different_age_are_of_unknown_age() -> None:
    assert age_years([*aged(PatientAge="063Y"), *aged(PatientAge="064Y")]) is None


# ---------------------------------------------------------------------------------------------------- through `analyse`


def injected(instances: Sequence[Instance], what: dict[str, Any] | None) -> list[Instance]:
    """The same study with another tracer in its header; dose and times stay."""

    def changed(i: Instance) -> Instance:
        told = dict(i.attributes["RadiopharmaceuticalInformationSequence"][0])
        told |= {"Radiopharmaceutical": None, "RadiopharmaceuticalCodeSequence": []} | (what or {})
        return replace(i, attributes={**i.attributes, "RadiopharmaceuticalInformationSequence": [told]})

    return [changed(i) if i.modality == "PT" else i for i in instances]


@pytest.fixture(scope="module")
def study(shared_data: Path) -> Sequence[Instance]:
    return scan_folder(shared_data / "geometry" / "baseline").instances


@pytest.mark.data
@pytest.mark.parametrize(
    "what",
    [
        PSMA,
        {"Radiopharmaceutical": "68Ga-DOTATOC"},  # with F-18 as nuclide, too
        None,
        PSMA | {"RadiopharmaceuticalCodeSequence": [FDG_CODE]},
        {"Radiopharmaceutical": "Newtraceride", "RadiopharmaceuticalCodeSequence": [FDG_CODE]},
    ],
)
def test_a_model_for_fdg_is_not_even_run_on_something_else(
    what: dict[str, Any] | None, study: Sequence[Instance], tmp_path: Path
) -> None:
    model = Model(load_bundle(remade(tmp_path, tracers=("fdg",))), Untouched())
    assert model.facts.demonstration, "a demonstration model is bound to its tracer too"
    found = analyse(assemble(injected(study, what)), model)
    assert found.lesions, "the measures stay"
    assert found.prediction.status == "withheld"
    assert found.prediction.applicability == "outside"
    assert found.prediction.probability is None
    assert found.saliency is None
    assert "the model is for fdg" in found.prediction.applicability_reasons[0]
    contradicted = "tracer-contradicted" in [c.code for c in found.cautions]
    assert contradicted == bool(what and (len(what) == 2 or "DOTATOC" in str(what)))


@pytest.mark.data
def test_on_fdg_it_answers_as_the_shipped_one_does(study: Sequence[Instance], tmp_path: Path) -> None:
    pair = assemble(study)
    bundles = (remade(tmp_path, tracers=("fdg",)), PACKAGED / "demo")
    strict, shipped = (analyse(pair, Model.load(bundle, threads=1)) for bundle in bundles)
    assert strict.tracer.name == "fdg"
    assert strict.prediction.probability == shipped.prediction.probability is not None
    assert subject_of(pair).tracer == strict.tracer


@pytest.mark.data
def test_the_results_are_written_without_the_probability(shared_data: Path, tmp_path: Path) -> None:
    bundle = remade(tmp_path, tracers=("psma-11", "psma-1007"))
    folder, out = shared_data / "geometry" / "baseline", tmp_path / "out"
    answer = analyse_folder(folder, out, read_settings(), bundle=str(bundle))
    assert answer["status"] == "done"
    assert answer["prediction"]["status"] == "withheld"
    assert "psma-11 or psma-1007" in answer["prediction"]["applicability_reasons"][0]
    assert answer["tracer"]["name"] == "fdg"
    assert answer["lesions"]
    assert {"seg", "sr", "sr_viewer", "key_image"} <= {r["kind"] for r in answer["results"]}


def test_ranges_of_a_clinical_model_are_checked_before_its_network_runs(tmp_path: Path) -> None:
    from training.phantom.cohort import CohortSettings, draw, render

    settings = CohortSettings(1, seed=5)
    phantom = render(draw(settings)[0], settings)
    folder = remade(tmp_path, demonstration=False, ranges={"suv_max": (0.0, 0.001)})
    look = Model(load_bundle(folder), Untouched()).look(phantom.suv, phantom.ct, phantom.region)
    assert look.prediction.status == "withheld"
    assert "SUVmax" in look.prediction.applicability_reasons[0]
