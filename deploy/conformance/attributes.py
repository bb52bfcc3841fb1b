"""What stands in the result objects, attribute by attribute, and where each value comes from."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from pydicom.datadict import dictionary_description, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from deploy.conformance.specimens import OF_A_REFUSAL, ORIGINS, Specimen, specimens

Path = tuple[str, ...]
CODE = frozenset({"CodeValue", "LongCodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning"})
ELSEWHERE = frozenset({"ContentSequence"})  # the tables of templates tell what is in it
BULK = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN"})
LONGEST = 120  # characters of a fixed value that are shown


@dataclass(slots=True)
class Found:
    """One attribute in the objects of one kind of one specimen: items it may stand in, stands in, has a value in."""

    vr: str = ""
    places: int = 0
    present: int = 0
    valued: int = 0
    values: list[str] = field(default_factory=list)


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
        number = Tag(tag_for_keyword(self.path[-1]) or self.path[-1])
        return f"({number.group:04X},{number.element:04X})"

    @property
    def name(self) -> str:
        number = tag_for_keyword(self.path[-1])
        return ">" * (len(self.path) - 1) + (dictionary_description(number) if number else self.path[-1])


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
        if element.keyword in ELSEWHERE or not _is_code(element):
            return [""] * bool(element.value)
        return [", ".join(_triplet(item) for item in element.value)]
    if element.VR in BULK:
        return [hashlib.sha256(element.value).hexdigest()] if element.value else []
    if element.value is None or element.value == "":
        return []
    values = element.value if element.VM > 1 else [element.value]
    return ["\\".join(_tag_name(value) if element.VR == "AT" else str(value) for value in values)]


def _triplet(item: Dataset) -> str:
    value = item.get("CodeValue") or item.get("LongCodeValue") or ""
    return f'({value}, {item.get("CodingSchemeDesignator", "")}, "{item.get("CodeMeaning", "")}")'


def _tag_name(value: object) -> str:
    tag = Tag(value)  # type: ignore[arg-type]
    return f"({tag.group:04X},{tag.element:04X})"


def look(objects: Sequence[Dataset]) -> dict[Path, Found]:
    """What is found in ``objects``, all of one kind."""
    found: dict[Path, Found] = defaultdict(Found)
    items: dict[Path, int] = defaultdict(int)
    for ds in objects:
        items[()] += 1
        for path, element, inside in _walk(ds, ()):
            values = texts(element)
            one = found[path]
            one.vr = element.VR
            one.present += 1
            one.valued += bool(element.value) if element.VR == "SQ" else bool(values)
            one.values += values
            if inside:
                items[path] += len(element.value)
    for path, one in found.items():
        one.places = items[path[:-1]]
    return dict(found)


@cache
def looked() -> tuple[tuple[Specimen, Mapping[str, Mapping[Path, Found]]], ...]:
    """Every specimen with what is found in its objects, by kind."""
    return tuple((s, {kind: look(ds) for kind, ds in s.objects.items()}) for s in specimens())


@cache
def kinds() -> tuple[str, ...]:
    """The kinds of objects, in the order they are written."""
    return tuple(kind for kind in specimens()[0].objects if not kind.endswith(OF_A_REFUSAL))


@cache
def rows(kind: str) -> tuple[Row, ...]:
    """The attributes of a kind of object, by tag; those that only a refusal has among them."""
    every = [found for s, by_kind in looked() for k in (kind, kind + OF_A_REFUSAL) if (found := by_kind.get(k))]
    all_paths = sorted({path for found in every for path in found}, key=lambda p: [_number(k) for k in p])
    return tuple(_row(kind, path, every) for path in all_paths)


def _number(keyword: str) -> int:
    return int(tag_for_keyword(keyword) or Tag(keyword))


def _row(kind: str, path: Path, every: Sequence[Mapping[Path, Found]]) -> Row:
    here = [found[path] for found in every if path in found]
    source, value = _origin(kind, path)
    return Row(path, here[0].vr, _presence(path, every), source, value)


def _presence(path: Path, every: Sequence[Mapping[Path, Found]]) -> str:
    """As PS3.2 abbreviates it; of an attribute in a sequence: in each of its items."""
    here = [found[path] for found in every if path in found]
    if not any(one.valued for one in here):
        return "EMPTY"
    possible = [found for found in every if len(path) == 1 or path[:-1] in found]
    absent = any(path not in found or found[path].present < found[path].places for found in possible)
    empty = any(one.valued < one.present for one in here)
    return " ".join([*["ANAP"] * absent, *["VNAP"] * empty]) or "ALWAYS"


def _origin(kind: str, path: Path) -> tuple[str, str]:
    """Where the value comes from, and the value where it is fixed, or as configured by default."""
    kind = kind if path in looked()[0][1].get(kind, {}) else kind + OF_A_REFUSAL
    first, by_kind = looked()[0]
    one = by_kind.get(kind, {}).get(path, Found())
    if not one.valued or (one.vr == "SQ" and not any(one.values)):
        return "", ""
    if _copied(kind, path):
        return "COPY", ""
    changed = {s.changed for s, others in looked() if _differs(one, others.get(kind, {}).get(path))}
    if one.vr == "UI":
        return _origin_of_uid(kind, path, changed, first)
    names = [name for origin, name in ORIGINS.items() if origin in changed]
    if "time" in changed and "HEADER" in names:
        names.remove("HEADER")  # the time zone
    if names:
        return ", ".join(names), _shown(one.vr, one.values) if names == ["CONFIG"] else ""
    return "FIXED", _fixed(kind, path)


def _origin_of_uid(kind: str, path: Path, changed: set[str], first: Specimen) -> tuple[str, str]:
    values = set(looked()[0][1][kind][path].values)
    ours = values - first.source_uids
    names = ["COPY"] if values - ours else []
    if ours:
        names.append("AUTO" if "model" in changed else "NODE" if "node" in changed else "FIXED")
    return ", ".join(names), _fixed(kind, path) if names == ["FIXED"] else ""


def _fixed(kind: str, path: Path) -> str:
    """Every value that a fixed one may have."""
    both = (kind.removesuffix(OF_A_REFUSAL), kind.removesuffix(OF_A_REFUSAL) + OF_A_REFUSAL)
    here = [by_kind[k][path] for _, by_kind in looked() for k in both if path in by_kind.get(k, {})]
    return _shown(here[0].vr, [value for one in here for value in one.values])


def _differs(one: Found, other: Found | None) -> bool:
    return other is not None and bool(other.valued) and set(one.values) != set(other.values)


def _copied(kind: str, path: Path) -> bool:
    """Whether the value is the source's own, under the same keyword, and follows it."""
    seen = set()
    for specimen, by_kind in looked():
        one = by_kind.get(kind, {}).get(path)
        if one is None or not one.valued:
            continue
        if not set(one.values) <= _given(specimen, path[-1]):
            return False
        seen.add(frozenset(one.values))
    return len(seen) > 1


def _given(specimen: Specimen, keyword: str) -> set[str]:
    """What the source has under this keyword, at any depth."""
    ds = Dataset()
    for name, value in specimen.header.items():
        setattr(ds, name, value)
    return {text for path, element in paths(ds) if path[-1] == keyword for text in texts(element)}


def _shown(vr: str, values: Sequence[str]) -> str:
    """Each value once; no pixels, and of long ones the beginning."""
    if vr in BULK:
        return ""
    each = (value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…" for value in dict.fromkeys(values))
    return " or ".join(each)
