"""What stands in the result objects, attribute by attribute."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from pydicom.datadict import dictionary_description, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from deploy.conformance.origin import BULK, Findings, Found, Path
from deploy.conformance.specimens import OF_A_REFUSAL, Specimen, specimens

CODE = frozenset({"CodeValue", "LongCodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning"})
ELSEWHERE = frozenset({"ContentSequence"})  # the tables of templates tell what is in it
FOLLOWS = {"EncapsulatedDocumentLength": "EncapsulatedDocument"}  # by chance two documents may be of one length


@dataclass(frozen=True, slots=True)
class Row:
    """One attribute of one kind of object.  ``path``: keywords of the sequences it stands in, and its own."""

    path: Path
    vr: str
    presence: str
    source: str
    value: str

    @property
    def tag(self) -> str:
        """(gggg,eeee)"""
        return tag_text(_number(self.path[-1]))

    @property
    def name(self) -> str:
        """As in the data dictionary, with a > for each sequence it stands in."""
        number = tag_for_keyword(self.path[-1])
        return "> " * (len(self.path) - 1) + (dictionary_description(number) if number else self.path[-1])


def paths(ds: Dataset) -> Iterator[tuple[Path, DataElement]]:
    """Every attribute of a data set with its path; coded concepts and content items are not gone into."""
    for path, element, _ in _walk(ds, ()):
        yield path, element


def _walk(ds: Dataset, above: Path) -> Iterator[tuple[Path, DataElement, bool]]:
    """Path, element, and whether it is a sequence whose items are walked too."""
    for element in ds:
        path = (*above, keyword_for_tag(element.tag) or str(element.tag))
        inside = element.VR == "SQ" and path[-1] not in ELSEWHERE and not _is_code(element)
        yield path, element, inside
        if inside:
            for item in element.value:
                yield from _walk(item, path)


def _is_code(element: DataElement) -> bool:
    return any({e.keyword for e in item} <= CODE and "CodeMeaning" in item for item in element.value)


def texts(element: DataElement) -> list[str]:
    """The value as one text, none where it is empty; of coded concepts their triplets, of pixels a digest."""
    if element.VR == "SQ":
        coded = element.keyword not in ELSEWHERE and _is_code(element)
        return [", ".join(map(triplet, element.value))] if coded else [""] * bool(element.value)
    if element.VR in BULK:
        return [hashlib.sha256(element.value).hexdigest()] if element.value else []
    if element.value is None or element.value == "":
        return []
    values = element.value if element.VM > 1 else [element.value]
    return ["\\".join(tag_text(value) if element.VR == "AT" else str(value) for value in values)]


def triplet(item: Dataset) -> str:
    """(value, scheme, "meaning")"""
    value = item.get("CodeValue") or item.get("LongCodeValue") or ""
    return f'({value}, {item.get("CodingSchemeDesignator", "")}, "{item.get("CodeMeaning", "")}")'


def tag_text(number: int) -> str:
    """(gggg,eeee)"""
    tag = Tag(number)
    return f"({tag.group:04X},{tag.element:04X})"


def look(objects: Sequence[Dataset]) -> dict[Path, Found]:
    """What is found in ``objects``, all of one kind."""
    found: dict[Path, Found] = defaultdict(Found)
    for ds in objects:
        for path, element, inside in _walk(ds, ()):
            values, one = texts(element), found[path]
            one.vr = element.VR
            one.present += 1
            one.valued += bool(values)
            one.values += values
            one.items += len(element.value) if inside else 0
    for path, one in found.items():
        one.places = found[path[:-1]].items if len(path) > 1 else len(objects)
    return dict(found)


@cache
def findings() -> Findings:
    """What is found in every specimen."""
    looked = [(s, {kind: look(ds) for kind, ds in s.objects.items()}) for s in specimens()]
    return Findings(looked, {number: _given(s) for number, s in enumerate(specimens())})


def _given(specimen: Specimen) -> dict[str, frozenset[str]]:
    """What the source has under each keyword, at any depth; under "" all of it and the UIDs of its images."""
    given: dict[str, set[str]] = defaultdict(set)
    given[""] |= specimen.source_uids
    for path, element in paths(specimen.source):
        given[path[-1]].update(texts(element))
        given[""].update(texts(element))
    return {keyword: frozenset(values) for keyword, values in given.items()}


@cache
def kinds() -> tuple[str, ...]:
    """The kinds of objects, in the order they are written."""
    return tuple(kind for kind in specimens()[0].objects if not kind.endswith(OF_A_REFUSAL))


@cache
def rows(kind: str) -> tuple[Row, ...]:
    """The attributes of a kind of object, by tag; those that only a refusal has among them."""
    both = (kind, kind + OF_A_REFUSAL)
    found: dict[Path, str] = {}
    for one_kind in both:
        for one in findings().every(one_kind):
            found |= {path: there.vr for path, there in one.items()}
    ordered = sorted(found, key=lambda path: [_number(keyword) for keyword in path])
    return tuple(Row(path, found[path], findings().presence(both, path), *_origin(both, path)) for path in ordered)


def _origin(kinds: Sequence[str], path: Path) -> tuple[str, str]:
    leader = (*path[:-1], FOLLOWS.get(path[-1], path[-1]))
    return findings().origin(kinds, leader, leader[-1])


def _number(keyword: str) -> int:
    return int(tag_for_keyword(keyword) or Tag(keyword))
