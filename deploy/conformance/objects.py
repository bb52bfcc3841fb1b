"""The tables of what we create: objects, their attributes, their content trees."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.datadict import dictionary_is_retired
from pydicom.uid import UID

from deploy.conformance.attributes import Row, kinds, rows
from deploy.conformance.content import Item, items, missing, report_kinds
from deploy.conformance.iods import extends, name_of, place, sop_class_of
from deploy.conformance.markdown import code, table
from deploy.conformance.specimens import specimens
from dicom_node.report.write import DEFAULT

HEADER = ("Attribute", "Tag", "VR", "Type", "Presence", "Source", "Value")


def created() -> str:
    """Every kind of object, as it was really written."""
    first = specimens()[0].objects
    lines = []
    for kind in kinds():
        ds = first[kind][0]
        syntax = UID(ds.file_meta.TransferSyntaxUID).name
        when = "always" if f"{kind} of a refusal" in first else "by default" if kind in DEFAULT else "where asked for"
        numbers = (ds.SeriesNumber, code(ds.SeriesDescription), syntax)
        lines.append((code(kind), name_of(ds.SOPClassUID), ds.Modality, *numbers, when))
    header = ("Kind", "SOP class", "Modality", "Series Number", "Series Description", "Transfer syntax", "Written")
    return table(header, lines)


def common() -> str:
    """The attributes that every kind of object has alike."""
    types = {row.path: {place(sop_class_of(kind), row.path)[1] for kind in kinds()} - {""} for row in _common()}
    return table(HEADER, [_line(row, ", ".join(sorted(types[row.path]))) for row in _common()])


def _common() -> list[Row]:
    """Rows that are alike in all kinds, and with them all that is in the same attribute."""
    alike = set(rows(kinds()[0])).intersection(*(rows(kind) for kind in kinds()))
    return [row for row in rows(kinds()[0]) if _whole(row, alike)]


def _whole(row: Row, alike: set[Row]) -> bool:
    """Whether all that is in the same attribute at the top is alike."""
    top = row.path[0]
    return all(other in alike for kind in kinds() for other in rows(kind) if other.path[0] == top)


def each() -> str:
    """For each kind the attributes that are its own."""
    shared = set(_common())
    return "".join(_section(kind, [row for row in rows(kind) if row not in shared]) for kind in kinds())


def _section(kind: str, own: list[Row]) -> str:
    uid = sop_class_of(kind)
    head = f"\n#### {code(kind)}: {name_of(uid)}\n\n"
    added = ", ".join(f"{row.name.replace('> ', '')} {row.tag} {_retired(row)}".strip() for row in extends(kind))
    note = f"Added to the IOD (Standard Extended): {added}.\n\n" if added else ""
    return head + note + table(HEADER, [_line(row, place(uid, row.path)[1]) for row in own])


def _line(row: Row, attribute_type: str) -> tuple[str, ...]:
    return row.name, row.tag, row.vr, attribute_type or _retired(row) or "added", row.presence, row.source, row.value


def _retired(row: Row) -> str:
    return "retired" if dictionary_is_retired(row.tag.strip("()").replace(",", "")) else ""


def trees() -> str:
    """The content tree of each kind of report."""
    return "".join(_tree(kind) for kind in report_kinds())


def _tree(kind: str) -> str:
    lacking = missing(kind)
    note = f"Mandatory rows without an item: {', '.join(lacking)}.\n\n" if lacking else ""
    header = ("Relationship", "Value type", "Concept name", "Template", "Presence", "Source", "Value")
    return f"\n#### {code(kind)}\n\n{note}{table(header, map(_item, items(kind)))}"


def _item(item: Item) -> tuple[str, ...]:
    relationship = ">" * item.depth + (f" {item.relationship}" if item.relationship else "")
    rest = (item.template or "extension", item.presence, item.source, item.value)
    return relationship, item.value_type, item.concept, *rest


def extensions() -> str:
    """Content items for which the templates have no row: all that deviates, since every mandatory row is there."""
    return table(("Report", "Value type", "Concept name"), dict.fromkeys(_extensions()))


def _extensions() -> Iterator[tuple[str, str, str]]:
    for kind in report_kinds():
        for item in items(kind):
            if not item.template:
                yield code(kind), item.value_type, item.concept
