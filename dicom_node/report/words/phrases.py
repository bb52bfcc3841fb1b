"""Texts for people in the site's language, from the tables beside this file, all of one format.

``phrases.toml`` is what reports and pictures say; ``cautions.toml``, ``reasons.toml``, ``refusals.toml`` and
``advice.toml`` are for what the code says in English.

Numbers keep the decimal point in every language, as the coded measurements and other systems show them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOM = Path(__file__).parent
TABLES = ("phrases", "cautions", "reasons", "refusals", "advice")
LANGUAGES = ("en", "de", "fr", "es", "ja", "zh")  # RFC 5646; of the setting report.language; zh is in simplified script


@dataclass(frozen=True, slots=True)
class Phrases:
    """The phrases of one ``language``, called by key."""

    language: str = "en"

    def __call__(self, key: str, /, **values: object) -> str:
        """The phrase with ``values`` filled in.  Raises KeyError for a key or a value that the table does not name."""
        return table("phrases")[key][self.language].format(**values)

    @property
    def letters(self) -> frozenset[str]:
        """All that its phrases are written with."""
        return frozenset(letter for name in TABLES for row in table(name).values() for letter in row[self.language])

    def caution(self, code: str, english: str) -> str:
        """The plain sentence of a caution's code; the English text itself in English and for a code without a row."""
        return self._row("cautions", code, english)

    def refusal(self, code: str, english: str) -> str:
        """The plain sentence of a refusal's code, as ``caution``."""
        return self._row("refusals", code, english)

    def advice(self, english: str) -> str:
        """What to do after a refusal, by the English of the refusal's row; the English where there is no other."""
        return _advice().get(english, {}).get(self.language, english)

    def reason(self, english: str) -> str:
        """A sentence made in English elsewhere, by the pattern in ``reasons.toml`` it was made from; else as it is.

        What is filled in travels along, and is itself said in the language where it is such a sentence.
        """
        if self.language == "en":
            return english
        for pattern, row in _patterns():
            if found := pattern.fullmatch(english):
                return row[self.language].format(**{k: self.reason(v) for k, v in found.groupdict().items()})
        return english

    def _row(self, name: str, code: str, english: str) -> str:
        row = table(name).get(code)
        return english if self.language == "en" or row is None else row[self.language]


@cache
def table(name: str) -> Mapping[str, Mapping[str, str]]:
    """The table ``name``: key → language → phrase."""
    return tomllib.loads((ROOM / f"{name}.toml").read_text(encoding="utf-8"))


@cache
def _advice() -> Mapping[str, Mapping[str, str]]:
    return {row["en"]: row for row in table("advice").values()}


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], Mapping[str, str]], ...]:
    """The English of each reason as a pattern whose groups are its placeholders."""
    return tuple((_pattern(row["en"]), row) for row in table("reasons").values())


def _pattern(english: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", english)
    return re.compile("".join(f"(?P<{p}>.+?)" if n % 2 else re.escape(p) for n, p in enumerate(parts)))
