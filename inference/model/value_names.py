"""How tables of clinical and laboratory values are read: names of columns, what counts as missing, numbers as text.

One place for training's cohorts and a site's table, so that both mean the same by the same text.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST_NAME = 32
MISSING = frozenset(["", "na", "n/a", "nan", "null", "-", "--", "?", "missing", "unknown", "#n/a"])
SEXES = {"m": "M", "male": "M", "f": "F", "female": "F", "w": "F"}
SAME_NAME = {"age_years": "age", "gender": "sex", "patient_age": "age", "patient_sex": "sex"}
_UNIT = re.compile(r"\s*[(\[]([^()\[\]]{0,24})[)\]]\s*$")
_SPELT: tuple[tuple[str, str], ...] = (
    ("⁹", "*9"),
    ("⁶", "*6"),
    ("³", "*3"),
    ("10^", "10*"),
    ("×10", "10"),
    ("x10", "10"),
    ("µ", "u"),
    ("μ", "u"),
)
_SPELT += (("mcg", "ug"),)
_INTERNATIONAL = re.compile(r"\[?[iI]U\]?|\[U\]|^u(?=/)")
_YEARS = frozenset(["a", "y", "yr", "yrs", "year", "years"])
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_COMMA_NUMBER = re.compile(r"[-+]?(\d+,\d*|,\d+)([eE][-+]?\d+)?")


def slug(header: str) -> str:
    """A header as a name: "γ-GT (U/l)" → "gamma_gt", "Patient ID" → "patient_id"."""
    text = "".join(_plain(letter) for letter in unicodedata.normalize("NFKD", _UNIT.sub("", header)))
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return (name if name[:1].isalpha() else f"v_{name}".rstrip("_"))[:LONGEST_NAME].rstrip("_")


def value_name(header: str) -> str:
    """The name of a column's value in models; known by several names: age and sex."""
    name = slug(header)
    return SAME_NAME.get(name, name)


def unit_in(header: str) -> str:
    """The unit in brackets at the end of a header, "" where there is none."""
    found = _UNIT.search(header)
    return found.group(1).strip()[:16] if found else ""


def same_unit(one: str, other: str) -> bool:
    """Whether two texts name one unit: "ug/L", "µg/l" and "mcg/L" do.  Nothing is converted: "ng/mL" is another."""
    return _unit(one) == _unit(other)


def is_missing(text: str) -> bool:
    """Whether a cell says that nothing is known."""
    return text.strip().lower() in MISSING


def number_text(text: str, *, decimal_comma: bool) -> str | None:
    """The text as Python reads a number, None where it is none; "1,5" is one where ``decimal_comma``."""
    if _NUMBER.fullmatch(text):
        return text
    if decimal_comma and _COMMA_NUMBER.fullmatch(text):
        return text.replace(",", ".")
    return None


def _unit(text: str) -> str:
    """One spelling of a unit, near to UCUM's.  An enzyme's IU is its U; case else counts (mg is not Mg)."""
    for written, meant in _SPELT:
        text = text.replace(written, meant)
    text = _INTERNATIONAL.sub("U", unicodedata.normalize("NFKC", text).replace(" ", "").replace("L", "l"))
    return "a" if text.lower() in _YEARS else text


def _plain(letter: str) -> str:
    if letter.casefold().isascii():  # "ß" is "ss"
        return letter.casefold()
    name = unicodedata.name(letter, "")
    return name.rsplit(" ", 1)[-1] if name.startswith("GREEK SMALL LETTER") else ""
