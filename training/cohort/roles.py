"""What the columns of a table are for: their usual names, or a small file beside the table that says so.

For ``labs.csv`` that file is ``labs.columns.toml`` (or ``labs.columns.json``).  All keys may be left out::

    label = "tps"                    # header of the column with the label …
    positive = ">= 1"                # … and what of it is positive: a rule on a number, or a list of texts
    patient = "Patient ID"           # likewise study, centre, pet, ct, iodine, region, months, event, set
    values = ["age", "cea"]          # only these are offered to models; without it every column with no other role
    groups = ["scanner"]             # columns of which subgroups are reported
    post_baseline = ["cycles"]       # known only after the scan: never offered to a model
    baseline = ["relapse_before"]    # known at the scan, whatever its name suggests
    ignore = ["remarks"]
    region_names = ["GTV.*"]         # which of a person's regions is the lesion, as ``assemble.region_names``
    [names]                          # header → name in the model
    "γ-GT" = "ggt"
    [units]                          # header → UCUM unit; a unit in brackets in the header does as well
    "CEA" = "ng/mL"

Headers are compared without regard to case, spaces and a unit in brackets.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from inference.model.value_names import LONGEST_NAME, slug
from inference.regions.region_names import TUMOUR_NAMES
from training.cohort.sheet import MOST_BYTES, too_large, unreadable

ROLES = ("patient", "study", "centre", "label", "pet", "ct", "iodine", "region", "months", "event", "set")
ALIASES = {  # what the same is called elsewhere
    "patient": ("patient_id", "subject", "subject_id"),
    "study": ("study_id",),
    "centre": ("center", "site"),
}
_RULE = re.compile(r"(>=|<=|>|<|==?)\s*([-+]?\d+(?:\.\d+)?)")


class Roles(BaseModel):
    """The file beside the table; headers as they stand there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patient: str = "patient"
    study: str = "study"
    centre: str = "centre"
    label: str = "label"
    pet: str = "pet"
    ct: str = "ct"
    iodine: str = "iodine"
    region: str = "region"
    months: str = "months"
    event: str = "event"
    set: str = "set"
    positive: str | tuple[str, ...] = ""
    values: tuple[str, ...] | None = None
    groups: tuple[str, ...] = ()
    post_baseline: tuple[str, ...] = ()
    baseline: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    region_names: tuple[str, ...] = TUMOUR_NAMES
    names: dict[str, str] = Field(default_factory=dict)
    units: dict[str, str] = Field(default_factory=dict)

    @field_validator("positive")
    @classmethod
    def _is_rule(cls, rule: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(rule, str) and rule and not _RULE.fullmatch(rule.strip()):
            raise ValueError('write a comparison such as ">= 1", or a list of texts')
        return rule

    @field_validator("region_names")
    @classmethod
    def _are_expressions(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            try:
                re.compile(name)
            except re.error as error:
                raise ValueError(f"'{name}' is no regular expression ({error})") from None
        return names

    @field_validator("names")
    @classmethod
    def _are_names(cls, names: dict[str, str]) -> dict[str, str]:
        for name in names.values():
            if slug(name) != name:
                raise ValueError(f"'{name}' must be lower-case letters, digits and _, at most {LONGEST_NAME} of them")
        return names


def read_roles(table: Path) -> Roles:
    """The roles of a table's columns.  Raises ``Refused`` ``cohort-unreadable``, ``cohort-too-large``."""
    for file in (table.with_suffix(".columns.toml"), table.with_suffix(".columns.json")):
        if file.is_file():
            return _read(file)
    return Roles()


def _read(file: Path) -> Roles:
    if file.stat().st_size > MOST_BYTES:
        raise too_large(file, "it is larger than a description of columns can be")
    try:
        text = file.read_text("utf-8-sig")
        return Roles.model_validate(json.loads(text) if file.suffix == ".json" else tomllib.loads(text))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc'][:2]))}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()
        )
        raise unreadable(file, faults) from None
    except (ValueError, RecursionError) as error:  # not TOML, not JSON, not UTF-8
        raise unreadable(file, f"it cannot be read ({error})") from None


def is_positive(text: str, value: float | None, rule: str | tuple[str, ...]) -> bool:
    """Whether a label's cell, with its number where it is one, is positive by the rule.

    Raises ValueError where the rule needs a number and there is none.
    """
    if not isinstance(rule, str):
        return slug(text) in {slug(one) for one in rule}
    found = _RULE.fullmatch(rule.strip())
    if found is None or value is None:
        raise ValueError(f"it is no number, and the rule is positive = {rule!r}")
    limit = float(found.group(2))
    match found.group(1):
        case ">=":
            return value >= limit
        case ">":
            return value > limit
        case "<=":
            return value <= limit
        case "<":
            return value < limit
        case _:
            return value == limit
