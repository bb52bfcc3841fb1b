"""Clinical and laboratory values that a model takes beside the images: one encoding for training and serving.

A vector holds, for each value in the bundle's order, its number as (t(x) − mean) ÷ sd, t being none or the natural
logarithm, or 0/1 for each level but the first of a category; after all of them follows a 0/1 flag for each value that
may be missing.  What is missing is filled with the training's median (a category's most frequent level).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from inference.facts import Refused

Value = float | str


class ValueSpec(BaseModel):
    """One value, as the training saw it.

    ``name``: column of the cohort and of the node's table; ``title``: for people; ``unit``: UCUM, "" for none.
    ``median``, ``mean``, ``sd`` are of the training rows, mean and sd after ``transform``.  ``low``, ``high``: what
    counts as like the training: its range and a quarter of it beyond either end, on the scale of ``transform``.
    ``levels``: of a category, the most frequent first; then the numbers are unused.
    ``missing``: "filled" (and flagged) or "refused": the model abstains without it.
    ``source``: who gives it: the cohort's or site's "table", the DICOM "header" (age, sex), or what is "measured" on
    the lesion (``suv_max``, ``mtv_ml``, ``tlg``, ``volume_ml``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    title: str = Field(min_length=1, max_length=64)
    unit: str = Field("", max_length=16)
    transform: Literal["none", "log"] = "none"
    median: float = 0.0
    mean: float = 0.0
    sd: float = Field(1.0, gt=0)
    low: float | None = None
    high: float | None = None
    levels: tuple[str, ...] = ()
    missing: Literal["filled", "refused"] = "filled"
    source: Literal["table", "header", "measured"] = "table"

    @model_validator(mode="after")
    def _log_of_positive(self) -> Self:
        if self.transform == "log" and self.median <= 0:
            raise ValueError(f"{self.name}: a logarithm needs a median above 0")
        return self

    @property
    def width(self) -> int:
        """How many numbers of the vector it takes, its flag not counted."""
        return len(self.levels) - 1 if self.levels else 1


@dataclass(frozen=True, slots=True)
class Encoded:
    """``vector``: float32 (n,), see the module.  ``filled``: names of the values that were missing."""

    vector: npt.NDArray[np.float32]
    filled: tuple[str, ...]


def width(specs: Sequence[ValueSpec]) -> int:
    """Length of the vector."""
    return sum(spec.width + (spec.missing == "filled") for spec in specs)


def encode(values: Mapping[str, Value | None], specs: Sequence[ValueSpec]) -> Encoded:
    """The vector of one subject; a value that is absent, None or NaN is missing.

    Raises ``Refused``: ``value-missing`` (the model does not speak without it), ``value-not-usable`` (no number where
    one is needed, a level that the training did not have, not above 0 where the logarithm is taken).
    """
    numbers: list[float] = []
    filled: list[str] = []
    for spec in specs:
        value = values.get(spec.name)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            if spec.missing == "refused":
                raise Refused("value-missing", f"The model needs {spec.title} ({spec.name}), and it is not given.")
            filled.append(spec.name)
            value = spec.levels[0] if spec.levels else spec.median
        numbers += _numbers(value, spec)
    flags = [float(spec.name in filled) for spec in specs if spec.missing == "filled"]
    return Encoded(np.array([*numbers, *flags], np.float32), tuple(filled))


def out_of_training_range(values: Mapping[str, Value | None], specs: Sequence[ValueSpec]) -> tuple[str, ...]:
    """What is given and lies beyond what training saw, as sentences without the value."""
    found = []
    for spec in specs:
        value = values.get(spec.name)
        if spec.levels or value is None or isinstance(value, str) or math.isnan(value):
            continue
        if spec.low is not None and spec.high is not None and not spec.low <= value <= spec.high:
            like = f"{spec.low:.4g} to {spec.high:.4g} {spec.unit}"
            found.append(f"{spec.title} lies far outside the training data (its range and a quarter more: {like})")
    return tuple(text.replace(" )", ")") for text in found)


def _numbers(value: Value, spec: ValueSpec) -> list[float]:
    if spec.levels:
        level = str(value).strip()
        if level not in spec.levels:
            raise _unusable(spec, f"is none of {', '.join(spec.levels)}")
        return [float(level == other) for other in spec.levels[1:]]
    try:
        number = float(value)
    except ValueError:
        raise _unusable(spec, "is no number") from None
    if not math.isfinite(number) or (spec.transform == "log" and number <= 0):
        raise _unusable(spec, "must be a finite number" + (" above 0" if spec.transform == "log" else ""))
    taken = math.log(number) if spec.transform == "log" else number
    return [(taken - spec.mean) / spec.sd]


def _unusable(spec: ValueSpec, why: str) -> Refused:
    return Refused("value-not-usable", f"{spec.title} ({spec.name}) {why}; correct it at its source.")
