"""Where the values at one place come from: the place as it is found in every specimen, compared with the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deploy.conformance.specimens import ORIGINS, Specimen

Path = tuple[str, ...]
BULK = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN"})
LONGEST = 120  # characters of a fixed value that are shown


@dataclass(slots=True)
class Found:
    """One place in the objects of one kind of one specimen.

    ``places``: how often it could be there, ``present``: is there, ``valued``: has a value; ``items``: of a sequence.
    """

    vr: str = ""
    places: int = 0
    present: int = 0
    valued: int = 0
    items: int = 0
    values: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything found: for each specimen kind → path → what is there.  ``given``: what the source has to copy."""

    looked: Sequence[tuple[Specimen, Mapping[str, Mapping[Path, Found]]]]
    given: Mapping[int, Mapping[str, frozenset[str]]]

    def every(self, kind: str) -> list[Mapping[Path, Found]]:
        """What is found in each set of objects of this kind."""
        return [by_kind[kind] for _, by_kind in self.looked if kind in by_kind]

    def presence(self, kinds: Sequence[str], path: Path) -> str:
        """As PS3.2 abbreviates it; of what stands in an item: in each such item."""
        every = [found for kind in kinds for found in self.every(kind)]
        here = [found[path] for found in every if path in found]
        if not any(one.valued for one in here):
            return "EMPTY"
        above = path[:-1]
        possible = [found for found in every if not above or (above in found and found[above].items)]
        absent = any(path not in found or found[path].present < found[path].places for found in possible)
        empty = any(one.valued < one.present for one in here)
        return " ".join([*["ANAP"] * absent, *["VNAP"] * empty]) or "ALWAYS"

    def origin(self, kinds: Sequence[str], path: Path, keyword: str) -> tuple[str, str]:
        """Where the value comes from, and the value itself where it is fixed, or as it is by default.

        Of the first of ``kinds`` that has it.  ``keyword``: under which the source would have it; "" for any.
        """
        first, by_kind = self.looked[0]
        kind = next((kind for kind in kinds if path in by_kind.get(kind, {})), kinds[0])
        one = by_kind.get(kind, {}).get(path, Found())
        if not one.valued or not any(one.values):
            return "", ""
        if self._copied(kind, path, keyword):
            return "COPY", ""
        changed = {s.changed for s, others in self.looked if _differs(one, others.get(kind, {}).get(path))}
        if one.vr == "UI":
            names = self._origins_of_uid(one, changed, first)
            return ", ".join(names), self._fixed(kinds, path) if names == ["FIXED"] else ""
        names = [name for origin, name in ORIGINS.items() if origin in changed]
        if "time" in changed and "HEADER" in names:
            names.remove("HEADER")  # the time zone
        if names:
            return ", ".join(names), shown(one.vr, one.values) if names == ["CONFIG"] else ""
        return "FIXED", self._fixed(kinds, path)

    @staticmethod
    def _origins_of_uid(one: Found, changed: set[str], first: Specimen) -> list[str]:
        ours = set(one.values) - first.source_uids
        names = ["COPY"] if set(one.values) - ours else []
        if ours:
            names.append("AUTO" if "model" in changed else "NODE" if "node" in changed else "FIXED")
        return names

    def _fixed(self, kinds: Sequence[str], path: Path) -> str:
        """Every value that a fixed one may have."""
        here = [found[path] for kind in kinds for found in self.every(kind) if path in found]
        return shown(here[0].vr, [value for one in here for value in one.values])

    def _copied(self, kind: str, path: Path, keyword: str) -> bool:
        """Whether the value is the source's own and follows it."""
        seen = set()
        for number, (_, by_kind) in enumerate(self.looked):
            one = by_kind.get(kind, {}).get(path)
            if one is None or not one.valued:
                continue
            if not set(one.values) <= self.given[number].get(keyword, frozenset()):
                return False
            seen.add(frozenset(one.values))
        return len(seen) > 1


def _differs(one: Found, other: Found | None) -> bool:
    return other is not None and bool(other.valued) and set(one.values) != set(other.values)


def shown(vr: str, values: Sequence[str]) -> str:
    """Each value once; no pixels, and of long ones the beginning."""
    if vr in BULK:
        return ""
    each = (value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…" for value in dict.fromkeys(values))
    return " or ".join(each)
