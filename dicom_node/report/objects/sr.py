"""The main structured report: the complete record (PS3.16 TID 1500, 1501, 1411)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from highdicom import sr
from pydicom.dataset import Dataset

from dicom_node.report import codes
from dicom_node.report.document import (
    Group,
    about_pictures,
    add,
    document,
    main_series,
    number,
    replacing,
    text,
)
from dicom_node.report.evidence import Evidence
from dicom_node.report.listed import ResultObjects
from dicom_node.report.objects.measures import lesions_with_other_suv, prediction_numbers, segment_numbers
from dicom_node.report.objects.segmentation import Segment
from dicom_node.report.objects.values import values_given
from dicom_node.report.pictures import views
from dicom_node.report.references import frame_numbers
from dicom_node.report.words import verdict
from dicom_node.report.words.phrases import Phrases
from inference.facts import Analysis, Caution, SuvRule

WARNING_BYTES = 24_000  # of a report that is to stay within 256 KB; some eighty sentences
ITEM_BYTES = 120  # what a text item takes beside its text


def main_report(analysis: Analysis, evidence: Evidence, parts: Sequence[Segment], results: ResultObjects) -> Dataset:
    """Prediction, applicability, SUV rule and warnings, then one volumetric group for each segment.

    ``results``: all other objects of the set, which this report is the root of; "seg" among them where there are
    ``parts``.
    """
    groups: list[Group] = [_study_group(analysis, evidence)]
    for segmentation in results.get("seg", ()):
        groups.extend(_segment_group(part, segmentation, analysis, evidence) for part in parts)
    pair = analysis.pair
    images = [*pair.images, *([pair.region] if pair.region else [])]
    return document(
        evidence, "sr", main_series(evidence), groups, images, results, values=values_given(analysis.values)
    )


def node_algorithm(evidence: Evidence) -> sr.AlgorithmIdentification:
    """What found and measured the lesions; it stands in every group, so its settings stand in the study's."""
    return sr.AlgorithmIdentification(name="petct-node lesions", version=evidence.run.node_version)


def _model_algorithm(analysis: Analysis, evidence: Evidence) -> sr.AlgorithmIdentification:
    model = analysis.model
    return sr.AlgorithmIdentification(
        name=model.name,
        version=model.version,
        family=codes.ARTIFICIAL_INTELLIGENCE,
        manufacturer=codes.MANUFACTURER,
        parameters=[
            f"manifest sha256:{model.digest}",
            f"preprocessing sha256:{model.preprocessing_digest}",
            f"backend {model.backend}, {model.precision}",
            f"settings sha256:{evidence.run.settings_digest}",
        ],
    )


def _study_group(analysis: Analysis, evidence: Evidence) -> sr.MeasurementsAndQualitativeEvaluations:
    """TID 1501: what is said of the study as a whole."""
    shown = verdict.shown_lesions(analysis.lesions)
    tracking = f"Prediction: {analysis.model.target}"
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=evidence.uid("tracking prediction"), identifier=tracking),
        finding_type=codes.concept(analysis.model.status_code),
        algorithm_id=_model_algorithm(analysis, evidence),
        measurements=[
            *prediction_numbers(analysis, uncertainty=True),
            number(codes.LESION_COUNT, len(analysis.lesions), codes.LESIONS),
        ],
        qualitative_evaluations=_evaluations(analysis),
        source_images=_key_image(analysis),
    )
    add(group, [*_statements(analysis, len(shown), evidence.say), *about_pictures(evidence), *replacing(evidence)])
    return group


def _evaluations(analysis: Analysis) -> list[sr.QualitativeEvaluation]:
    state = verdict.state(analysis)
    applicability = verdict.applicability(analysis.prediction)
    evaluations = [
        sr.QualitativeEvaluation(codes.PREDICTION_STATE, codes.PREDICTION_STATES[state]),
        sr.QualitativeEvaluation(codes.APPLICABILITY, codes.APPLICABILITIES[applicability]),
    ]
    status = {"indeterminate": codes.INDETERMINATE}.get(state)
    if verdict.demonstrates_only(analysis):
        status = None  # a code is read by machines, which may not look for the verdict beside it
    elif state == "reported" and analysis.prediction.label is not None:
        status = codes.POSITIVE if analysis.prediction.label else codes.NEGATIVE
    if status is not None:
        evaluations.insert(0, sr.QualitativeEvaluation(codes.concept(analysis.model.status_code), status))
    return evaluations


def _key_image(analysis: Analysis) -> list[sr.SourceImageForMeasurementGroup] | None:
    if not analysis.lesions:
        return None
    instance = analysis.pair.reference.instances[views.key_slice(analysis)]
    number_in_object = frame_numbers(instance)
    return [sr.SourceImageForMeasurementGroup(instance.sop_class_uid, instance.sop_instance_uid, number_in_object)]


def statements(analysis: Analysis, say: Phrases) -> list[sr.TextContentItem]:
    """What must stand in every report: research use only, the verdict, the model's statement."""
    items = [
        text(codes.COMMENT, say("research-use-only")),
        text(codes.COMMENT, say("sentence", text=verdict.headline(analysis, say))),
    ]
    if analysis.model.whole_body and analysis.prediction.status != "none":
        items.append(text(codes.COMMENT, say("sentence", text=say("of-the-study"))))
    if analysis.model.statement:
        items.append(text(codes.MODEL_STATEMENT, analysis.model.statement))
    return items


def _statements(analysis: Analysis, shown: int, say: Phrases) -> list[sr.TextContentItem]:
    rule = analysis.rule
    return [
        *statements(analysis, say),
        text(codes.COMMENT, say("sentence", text=verdict.lesion_count(len(analysis.lesions), shown, say))),
        *(
            text(codes.APPLICABILITY_REASON, verdict.in_full(say.reason(reason), reason))
            for reason in analysis.prediction.applicability_reasons
        ),
        *([text(codes.SUV_RULE, f"{rule.suv_type}: {rule.rule}")] if rule else []),
        *(text(codes.SUV_RULE, f"{s.suv_type}: SUVbw × {s.factor:.9g}, {s.formula}") for s in analysis.also_suv),
        *_other_suv_left_out(analysis, shown, say),
        *(text(codes.SUV_INPUT, f"{name} = {value}") for name, value in (_inputs(rule) if rule else {}).items()),
        *([text(codes.COMMENT, verdict.tracer(analysis.tracer, say))] if analysis.pair.pet else []),
        *(text(codes.COMMENT, verdict.reference(r, say)) for r in analysis.references),
        *_what_groups_hold(analysis, say),
        *_warnings(analysis, say),
    ]


def _what_groups_hold(analysis: Analysis, say: Phrases) -> list[sr.TextContentItem]:
    """Which voxels the groups below are of, once for all of them: a report of 20 lesions would say it 40 times."""
    lesions = verdict.shown_lesions(analysis.lesions)
    said = [say("regions-of", source=verdict.region_source(lesion, say)) for lesion in lesions]
    volumes = [say("volumes-of")] if any(lesion.uptake for lesion in lesions) else []
    return [text(codes.COMMENT, sentence) for sentence in (*dict.fromkeys(said), *volumes)]


def _warnings(analysis: Analysis, say: Phrases) -> list[sr.TextContentItem]:
    """Each warning, the most important first, as many as the report has room for; how many it leaves out is said."""
    said = [f"{caution.code}: {_said(caution, say)}" for caution in verdict.cautions(analysis)]
    sizes = itertools.accumulate(len(warning.encode()) + ITEM_BYTES for warning in said)
    listed = said[: sum(size <= WARNING_BYTES for size in sizes)]
    items = [text(codes.WARNING, warning) for warning in listed]
    if left_out := len(said) - len(listed):
        items.append(text(codes.WARNING, say("warnings-left-out", number=left_out)))
    return items


def _other_suv_left_out(analysis: Analysis, shown: int, say: Phrases) -> list[sr.TextContentItem]:
    told = lesions_with_other_suv(len(analysis.also_suv))
    return [text(codes.COMMENT, say("other-suv-some", number=told))] if 0 < told < shown else []


def _said(caution: Caution, say: Phrases) -> str:
    return verdict.in_full(verdict.caution_sentence(caution, say), caution.text)


def _inputs(rule: SuvRule) -> dict[str, str | float]:
    when = {"reference_time": rule.reference_time} if rule.reference_time else {}
    return {**rule.inputs, **when}


def _has_other_suv(part: Segment, analysis: Analysis) -> bool:
    first = verdict.shown_lesions(analysis.lesions)[: lesions_with_other_suv(len(analysis.also_suv))]
    return any(part.lesion is lesion for lesion in first)


def _segment_group(
    part: Segment, segmentation: Dataset, analysis: Analysis, evidence: Evidence
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """TID 1411: a segment with its own numbers and no others."""
    group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=part.tracking_uid, identifier=part.tracking_id),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=part.number,
            source_series=sr.SourceSeriesForSegmentation(analysis.pair.reference.series_instance_uid),
        ),
        finding_type=codes.LESION,
        algorithm_id=node_algorithm(evidence),
        measurements=segment_numbers(part, analysis.also_suv if _has_other_suv(part, analysis) else ()),
    )
    add(group, [text(codes.REGION_SOURCE, part.lesion.source)])
    return group
