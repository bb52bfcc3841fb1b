"""The patient's weight, and the body measures that other SUVs put in its place.

SUV of a kind = activity concentration × body measure ÷ dose, so each is SUVbw × measure ÷ weight.  Formulas of weight W
(kg) and height H (cm), as (male, female); for Patient's Sex O the mean of both is taken (manual section 2):

- Janmahasatian et al., Clin Pharmacokinet 2005;44:1051: lean body mass, with the body mass index in kg/m².  The default
  for SUL: it keeps rising with weight, where James's falls again in the obese.
- James, Research on Obesity, HMSO 1976: lean body mass, 128 in men.  DICOM's SUV Type LBM has 120 there, a slip copied
  from paper to paper: needed to read such data, not offered.
- Sugawara et al., Radiology 1999;213:521: ideal body weight.
- Du Bois and Du Bois, Arch Intern Med 1916;17:863: body surface.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inference.facts import Caution, Instance, Refused, SuvScale
from inference.reading.header import number, same_number, same_text

# Above this a weight is in grams (manual section 3): nobody weighs a tonne.
GRAMS_ABOVE = 1000.0
LEAST_WEIGHT_KG, MOST_WEIGHT_KG = 0.5, 650.0  # a preterm child; the heaviest people known
LEAST_HEIGHT_M, MOST_HEIGHT_M = 0.3, 2.8
# With a height of metres that is none, a weight below this is more likely the height, and the two are exchanged.
HEIGHTS_BELOW_KG = 2.8
LEAST_BMI, MOST_BMI = 8.0, 100.0  # kg/m²; outside, weight or height is wrong

Formula = Callable[[float, float], float]


def weight_kg(instances: Sequence[Instance]) -> tuple[float, tuple[Caution, ...]]:
    """Patient's Weight in kg.  Raises ``Refused`` where it is missing or no weight."""
    weight = same_number(instances, "PatientWeight")
    sizes = {number(i.attributes, "PatientSize") for i in instances}
    size = sizes.pop() if len(sizes) == 1 else None
    if weight is None or weight <= 0:
        hint = (
            " Patient's Size (0010,1020) holds no height in metres; the weight may stand there." if _odd(size) else ""
        )
        raise Refused(
            "weight-missing",
            "Patient's Weight (0010,1030) is missing or zero; SUVbw cannot be computed. Enter it at the scanner or "
            f"correct the series, and send it again.{hint}",
        )
    cautions: tuple[Caution, ...] = ()
    if weight > GRAMS_ABOVE:
        cautions = (Caution("weight-in-grams", f"Patient's Weight (0010,1030) is {weight:g}: taken as grams."),)
        weight /= 1000.0
    if not LEAST_WEIGHT_KG <= weight <= MOST_WEIGHT_KG or (_odd(size) and weight < HEIGHTS_BELOW_KG):
        raise Refused(
            "weight-implausible",
            "Patient's Weight (0010,1030) is no patient's weight in kg or in grams. It may have been exchanged with "
            "Patient's Size (0010,1020). Correct the series and send it again.",
        )
    return weight, (*cautions, *_fitting(weight, size))


def _odd(size: float | None) -> bool:
    return size is not None and size > MOST_HEIGHT_M


def _fitting(weight: float, size: float | None) -> tuple[Caution, ...]:
    """A height that is none says that somebody mixed fields up; SUVbw does not need it, but it needs the weight."""
    if size is None or size <= 0:
        return ()
    if not LEAST_HEIGHT_M <= size <= MOST_HEIGHT_M:
        text = (
            "Patient's Size (0010,1020) is no height in metres; check Patient's Weight (0010,1030), which SUV rests on."
        )
        return (Caution("height-implausible", text),)
    if LEAST_BMI <= weight / size**2 <= MOST_BMI:
        return ()
    text = "Patient's Weight (0010,1030) and Size (0010,1020) do not fit each other; if the weight is wrong, SUV is."
    return (Caution("weight-height-implausible", text),)


def height_cm(instances: Sequence[Instance]) -> float:
    """Patient's Size in cm.  Raises ``Refused`` where it is missing or no height."""
    height_m = same_number(instances, "PatientSize")
    if height_m is None or not LEAST_HEIGHT_M <= height_m <= MOST_HEIGHT_M:
        raise Refused(
            "height-missing",
            "Patient's Size (0010,1020) in metres is missing or implausible; this kind of SUV needs it.",
        )
    return height_m * 100.0


def surface_cm2(weight: float, height: float) -> float:
    """Body surface by Du Bois, for kg and cm."""
    return float(71.84 * height**0.725 * weight**0.425)


def body_kg(kind: str, weight: float, instances: Sequence[Instance]) -> float:
    """The lean or ideal body mass (kg) of SUV Type ``kind``.

    Raises ``Refused`` where the type is unknown, height or sex is missing, or the formula gives nonsense.
    """
    formulas = BODY_MASSES.get(kind)
    if formulas is None:
        raise Refused("suv-type-unsupported", f"SUV Type (0054,1006) {kind[:16]} is not known.", suv_type=kind[:16])
    height = height_cm(instances)
    mass = _by_sex(formulas, weight, height, _sex(kind, instances))
    if not 0.2 * weight < mass < 2 * weight:
        raise Refused("body-factor-implausible", f"The {kind} of this weight and height is implausible.")
    return mass


def _sex(kind: str, instances: Sequence[Instance]) -> str:
    sex = same_text(instances, "PatientSex")
    if sex not in ("M", "F", "O"):
        raise Refused("sex-missing", f"Patient's Sex (0010,0040) is missing; SUV Type {kind} depends on it.")
    return sex


def _by_sex(formulas: tuple[Formula, Formula], weight: float, height: float, sex: str) -> float:
    chosen = {"M": formulas[:1], "F": formulas[1:], "O": formulas}[sex]
    return sum(f(weight, height) for f in chosen) / len(chosen)


def _bmi(kg: float, cm: float) -> float:
    return kg / (cm / 100.0) ** 2


# By DICOM's SUV Type (PS3.3 C.8.9.1.1)
BODY_MASSES: dict[str, tuple[Formula, Formula]] = {
    "LBM": (lambda w, h: 1.10 * w - 120 * (w / h) ** 2, lambda w, h: 1.07 * w - 148 * (w / h) ** 2),
    "LBMJAMES128": (lambda w, h: 1.10 * w - 128 * (w / h) ** 2, lambda w, h: 1.07 * w - 148 * (w / h) ** 2),
    "LBMJANMA": (
        lambda w, h: 9270 * w / (6680 + 216 * _bmi(w, h)),
        lambda w, h: 9270 * w / (8780 + 244 * _bmi(w, h)),
    ),
    "IBW": (lambda _, h: 48.0 + 1.06 * (h - 152), lambda _, h: 45.5 + 0.91 * (h - 152)),
}


@dataclass(frozen=True, slots=True)
class _Offer:
    """A kind of SUV that may be asked for: DICOM's SUV Type, and its formula for people."""

    suv_type: str
    formula: str


OFFERS = {
    "lbm-janma": _Offer("LBMJANMA", "lean body mass, Janmahasatian 2005"),
    "lbm-james": _Offer("LBMJAMES128", "lean body mass, James 1976 (128 in men)"),
    "bsa": _Offer("BSA", "body surface, Du Bois 1916"),
    "ibw": _Offer("IBW", "ideal body weight, Sugawara 1999"),
}


def suv_scale(name: str, instances: Sequence[Instance]) -> SuvScale:
    """What SUVbw is multiplied by to become the SUV ``name``, a key of ``OFFERS``.

    Raises ``Refused`` where weight, height or sex is missing, or the formula does not hold for this body.
    """
    offer = OFFERS[name]
    weight, _ = weight_kg(instances)
    if offer.suv_type == "BSA":
        return SuvScale(name, "BSA", surface_cm2(weight, height_cm(instances)) / (weight * 1000.0), offer.formula)
    mass = body_kg(offer.suv_type, weight, instances)
    if body_kg(offer.suv_type, weight * 1.001, instances) < mass:
        raise Refused(
            "body-factor-implausible",
            f"The formula ({offer.formula}) gives less lean mass the heavier this patient is; it does not hold here.",
        )
    return SuvScale(name, offer.suv_type, mass / weight, offer.formula)


def suv_scales(names: Sequence[str], instances: Sequence[Instance]) -> tuple[tuple[SuvScale, ...], tuple[Caution, ...]]:
    """The scales that this patient's header allows, and a caution for each other one."""
    scales, cautions = [], []
    for name in names:
        try:
            scales.append(suv_scale(name, instances))
        except Refused as refused:
            cautions.append(Caution("suv-type-unavailable", f"SUV {name} is not given: {refused.reason}"))
    return tuple(scales), tuple(cautions)
