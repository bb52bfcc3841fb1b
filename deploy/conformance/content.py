"""The content trees of the structured reports, item by item, against the rows of the standard's templates (PS3.16)."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path as File
from typing import Any

from pydicom.dataset import Dataset

from deploy.conformance.attributes import findings as of_attributes
from deploy.conformance.attributes import triplet
from deploy.conformance.origin import Findings, Found, Path
from deploy.conformance.specimens import OTHER_MODEL, specimens
from tests.report_case import MODEL

TEMPLATES = File(__file__).with_name("templates.toml")
STEP = "\x1f"  # between the parts of a path's step


@dataclass(frozen=True, slots=True)
class Item:
    """One content item as often as it occurs at one place of the tree.

    ``concept``: its name as a triplet.  ``template``: row of the template that allows it, "" where none does.
    """

    depth: int
    relationship: str
    value_type: str
    concept: str
    template: str
    presence: str
    source: str
    value: str


def report_kinds() -> tuple[str, ...]:
    """The kinds of objects that have a content tree; those of a refusal too."""
    first = specimens()[0].objects
    return tuple(kind for kind, objects in first.items() if "ContentSequence" in objects[0])


@cache
def items(kind: str) -> tuple[Item, ...]:
    """The content items of a kind of report, in the order of the tree."""
    every = findings().every(kind)
    found = list(dict.fromkeys(path for one in every for path in one))
    ordered = sorted(found, key=lambda path: [found.index(path[: n + 1]) for n in range(len(path))])
    return tuple(_item(kind, path) for path in ordered)


def _item(kind: str, path: Path) -> Item:
    relationship, value_type, concept, unit, template = path[-1].split(STEP)
    presence = findings().presence([kind], path)
    source, value = findings().origin([kind], path, "")
    value = f"unit {unit}" if unit else value
    return Item(len(path) - 1, relationship, value_type, concept, template, presence, source, value)


@cache
def findings() -> Findings:
    """What is found in the content trees of every specimen."""
    reports = report_kinds()
    looked = [(s, {kind: look(s.objects[kind]) for kind in reports if kind in s.objects}) for s in specimens()]
    return Findings(looked, of_attributes().given)


def look(objects: Sequence[Dataset]) -> dict[Path, Found]:
    """The content items of ``objects``, all of one kind, by where they stand in the tree."""
    found: dict[Path, Found] = defaultdict(Found)
    above: dict[Path, set[int]] = defaultdict(set)
    for ds in objects:
        for path, item, parent in _walk(ds, (), ""):
            found[path].vr = "UI" if item.ValueType in ("UIDREF", "IMAGE", "COMPOSITE") else ""
            found[path].items += 1
            found[path].values += _texts(item)
            above[path].add(id(parent))
    for path, one in found.items():
        one.present = one.valued = len(above[path])
        one.places = found[path[:-1]].items if len(path) > 1 else len(objects)
    return dict(found)


def _walk(
    item: Dataset, above: Path, template: str, parent: Dataset | None = None
) -> Iterator[tuple[Path, Dataset, Dataset | None]]:
    """Every content item with its path and the item above it.  ``template``: the one that governs this place."""
    own = str(item.ContentTemplateSequence[0].TemplateIdentifier) if "ContentTemplateSequence" in item else ""
    row = (own, "1") if own else row_of(template, item)
    step = (
        item.get("RelationshipType", ""),
        item.ValueType,
        _concept(item),
        _unit(item),
        f"TID {row[0].split()[0]} row {row[1]}".removesuffix(" row ") if row else "",
    )
    path = (*above, STEP.join(step))
    yield path, item, parent
    if row and item.ValueType == "NUM":
        template = f"{row[0].split()[0]} NUM"
    for below in item.get("ContentSequence") or ():
        yield from _walk(below, path, own or template, item)


def _concept(item: Dataset) -> str:
    """Name of the concept; those that each model brings for itself, in words."""
    if "ConceptNameCodeSequence" not in item:
        return ""
    concept = item.ConceptNameCodeSequence[0]
    named = (concept.CodeValue, concept.CodingSchemeDesignator)
    for model in (MODEL, OTHER_MODEL):
        for code, meaning in ((model.status_code, "predicted status"), (model.probability_code, "probability")):
            if named == (code.value, code.scheme):
                return f"the model's own code of the {meaning}"
    return triplet(concept)


def _unit(item: Dataset) -> str:
    if item.ValueType != "NUM" or not item.MeasuredValueSequence:
        return ""
    return triplet(item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0])


def _texts(item: Dataset) -> list[str]:
    match item.ValueType:
        case "CODE":
            return [triplet(item.ConceptCodeSequence[0])]
        case "TEXT":
            return [str(item.TextValue)]
        case "NUM":
            return [str(value.NumericValue) for value in item.MeasuredValueSequence]
        case "UIDREF":
            return [str(item.UID)]
        case "SCOORD" | "SCOORD3D":
            return [f"{item.GraphicType} {list(item.GraphicData)}"]
        case "IMAGE" | "COMPOSITE":
            return [str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)]
        case _:
            return [""]


@cache
def _templates() -> Mapping[str, Any]:
    return tomllib.loads(TEMPLATES.read_text(encoding="utf-8"))


def row_of(template: str, item: Dataset) -> tuple[str, str] | None:
    """(template, row) that allows a content item where ``template`` governs; None where no row does.

    A row that names the concept goes before one that takes any.
    """
    concept = item.ConceptNameCodeSequence[0].CodeValue if "ConceptNameCodeSequence" in item else ""
    for wanted in (concept, "*"):
        for identifier in _with_included(template):
            for number, relationship, value_type, name, _ in _templates()[identifier]["rows"]:
                fits = relationship in ("", item.get("RelationshipType", "")) and value_type == item.ValueType
                if fits and name == wanted:
                    return identifier, number
    return None


def missing(kind: str) -> tuple[str, ...]:
    """Mandatory rows of the templates that a kind of report uses, which it lacks."""
    used = {item.template for item in items(kind)}
    governing = {text.split()[1] for text in used if text}
    return tuple(
        f"TID {identifier} row {number}"
        for identifier in sorted(governing)
        for number, _, _, name, requirement in _templates()[identifier]["rows"]
        if requirement == "M" and name != "*" and f"TID {identifier} row {number}" not in used
    )


def _with_included(template: str) -> Iterator[str]:
    if template in _templates():
        yield template
        for included in _templates()[template].get("includes", ()):
            yield from _with_included(included)
