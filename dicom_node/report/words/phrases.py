"""Texts for people in the site's language, from the one table ``phrases.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("phrases.toml")
LANGUAGES = ("en", "de", "fr", "es", "ja", "zh")  # RFC 5646; of the setting report.language


@dataclass(frozen=True, slots=True)
class Phrases:
    """The phrases of one ``language``, called by key."""

    language: str = "en"

    def __call__(self, key: str, /, **values: object) -> str:
        """The phrase with ``values`` filled in.  Raises KeyError for a key or a value that the table does not name."""
        return _table()[key][self.language].format(**values)

    def knows(self, key: str) -> bool:
        """Whether the table has the key."""
        return key in _table()


@cache
def _table() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))
