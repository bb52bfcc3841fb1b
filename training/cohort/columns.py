"""The columns without another role: which are clinical or laboratory values, which only name a subgroup, which leak."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from inference.model.value_names import SEXES, is_missing, number_text, slug, unit_in, value_name
from inference.model.values import Value
from training.cohort.findings import Finding
from training.cohort.roles import Roles
from training.cohort.sheet import Sheet

MOST_LEVELS = 20  # of a category; a column with more is free text
NUMBERS_AMONG = 0.5  # where at least this share of the cells are numbers, the others are faults
GROUP_NAMES = ("scanner", "manufacturer", "model", "scanner_model", "station", "ethnicity")
SUBGROUPS = ("sex", *GROUP_NAMES)

# What such a name tells is known only after the scan (methods C1, landmark and leak rules; A5 for the cycles).
_POST_BASELINE = re.compile(
    r"(^|_)(cycles?|n_cycles|follow_?up|best_response|response|recist|percist|os|pfs|ttp|dfs|rfs|survival|survived|"
    r"death|dead|died|deceased|progress(ion|ed)?|relapsed?|recurrences?|recurred|last_contact|(vital|survival|disease)_status|outcome|endpoint|"
    r"event|censor(ed|ing)?|time_to|months_to|days_to|post|after|nadir|end_of_treatment|eot)(_|$)|^status$"
)
_DATE_FORMATS = ("%Y%m%d", "%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S")


@dataclass(frozen=True, slots=True)
class Column:
    """One column that models are offered, or of which subgroups are reported.

    ``name``: as models know it; ``header``: as the table has it; ``unit``: UCUM, "" where not stated.
    ``values``: one for each row, None where missing.  ``missing``: how many are.
    """

    name: str
    header: str
    unit: str
    kind: Literal["number", "category"]
    values: tuple[Value | None, ...]

    @property
    def missing(self) -> int:
        return sum(value is None for value in self.values)


@dataclass(frozen=True, slots=True)
class Columns:
    """``offered`` to models; ``groups`` name subgroups only; ``set_aside``: header → why it is offered to none."""

    offered: tuple[Column, ...]
    groups: tuple[Column, ...]
    set_aside: dict[str, str]
    findings: tuple[Finding, ...]


def post_baseline(name: str) -> bool:
    """Whether a column's name says that it is known only after the scan."""
    return _POST_BASELINE.search(name) is not None


def to_number(text: str, decimal_comma: bool) -> float:
    """Raises ValueError, without the text, where it is no finite number."""
    found = number_text(text, decimal_comma=decimal_comma)
    if found is not None and math.isfinite(number := float(found)):
        return number
    if text[:1] in "<>≤≥":
        raise ValueError("it is no number but a bound; write the bound itself, or leave the cell empty")
    if number_text(text, decimal_comma=True) is not None and found is None:
        raise ValueError("it is no number: write a decimal point")
    raise ValueError("it is no number, as most of its column are; correct it, or leave the cell empty")


def name_of(header: str, roles: Roles) -> str:
    """The name of a column in models."""
    given = {slug(key): name for key, name in roles.names.items()}
    return given.get(slug(header)) or value_name(header)


def read_columns(sheet: Sheet, taken: Sequence[int], roles: Roles) -> Columns:
    """All columns but those ``taken`` by a role."""
    offered: list[Column] = []
    groups: list[Column] = []
    set_aside: dict[str, str] = {}
    findings: list[Finding] = []
    units = {slug(header): unit for header, unit in roles.units.items()}
    subgroups = {slug(h) for h in (*SUBGROUPS, *roles.groups)}
    for index, header in enumerate(sheet.header):
        if index in taken:
            continue
        name = name_of(header, roles)
        why = _why_not(name, header, roles)
        if why:
            set_aside[header] = why
            if why.startswith("its name"):
                findings.append(Finding("warning", "post-baseline", why, column=header))
            continue
        unit = units.get(slug(header)) or unit_in(header)
        column, faults = _typed(index, name, header, unit, sheet)
        findings += faults
        if not column.values or column.missing == len(column.values):
            set_aside[header] = "it is empty"
        elif reason := _unusable(column):
            set_aside[header] = reason
            findings.append(Finding("warning", "column-not-used", f"not offered to models: {reason}", column=header))
        else:
            only_a_group = name in GROUP_NAMES or (slug(header) in {slug(g) for g in roles.groups})
            if not only_a_group or (roles.values and slug(header) in {slug(v) for v in roles.values}):
                offered.append(column)
            if slug(header) in subgroups or name in subgroups:
                groups.append(column)
    return Columns(tuple(offered), tuple(groups), set_aside, tuple(findings))


def _why_not(name: str, header: str, roles: Roles) -> str:
    """Why a column is offered to no model, whatever it holds; "" where it may be."""

    def named(headers: Sequence[str]) -> bool:
        return slug(header) in {slug(one) for one in headers} or name in headers

    if named(roles.ignore):
        return "the table's description says ignore"
    if named(roles.post_baseline):
        return "the table's description says post-baseline"
    if post_baseline(name) and not named(roles.baseline):
        return (
            "its name tells of something known only after the scan, so no model is offered it; where it was known at "
            "the scan, name it under baseline in the table's description"
        )
    if roles.values is not None and not named((*roles.values, *roles.groups, *SUBGROUPS)):
        return "the table's description does not list it under values"
    return ""


def _typed(index: int, name: str, header: str, unit: str, sheet: Sheet) -> tuple[Column, list[Finding]]:
    """A column of numbers where most of its cells are, else of texts."""
    cells = [(number, cells[index]) for number, cells in sheet.rows]
    known = [text for _, text in cells if not is_missing(text)]
    numbers = sum(_is_number(text, sheet.decimal_comma) for text in known)
    values: list[Value | None] = []
    findings: list[Finding] = []
    if not known or numbers < NUMBERS_AMONG * len(known):
        for _, text in cells:
            values.append(None if is_missing(text) else SEXES.get(text.lower(), text) if name == "sex" else text)
        return Column(name, header, unit, "category", tuple(values)), findings
    for row, text in cells:
        try:
            values.append(None if is_missing(text) else to_number(text, sheet.decimal_comma))
        except ValueError as error:
            values.append(None)
            findings.append(Finding("error", "not-a-number", str(error), row, header))
    return Column(name, header, unit, "number", tuple(values)), findings


def _is_number(text: str, decimal_comma: bool) -> bool:
    try:
        to_number(text, decimal_comma)
    except ValueError:
        return False
    return True


def _unusable(column: Column) -> str:
    """Why what the column holds is nothing to learn from."""
    known = [value for value in column.values if value is not None]
    distinct = set(known)
    if _are_dates(known):
        return "it holds dates"
    if len(distinct) == 1:
        return "it is the same in every row"
    if column.kind == "category" and (len(distinct) > MOST_LEVELS or len(distinct) > max(4, len(known) // 2)):
        return f"it is free text or a name ({len(distinct)} different texts)"
    return ""


def _are_dates(values: Sequence[Value]) -> bool:
    return all(any(_is_date(value, one) for one in _DATE_FORMATS) for value in values)


def _is_date(value: Value, form: str) -> bool:
    text = f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)
    try:
        found = datetime.strptime(text, form).replace(tzinfo=UTC)
    except ValueError:
        return False
    return 1900 <= found.year <= 2100 and len(text) >= len("1.1.2000")
