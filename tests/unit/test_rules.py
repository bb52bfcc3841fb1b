"""The language of the routing rules: its logic, its patterns, and what it says of mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.config import MOST_BUNDLES, ConfigError, read_settings
from dicom_node.rules import Route, Seen, When, ask

# Three facts stand for True, False and unknown.
SEEN = Seen({"station_name": ("PETCT1",), "manufacturer": (), "study_description": ("Thorax",)}, {"patient_age": 40.0})
LEAVES: list[tuple[dict[str, Any], bool | None]] = [
    ({"station_name": "petct*"}, True),
    ({"station_name": "mr*"}, False),
    ({"manufacturer": "*"}, None),
    ({"patient_age": {"min": 18}}, True),
    ({"patient_age": {"max": 39}}, False),
    ({"patient_weight": {"max": 39}}, None),
]
Case = tuple[dict[str, Any], bool | None]


def both(cases: list[Case]) -> bool | None:
    truths = [truth for _, truth in cases]
    return False if False in truths else None if None in truths else True


def either(cases: list[Case]) -> bool | None:
    truths = [truth for _, truth in cases]
    return True if True in truths else None if None in truths else False


def grown(inner: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    some = st.lists(inner, min_size=1, max_size=4)
    return (
        some.map(lambda cases: ({"all": [c for c, _ in cases]}, both(cases)))
        | some.map(lambda cases: ({"any": [c for c, _ in cases]}, either(cases)))
        | inner.map(lambda case: ({"not": case[0]}, None if case[1] is None else not case[1]))
        | st.tuples(some, inner).map(
            lambda two: ({"any": [c for c, _ in two[0]], "not": two[1][0]}, both_of(either(two[0]), negated(two[1][1])))
        )
    )


def negated(truth: bool | None) -> bool | None:
    return None if truth is None else not truth


def both_of(one: bool | None, other: bool | None) -> bool | None:
    return both([({}, one), ({}, other)])


@given(st.recursive(st.sampled_from(LEAVES), grown, max_leaves=12))
def test_nested_conditions_follow_kleenes_truth_table(case: Case) -> None:
    conditions, truth = case
    answer = ask(When.model_validate(conditions), SEEN)
    assert answer.holds is truth
    assert answer.why


def holds(conditions: dict[str, Any], value: str | None) -> bool | None:
    key = next(iter(conditions))
    return ask(When.model_validate(conditions), Seen({key: () if value is None else (value,)}, {})).holds


@pytest.mark.parametrize(
    ("pattern", "value", "truth"),
    [
        ("CHEST", "chest ", True),
        ("CHEST", "CHESTABDOMEN", False),
        ("*chest*", "Thorax/Chest", True),
        ("PET?", "PET12", False),
        ("a.c", "abc", False),
        ("/thorax|lung/", "CT Lungs", True),
        ("/^lung/", "CT Lungs", False),
        (["x", "ches*"], "CHEST", True),
        ("CHEST", None, None),
        ("", None, True),
        ("", "CHEST", False),
        (["", "CHEST"], "  ", True),
        ("*", "", None),
    ],
)
def test_patterns(pattern: str | list[str], value: str | None, truth: bool | None) -> None:
    assert holds({"body_part_examined": pattern}, value) is truth


@given(st.floats(allow_nan=False), st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1e6))
def test_ranges_include_their_ends(value: float, low: float, width: float) -> None:
    when = When.model_validate({"patient_weight": {"min": low, "max": low + width}})
    assert ask(when, Seen({}, {"patient_weight": value})).holds is (low <= value <= low + width)
    assert ask(when, Seen({}, {"patient_weight": low})).holds is True


def test_free_text_and_what_is_the_patients_are_not_repeated() -> None:
    when = When.model_validate({"study_description": "*", "patient_age": {"min": 1}, "patient_sex": "F"})
    seen = Seen({"study_description": ("Doe, Jane",), "patient_sex": ("M",)}, {"patient_age": 47.0})
    said = " ".join(ask(when, seen).why) + " ".join(ask(When.model_validate({"not": when}), seen).why)
    assert "Doe" not in said
    assert "47" not in said
    assert "M," not in said


@pytest.mark.parametrize(
    ("toml", "parts"),
    [
        ("tracer = 'fgd'", ["route #1.when.tracer", "known are fdg", "psma-11"]),
        ("bodypart = 'CHEST'", ["route #1.when.bodypart", "body_part_examined", "any"]),
        ("any = []", ["route #1.when.any", "empty"]),
        ("any = [{}]", ["route #1.when.any", "empty"]),
        ("not = {}", ["route #1.when", "empty not"]),
        ("all = [{ station = 'x' }]", ["route #1.when.all #1.station", "station_name"]),
        ("patient_age = 18", ["route #1.when.patient_age", "{ min = 18, max = 90 }"]),
        ("patient_age = { min = 18, max = 17 }", ["route #1.when.patient_age", "above"]),
        ("patient_age = { from = 18 }", ["route #1.when.patient_age.from", "min, max"]),
        ("patient_age = {}", ["route #1.when.patient_age", "min, max or both"]),
        ("station_name = '/(/'", ["route #1.when.station_name", "regular expression"]),
        ("station_name = []", ["route #1.when.station_name", "empty list"]),
        ("any = { station_name = 'x' }", ["route #1.when.any", "a list is wanted"]),
        ("not = 'x'", ["route #1.when.not", "a table is wanted"]),
        ("station_name = 3", ["route #1.when.station_name", "a text or a list of texts"]),
    ],
)
def test_a_mistake_is_named_with_its_key_and_what_is_allowed(tmp_path: Path, toml: str, parts: list[str]) -> None:
    file = tmp_path / "node.toml"
    file.write_text(f"[[route]]\nname = 'a'\nbundle = 'demo'\n[route.when]\n{toml}\n")
    with pytest.raises(ConfigError) as told:
        read_settings(file)
    assert all(part in str(told.value) for part in parts), told.value


def test_rules_are_told_apart_and_their_bundles_bounded(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text("[[route]]\nname = 'a'\nbundle = 'x'\n" * 2)
    with pytest.raises(ConfigError, match="used twice: a"):
        read_settings(file)
    file.write_text("".join(f"[[route]]\nname = 'r{n}'\nbundle = 'b{n}'\n" for n in range(MOST_BUNDLES + 1)))
    with pytest.raises(ConfigError, match=f"at most {MOST_BUNDLES}"):
        read_settings(file)


def test_a_route_says_which_keys_it_may_have(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text("[[route]]\nname = 'a'\nbundle = 'demo'\nif = { tracer = 'fdg' }\n")
    with pytest.raises(ConfigError, match="allowed are name, bundle, stop, when"):
        read_settings(file)
    assert Route(name="a", bundle="b").when == When()
