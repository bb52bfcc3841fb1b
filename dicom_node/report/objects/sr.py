"""The main structured report: the complete record (PS3.16 TID 1500, 1501, 1411)."""

from __future__ import annotations

from collections.abc import Sequence

from highdicom import sr
from pydicom.dataset import Dataset

from dicom_node.report import codes
from dicom_node.report.document import add, document, number, replacing, text
from dicom_node.report.evidence import Evidence
from dicom_node.report.objects.segmentation import Segment
from dicom_node.report.pictures import views
from dicom_node.report.references import frame_numbers
from dicom_node.report.words import verdict
from inference.facts import Analysis, Lesion, SuvRule, SuvScale

SERIES = (9001, "AI PET/CT results (research use only)")


def main_report(
    analysis: Analysis, evidence: Evidence, parts: Sequence[Segment], segmentation: Dataset | None
) -> Dataset:
    """Prediction, applicability, SUV rule and warnings, then one volumetric group for each segment."""
    groups: list[object] = [_study_group(analysis, evidence)]
    if segmentation is not None:
        groups.extend(_segment_group(part, segmentation, analysis, evidence) for part in parts)
    pair = analysis.pair
    images = [*pair.pet.instances, *pair.ct.instances, *([pair.region] if pair.region else [])]
    others = [segmentation] if segmentation is not None else []
    return document(evidence, "sr", SERIES, groups, images, others)


def prediction_numbers(analysis: Analysis) -> list[sr.Measurement]:
    """Probability and, where the model has an interval, its bounds, in percent; none where nothing may be printed."""
    spoken = verdict.spoken(analysis)
    if spoken is None:
        return []
    bounds = zip((codes.LOWER_BOUND, codes.UPPER_BOUND), spoken.bounds or (), strict=False)
    return [
        number(codes.concept(analysis.model.probability_code), spoken.percent, codes.PERCENT),
        *(number(name, value, codes.PERCENT) for name, value in bounds),
    ]


def region_numbers(lesion: Lesion) -> list[sr.Measurement]:
    """Measures of the lesion's region: SUVmax, SUVmean, SUVpeak, volume, mean CT number."""
    return [
        _suv(lesion.suv_max, codes.MAXIMUM),
        _suv(lesion.suv_mean, codes.MEAN),
        _suv(lesion.suv_peak, codes.PEAK),
        number(codes.VOLUME, lesion.volume_ml, codes.MILLILITRE),
        number(codes.ATTENUATION, lesion.mean_hu, codes.HOUNSFIELD, derivation=codes.MEAN),
    ]


def also_numbers(lesion: Lesion, scales: Sequence[SuvScale]) -> list[sr.Measurement]:
    """SUVmax, SUVmean and SUVpeak of the other kinds that were asked for."""
    told = ((lesion.suv_max, codes.MAXIMUM), (lesion.suv_mean, codes.MEAN), (lesion.suv_peak, codes.PEAK))
    return [
        number(name, value * scale.factor, unit, derivation=derivation, method=method)
        for scale in scales
        for name, unit, method in [codes.SUV_KINDS[scale.suv_type]]
        for value, derivation in told
    ]


def mtv_numbers(lesion: Lesion) -> list[sr.Measurement]:
    """Measures of the metabolic volume alone: MTV, TLG, and the threshold that bounds it."""
    return [
        number(codes.METABOLIC_VOLUME, lesion.mtv_ml, codes.MILLILITRE),
        number(codes.TOTAL_LESION_GLYCOLYSIS, lesion.tlg, codes.GRAM),
        number(codes.MTV_THRESHOLD, lesion.mtv_threshold, codes.G_PER_ML_SUV_BW),
    ]


def _suv(value: float, derivation: object) -> sr.Measurement:
    return number(codes.SUV_BW, value, codes.G_PER_ML_SUV_BW, derivation=derivation, method=codes.SUV_BW_METHOD)


def _numbers(part: Segment, also: Sequence[SuvScale]) -> list[sr.Measurement]:
    lesion = part.lesion
    if part.part == "region":
        return [*region_numbers(lesion), *also_numbers(lesion, also)]
    if part.part == "both":
        region, mtv = region_numbers(lesion), mtv_numbers(lesion)
        return [*region[:3], *mtv[:2], *region[3:], *mtv[2:], *also_numbers(lesion, also)]
    return [_suv(lesion.suv_max, codes.MAXIMUM), _suv(lesion.mtv_suv_mean, codes.MEAN), *mtv_numbers(lesion)]


def node_algorithm(evidence: Evidence) -> sr.AlgorithmIdentification:
    """What found and measured the lesions."""
    return sr.AlgorithmIdentification(
        name="petct-node lesions",
        version=evidence.run.node_version,
        manufacturer=codes.MANUFACTURER,
        parameters=[f"settings sha256:{evidence.run.settings_digest}"],
    )


def _model_algorithm(analysis: Analysis) -> sr.AlgorithmIdentification:
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
        ],
    )


def _study_group(analysis: Analysis, evidence: Evidence) -> sr.MeasurementsAndQualitativeEvaluations:
    """TID 1501: what is said of the study as a whole."""
    shown = verdict.shown_lesions(analysis.lesions)
    tracking = f"Prediction: {analysis.model.target}"
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=evidence.uid("tracking prediction"), identifier=tracking),
        finding_type=codes.concept(analysis.model.status_code),
        algorithm_id=_model_algorithm(analysis),
        measurements=[
            *prediction_numbers(analysis),
            number(codes.LESION_COUNT, len(analysis.lesions), codes.LESIONS),
        ],
        qualitative_evaluations=_evaluations(analysis),
        source_images=_key_image(analysis),
    )
    add(group, [*_statements(analysis, len(shown)), *replacing(evidence)])
    return group


def _evaluations(analysis: Analysis) -> list[sr.QualitativeEvaluation]:
    state = verdict.state(analysis)
    applicability = verdict.applicability(analysis.prediction)
    evaluations = [
        sr.QualitativeEvaluation(codes.PREDICTION_STATE, codes.PREDICTION_STATES[state]),
        sr.QualitativeEvaluation(codes.APPLICABILITY, codes.APPLICABILITIES[applicability]),
    ]
    status = {"indeterminate": codes.INDETERMINATE}.get(state)
    if state == "reported" and analysis.prediction.label is not None:
        status = codes.POSITIVE if analysis.prediction.label else codes.NEGATIVE
    if status is not None:
        evaluations.insert(0, sr.QualitativeEvaluation(codes.concept(analysis.model.status_code), status))
    return evaluations


def _key_image(analysis: Analysis) -> list[sr.SourceImageForMeasurementGroup] | None:
    if not analysis.lesions:
        return None
    instance = analysis.pair.pet.instances[views.key_slice(analysis)]
    number_in_object = frame_numbers(instance)
    return [sr.SourceImageForMeasurementGroup(instance.sop_class_uid, instance.sop_instance_uid, number_in_object)]


def statements(analysis: Analysis) -> list[sr.TextContentItem]:
    """What must stand in every report: research use only, the verdict, the model's statement."""
    items = [
        text(codes.COMMENT, verdict.RESEARCH_USE_ONLY),
        text(codes.COMMENT, f"{verdict.headline(analysis)}."),
    ]
    if analysis.model.statement:
        items.append(text(codes.MODEL_STATEMENT, analysis.model.statement))
    return items


def _statements(analysis: Analysis, shown: int) -> list[sr.TextContentItem]:
    rule = analysis.rule
    return [
        *statements(analysis),
        text(codes.COMMENT, f"{verdict.lesion_count(len(analysis.lesions), shown)}."),
        *(text(codes.APPLICABILITY_REASON, reason) for reason in analysis.prediction.applicability_reasons),
        text(codes.SUV_RULE, f"{rule.suv_type}: {rule.rule}"),
        *(text(codes.SUV_RULE, f"{s.suv_type}: SUVbw × {s.factor:.9g}, {s.formula}") for s in analysis.also_suv),
        *(text(codes.SUV_INPUT, f"{name} = {value}") for name, value in _inputs(rule).items()),
        text(codes.COMMENT, verdict.tracer(analysis.tracer)),
        *(text(codes.COMMENT, verdict.reference(r)) for r in analysis.references),
        *(text(codes.WARNING, f"{caution.code}: {caution.text}") for caution in verdict.cautions(analysis)),
    ]


def _inputs(rule: SuvRule) -> dict[str, str | float]:
    when = {"reference_time": rule.reference_time} if rule.reference_time else {}
    return {**rule.inputs, **when}


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
            source_series=sr.SourceSeriesForSegmentation(analysis.pair.pet.series_instance_uid),
        ),
        finding_type=codes.LESION,
        algorithm_id=node_algorithm(evidence),
        measurements=_numbers(part, analysis.also_suv),
    )
    add(group, [text(codes.REGION_SOURCE, part.lesion.source), text(codes.COMMENT, part.description)])
    return group
