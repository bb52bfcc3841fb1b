"""The language of the routing rules: which conditions a ``[[route]]`` may set, and what they answer.

An answer is True, False, or None where the study does not say (Kleene's logic): a rule matches only where its
conditions are True, so what nobody knows never sends a study to a model, with ``not`` neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from inference.facts import Kind
from inference.suv.tracer import NAMES

MOST_RULES, MOST_PATTERN = 100, 200
LONGEST_VALUE = 256  # characters of a header value that are looked at


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NumberRange(_Frozen):
    """``{ min = 18, max = 90 }``, both included; one of them may be left out."""

    min: float | None = Field(None, allow_inf_nan=False)
    max: float | None = Field(None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both, for example { min = 18 }")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min = {self.min:g} is above max = {self.max:g}")
        return self

    def holds(self, value: float) -> bool:
        """Whether the value lies inside."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    def __str__(self) -> str:
        """In words."""
        if self.max is None:
            return f"at least {self.min:g}"
        return f"at most {self.max:g}" if self.min is None else f"{self.min:g} to {self.max:g}"


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    """``/…/`` is a regular expression that may match anywhere; else ``*`` and ``?`` are wildcards for the whole value.

    Upper and lower case are alike.
    """
    if len(text) > 1 and text.startswith("/") and text.endswith("/"):
        return re.compile(text[1:-1], re.IGNORECASE)
    literal = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in text)
    return re.compile(rf"\A{literal}\Z", re.IGNORECASE | re.DOTALL)


def _listed(value: Any) -> Any:
    listed = (value,) if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or any(not isinstance(text, str) for text in listed):
        raise ValueError("a text or a list of texts is wanted")
    return listed


def _usable(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if not patterns:
        raise ValueError('an empty list matches nothing; leave the key out, or write "" for "not given"')
    for text in patterns:
        if len(text) > MOST_PATTERN:
            raise ValueError(f"a pattern has at most {MOST_PATTERN} characters")
        try:
            _pattern(text)
        except re.error as error:
            raise ValueError(f"{text} is no regular expression: {error}") from None
    return patterns


def _names_tracers(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for text in patterns:
        if not any(_pattern(text).search(name) for name in ("", *NAMES)):
            raise ValueError(f'"{text}" is no tracer that we know; known are {", ".join(NAMES)}, and "" for unknown')
    return patterns


def _names_kinds(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for text in patterns:
        if not any(_pattern(text).search(kind) for kind in get_args(Kind)):
            raise ValueError(f'"{text}" is nothing that is looked at; that is {", ".join(get_args(Kind))}')
    return patterns


def _some_conditions(conditions: tuple[When, ...]) -> tuple[When, ...]:
    if not conditions:
        raise ValueError("an empty list of conditions says nothing; leave the key out")
    if any(not condition.model_fields_set for condition in conditions):
        raise ValueError("an empty condition says nothing; leave it out")
    return conditions


Patterns = Annotated[tuple[str, ...], BeforeValidator(_listed), AfterValidator(_usable)]
TracerPatterns = Annotated[Patterns, AfterValidator(_names_tracers)]
KindPatterns = Annotated[Patterns, AfterValidator(_names_kinds)]


def _as_table(value: Any) -> Any:
    if not isinstance(value, Mapping | NumberRange):
        raise ValueError("a range is wanted, such as { min = 18, max = 90 }, or with one of the two")  # noqa: TRY004
    return value


Numbers = Annotated[NumberRange, BeforeValidator(_as_table)]


class When(_Frozen):
    """Conditions that must all hold.

    A text is a pattern or a list of patterns of which one must match.  Values are the PET's; where it has none, the
    CT's.
    """

    calling_ae_title: Patterns | None = Field(None, title="the sender's AE title")
    images: KindPatterns | None = Field(None, title="what is looked at")
    tracer: TracerPatterns | None = Field(None, title="the tracer")
    radionuclide: Patterns | None = Field(None, title="the radionuclide")
    body_part_examined: Patterns | None = Field(None, title="Body Part Examined")
    protocol_name: Patterns | None = Field(None, title="Protocol Name")
    study_description: Patterns | None = Field(None, title="Study Description")
    series_description: Patterns | None = Field(None, title="the PET's Series Description")
    ct_series_description: Patterns | None = Field(None, title="the CT's Series Description")
    contrast_agent: Patterns | None = Field(None, title="the CT's contrast agent")
    station_name: Patterns | None = Field(None, title="Station Name")
    institution_name: Patterns | None = Field(None, title="Institution Name")
    manufacturer: Patterns | None = Field(None, title="Manufacturer")
    manufacturer_model_name: Patterns | None = Field(None, title="Manufacturer's Model Name")
    patient_sex: Patterns | None = Field(None, title="Patient's Sex")
    patient_age: Numbers | None = Field(None, title="Patient's Age in years")
    patient_weight: Numbers | None = Field(None, title="Patient's Weight in kg")
    patient_size: Numbers | None = Field(None, title="Patient's Size in m")
    pet_slices: Numbers | None = Field(None, title="the number of PET slices")
    pet_slice_thickness: Numbers | None = Field(None, title="the PET's Slice Thickness in mm")
    ct_slices: Numbers | None = Field(None, title="the number of CT slices")
    ct_slice_thickness: Numbers | None = Field(None, title="the CT's Slice Thickness in mm")
    all_: Annotated[tuple[When, ...], AfterValidator(_some_conditions)] | None = Field(None, alias="all")
    any_: Annotated[tuple[When, ...], AfterValidator(_some_conditions)] | None = Field(None, alias="any")
    not_: When | None = Field(None, alias="not")

    @model_validator(mode="after")
    def _no_empty_not(self) -> Self:
        if self.not_ is not None and not self.not_.model_fields_set:
            raise ValueError("an empty not says nothing; leave it out")
        return self


class Route(_Frozen):
    """Which bundle looks at which studies.  Every rule that matches runs its bundle; ``stop`` ends the search."""

    name: str = Field(min_length=1, max_length=64, description="how logs and `petct-node explain` call the rule")
    bundle: str = Field(min_length=1, description="a bundle's name, or the path of its folder")
    stop: bool = Field(False, description="where this rule matches, later rules are not asked")
    when: When = Field(When(), description="conditions; none: every study")


def allowed_keys(place: Sequence[str | int]) -> str:
    """For an unknown key at ``place`` of the settings: those that a rule or its conditions may have; else ""."""
    if place[:1] != ("route",):
        return ""
    model: type[BaseModel] = When if "when" in place[:-1] else Route
    if str(place[-2]) in When.model_fields and When.model_fields[str(place[-2])].annotation == Numbers | None:
        model = NumberRange
    return f"allowed are {', '.join(field.alias or key for key, field in model.model_fields.items())}"


# Free text, or of the patient: answers never repeat these values, since they go into logs.
UNSPOKEN = frozenset(
    {"study_description", "series_description", "ct_series_description", "protocol_name"}
    | {key for key in When.model_fields if key.startswith("patient_")}
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a study says, by the keys of ``When``: texts (none where it says nothing), and numbers (None where not)."""

    texts: Mapping[str, Sequence[str]]
    numbers: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Answer:
    """``holds``: None where the study does not say.  ``why``: phrases, of what decided."""

    holds: bool | None
    why: tuple[str, ...]


def ask(when: When, seen: Seen) -> Answer:
    """Whether the conditions hold for the study."""
    answers = []
    for key, field in type(when).model_fields.items():
        wanted = getattr(when, key)
        if wanted is None:
            continue
        if key == "all_":
            answers.append(_all([ask(one, seen) for one in wanted]))
        elif key == "any_":
            answers.append(_any([ask(one, seen) for one in wanted]))
        elif key == "not_":
            answers.append(_not(ask(wanted, seen)))
        elif isinstance(wanted, NumberRange):
            answers.append(_number(str(field.title), wanted, seen.numbers.get(key)))
        else:
            answers.append(_text(key, str(field.title), wanted, seen.texts.get(key, ())))
    return _all(answers)


def _text(key: str, title: str, patterns: tuple[str, ...], values: Sequence[str]) -> Answer:
    wanted = " or ".join(pattern or "nothing" for pattern in patterns)
    given = [value.strip()[:LONGEST_VALUE] for value in values if value.strip()]
    if not given:
        return Answer(True, (f"{title} is not given",)) if "" in patterns else Answer(None, (f"{title} is not known",))
    holds = any(_pattern(p).search(value) for p in patterns if p for value in given)
    if key in UNSPOKEN:
        return Answer(holds, (f"{title} {'matches' if holds else 'does not match'} {wanted}",))
    return Answer(holds, (f"{title} is {', '.join(given)}{'' if holds else f', not {wanted}'}",))


def _number(title: str, wanted: NumberRange, value: float | None) -> Answer:
    if value is None:
        return Answer(None, (f"{title} is not known",))
    holds = wanted.holds(value)
    return Answer(holds, (f"{title} is {'' if holds else 'not '}{wanted}",))


def _all(answers: Sequence[Answer]) -> Answer:
    """False by one that is False, else None by one that is None."""
    for decisive in (False, None):
        if found := [a for a in answers if a.holds is decisive]:
            return Answer(decisive, tuple(w for a in found for w in a.why))
    return Answer(True, tuple(w for a in answers for w in a.why))


def _any(answers: Sequence[Answer]) -> Answer:
    """True by one that is True, else None by one that is None."""
    for decisive in (True, None):
        if found := [a for a in answers if a.holds is decisive]:
            return Answer(decisive, tuple(w for a in found for w in a.why))
    return Answer(False, tuple(w for a in answers for w in a.why))


def _not(answer: Answer) -> Answer:
    if answer.holds:
        return Answer(False, tuple(f"excluded since {why}" for why in answer.why))
    return Answer(None if answer.holds is None else True, answer.why)
