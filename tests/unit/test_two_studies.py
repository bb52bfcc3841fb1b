"""PET and CT of two studies: one session, one patient, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from dicom_node.assemble import assemble, frames_without_ct, join_studies, with_ct_of_other_studies
from dicom_node.commands.offline import analyse_folder
from dicom_node.config import Settings
from inference.facts import Instance, Refused
from tests.images import FRAME
from tests.studies import STUDY, ct, pet, rtstruct, seg

OTHER, THIRD = f"{STUDY}.98", f"{STUDY}.99"


def elsewhere(instances: list[Instance], study: str = OTHER) -> list[Instance]:
    return [replace(i, study_instance_uid=study) for i in instances]


def added(own: list[Instance], others: list[Instance]) -> set[str]:
    joined = with_ct_of_other_studies(own, others)
    assert joined[: len(own)] == own
    return {i.series_instance_uid.rsplit(".", 1)[1] for i in joined[len(own) :]}


def test_the_ct_of_the_same_patient_and_frame_comes_with_its_regions() -> None:
    assert added(pet(), elsewhere([*ct(), rtstruct(), *pet(series=7)])) == {"2", "3"}


@pytest.mark.parametrize(
    "others",
    [
        elsewhere(ct(PatientID="P2")),
        elsewhere(ct(PatientName="Doe^John")),
        elsewhere(ct(IssuerOfPatientID="Elsewhere")),
        elsewhere(ct(FrameOfReferenceUID="9.9")),
        elsewhere(ct(FrameOfReferenceUID=...)),
        elsewhere(ct(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])),
        elsewhere(ct(ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"])),
        elsewhere(ct(ManufacturerModelName="petct-node")),
        elsewhere([rtstruct()]),
        [*elsewhere(ct(FrameOfReferenceUID="9.9")), *elsewhere([rtstruct(), seg()], THIRD)],
    ],
)
def test_nothing_else_is_added(others: list[Instance]) -> None:
    assert added(pet(), others) == set()


def test_a_patient_without_id_is_nobodys() -> None:
    nobody = {"PatientID": "", "PatientName": ""}
    assert added(pet(**nobody), elsewhere(ct(**nobody))) == set()


def test_a_study_with_a_ct_of_its_own_needs_no_other() -> None:
    assert frames_without_ct(pet()) == {FRAME}
    assert frames_without_ct([*pet(), *ct()]) == set()
    assert added([*pet(), *ct()], elsewhere(ct(series=9))) == set()


def test_the_pair_is_allowed_and_flagged_or_refused_with_the_setting_that_would_allow_it() -> None:
    both = [*pet(), *elsewhere(ct())]
    assert [c.code for c in assemble(both, two_studies=True).cautions] == ["ct-of-another-study"]
    with pytest.raises(Refused, match="two_studies = true") as caught:
        assemble(both)
    assert caught.value.code == "several-studies"


def test_of_several_studies_with_a_pet_none_is_chosen() -> None:
    assert join_studies([*pet(), *elsewhere(ct())])
    assert join_studies([*pet(), *elsewhere([*pet(series=7), *ct()])]) == []
    assert join_studies([*pet(), *ct(), *elsewhere(ct(series=9))]) == []


@pytest.mark.data
def test_analyse_honours_the_setting(tmp_path: Path, shared_data: Path) -> None:
    for path in sorted((shared_data / "geometry" / "baseline").rglob("*.dcm")):
        ds = pydicom.dcmread(path)
        if ds.Modality == "CT":
            ds.StudyInstanceUID = OTHER
        ds.save_as(tmp_path / f"{ds.Modality}_{path.name}")
    refused = analyse_folder(tmp_path, tmp_path / "out", Settings())
    assert (refused["status"], refused["reason_code"]) == ("refused", "several-studies")
    done = analyse_folder(tmp_path, tmp_path / "out", Settings(assemble={"two_studies": True}))
    assert done["status"] == "done", done["reason"]
    assert "ct-of-another-study" in {w["code"] for w in done["warnings"]}
    report = pydicom.dcmread(next(Path(r["path"]) for r in done["results"] if r["kind"] == "sr"))
    assert report.StudyInstanceUID != OTHER
    (current,), (other,) = report.CurrentRequestedProcedureEvidenceSequence, report.PertinentOtherEvidenceSequence
    assert (current.StudyInstanceUID, other.StudyInstanceUID) == (report.StudyInstanceUID, OTHER)
