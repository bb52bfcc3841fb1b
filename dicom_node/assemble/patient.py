"""Whose images they are: two patients are never combined."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dicom_node.assemble.series import CT_CLASSES, PET_CLASSES
from inference.facts import Instance, Refused

IDENTITY = ("PatientID", "IssuerOfPatientID", "PatientName")


def refuse_two_patients(instances: Sequence[Instance]) -> None:
    """Every image and region of the study names the same patient; what is absent in one place must not be elsewhere.

    Birth date and sex may be left out (de-identification removes them from some objects), but not contradict.
    """
    images = [i for i in instances if i.sop_class_uid in PET_CLASSES or i.sop_class_uid in CT_CLASSES]
    everyone = images + [i for i in instances if i.modality in ("RTSTRUCT", "SEG")]
    differing = [k for k in IDENTITY if len(_said(everyone, k)) > 1]
    differing += [k for k in ("PatientBirthDate", "PatientSex") if len(_said(everyone, k) - {""}) > 1]
    if differing:
        raise Refused(
            "patient-mismatch",
            f"The study's images do not name the same patient: {', '.join(differing)} differ. "
            "Two patients are never combined; correct the study at its source.",
            differing=differing,
        )


def _said(instances: Iterable[Instance], keyword: str) -> set[str]:
    return {same_text(i.get(keyword, "")) for i in instances}


def who(instance: Instance) -> tuple[str, ...]:
    """Patient ID, issuer and name as they are compared."""
    return tuple(same_text(instance.get(keyword, "")) for keyword in IDENTITY)


def same_text(value: object) -> str:
    """A name or id as compared: case, trailing ^ and runs of spaces say nothing (PS3.5 6.2.1)."""
    return " ".join(str(value).rstrip("^= ").split()).casefold()
