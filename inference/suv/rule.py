"""From stored PET values to SUVbw (g/ml): activity concentration × body weight ÷ dose, all at one time.

The rules are those of Vácha, Hofheinz, Braune, Löck, Zwanenburg, "Comprehensive Manual for SUV Computation" (2026),
with the QIBA order of reference times.  SUVbw = stored × Rescale Slope of the slice × factor of the slice; the factors
come from the header alone.  What cannot be known is refused; what is guessed is a caution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from inference.facts import Caution, Instance, Refused, SuvRule
from inference.reading.header import listed, number, same_text
from inference.suv.body_size import body_kg, height_cm, surface_cm2, weight_kg
from inference.suv.decay import decay_of, uptake_min

# Of one stored unit, in any unit of the series: beyond it the value is no scale but noise in the header.
LEAST_SCALE, MOST_SCALE = 1e-15, 1e15
# Counts per second are quantitative only where all of these were done (PS3.3 C.8.9.4.1.9); randoms have several terms.
QUANTITATIVE = frozenset({"ATTN", "NORM", "SCAT", "DTIM"})
SAME_DISTANCE = 0.01  # relative


def suv_rule(instances: Sequence[Instance]) -> SuvRule:
    """The rule by which one PET series becomes SUVbw; ``factors`` in the order of ``instances``.

    Raises ``Refused`` naming the attribute that is missing or forbids the conversion.
    """
    if not instances:
        raise Refused("no-images", "The PET series has no images.")
    _check_quantitative(instances)
    units = same_text(instances, "Units")
    convert = CONVERSIONS.get(units)
    if convert is None:
        raise Refused(
            "units-unsupported",
            f"PET values in Units (0054,1001) {units[:16] or '(missing)'} cannot be converted to SUV; "
            "BQML or GML are needed.",
            units=units[:16],
        )
    rule = convert(instances)
    waited = uptake_min(instances)
    known = {} if waited is None else {"uptake_time_min": waited}
    return replace(rule, inputs={**rule.inputs, **known})


def _check_quantitative(instances: Sequence[Instance]) -> None:
    """What every convertible PET slice must say (manual sections 1 and 6)."""
    for instance in instances:
        if "ATTN" not in _corrected(instance):
            raise Refused(
                "not-attenuation-corrected",
                "Corrected Image (0028,0051) does not say ATTN: without attenuation correction PET values are not "
                "quantitative. Send the attenuation-corrected series.",
                sop_instance_uid=instance.sop_instance_uid,
            )
        kind = [str(v).strip().upper() for v in listed(instance.get("SeriesType"))]
        if kind[1:2] not in ([], [""], ["IMAGE"]):
            raise Refused(
                "reprojection",
                "Series Type (0054,1000) does not say IMAGE: the PET series is a reprojection (MIP), not a volume.",
            )
        slope, intercept = number(instance.attributes, "RescaleSlope"), number(instance.attributes, "RescaleIntercept")
        if slope is None or not LEAST_SCALE <= slope <= MOST_SCALE:
            raise Refused(
                "pet-slope-invalid",
                "A PET image has no positive Rescale Slope (0028,1053); its values have no scale.",
                sop_instance_uid=instance.sop_instance_uid,
            )
        if intercept:
            raise Refused(
                "pet-intercept-not-zero",
                f"Rescale Intercept (0028,1052) is {intercept:g}; it must be 0 in PET, so the values are not trusted.",
                sop_instance_uid=instance.sop_instance_uid,
                intercept=intercept,
            )


def _from_bqml(instances: Sequence[Instance], scales: Sequence[float] = (), origin: str = "BQML") -> SuvRule:
    """Activity concentration in Bq/ml = stored × slope × the slice's scale (1 where there is none)."""
    weight, cautions = weight_kg(instances)
    decay = decay_of(instances, weight)
    return SuvRule(
        suv_type="BW",
        factors=tuple(
            scale * weight * 1000.0 / dose_bq
            for scale, dose_bq in zip(scales or (1.0,) * len(instances), decay.doses_bq, strict=True)
        ),
        rule=f"{origin}: weight / ({decay.rule})",
        inputs={"units": origin, "weight_kg": weight, **decay.inputs},
        reference_time=decay.reference_time,
        cautions=(*_corrections(instances), *cautions, *decay.cautions),
    )


def _from_gml(instances: Sequence[Instance]) -> SuvRule:
    """Already normalised; only the kind of body measure may have to be exchanged."""
    kind = same_text(instances, "SUVType") or "BW"
    inputs: dict[str, str | float] = {"units": "GML", "suv_type": kind}
    if kind == "BW":
        factor, rule = 1.0, "GML, SUV Type BW: values are SUVbw"
        cautions: tuple[Caution, ...] = ()
    else:
        weight, cautions = weight_kg(instances)
        lean_kg = body_kg(kind, weight, instances)
        factor, rule = weight / lean_kg, f"GML, SUV Type {kind}: value × weight / {kind}"
        inputs |= {"weight_kg": weight, "body_factor_kg": lean_kg}
    factors = (factor,) * len(instances)
    return SuvRule("BW", factors, rule, inputs, "", (*_corrections(instances), *cautions))


def _from_cm2ml(instances: Sequence[Instance]) -> SuvRule:
    """Normalised to body surface (Du Bois and Du Bois 1916)."""
    kind = same_text(instances, "SUVType") or "BSA"
    if kind != "BSA":
        raise Refused(
            "suv-type-unsupported",
            f"Units (0054,1001) CM2ML and SUV Type (0054,1006) {kind[:16]} contradict each other.",
            suv_type=kind[:16],
        )
    weight, cautions = weight_kg(instances)
    surface = surface_cm2(weight, height_cm(instances))
    inputs: dict[str, str | float] = {"units": "CM2ML", "weight_kg": weight, "body_surface_m2": surface / 1e4}
    rule = "CM2ML: value × weight / body surface (Du Bois)"
    factors = (weight * 1000.0 / surface,) * len(instances)
    return SuvRule("BW", factors, rule, inputs, "", (*_corrections(instances), *cautions))


def _from_counts(instances: Sequence[Instance]) -> SuvRule:
    """Philips: counts with a private factor to SUVbw, else one to Bq/ml."""
    factors = _positive(instances, "PhilipsSUVScaleFactor")
    if factors:
        inputs: dict[str, str | float] = {"units": "CNTS", "philips_suv_scale_factor": factors[0]}
        rule = "CNTS: value × Philips SUV Scale Factor (7053,xx00)"
        return SuvRule("BW", factors, rule, inputs, "", _corrections(instances))
    to_bqml = _positive(instances, "PhilipsActivityConcentrationScaleFactor")
    if to_bqml:
        return _from_bqml(instances, to_bqml, "CNTS × Philips Activity Concentration Scale Factor (7053,xx09)")
    raise Refused(
        "counts-without-factor",
        "PET values are counts (Units CNTS) and neither of Philips' scale factors (7053,xx00), (7053,xx09) is there; "
        "they cannot be converted to SUV. Send the series in BQML.",
    )


def _from_counts_per_second(instances: Sequence[Instance]) -> SuvRule:
    """Counts per second of a voxel: Bq/ml by its volume, and by the calibration where DCAL does not say it was done.

    Usually such data are uncorrected (manual section 2); they are taken only where every correction is listed.
    """
    done = frozenset.intersection(*map(_corrected, instances))
    if not done >= QUANTITATIVE or not any(term.startswith("RAN") for term in done):
        raise Refused(
            "counts-not-quantitative",
            "PET values are counts per second (Units CPS) and Corrected Image (0028,0051) does not list all of "
            f"{', '.join(sorted(QUANTITATIVE))} and RAN: they are not quantitative. Send the series in BQML.",
        )
    per_ml = 1.0 / _voxel_ml(instances)
    calibration = (1.0,) * len(instances) if "DCAL" in done else _positive(instances, "DoseCalibrationFactor")
    if not calibration or ("DCAL" not in done and 1.0 in calibration):  # 1 says that there was none (C.8.9.4.1.8)
        raise Refused(
            "counts-without-factor",
            "PET values are counts per second (Units CPS), Corrected Image (0028,0051) does not list DCAL and Dose "
            "Calibration Factor (0054,1322) is missing or 1: they cannot become Bq/ml. Send the series in BQML.",
        )
    origin = "CPS / voxel volume" if "DCAL" in done else "CPS × Dose Calibration Factor (0054,1322) / voxel volume"
    rule = _from_bqml(instances, [factor * per_ml for factor in calibration], origin)
    text = (
        "PET values are counts per second (Units CPS), converted by voxel volume and calibration; scanners seldom mean "
        "this for SUV: compare with the scanner's own value."
    )
    return replace(rule, cautions=(*rule.cautions, Caution("counts-per-second-converted", text)))


def _voxel_ml(instances: Sequence[Instance]) -> float:
    """Volume of one voxel.  Raises ``Refused`` where slices overlap or leave gaps, or their place is not told."""
    try:
        spacing = np.array([[*i.get("PixelSpacing"), i.get("SliceThickness")] for i in instances], float)
        normal = np.cross(*np.array(instances[0].get("ImageOrientationPatient"), float).reshape(2, 3))
        heights = np.sort([np.dot(normal, np.array(i.get("ImagePositionPatient"), float)) for i in instances])
    except (TypeError, ValueError):
        spacing = heights = np.empty((0, 3))
    if spacing.size and (spacing > 0).all() and np.allclose(spacing, spacing[0], rtol=SAME_DISTANCE, atol=0):
        row, column, thickness = spacing[0]
        millilitres = float(row * column * thickness / 1000.0)
        if millilitres >= LEAST_SCALE and np.allclose(np.diff(heights), thickness, rtol=SAME_DISTANCE, atol=0):
            return millilitres
    raise Refused(
        "counts-not-quantitative",
        "PET values are counts per second (Units CPS) and the volume of a voxel is not clear: Pixel Spacing is "
        "missing, or Slice Thickness (0018,0050) is not the slices' distance. Send the series in BQML.",
    )


def _positive(instances: Sequence[Instance], keyword: str) -> tuple[float, ...]:
    """One positive factor a slice; empty where a slice has none (0 says "none")."""
    found = [number(i.attributes, keyword) for i in instances]
    usable = tuple(f for f in found if f is not None and LEAST_SCALE <= f <= MOST_SCALE)
    return usable if len(usable) == len(instances) else ()


CONVERSIONS: dict[str, Callable[[Sequence[Instance]], SuvRule]] = {
    "BQML": _from_bqml,
    "GML": _from_gml,
    "CM2ML": _from_cm2ml,
    "CNTS": _from_counts,
    "CPS": _from_counts_per_second,
}


def _corrected(instance: Instance) -> frozenset[str]:
    return frozenset(str(v).strip().upper() for v in listed(instance.get("CorrectedImage")))


def _corrections(instances: Sequence[Instance]) -> tuple[Caution, ...]:
    text = "Corrected Image (0028,0051) does not name the detector normalisation (NORM)."
    return () if all("NORM" in _corrected(i) for i in instances) else (Caution("normalisation-not-stated", text),)
