"""Is the SUV plausible?  Warnings only: nothing is corrected."""

from __future__ import annotations

from collections.abc import Sequence

from inference.facts import Caution, ReferenceUptake, SuvRule, Tracer

# Mean liver SUVbw of FDG in a sphere of 3 cm (EANM 2.0: Boellaard et al., EJNMMI 2015;42:328, as quoted by Eude et al.,
# EJNMMI 2022, doi 10.1007/s00259-022-05977-5): outside, weight, dose or calibration may be wrong.
FDG_LIVER_SUV = (1.3, 3.0)
# Start of acquisition after injection: EANM 2.0 and QIBA's profile ask for 60 minutes and accept these (PERCIST 50 to
# 70).
FDG_UPTAKE_MIN = (55.0, 75.0)
# Far outside what guidelines give (FDG: 3 to 10 MBq/kg), so that only slips are named, such as another patient's dose.
FDG_MBQ_PER_KG = (0.5, 15.0)
MBQ_PER_KG = (0.1, 60.0)  # any tracer: Zr-89 and I-124 at the low end, Rb-82 and O-15 at the high one
LIKELY_HALF_LIVES = 3.0


def plausibility_cautions(rule: SuvRule, tracer: Tracer, references: Sequence[ReferenceUptake]) -> tuple[Caution, ...]:
    """Uptake time, dose per weight and liver uptake against what is usual, as far as they are known."""
    is_fdg = tracer.name == "fdg"
    return (*_uptake_time(rule, is_fdg), *_dose(rule, is_fdg), *(_liver(references) if is_fdg else ()))


def _uptake_time(rule: SuvRule, is_fdg: bool) -> tuple[Caution, ...]:
    waited, half_life_s = _number(rule, "uptake_time_min"), _number(rule, "half_life_s")
    if waited is None:
        return ()
    low, high = FDG_UPTAKE_MIN
    if waited < 0:
        text = "By the header the acquisition began before the injection; one of the times is wrong."
    elif is_fdg and not low <= waited <= high:
        text = (
            f"FDG uptake time is {waited:.0f} min, outside {low:.0f} to {high:.0f} min (EANM 2.0): SUV changes with it "
            "and cannot be compared with that of usual scans."
        )
    elif half_life_s is not None and waited * 60.0 > LIKELY_HALF_LIVES * half_life_s:
        text = (
            f"Uptake time is {waited:.0f} min, more than {LIKELY_HALF_LIVES:.0f} half-lives of the tracer: check the "
            "times."
        )
    else:
        return ()
    return (Caution("uptake-time", text),)


def _dose(rule: SuvRule, is_fdg: bool) -> tuple[Caution, ...]:
    dose_bq, weight_kg = _number(rule, "dose_bq"), _number(rule, "weight_kg")
    if dose_bq is None or weight_kg is None:
        return ()
    per_kg, (low, high) = dose_bq / 1e6 / weight_kg, FDG_MBQ_PER_KG if is_fdg else MBQ_PER_KG
    text = f"The dose is {per_kg:.2g} MBq per kg of body weight, which is unusual: SUV rests on both, check them."
    return () if low <= per_kg <= high else (Caution("dose-per-weight-unusual", text),)


def _liver(references: Sequence[ReferenceUptake]) -> tuple[Caution, ...]:
    low, high = FDG_LIVER_SUV
    return tuple(
        Caution(
            "liver-uptake-unusual",
            f"Mean liver SUVbw is {liver.suv_mean:.2f}, outside {low:g} to {high:g} (EANM): weight, dose, times or "
            "calibration may be wrong, or the liver is not normal.",
        )
        for liver in references
        if liver.site == "liver" and not low <= liver.suv_mean <= high
    )


def _number(rule: SuvRule, name: str) -> float | None:
    value = rule.inputs.get(name)
    return value if isinstance(value, float | int) else None
