"""Volumes from a stack: PET as SUVbw, CT in Hounsfield units, an iodine map in mg/ml.

Each is assembled into one preallocated array.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.facts import Instance, Refused, SuvRule, Volume
from inference.geometry.regrid import resample_slices
from inference.geometry.volume import Stack
from inference.reading.iodine import mg_per_ml
from inference.reading.pixels import Stored, stored_slices

# Nothing in a patient is thinner than air; scanners write lower values (-2000, -3024) where they measured nothing.
AIR_HU = -1024
MOST_HU = 32767
# Hardly any metal is as dense; where more of a slice is, its values were not stored as the header says.
MOST_AT_LIMIT = 0.01
# Undiluted contrast agent in a vein is below this; values above it are of another unit (100 µg/ml is in use, too).
MOST_IODINE_MG_PER_ML = 100.0


def load_pet(stack: Stack, rule: SuvRule) -> Volume:
    """SUVbw (g/ml) as float32, (slice, row, column): stored × Rescale Slope of the slice × factor of the slice.

    ``rule`` must have been made from ``stack.instances`` in this order; it has checked slopes and intercepts.
    Voxels of Pixel Padding Value were not measured and become 0.  Raises ``Refused`` as ``pixels.stored_slices``.
    """
    suv = np.empty(stack.shape, np.float32)
    scales = [float(i.get("RescaleSlope")) * factor for i, factor in zip(stack.instances, rule.factors, strict=True)]
    for k, values in enumerate(stored_slices(stack.instances)):
        np.multiply(values, np.float32(scales[k]), out=suv[k])
        padded = _padding(stack.instances[k], values)
        if padded is not None:
            suv[k][padded] = 0
    return Volume(suv, stack.affine, stack.frame_of_reference_uid)


def load_ct(stack: Stack) -> Volume:
    """Hounsfield units as int16, (slice, row, column); padding and anything below air becomes air (-1024).

    Where the stack is brought onto a grid, voxels beside every slice become ``regrid.NOT_MEASURED_HU`` (-1025).
    Raises ``Refused`` where the values are not or cannot be HU, or as ``pixels.stored_slices``.
    """
    hu = np.empty(stack.shape, np.int16)
    if stack.regrid is not None:
        slices = (_hu(i, v, np.empty(v.shape, np.int16)) for i, v in _with_values(stack))
        resample_slices(slices, stack.regrid, hu)
    else:
        for k, (instance, values) in enumerate(_with_values(stack)):
            _hu(instance, values, hu[k])
    return Volume(hu, stack.affine, stack.frame_of_reference_uid)


def load_iodine(stack: Stack) -> Volume:
    """Iodine in mg/ml as float32, (slice, row, column); Pixel Padding Value becomes 0.

    Raises ``Refused``: iodine-unit-unknown, iodine-values-out-of-range, and as ``pixels.stored_slices``.
    """
    iodine = np.empty(stack.shape, np.float32)
    for k, (instance, values) in enumerate(_with_values(stack)):
        slope, intercept = mg_per_ml(instance)
        padded = _padding(instance, values)
        np.multiply(values, np.float32(slope), out=iodine[k])
        iodine[k] += np.float32(intercept)
        if padded is not None:
            iodine[k][padded] = 0
    if np.count_nonzero(iodine > MOST_IODINE_MG_PER_ML) > MOST_AT_LIMIT * iodine.size:
        raise Refused(
            "iodine-values-out-of-range",
            f"More than {MOST_AT_LIMIT:.0%} of the iodine map lies above {MOST_IODINE_MG_PER_ML:g} mg/ml, which no "
            "tissue has: its values are not in the unit that the header states. Export it in mg/ml.",
        )
    return Volume(iodine, stack.affine, stack.frame_of_reference_uid)


def _with_values(stack: Stack) -> Iterator[tuple[Instance, Stored]]:
    return zip(stack.instances, stored_slices(stack.instances), strict=True)


def _hu(instance: Instance, values: Stored, hu: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """The HU of one image into ``hu`` (row, column); ``values`` is used up."""
    slope, intercept = _rescale(instance)
    padded = _padding(instance, values) if _padding_shows(instance, slope, intercept) else None
    _write_hu(values, slope, intercept, hu)
    if padded is not None:
        hu[padded] = AIR_HU
    if np.count_nonzero(hu == MOST_HU) > MOST_AT_LIMIT * hu.size:
        raise Refused(
            "ct-values-out-of-range",
            f"More than {MOST_AT_LIMIT:.0%} of a CT image lies at or above {MOST_HU} HU, as where values with a sign "
            "are declared to have none (Pixel Representation (0028,0103)). Correct the series and send it again.",
            sop_instance_uid=instance.sop_instance_uid,
        )
    return hu


def _rescale(instance: Instance) -> tuple[float, float]:
    kind = str(instance.get("RescaleType", "HU")).upper()
    slope, intercept = instance.get("RescaleSlope"), instance.get("RescaleIntercept")
    if kind not in ("HU", "US"):  # US: unspecified, what older scanners write for HU
        raise Refused("ct-not-hu", f"The CT's Rescale Type is {kind[:16]}, not HU.", rescale_type=kind[:16])
    if slope is None or intercept is None or not math.isfinite(float(slope)) or float(slope) <= 0:
        raise Refused(
            "ct-rescale-missing",
            "A CT image has no valid Rescale Slope (0028,1053) and Intercept (0028,1052); its HU are unknown.",
            sop_instance_uid=instance.sop_instance_uid,
        )
    return float(slope), float(intercept)


def _write_hu(values: Stored, slope: float, intercept: float, hu: npt.NDArray[np.int16]) -> None:
    """HU into ``hu``; ``values`` is used up.

    The common case stays in 16 bits: values are clipped to what ends between air and 32767, after which the sum is
    right modulo 2^16 whatever the sign of the stored type.
    """
    if values.dtype.itemsize == 2 and slope == 1 and intercept.is_integer() and abs(intercept) < 2**15:
        limits = np.iinfo(values.dtype)
        low, high = max(AIR_HU - int(intercept), limits.min), min(MOST_HU - int(intercept), limits.max)
        np.clip(values, low, high, out=values)
        np.add(values.view(np.int16), np.int16(intercept), out=hu)
    else:
        scaled = values * slope + intercept
        hu[:] = np.rint(scaled.clip(AIR_HU, MOST_HU))


def _padding_shows(instance: Instance, slope: float, intercept: float) -> bool:
    """Whether some padding value would be seen as matter; what lies at or below air is clipped to air anyway."""
    declared = [instance.get("PixelPaddingValue"), instance.get("PixelPaddingRangeLimit")]
    return any(v is not None and float(v) * slope + intercept > AIR_HU for v in declared)


def _padding(instance: Instance, values: Stored) -> npt.NDArray[Any] | None:
    """Where the stored values are padding (PS3.3 C.7.5.1.1.2); None where no Pixel Padding Value is declared."""
    value = instance.get("PixelPaddingValue")
    if value is None:
        return None
    limit = instance.get("PixelPaddingRangeLimit", value)
    # written with the other sign by some senders: the bits are what is meant
    low, high = sorted(int(np.int64(int(v)).astype(values.dtype)) for v in (value, limit))
    return (values >= low) & (values <= high)
