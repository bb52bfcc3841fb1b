"""What one series is, told from its headers alone: is it a PET or a CT that may be used, and if not, why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference.facts import FloatArray, Instance, Refused
from inference.reading.agreement import FARTHEST_MM
from inference.reading.frames import single_frames
from inference.reading.iodine import is_iodine_map, mg_per_ml, why_no_hu

PET_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.128": "Positron Emission Tomography Image Storage",
    "1.2.840.10008.5.1.4.1.1.130": "Enhanced PET Image Storage",
    "1.2.840.10008.5.1.4.1.1.128.1": "Legacy Converted Enhanced PET Image Storage",
}
CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image Storage",
}
OUR_MODEL = "petct-node"  # Manufacturer's Model Name in everything that the node writes

# Image Type (0008,0008) values that say "not slices of the volume as acquired" (PS3.3 C.7.6.1.1.2 and what is seen)
NOT_SLICES = {
    "MIP": "a maximum intensity projection",
    "MAX_IP": "a maximum intensity projection",
    "MIN_IP": "a minimum intensity projection",
    "PROJECTION IMAGE": "a projection",
    "SCREEN SAVE": "a screen save",
    "DOSE": "a dose report",
    "DOSE_INFO": "a dose report",
    "FUSION": "a fused image",
    "FUSED": "a fused image",
    "LOCALIZER": "a localizer",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a series may not be used: a code for machines and the end of a sentence ("left out, …")."""

    code: str
    reason: str


def is_ours(instance: Instance) -> bool:
    """True for what the node wrote: it starts no run and is no human's region."""
    return str(instance.get("ManufacturerModelName", "")).strip().lower() == OUR_MODEL


def image_type(instance: Instance) -> tuple[str, ...]:
    """Image Type in upper case; a single value comes as a tuple of one."""
    return tuple(v.strip().upper() for v in values(instance, "ImageType"))


def values(instance: Instance, keyword: str) -> tuple[str, ...]:
    """All values of a text attribute, however many there are."""
    value = instance.get(keyword, [])
    return tuple(str(v) for v in (value if isinstance(value, list | tuple) else [value]))


def is_localizer(instance: Instance) -> bool:
    """A scout view; scanners put it into the axial series too."""
    return "LOCALIZER" in image_type(instance)


def is_original(instance: Instance) -> bool:
    """Image Type value 1 is ORIGINAL: pixels as acquired or reconstructed, not made from other images."""
    return image_type(instance)[:1] == ("ORIGINAL",)


def frame_of_reference(instances: Sequence[Instance]) -> str:
    """The one Frame of Reference UID of the series, "" where it is missing or not one."""
    uids = {str(i.get("FrameOfReferenceUID", "")).strip() for i in instances}
    return uids.pop() if len(uids) == 1 else ""


def series_number(instances: Sequence[Instance]) -> int | None:
    """Series Number, None where it is absent or no number."""
    try:
        return int(instances[0].get("SeriesNumber"))
    except (TypeError, ValueError):
        return None


def normal(instance: Instance) -> FloatArray | None:
    """Unit normal of the image plane in LPS, None where the orientation is missing or none (PS3.3 C.7.6.2.1.1)."""
    try:
        cosines = np.asarray(instance.get("ImageOrientationPatient"), float).reshape(2, 3)
    except (TypeError, ValueError):
        return None
    if not (np.abs(cosines) <= 1.1).all():  # NaN is not
        return None
    out: FloatArray = np.cross(*cosines)
    length = float(np.linalg.norm(out))
    return out / length if length > 0.5 else None


def extent_mm(instances: Sequence[Instance], along: FloatArray | None) -> tuple[float, float] | None:
    """Lowest and highest position in the direction ``along`` (mm), None where that or a position is missing.

    Two series are compared along one direction only: their own normals may point opposite ways.
    """
    if along is None:
        return None
    try:
        positions = np.array([i.get("ImagePositionPatient") for i in instances], float)
    except (TypeError, ValueError):
        return None
    if positions.shape != (len(instances), 3) or not (np.abs(positions) <= FARTHEST_MM).all():
        return None
    heights = positions @ along
    return float(heights.min()), float(heights.max())


def slices_of(group: Sequence[Instance]) -> tuple[Instance, ...]:
    """The group with its multi-frame objects as frames; as it is where they cannot be read so (see ``pet_fault``)."""
    try:
        return tuple(single_frames(group))
    except Refused:
        return tuple(group)


def _unreadable_frames(instances: Sequence[Instance]) -> Fault | None:
    try:
        single_frames(instances)
    except Refused as refused:
        return Fault(refused.code, refused.reason[:1].lower() + refused.reason[1:].rstrip("."))
    return None


def pet_fault(instances: Sequence[Instance]) -> Fault | None:
    """Why this PET series cannot be the PET of a pair, None where it can."""
    if fault := _unreadable_frames(instances) or _not_slices(instances):
        return fault
    kind = (*(v.strip().upper() for v in values(instances[0], "SeriesType")), "", "")
    if kind[0] in {"DYNAMIC", "GATED"}:
        return Fault("pet-not-static", f"its Series Type says {kind[0]}: only STATIC and WHOLE BODY are analysed")
    if kind[1] == "REPROJECTION":
        return Fault("pet-reprojection", "its Series Type says REPROJECTION: these are no slices")
    if any(str(i.get("CountsSource", "")).strip().upper() == "TRANSMISSION" for i in instances):
        return Fault("pet-transmission", "its Counts Source says TRANSMISSION: it shows attenuation, not uptake")
    if any("ATTN" not in {v.strip().upper() for v in values(i, "CorrectedImage")} for i in instances):
        return Fault(
            "pet-not-attenuation-corrected",
            "its Corrected Image does not list ATTN: without attenuation correction it is not quantitative",
        )
    return None


def ct_fault(instances: Sequence[Instance]) -> Fault | None:
    """Why this CT series cannot be the CT of a pair, None where it can.  Localizers are left out before."""
    return _unreadable_frames(instances) or _not_slices(instances) or _no_hu(instances)


def is_iodine(instance: Instance) -> bool:
    """Whether it is an iodine map: a CT image whose values are no HU."""
    return instance.sop_class_uid in CT_CLASSES and is_iodine_map(instance)


def iodine_fault(instances: Sequence[Instance]) -> Fault | None:
    """Why this iodine map cannot be looked at, None where it can."""
    if fault := _unreadable_frames(instances) or _not_slices(instances):
        return fault
    try:
        for instance in instances:
            mg_per_ml(instance)
    except Refused as refused:
        return Fault(refused.code, "it does not say in one way that its values are mg/ml")
    return None


def _no_hu(instances: Sequence[Instance]) -> Fault | None:
    why = next((why for i in instances if (why := why_no_hu(i))), "")
    return Fault("ct-not-hu", why) if why else None


def _not_slices(instances: Sequence[Instance]) -> Fault | None:
    for word in sorted({w for i in instances for w in image_type(i)}):
        if what := NOT_SLICES.get(word):
            return Fault("not-slices", f"its Image Type calls it {what}")
    return None
