"""The clinical and laboratory values that a model takes beside the images, as a container of the main report.

TID 1500 is extensible and has no row for them.  A model names its values itself, so their names are text below a
concept of ours and no codes: a code must not mean one thing in one bundle and another in the next.
"""

from __future__ import annotations

from collections.abc import Sequence

from highdicom import sr
from pydicom.sr.coding import Code

from dicom_node.report import codes
from inference.facts import TakenValue

MOST = 64  # values, of some 700 bytes each: a report is to stay within 256 KB


def values_given(values: Sequence[TakenValue]) -> sr.ContainerContentItem | None:
    """Each value with its title, its column and its source; None where the model takes none.

    What was missing says so in place of a value.  Where there are more than ``MOST``, how many there are stands last.
    """
    if not values:
        return None
    container = sr.ContainerContentItem(codes.MODEL_VALUES, is_content_continuous=False, relationship_type="CONTAINS")
    container.ContentSequence = sr.ContentSequence([_item(value) for value in values[:MOST]])
    if len(values) > MOST:
        count = sr.NumContentItem(codes.VALUE_COUNT, len(values), codes.NO_UNITS, relationship_type="CONTAINS")
        container.ContentSequence.append(count)
    return container


def _item(value: TakenValue) -> sr.ContentItem:
    item = _value(value)
    source = codes.VALUE_SOURCES.get(value.source, codes.VALUE_SOURCE_OTHER)
    item.ContentSequence = sr.ContentSequence(
        [
            sr.TextContentItem(codes.VALUE_TITLE, value.title, relationship_type="HAS PROPERTIES"),
            sr.TextContentItem(codes.VALUE_NAME, value.name, relationship_type="HAS PROPERTIES"),
            sr.CodeContentItem(codes.VALUE_SOURCE, source, relationship_type="HAS PROPERTIES"),
        ]
    )
    return item


def _value(value: TakenValue) -> sr.ContentItem:
    if value.value is None:
        text = codes.MISSING_VALUE.meaning
        return sr.TextContentItem(codes.MISSING_VALUE, text, relationship_type="CONTAINS")
    if isinstance(value.value, str):
        return sr.TextContentItem(codes.MODEL_VALUE, value.value, relationship_type="CONTAINS")
    unit = Code(value.unit, "UCUM", value.unit) if value.unit else codes.NO_UNITS
    number = float(f"{value.value:.6g}")
    return sr.NumContentItem(codes.MODEL_VALUE, number, unit, relationship_type="CONTAINS")
