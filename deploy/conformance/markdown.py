"""Tables as Markdown, and the markers between which they stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

Table = Callable[[], str]
MARKED = re.compile(r"(<!-- table: (?P<name>[a-z-]+) -->\n)(?P<old>.*?)(<!-- end of table -->)", re.DOTALL)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; texts may hold anything."""
    lines = [header, ["---"] * len(header), *([cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def cell(value: object) -> str:
    """One cell: on one line, without what Markdown would take for its own."""
    text = " ".join(str(value).split())
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def code(text: object) -> str:
    """As typed; for names of attributes' values, keys, UIDs."""
    return f"`{text}`" if str(text) else ""


def fill(text: str, tables: Mapping[str, Table]) -> str:
    """``text`` with each table between its markers made anew.

    Raises ValueError for a marker without a table, or a table that stands nowhere.
    """
    named = {match["name"] for match in MARKED.finditer(text)}
    if named != set(tables):
        raise ValueError(f"markers and tables differ: {', '.join(sorted(named ^ set(tables)))}")
    return MARKED.sub(lambda match: f"{match[1]}{tables[match['name']]()}{match[4]}", text)
