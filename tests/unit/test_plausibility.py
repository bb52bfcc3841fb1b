"""Warnings where SUV can be computed and is not likely."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.facts import ReferenceUptake, SuvRule, Tracer
from inference.reading.instance import scan_folder
from inference.suv.plausibility import plausibility_cautions
from inference.suv.rule import suv_rule

FDG, DOTATOC, UNKNOWN = Tracer("fdg", "F-18"), Tracer("dotatoc", "Ga-68"), Tracer("", "")
USUAL = {"dose_bq": 350e6, "weight_kg": 70.0, "half_life_s": 6586.2, "uptake_time_min": 60.0}


def codes(tracer: Tracer, *references: ReferenceUptake, **inputs: float | None) -> list[str]:
    known = {k: v for k, v in (USUAL | inputs).items() if v is not None}
    return [c.code for c in plausibility_cautions(SuvRule("BW", (1.0,), "", known, ""), tracer, references)]


def liver(suv_mean: float) -> ReferenceUptake:
    return ReferenceUptake("liver", suv_mean, 0.2, 14.1, (0.0, 0.0, 0.0))


def test_the_usual_scan_is_silent() -> None:
    assert codes(FDG, liver(2.2)) == codes(UNKNOWN) == []


@pytest.mark.parametrize(
    ("tracer", "minutes", "said"),
    [
        *((FDG, m, []) for m in (55.0, 75.0)),
        *((FDG, m, ["uptake-time"]) for m in (0.0, 54.9, 75.1, 118.0, -1.0)),
        *((DOTATOC, m, []) for m in (45.0, 118.0, None)),
        *((DOTATOC, m, ["uptake-time"]) for m in (-1.0, 330.0)),  # three half-lives are 329 minutes
        (FDG, None, []),
    ],
)
def test_uptake_time(tracer: Tracer, minutes: float | None, said: list[str]) -> None:
    assert codes(tracer, uptake_time_min=minutes) == said


@pytest.mark.parametrize(
    ("suv_mean", "said"), [(1.3, []), (3.0, []), (1.29, ["liver-uptake-unusual"]), (3.01, ["liver-uptake-unusual"])]
)
def test_liver_uptake_is_judged_for_fdg_alone(suv_mean: float, said: list[str]) -> None:
    blood = ReferenceUptake("blood pool", 0.5, 0.1, 1.6, (0.0, 0.0, 0.0))
    assert codes(FDG, blood, liver(suv_mean)) == said
    assert codes(DOTATOC, liver(suv_mean)) == codes(UNKNOWN, liver(suv_mean)) == []


@pytest.mark.parametrize(("tracer", "per_kg"), [(FDG, 0.49), (FDG, 15.1), (UNKNOWN, 0.09), (UNKNOWN, 61.0)])
def test_dose_per_weight(tracer: Tracer, per_kg: float) -> None:
    assert codes(tracer, dose_bq=per_kg * 70e6) == ["dose-per-weight-unusual"]
    assert codes(tracer, dose_bq=5 * 70e6) == codes(tracer, dose_bq=None) == []


@pytest.mark.data
def test_a_real_scan_two_hours_after_the_injection_says_so(shared_data: Path) -> None:
    series = [i for i in scan_folder(shared_data / "geometry" / "baseline").instances if i.modality == "PT"]
    (caution,) = plausibility_cautions(suv_rule(series), FDG, ())
    assert caution.code == "uptake-time"
    assert "118 min" in caution.text
