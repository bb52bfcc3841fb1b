"""From stored PET values to SUVbw (g/ml): activity concentration × body weight ÷ dose, all at one time.

The rules are those of Vácha, Hofheinz, Braune, Löck, Zwanenburg, "Comprehensive Manual for SUV Computation" (2026),
with the QIBA order of reference times.  SUVbw = stored × Rescale Slope of the slice × factor of the slice; the factors
come from the header alone.  What cannot be known is refused; what is guessed is a caution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from inference.decay import decay_of
from inference.facts import Caution, Instance, Refused, SuvRule
from inference.header import listed, number, same_text

# Above this a weight is in grams (manual section 3): nobody weighs a tonne.
GRAMS_ABOVE = 1000.0


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
    return convert(instances)


def _check_quantitative(instances: Sequence[Instance]) -> None:
    """What every convertible PET slice must say (manual sections 1 and 6)."""
    for instance in instances:
        if "ATTN" not in [str(v).upper() for v in listed(instance.get("CorrectedImage"))]:
            raise Refused(
                "not-attenuation-corrected",
                "Corrected Image (0028,0051) does not say ATTN: without attenuation correction PET values are not "
                "quantitative. Send the attenuation-corrected series.",
                sop_instance_uid=instance.sop_instance_uid,
            )
        kind = [str(v).upper() for v in listed(instance.get("SeriesType"))]
        if "REPROJECTION" in kind:
            raise Refused("reprojection", "The PET series is a reprojection (MIP), not a volume of activity.")
        slope, intercept = number(instance.attributes, "RescaleSlope"), number(instance.attributes, "RescaleIntercept")
        if slope is None or slope <= 0:
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
    weight_kg, cautions = _weight_kg(instances)
    decay = decay_of(instances)
    return SuvRule(
        suv_type="BW",
        factors=tuple(
            scale * weight_kg * 1000.0 / dose_bq
            for scale, dose_bq in zip(scales or (1.0,) * len(instances), decay.doses_bq, strict=True)
        ),
        rule=f"{origin}: weight / ({decay.rule})",
        inputs={"units": origin, "weight_kg": weight_kg, **decay.inputs},
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
        weight_kg, cautions = _weight_kg(instances)
        lean_kg = _body_factor(kind, weight_kg, instances)
        factor, rule = weight_kg / lean_kg, f"GML, SUV Type {kind}: value × weight / {kind}"
        inputs |= {"weight_kg": weight_kg, "body_factor_kg": lean_kg}
    factors = (factor,) * len(instances)
    return SuvRule("BW", factors, rule, inputs, "", (*_corrections(instances), *cautions))


def _from_cm2ml(instances: Sequence[Instance]) -> SuvRule:
    """Normalised to body surface (Du Bois and Du Bois 1916)."""
    weight_kg, cautions = _weight_kg(instances)
    surface_m2 = 0.007184 * _height_cm(instances) ** 0.725 * weight_kg**0.425
    factor = weight_kg * 1000.0 / (surface_m2 * 1e4)
    inputs: dict[str, str | float] = {"units": "CM2ML", "weight_kg": weight_kg, "body_surface_m2": surface_m2}
    rule = "CM2ML: value × weight / body surface (Du Bois)"
    return SuvRule("BW", (factor,) * len(instances), rule, inputs, "", (*_corrections(instances), *cautions))


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


def _positive(instances: Sequence[Instance], keyword: str) -> tuple[float, ...]:
    """One positive factor a slice; empty where a slice has none (0 says "none")."""
    found = tuple(f for f in (number(i.attributes, keyword) for i in instances) if f is not None and f > 0)
    return found if len(found) == len(instances) else ()


CONVERSIONS: dict[str, Callable[[Sequence[Instance]], SuvRule]] = {
    "BQML": _from_bqml,
    "GML": _from_gml,
    "CM2ML": _from_cm2ml,
    "CNTS": _from_counts,
}


def _corrections(instances: Sequence[Instance]) -> tuple[Caution, ...]:
    named = all("NORM" in [str(v).upper() for v in listed(i.get("CorrectedImage"))] for i in instances)
    text = "Corrected Image (0028,0051) does not name the detector normalisation (NORM)."
    return () if named else (Caution("normalisation-not-stated", text),)


def _weight_kg(instances: Sequence[Instance]) -> tuple[float, tuple[Caution, ...]]:
    weight = _same_number(instances, "PatientWeight")
    if weight is None or weight <= 0:
        raise Refused(
            "weight-missing",
            "Patient's Weight (0010,1030) is missing or zero; SUVbw cannot be computed. Enter it at the scanner or "
            "correct the series, and send it again.",
        )
    if weight <= GRAMS_ABOVE:
        return weight, ()
    text = f"Patient's Weight (0010,1030) is {weight:g}: taken as grams."
    return weight / 1000.0, (Caution("weight-in-grams", text),)


def _height_cm(instances: Sequence[Instance]) -> float:
    height_m = _same_number(instances, "PatientSize")
    if height_m is None or not 0.3 <= height_m <= 2.5:
        raise Refused(
            "height-missing",
            "Patient's Size (0010,1020) in metres is missing or implausible; this kind of SUV cannot become SUVbw "
            "without it.",
        )
    return height_m * 100.0


def _same_number(instances: Sequence[Instance], keyword: str) -> float | None:
    found = {number(i.attributes, keyword) for i in instances}
    if len(found) > 1:
        raise Refused("pet-header-mixed", f"The slices of the PET series disagree about {keyword}.", keyword=keyword)
    return found.pop()


def _body_factor(kind: str, weight_kg: float, instances: Sequence[Instance]) -> float:
    """The lean or ideal body mass (kg) that the sender divided by; for sex O the mean of both (manual section 2)."""
    formulas = BODY_FACTORS.get(kind)
    if formulas is None:
        raise Refused("suv-type-unsupported", f"SUV Type (0054,1006) {kind[:16]} is not known.", suv_type=kind[:16])
    height_cm = _height_cm(instances)
    sex = same_text(instances, "PatientSex")
    if sex not in ("M", "F", "O"):
        raise Refused("sex-missing", f"Patient's Sex (0010,0040) is missing; SUV Type {kind} depends on it.")
    chosen = {"M": formulas[:1], "F": formulas[1:], "O": formulas}[sex]
    factor = sum(f(weight_kg, height_cm) for f in chosen) / len(chosen)
    if not 0.2 * weight_kg < factor < 2 * weight_kg or not math.isfinite(factor):
        raise Refused("body-factor-implausible", f"The {kind} of this weight and height is implausible.")
    return float(factor)


def _bmi(kg: float, cm: float) -> float:
    return kg / (cm / 100.0) ** 2


# (male, female), of weight in kg and height in cm
BODY_FACTORS: dict[str, tuple[Callable[[float, float], float], Callable[[float, float], float]]] = {
    "LBM": (lambda w, h: 1.10 * w - 120 * (w / h) ** 2, lambda w, h: 1.07 * w - 148 * (w / h) ** 2),
    "LBMJAMES128": (lambda w, h: 1.10 * w - 128 * (w / h) ** 2, lambda w, h: 1.07 * w - 148 * (w / h) ** 2),
    "LBMJANMA": (
        lambda w, h: 9270 * w / (6680 + 216 * _bmi(w, h)),
        lambda w, h: 9270 * w / (8780 + 244 * _bmi(w, h)),
    ),
    "IBW": (lambda _, h: 48.0 + 1.06 * (h - 152), lambda _, h: 45.5 + 0.91 * (h - 152)),
}
