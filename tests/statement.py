"""The conformance statement as its reader has it: the tables of ``conformance.md``, read back from the text."""

from __future__ import annotations

import re
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[1] / "conformance.md"
Row = dict[str, str]


def between(marker: str) -> str:
    """What stands between the markers of a table."""
    found = re.search(rf"<!-- table: {marker} -->\n(.*?)<!-- end of table -->", DOCUMENT.read_text(), re.DOTALL)
    assert found, marker
    return found[1]


def rows(text: str) -> list[Row]:
    """The rows of the one table in ``text``, by column."""
    lines = [_cells(line) for line in text.splitlines() if line.startswith("|")]
    header, _, *body = lines
    return [dict(zip(header, line, strict=True)) for line in body]


def sections(marker: str) -> dict[str, list[Row]]:
    """Kind of object → its table."""
    parts = re.split(r"^#### `([^`]+)`.*$", between(marker), flags=re.MULTILINE)
    return {kind: rows(text) for kind, text in zip(parts[1::2], parts[2::2], strict=True)}


def _cells(line: str) -> list[str]:
    cells = re.split(r"(?<!\\)\|", line)[1:-1]
    return [cell.strip().replace("\\|", "|").replace("&lt;", "<").replace("\\*", "*").strip("`") for cell in cells]


def attribute_paths(table: list[Row]) -> dict[tuple[str, ...], Row]:
    """Tags from the top of the object down → row; nesting as the ``>`` before the names says."""
    above: list[str] = []
    found = {}
    for row in table:
        depth = row["Attribute"].count(">")
        above = [*above[:depth], row["Tag"]]
        found[tuple(above)] = row
    return found
