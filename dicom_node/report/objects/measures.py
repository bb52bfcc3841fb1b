"""The numbers of the structured reports: the prediction, and the measures of each lesion (PS3.16 TID 300)."""

from __future__ import annotations

from collections.abc import Sequence

from highdicom import sr
from pydicom.sr.coding import Code

from dicom_node.report import codes
from dicom_node.report.document import number
from dicom_node.report.evidence import code_item
from dicom_node.report.objects.segmentation import Segment
from dicom_node.report.words import verdict
from inference.facts import Analysis, Lesion, SuvScale

MOST_OTHER_SUV = 64  # numbers, of some 650 bytes each: a report is to stay within 256 KB


def prediction_numbers(analysis: Analysis, *, uncertainty: bool = False) -> list[sr.Measurement]:
    """Probability and, where the model has an interval, its bounds, in percent; none where nothing may be printed.

    ``uncertainty``: the interval below the probability as well, as a reader of TID 310 looks for it.
    """
    spoken = verdict.spoken(analysis)
    if spoken is None:
        return []
    more = {"properties": _uncertainty(spoken.percent, spoken.bounds)} if uncertainty and spoken.bounds else {}
    bounds = zip((codes.LOWER_BOUND, codes.UPPER_BOUND), spoken.bounds or (), strict=False)
    return [
        number(codes.concept(analysis.model.probability_code), spoken.percent, codes.PERCENT, **more),
        *(number(name, value, codes.PERCENT) for name, value in bounds),
    ]


def _uncertainty(percent: float, bounds: tuple[float, float]) -> sr.MeasurementProperties:
    """How far the bounds lie from the value (TID 310), in the value's own unit; highdicom would write "no units"."""
    properties = sr.MeasurementProperties(
        upper_measurement_uncertainty=round(bounds[1] - percent, 2),
        lower_measurement_uncertainty=round(percent - bounds[0], 2),
    )
    for item in properties:
        item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence = [code_item(codes.PERCENT)]
    return properties


def viewer_numbers(lesion: Lesion) -> list[sr.Measurement]:
    """Measures of the lesion's region under names that tell them apart by their meaning alone."""
    if lesion.uptake is None:
        return _size_and_density(lesion)
    method = codes.SUV_BW_METHOD
    return [
        number(name, value, codes.G_PER_ML_SUV_BW, derivation=derivation, method=method)
        for name, (value, derivation) in zip(
            (codes.SUV_MAX, codes.SUV_MEAN, codes.SUV_PEAK), _uptake(lesion), strict=True
        )
    ] + _size_and_density(lesion)


def lesions_with_other_suv(kinds: int) -> int:
    """For how many lesions, the first ones, other kinds of SUV are given, so that the report keeps within its size."""
    return MOST_OTHER_SUV // (3 * kinds) if kinds else 0


def segment_numbers(part: Segment, also: Sequence[SuvScale]) -> list[sr.Measurement]:
    """The measures of a segment's own voxels, those of other kinds of SUV (``also``) last."""
    lesion = part.lesion
    if part.part == "mtv":
        on_pet = lesion.on_pet
        return [_suv(on_pet.suv_max, codes.MAXIMUM), _suv(on_pet.mtv_suv_mean, codes.MEAN), *_mtv_numbers(lesion)]
    if lesion.uptake is None:
        return _size_and_density(lesion)
    uptake = [_suv(value, derivation) for value, derivation in _uptake(lesion)]
    mtv = _mtv_numbers(lesion) if part.part == "both" else []
    return [*uptake, *mtv[:2], *_size_and_density(lesion), *mtv[2:], *_also_numbers(lesion, also)]


def _uptake(lesion: Lesion) -> tuple[tuple[float, Code], ...]:
    on_pet = lesion.on_pet
    return (on_pet.suv_max, codes.MAXIMUM), (on_pet.suv_mean, codes.MEAN), (on_pet.suv_peak, codes.PEAK)


def _suv(value: float, derivation: Code) -> sr.Measurement:
    return number(codes.SUV_BW, value, codes.G_PER_ML_SUV_BW, derivation=derivation, method=codes.SUV_BW_METHOD)


def _size_and_density(lesion: Lesion) -> list[sr.Measurement]:
    means = (
        (codes.ATTENUATION, lesion.mean_hu, codes.HOUNSFIELD),
        (codes.IODINE, lesion.mean_iodine, codes.MG_PER_ML),
    )
    return [
        number(codes.VOLUME, lesion.volume_ml, codes.MILLILITRE),
        *(number(name, value, unit, derivation=codes.MEAN) for name, value, unit in means if value is not None),
    ]


def _mtv_numbers(lesion: Lesion) -> list[sr.Measurement]:
    """Measures of the metabolic volume alone: MTV, TLG, and the threshold that bounds it."""
    return [
        number(codes.METABOLIC_VOLUME, lesion.on_pet.mtv_ml, codes.MILLILITRE),
        number(codes.TOTAL_LESION_GLYCOLYSIS, lesion.on_pet.tlg, codes.GRAM),
        number(codes.MTV_THRESHOLD, lesion.on_pet.mtv_threshold, codes.G_PER_ML_SUV_BW),
    ]


def _also_numbers(lesion: Lesion, scales: Sequence[SuvScale]) -> list[sr.Measurement]:
    """SUVmax, SUVmean and SUVpeak of the other kinds."""
    return [
        number(name, value * scale.factor, unit, derivation=derivation, method=method)
        for scale in scales
        for name, unit, method in [codes.SUV_KINDS[scale.suv_type]]
        for value, derivation in _uptake(lesion)
    ]
