"""Iodine maps of a dual-energy CT among CT images, by their headers: never taken for HU, nor by a guess for mg/ml.

PS3.3 C.8.2.1.1.1 (Image Type value 4 of multi-energy CT: MAT_SPECIFIC …), C.11.1.1.2 (Rescale Type MGML),
C.7.6.16.2.11 (Real World Value Mapping, with the unit and, PS3.16 CID 300, the material); PS3.17 annex KKKK shows
such images.  Makers without these attributes name the material in the Series Description ("Iodine Density",
"Iodine(Water)").
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from inference.facts import Instance, Refused
from inference.reading.header import listed

MG_PER_ML = frozenset({"mgml", "mg/ml", "mg/cm3", "mg/cc"})  # Rescale Type or UCUM code, in lower case
IODINE = ("SCT", "44588005")  # PS3.16 CID 300; older objects: SRT C-11400
IODINE_SRT = ("SRT", "C-11400")
# Image Type value 4 of images whose values are no attenuation of the patient (PS3.3 C.8.2.1.1.1)
NO_ATTENUATION = frozenset({"MAT_SPECIFIC", "MAT_FRACTIONAL", "MAT_VALUE_BASED", "EFF_ATOMIC_NUM", "ELECTRON_DENSITY"})
HOUNSFIELD = frozenset({"", "hu", "us"})  # US: unspecified, what older scanners write for HU
_IODINE = re.compile(r"(?<![a-z])iodine?(?![a-z])", re.IGNORECASE)
_MAP = re.compile(r"iodine?[ _-]*(map|density|concentration|conc\b|overlay|image|\(|\[|no[ _-]*water)", re.IGNORECASE)
# Images from which iodine was taken away, or in which it is the other of two materials
_NOT_OF_IODINE = re.compile(
    r"\([^)]*iodine?|(non|no|without|minus)[ _-]*iodine?|iodine?[ _-]*(remov|suppress|free|subtract)", re.IGNORECASE
)
_TEXTS = ("SeriesDescription", "ImageComments", "DerivationDescription")


def is_iodine_map(instance: Instance) -> bool:
    """Whether the header calls it an iodine map, whatever its unit."""
    if any(_is_iodine(item) for item in _mappings(instance)):
        return True
    texts = [str(instance.get(keyword, "")) for keyword in _TEXTS] + _words(instance)
    texts += [str(item.get("LUTExplanation") or "") for item in _mappings(instance)]
    named = [text for text in texts if _IODINE.search(text) and not _NOT_OF_IODINE.search(text)]
    if not named:
        return False
    quantity = bool(NO_ATTENUATION & set(_words(instance))) or bool(_stated_units(instance) & MG_PER_ML)
    return quantity or any(_MAP.search(text) for text in named)


def why_no_hu(instance: Instance) -> str:
    """What says that the values of a CT image are no HU, the end of a sentence; "" where nothing does."""
    if is_iodine_map(instance):
        return "it is an iodine map"
    for word in _words(instance):
        if word in NO_ATTENUATION:
            return f"its Image Type says {word}: its values are no HU"
    kind = str(instance.get("RescaleType", "")).strip()[:16]
    return "" if kind.lower() in HOUNSFIELD else f"its Rescale Type is {kind}, not HU"


def mg_per_ml(instance: Instance) -> tuple[float, float]:
    """Slope and intercept that turn stored values into mg of iodine per ml.

    Raises ``Refused`` (iodine-unit-unknown) where the header does not say, in one way, that the values are mg/ml.
    """
    scales = {_of_mapping(item) for item in _mappings(instance) if _units(item) in MG_PER_ML}
    if str(instance.get("RescaleType", "")).strip().lower() in MG_PER_ML:
        scales.add((_number(instance.get("RescaleSlope")), _number(instance.get("RescaleIntercept"))))
    if len(scales) == 1:
        slope, intercept = scales.pop()
        if slope is not None and intercept is not None and slope > 0:
            return slope, intercept
    raise Refused(
        "iodine-unit-unknown",
        "The iodine map does not say in one way that its values are mg/ml: neither Rescale Type (0028,1054) MGML with "
        "slope and intercept, nor one Real World Value Mapping (0040,9096) in mg/ml. Export it with its unit.",
        sop_instance_uid=instance.sop_instance_uid,
    )


def _words(instance: Instance) -> list[str]:
    return [str(word).strip().upper() for word in listed(instance.get("ImageType"))]


def _stated_units(instance: Instance) -> set[str]:
    rescale = str(instance.get("RescaleType", "")).strip().lower()
    return {rescale, *(_units(item) for item in _mappings(instance))}


def _mappings(instance: Instance) -> Iterator[Mapping[str, Any]]:
    return (item for item in instance.get("RealWorldValueMappingSequence", []) if isinstance(item, Mapping))


def _units(item: Mapping[str, Any]) -> str:
    codes = item.get("MeasurementUnitsCodeSequence") or [{}]
    return str(codes[0].get("CodeValue") or "").strip().lower()


def _is_iodine(item: Mapping[str, Any]) -> bool:
    for entry in item.get("QuantityDefinitionSequence") or []:
        for code in entry.get("ConceptCodeSequence") or []:
            if (code.get("CodingSchemeDesignator"), code.get("CodeValue")) in (IODINE, IODINE_SRT):
                return True
    return False


def _of_mapping(item: Mapping[str, Any]) -> tuple[float | None, float | None]:
    return _number(item.get("RealWorldValueSlope")), _number(item.get("RealWorldValueIntercept"))


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
