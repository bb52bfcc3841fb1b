"""Positron emitters: code (PS3.16 CID 4020), half-life, and how a text names them.

Half-lives are those of ICRP Publication 107 (2008): 6586.2 s for F-18, which most scanners write too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MINUTE, HOUR, DAY, YEAR = 60.0, 3600.0, 86400.0, 365.2422 * 86400.0


@dataclass(frozen=True, slots=True)
class _Nuclide:
    """``codes``: SNOMED CT (or DCM, where SNOMED has none) and SNOMED RT, which SNM3 and 99SDM name too."""

    name: str
    element: str
    half_life_s: float
    codes: tuple[str, ...]


NUCLIDES = (
    _Nuclide("F-18", "fluorine", 109.77 * MINUTE, ("77004003", "C-111A1")),
    _Nuclide("C-11", "carbon", 20.39 * MINUTE, ("40565003", "C-105A1")),
    _Nuclide("N-13", "nitrogen", 9.965 * MINUTE, ("21576001", "C-107A1")),
    _Nuclide("O-14", "oxygen", 70.606, ("424875009", "C-1018C")),
    _Nuclide("O-15", "oxygen", 122.24, ("129504001", "C-B1038")),
    _Nuclide("Na-22", "sodium", 2.6019 * YEAR, ("71633006", "C-155A1")),
    _Nuclide("K-38", "potassium", 7.636 * MINUTE, ("423764008", "C-135A4")),
    _Nuclide("Sc-43", "scandium", 3.891 * HOUR, ("126605",)),
    _Nuclide("Sc-44", "scandium", 3.97 * HOUR, ("126600",)),
    _Nuclide("Ti-45", "titanium", 184.8 * MINUTE, ("75696008", "C-166A2")),
    _Nuclide("Mn-51", "manganese", 46.2 * MINUTE, ("126601",)),
    _Nuclide("Mn-52", "manganese", 5.591 * DAY, ("37225000", "C-149A1")),
    _Nuclide("Mn-52m", "manganese", 21.1 * MINUTE, ("126607",)),
    _Nuclide("Fe-52", "iron", 8.275 * HOUR, ("69089000", "C-130A1")),
    _Nuclide("Cu-60", "copper", 23.7 * MINUTE, ("425364008", "C-127A4")),
    _Nuclide("Cu-61", "copper", 3.333 * HOUR, ("71425003", "C-127A1")),
    _Nuclide("Cu-62", "copper", 9.673 * MINUTE, ("422934004", "C-127A5")),
    _Nuclide("Cu-64", "copper", 12.700 * HOUR, ("3932008", "C-127A2")),
    _Nuclide("Zn-62", "zinc", 9.186 * HOUR, ("65054007", "C-141A1")),
    _Nuclide("Ga-66", "gallium", 9.49 * HOUR, ("79477007", "C-131A1")),
    _Nuclide("Ga-68", "gallium", 67.71 * MINUTE, ("35337001", "C-131A3")),
    _Nuclide("Ge-68", "germanium", 270.95 * DAY, ("53315004", "C-128A2")),
    _Nuclide("As-70", "arsenic", 52.6 * MINUTE, ("126602",)),
    _Nuclide("As-72", "arsenic", 26.0 * HOUR, ("2705002", "C-115A2")),
    _Nuclide("Se-73", "selenium", 7.15 * HOUR, ("87437000", "C-116A2")),
    _Nuclide("Br-75", "bromine", 96.7 * MINUTE, ("17910003", "C-113A1")),
    _Nuclide("Br-76", "bromine", 16.2 * HOUR, ("79523006", "C-113A2")),
    _Nuclide("Br-77", "bromine", 57.036 * HOUR, ("86521004", "C-113A3")),
    _Nuclide("Rb-82", "rubidium", 1.273 * MINUTE, ("79197006", "C-159A2")),
    _Nuclide("Y-86", "yttrium", 14.74 * HOUR, ("10738001", "C-162A3")),
    _Nuclide("Y-90", "yttrium", 64.10 * HOUR, ("14691008", "C-162A7")),
    _Nuclide("Zr-89", "zirconium", 78.41 * HOUR, ("63360001", "C-168A4")),
    _Nuclide("Nb-90", "niobium", 14.60 * HOUR, ("126603",)),
    _Nuclide("Tc-94m", "technetium", 52.0 * MINUTE, ("424079002", "C-163AA")),
    _Nuclide("I-124", "iodine", 4.1760 * DAY, ("40937006", "C-114A5")),
    _Nuclide("Tb-152", "terbium", 17.5 * HOUR, ("126606",)),
)
HALF_LIVES_S = {n.name: n.half_life_s for n in NUCLIDES}
NUCLIDE_OF_CODE = {code: n.name for n in NUCLIDES for code in n.codes}

# The same nuclide's half-life is rounded and has been measured anew (6584 to 6600 s for F-18), but never by more.
HALF_LIFE_RELATIVE_TOLERANCE = 0.02

_SPELT = {spelt: n.name.split("-")[0] for n in NUCLIDES for spelt in (n.element, n.name.split("-")[0].lower())}
_ELEMENT = "|".join(sorted(_SPELT, key=len, reverse=True))
_NAMED = re.compile(rf"(?<![a-z0-9])(?:({_ELEMENT})[ -]*(\d+m?)|(\d+m?)[ -]*({_ELEMENT}))(?![a-z0-9])")


def nuclide_named(text: str) -> str:
    """The nuclide that a text names ("^18^Fluorine", "F-18", "18F", "[94mTc]"), "" where it is none or not one."""
    found = set()
    for match in _NAMED.finditer(text.lower().replace("^", " ")):
        before, after, mass, element = match.groups()
        found.add(f"{_SPELT[before or element]}-{after or mass}")
    return found.pop() if len(found) == 1 and found <= HALF_LIVES_S.keys() else ""


def same_half_life(seconds: float, nuclide: str) -> bool:
    """Whether ``seconds`` is the half-life of ``nuclide`` within what rounding and newer measurements explain."""
    return abs(seconds / HALF_LIVES_S[nuclide] - 1.0) <= HALF_LIFE_RELATIVE_TOLERANCE
