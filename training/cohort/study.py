"""One row of a cohort, its cells checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator, model_validator

from inference.model.value_names import is_missing
from training.cohort.columns import to_number
from training.cohort.roles import is_positive
from training.prepared import UNLABELLED

Set = Literal["train", "internal", "external", "unlabelled"]
IMAGES = ("pet", "ct", "iodine", "region")
LONGEST_NAME = 64
LABELS = {"1": 1, "true": 1, "yes": 1, "positive": 1, "0": 0, "false": 0, "no": 0, "negative": 0}


@dataclass(frozen=True, slots=True)
class Reading:
    """What the cells of one row are read with."""

    folder: Path
    positive: str | tuple[str, ...]
    decimal_comma: bool


class Study(BaseModel):
    """One row.

    ``row``: its number in the table.  ``label``: 1, 0, -1 for none.  ``months``: NaN where unknown; ``event``: 1, 0, -1
    where unknown.  A path is None where it is not given; else there is something.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: int
    patient: str
    study: str
    centre: str = ""
    label: int = UNLABELLED
    pet: Path | None = None
    ct: Path | None = None
    iodine: Path | None = None
    region: Path | None = None
    months: float = math.nan
    event: int = -1
    set: Set = "train"

    @field_validator("patient", "study", "centre")
    @classmethod
    def _is_name(cls, text: str, info: ValidationInfo) -> str:
        if not text and info.field_name != "centre":
            raise ValueError("it is empty; every row needs one")
        if len(text) > LONGEST_NAME or (text and not text.isprintable()):
            raise ValueError(f"a name has at most {LONGEST_NAME} characters, all printable")
        return text

    @field_validator("label", mode="before")
    @classmethod
    def _label(cls, text: str, info: ValidationInfo) -> int:
        how = _how(info)
        if is_missing(text):
            return UNLABELLED
        if how.positive:
            return int(is_positive(text, _maybe_number(text, how.decimal_comma), how.positive))
        return _binary(text, "a label is 0, 1 or empty")

    @field_validator("event", mode="before")
    @classmethod
    def _event(cls, text: str) -> int:
        return -1 if is_missing(text) else _binary(text, "an event is 1, censoring 0")

    @field_validator("months", mode="before")
    @classmethod
    def _months(cls, text: str, info: ValidationInfo) -> float:
        if is_missing(text):
            return math.nan
        months = to_number(text, _how(info).decimal_comma)
        if months < 0:
            raise ValueError("a time is not below 0")
        return months

    @field_validator("set", mode="before")
    @classmethod
    def _set(cls, text: str) -> str:
        name = "train" if is_missing(text) else text.lower()
        if name not in get_args(Set):
            raise ValueError(f"it is one of {', '.join(get_args(Set))}, or empty")
        return name

    @field_validator(*IMAGES, mode="before")
    @classmethod
    def _path(cls, text: str, info: ValidationInfo) -> Path | None:
        if is_missing(text):
            return None
        for written in (text, text.replace("\\", "/")):
            path = _how(info).folder / written
            if "\0" not in written and _is_there(path):
                return path
        raise ValueError("there is no such file or folder; paths are relative to the table")

    @model_validator(mode="after")
    def _whole(self) -> Study:
        if not (self.pet or self.ct or self.iodine):
            raise ValueError("it names no image: pet, ct or iodine")
        if (self.event >= 0) == math.isnan(self.months):
            raise ValueError("months and event belong together; give both or none")
        return self


def _how(info: ValidationInfo) -> Reading:
    assert isinstance(info.context, Reading)  # rows are read by ``table`` alone
    return info.context


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file system takes, a folder without rights
        return False


def _binary(text: str, rule: str) -> int:
    try:
        return LABELS[text.lower().removesuffix(".0").removesuffix(",0")]
    except KeyError:
        raise ValueError(rule) from None


def _maybe_number(text: str, decimal_comma: bool) -> float | None:
    try:
        return to_number(text, decimal_comma)
    except ValueError:
        return None
