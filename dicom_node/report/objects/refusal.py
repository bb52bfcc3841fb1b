"""The answer to a study we do not analyse: a structured report and a key image that say why."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from highdicom import sr
from pydicom.dataset import Dataset

from dicom_node import errors
from dicom_node.report import codes
from dicom_node.report.document import about_pictures, add, document, main_series, replacing, text
from dicom_node.report.evidence import Evidence
from dicom_node.report.listed import ResultObjects
from dicom_node.report.words import verdict
from inference.facts import Instance, ModelFacts, Refused, Run


def refusal_evidence(
    instances: Sequence[Instance], refused: Refused, model: ModelFacts | None, run: Run
) -> tuple[Evidence, list[Instance]]:
    """Evidence headed by the first readable PET image, else CT, and the images of the same patient and study.

    Where PET and CT are of two patients the answer goes to the PET's alone.  Raises ``Refused`` where no image can be
    read, or the patient cannot be named (source-identity-invalid): then there is nothing to attach an answer to.
    """
    lines = sorted(f"{instance.sop_instance_uid} {instance.sha256}" for instance in instances)
    digest = hashlib.sha256("\n".join([*lines, refused.code, refused.reason]).encode()).hexdigest()
    images = sorted(
        (i for i in instances if i.modality in ("PT", "CT")), key=lambda i: (i.modality != "PT", i.sop_instance_uid)
    )
    for image in images:
        try:
            evidence = Evidence.of(image, digest, model, run)
        except Refused as unnamed:
            if unnamed.code == "source-identity-invalid":
                raise  # nor can an answer carry that patient
            continue  # this file is part of the reason for refusal; another may name the patient
        found = [i for i in images if _belongs(i, image)]
        return replace(evidence, images="PET/CT" if image.modality == "PT" else "CT"), found
    raise Refused(
        "nothing-to-answer-to", "No PET or CT image of the study can be read, so no result can be attached to it."
    )


def _belongs(instance: Instance, image: Instance) -> bool:
    return instance.study_instance_uid == image.study_instance_uid and all(
        instance.get(keyword) == image.get(keyword) for keyword in ("PatientID", "IssuerOfPatientID", "PatientName")
    )


def refusal_report(refused: Refused, evidence: Evidence, images: Sequence[Instance], results: ResultObjects) -> Dataset:
    """The SR of a refusal: state, code and reason, and nothing measured.  ``results``: the set's other objects."""
    row, say = errors.row(refused.code), evidence.say
    reason = verdict.in_full(verdict.refusal_sentence(refused, say), refused.reason)
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=evidence.uid("tracking refusal"), identifier="Analysis"),
        finding_type=codes.ANALYSIS_STATE,
        qualitative_evaluations=[
            sr.QualitativeEvaluation(codes.ANALYSIS_STATE, codes.NOT_ANALYSED),
            sr.QualitativeEvaluation(codes.REFUSAL_CLASS, codes.concept(row.concept)),
        ],
    )
    model = evidence.model
    add(
        group,
        [
            text(codes.REFUSAL_CODE, refused.code),
            text(codes.REFUSAL_REASON, reason),
            text(codes.COMMENT, say("not-analysed-because", reason=verdict.refusal_sentence(refused, say))),
            text(codes.COMMENT, verdict.what_to_do(refused, say)),
            text(codes.COMMENT, say("research-use-only")),
            *about_pictures(evidence),
            *replacing(evidence),
            *([text(codes.MODEL_STATEMENT, model.statement)] if model and model.statement else []),
        ],
    )
    return document(evidence, "sr", main_series(evidence), [group], images, results)
