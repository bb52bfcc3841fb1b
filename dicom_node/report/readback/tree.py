"""The content tree of a structured report as plain values (PS3.3 C.17.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MEASUREMENTS, MEASUREMENT_GROUP = "126010", "125007"  # DCM


@dataclass(frozen=True, slots=True)
class Item:
    """A content item: its value type, what it is called, its value, and the items below it.

    ``value``: text, number or UID, of a CODE its code value, whose meaning is ``said``.  ``unit``: a number's (UCUM).
    """

    kind: str
    code: str
    meaning: str
    value: str
    children: tuple[Item, ...]
    said: str = ""
    unit: str = ""
    references: tuple[Dataset, ...] = field(default=())

    def find(self, code: str) -> Iterator[Item]:
        return (child for child in self.children if child.code == code)

    def value_of(self, code: str) -> str:
        return next((child.value for child in self.find(code)), "")


def item(ds: Dataset) -> Item:
    """The content item that ``ds`` is, with all below it."""
    name, coded = _first_item(ds, "ConceptNameCodeSequence"), _first_item(ds, "ConceptCodeSequence")
    return Item(
        kind=str(ds.get("ValueType", "")),
        code=code_value(name),
        meaning=str(name.get("CodeMeaning", "")) if name is not None else "",
        value=code_value(coded) if coded is not None else _value(ds),
        children=tuple(map(item, ds.get("ContentSequence") or [])),
        unit=_unit(ds),
        said=str(coded.get("CodeMeaning", "")) if coded is not None else "",
        references=tuple(ds.get("ReferencedSOPSequence") or []),
    )


def groups(root: Item) -> Iterator[Item]:
    """The measurement groups of the report (TID 1500)."""
    for measurements in root.find(MEASUREMENTS):
        yield from measurements.find(MEASUREMENT_GROUP)


def code_value(ds: Dataset | None) -> str:
    """The value of a code, wherever its length puts it (PS3.3 8.8)."""
    if ds is None:
        return ""
    return str(ds.get("CodeValue") or ds.get("LongCodeValue") or ds.get("URNCodeValue") or "")


def _first_item(ds: Dataset, keyword: str) -> Dataset | None:
    return next(iter(ds.get(keyword) or []), None)


def _unit(ds: Dataset) -> str:
    number = _first_item(ds, "MeasuredValueSequence")
    return code_value(_first_item(number, "MeasurementUnitsCodeSequence")) if number is not None else ""


def _value(ds: Dataset) -> str:
    number = _first_item(ds, "MeasuredValueSequence")
    if number is not None:
        return str(number.get("NumericValue", ""))
    return str(ds.get("TextValue") or ds.get("UID") or "")
