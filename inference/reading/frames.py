"""The frames of Enhanced and Legacy Converted Enhanced CT and PET as the single-frame images they could have been.

What a multi-frame object says of a frame stands in its shared and per-frame functional groups (PS3.3 C.7.6.16), of an
Enhanced PET also in words of its own (C.8.22): both are said again with the keywords of single-frame images, so that
no later step need know.  ``DecayCorrectionDateTime`` is kept: single-frame PET has nothing as exact.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from inference.facts import Instance, Refused
from inference.reading.header import listed, whole
from inference.reading.keywords import FRAME_MACROS, FUNCTIONAL_GROUPS, MOST_FRAMES, MULTIFRAME_CLASSES

PET_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.130", "1.2.840.10008.5.1.4.1.1.128.1"})
UNASSIGNED = ("UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence")
MAPPINGS = "RealWorldValueMappingSequence"

# The frame's own word for what a single-frame image calls otherwise.
SAID_AS = {
    "FrameType": "ImageType",
    "FrameAcquisitionDateTime": "AcquisitionDateTime",
    "FrameAcquisitionDuration": "ActualFrameDuration",  # both in ms
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "TemporalPositionIndex": "TemporalPositionIdentifier",
    "NominalCardiacTriggerDelayTime": "TriggerTime",
}
# Enhanced PET Corrections Module (C.8.22.6) and the values of Corrected Image (C.8.9.1.1.3) it stands for.
CORRECTIONS = {
    "DecayCorrected": "DECY",
    "AttenuationCorrected": "ATTN",
    "ScatterCorrected": "SCAT",
    "DeadTimeCorrected": "DTIM",
    "GantryMotionCorrected": "MOTN",
    "PatientMotionCorrected": "PMOT",
    "CountLossNormalizationCorrected": "CLN",
    "RandomsCorrected": "RAN",
    "NonUniformRadialSamplingCorrected": "RADL",
    "SensitivityCalibrated": "DCAL",
    "DetectorNormalizationCorrection": "NORM",
}
# PS3.16 CID 84, in UCUM, the best first; the SUV units also in the order of before 2018.
UNITS: dict[str, tuple[str, str | None]] = {
    "Bq/ml": ("BQML", None),
    "g/ml{SUVbw}": ("GML", "BW"),
    "{SUVbw}g/ml": ("GML", "BW"),
    "g/ml{SUVlbm}": ("GML", "LBM"),
    "{SUVlbm}g/ml": ("GML", "LBM"),
    "g/ml{SUVlbm(James128)}": ("GML", "LBMJAMES128"),
    "g/ml{SUVlbm(Janma)}": ("GML", "LBMJANMA"),
    "g/ml{SUVibw}": ("GML", "IBW"),
    "{SUVibw}g/ml": ("GML", "IBW"),
    "cm2/ml{SUVbsa}": ("CM2ML", None),
    "{SUVbsa}cm2/ml": ("CM2ML", None),
}
# Image Type value 4 (C.8.16.1.4) that leaves the values what they were measured as: HU, or activity.  A converter of
# legacy images keeps what stood there, often a maker's own word: of those only the ones that say otherwise count.
SAME_QUANTITY = frozenset({"NONE", "RESAMPLED", "MEAN", "MEDIAN", "FILTERED", "ENERGY_PROP_WT"})
OTHER_QUANTITY = frozenset({"MAXIMUM", "MINIMUM", "STD_DEVIATION", "SUBTRACTION", "DIVISION", "MULTIPLICATION"})
LEGACY_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.2.2", "1.2.840.10008.5.1.4.1.1.128.1"})
HOUNSFIELD = "[hnsf'U]"  # UCUM
# Two statements of one scale may differ by the rounding of a decimal string, not by more.
SCALE_RELATIVE_TOLERANCE = 1e-6
DECAYED = ("BQML", "CNTS")  # units for which the decay must be known


def single_frames(instances: Iterable[Instance]) -> list[Instance]:
    """Each multi-frame CT or PET object as its frames; every other instance, and every frame, as it is.

    A frame has the object's UIDs and digest, ``frame`` counts from 0, and its pixels lie where the frame's do.
    Raises ``Refused``: multiframe-unsupported, naming SOP Class and what is missing; not-slices; missing-slices where
    a concatenation lacks a part.
    """
    instances = list(instances)
    objects = [i for i in instances if is_multiframe(i)]
    _check_concatenations(objects)
    in_series = Counter(uid for uid, _ in {(i.series_instance_uid, i.sop_instance_uid) for i in objects})
    out: list[Instance] = []
    for instance in instances:
        if is_multiframe(instance):
            out.extend(_frames(instance, alone=in_series[instance.series_instance_uid] == 1))
        else:
            out.append(instance)
    return out


def is_multiframe(instance: Instance) -> bool:
    """Whether this is a multi-frame CT or PET object, not yet one of its frames."""
    return instance.frame < 0 and instance.sop_class_uid in MULTIFRAME_CLASSES


def _frames(instance: Instance, *, alone: bool) -> Iterator[Instance]:
    groups = [g for g in listed(instance.get(FUNCTIONAL_GROUPS[1])) if isinstance(g, Mapping)]
    count = whole(instance, "NumberOfFrames", 0)
    if count > MOST_FRAMES:
        raise _unmapped(instance, f"at most {MOST_FRAMES} frames, and has {count}")
    if count < 1 or len(groups) != count:
        raise _unmapped(instance, "as many Per-Frame Functional Groups (5200,9230) as Number of Frames (0028,0008)")
    top = {k: v for k, v in instance.attributes.items() if k not in FUNCTIONAL_GROUPS}
    shared = _item(instance.attributes, FUNCTIONAL_GROUPS[0])
    if alone and "ConcatenationUID" not in top:
        top.setdefault("NumberOfSlices", count)  # the object came whole
    length = whole(instance, "Rows", 0) * whole(instance, "Columns", 0) * whole(instance, "BitsAllocated", 0) // 8
    for number, group in enumerate(groups):
        attributes = _flat(top, shared, group) | {"InstanceNumber": number + 1, "NumberOfFrames": 1}
        _check_slice(instance, attributes)
        mappings = {_unit(m): m for m in [*_mappings(shared), *_mappings(group)]}
        if instance.sop_class_uid in PET_CLASSES:
            _as_single_frame_pet(instance, attributes, mappings)
        elif mappings and HOUNSFIELD not in mappings:
            raise Refused(
                "ct-not-hu",
                f"The CT's values are mapped to {min(mappings)[:16]} (Real World Value Mapping), not to HU.",
                sop_instance_uid=instance.sop_instance_uid,
            )
        _check_mapped(instance, attributes)
        plain = instance.pixel_offset >= 0
        yield replace(
            instance,
            frame=number,
            attributes=attributes,
            pixel_offset=instance.pixel_offset + number * length if plain else instance.pixel_offset,
            pixel_length=min(length, instance.pixel_length - number * length) if plain else instance.pixel_length,
        )


def _flat(top: Mapping[str, Any], shared: Mapping[str, Any], group: Mapping[str, Any]) -> dict[str, Any]:
    """One level of keywords: what is said of the frame before what is said of all, and that before what a converter
    found no place for.
    """
    out: dict[str, Any] = {}
    for item in (shared, group):
        for macro in UNASSIGNED:
            out.update(_item(item, macro))
    out.update({k: v for k, v in top.items() if v is not None or k not in out})
    own: dict[str, Any] = {}
    for item in (shared, group):
        for macro in FRAME_MACROS:
            if macro not in UNASSIGNED and macro != MAPPINGS:
                own.update(_item(item, macro))
    if "FrameAcquisitionDateTime" in own:
        out.pop("AcquisitionDate", None)
        out.pop("AcquisitionTime", None)
    return out | {SAID_AS.get(k, k): v for k, v in own.items()}


def _item(attributes: Mapping[str, Any], sequence: str) -> Mapping[str, Any]:
    """The first item of a sequence; empty where there is none."""
    items = listed(attributes.get(sequence))
    return items[0] if items and isinstance(items[0], Mapping) else {}


def _mappings(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [m for m in listed(item.get(MAPPINGS)) if isinstance(m, Mapping)]


def _unit(mapping: Mapping[str, Any]) -> str:
    code = _item(mapping, "MeasurementUnitsCodeSequence")
    return str(code.get("CodeValue") or code.get("LongCodeValue") or "something unnamed")  # long: over 16 characters


def _check_slice(instance: Instance, attributes: Mapping[str, Any]) -> None:
    """A frame must be a slice through what was measured (C.8.16.1.4, C.8.16.2.1.2, C.8.16.2.1.3)."""
    volumetric = str(attributes.get("VolumetricProperties") or "VOLUME").upper()
    technique = str(attributes.get("VolumeBasedCalculationTechnique") or "NONE").upper()
    contrast = str((*listed(attributes.get("ImageType")), *[None] * 4)[3] or "NONE").upper()
    legacy = instance.sop_class_uid in LEGACY_CLASSES
    measured = contrast not in OTHER_QUANTITY if legacy else contrast in SAME_QUANTITY
    if volumetric != "VOLUME" or technique not in ("NONE", "MPR") or not measured:
        raise Refused(
            "not-slices",
            f"Frames of the {MULTIFRAME_CLASSES[instance.sop_class_uid]} object are no slices of what was measured: "
            f"Volumetric Properties (0008,9206) {volumetric[:16]}, Volume Based Calculation Technique (0008,9207) "
            f"{technique[:16]}, fourth value of Image Type (0008,0008) {contrast[:16]}.",
            sop_instance_uid=instance.sop_instance_uid,
        )


def _check_mapped(instance: Instance, attributes: Mapping[str, Any]) -> None:
    names = {
        "ImagePositionPatient": "Image Position (Patient) (0020,0032)",
        "ImageOrientationPatient": "Image Orientation (Patient) (0020,0037)",
        "PixelSpacing": "Pixel Spacing (0028,0030)",
        "RescaleSlope": "Rescale Slope (0028,1053)",
        "RescaleIntercept": "Rescale Intercept (0028,1052)",
    }
    missing = [name for keyword, name in names.items() if attributes.get(keyword) is None]
    if missing:
        raise _unmapped(instance, f"{', '.join(missing)} for every frame")


# ------------------------------------------------------------------------------------------------------- Enhanced PET


def _as_single_frame_pet(
    instance: Instance, attributes: dict[str, Any], mappings: Mapping[str, Mapping[str, Any]]
) -> None:
    """Add what the Enhanced PET modules say in other words; a Legacy Converted object has the words already."""
    _add_units(instance, attributes, mappings)
    if attributes.get("CorrectedImage") is None:
        attributes["CorrectedImage"] = [v for k, v in CORRECTIONS.items() if _is_yes(attributes.get(k))] or None
    if attributes.get("DecayCorrection") is None and attributes["Units"] in DECAYED:
        attributes["DecayCorrection"] = _decay_correction(instance, attributes)
    if attributes.get("SeriesType") is None:
        attributes["SeriesType"] = [_kind(attributes), "IMAGE"]


def _add_units(instance: Instance, attributes: dict[str, Any], mappings: Mapping[str, Mapping[str, Any]]) -> None:
    """Units and scale from the Real World Value Mappings (C.7.6.16.2.11) by unit, which map stored values."""
    if attributes.get("Units") is not None:
        said = str(attributes["Units"]).strip().upper()
        for code, mapping in mappings.items():
            if UNITS.get(code, ("",))[0] == said == "BQML" and not _same_scale(attributes, mapping):
                raise _unmapped(instance, "one scale: Rescale Slope (0028,1053) and Real World Value Slope differ")
        return
    code = next((c for c in UNITS if c in mappings and mappings[c].get("RealWorldValueSlope") is not None), "")
    if not code:
        raise _unmapped(
            instance,
            "a Real World Value Mapping (0040,9096) with a slope to Bq/ml or SUV (Measurement Units Code Sequence)",
        )
    units, suv_type = UNITS[code]
    attributes |= {"Units": units, "SUVType": suv_type}
    attributes["RescaleSlope"] = mappings[code]["RealWorldValueSlope"]
    attributes["RescaleIntercept"] = mappings[code].get("RealWorldValueIntercept")


def _same_scale(attributes: Mapping[str, Any], mapping: Mapping[str, Any]) -> bool:
    try:
        one = [float(attributes[k]) for k in ("RescaleSlope", "RescaleIntercept")]
        other = [float(mapping[k]) for k in ("RealWorldValueSlope", "RealWorldValueIntercept")]
    except (KeyError, TypeError, ValueError):
        return False
    return all(abs(a - b) <= SCALE_RELATIVE_TOLERANCE * max(abs(a), abs(b)) for a, b in zip(one, other, strict=True))


def _decay_correction(instance: Instance, attributes: Mapping[str, Any]) -> str:
    """START with the Decay Correction DateTime as its time, or NONE."""
    corrected = attributes.get("DecayCorrected")
    if _is_yes(corrected) and attributes.get("DecayCorrectionDateTime") is None:
        raise _unmapped(instance, "Decay Correction DateTime (0018,9701)")
    if not _is_yes(corrected) and str(corrected).strip().upper() != "NO":
        raise _unmapped(instance, "Decay Corrected (0018,9758)")
    return "START" if _is_yes(corrected) else "NONE"


def _kind(attributes: Mapping[str, Any]) -> str:
    """Series Type value 1, from the third value of the Frame Type (C.8.22.5.1, C.8.16.1.3)."""
    words = [str(v).strip().upper() for v in listed(attributes.get("ImageType"))]
    if "DYNAMIC" in words:
        return "DYNAMIC"
    gated = any(w.endswith("GATED") for w in words) or attributes.get("NominalRespiratoryTriggerDelayTime") is not None
    if gated or attributes.get("TriggerTime") is not None:
        return "GATED"
    return "WHOLE BODY" if "WHOLE_BODY" in words else "STATIC"


def _is_yes(value: object) -> bool:
    return str(value).strip().upper() == "YES"


# ------------------------------------------------------------------------------------------------------------- shared


def _check_concatenations(objects: Sequence[Instance]) -> None:
    """An object sent in parts (C.7.6.16.2.2.4) is there with all of them."""
    parts: dict[str, list[Instance]] = defaultdict(list)
    for instance in objects:
        if instance.get("ConcatenationUID") is not None:
            parts[str(instance.get("ConcatenationUID"))].append(instance)
    for found in parts.values():
        stated = max(whole(i, "InConcatenationTotalNumber", 0) for i in found)
        numbers = {whole(i, "InConcatenationNumber", 0) for i in found}
        if len(numbers) < stated:
            raise Refused(
                "missing-slices",
                f"A multi-frame object comes in {stated} parts (In-concatenation Total Number), but {len(numbers)} "
                "are here. Send the whole series.",
                expected=stated,
                found=len(numbers),
            )


def _unmapped(instance: Instance, what: str) -> Refused:
    return Refused(
        "multiframe-unsupported",
        f"The {MULTIFRAME_CLASSES[instance.sop_class_uid]} object cannot be read as slices: it must have {what}. "
        "Send the series as single-frame images, or correct it at its source.",
        sop_class_uid=instance.sop_class_uid,
        sop_instance_uid=instance.sop_instance_uid,
    )
