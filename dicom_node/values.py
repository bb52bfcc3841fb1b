"""Clinical and laboratory values of studies, from a table of the site (``values.table``) or the file of a command.

CSV with a header (comma, semicolon or tab).  The columns ``study_instance_uid``, ``accession_number``, or
``patient_id`` with ``study_date`` say whose row it is; every other is a value, by the name that the model knows it by
(case and spaces do not count).  A unit in brackets ("CgA (ug/L)") must be the model's, else the model is not asked
(``inference.model.given``).  Every key that a row has must be the study's.  JSON: one object, name → value.  The values
are patient data: nothing of them goes into a log or a message, rows are named by number.
"""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inference.facts import Instance, Refused
from inference.model.given import NOTHING_GIVEN, Given
from inference.model.value_names import SEXES, is_missing, number_text, slug, unit_in, value_name

MOST_BYTES = 16 * 2**20
WRITTEN_S, WRITTEN_LOOKS = 2.0, 10  # a file that ends within a line is taken as it is after so long, and so many looks
MOST_ROWS, MOST_COLUMNS, LONGEST_CELL = 200_000, 500, 256
KEYS = ("study_instance_uid", "accession_number", "patient_id", "study_date")
# By the header without spaces and underscores
_KEYS = {key.replace("_", ""): key for key in KEYS}
_KEYS |= {"studyuid": KEYS[0], "accession": KEYS[1], "accessionno": KEYS[1]}
_ENCODINGS = ("utf-8-sig", "cp1252")
_LISTED = 4  # rows that a message names

Keys = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """``number``: as a spreadsheet shows it.  ``keys``: those it has.  ``fault``: why it cannot be used, or ""."""

    number: int
    keys: Keys
    values: Mapping[str, str | None]
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """``keyed``: some column says whose row it is, else the one row is the study's.  ``units``: stated in headers."""

    name: str
    rows: tuple[Row, ...]
    keyed: bool
    units: Mapping[str, str] = field(default_factory=dict)

    def of(self, study: Keys) -> Given:
        """The values of a study; nothing where no row is its.

        ``fault``: values-ambiguous (several rows), values-other-patient (a key of the row is another study's),
        values-unreadable (the row is damaged).
        """
        rows = [row for row in self.rows if _is_of(row.keys, study)] if self.keyed else list(self.rows)
        if not rows:
            return NOTHING_GIVEN
        if len(rows) > 1:
            said = ", ".join(str(row.number) for row in rows[:_LISTED])
            why = f"rows {said} are all of this study" if self.keyed else "it has several rows and no key column"
            return Given(fault=Refused("values-ambiguous", f"{self.name}: {why}; leave one."))
        row = rows[0]
        if row.fault:
            return Given(fault=unreadable(self.name, f"row {row.number} {row.fault}"))
        if differing := [key for key, value in row.keys.items() if not _same(key, value, study.get(key, ""))]:
            why = f"row {row.number} fits this study, but its {' and '.join(differing)} does not"
            return Given(fault=Refused("values-other-patient", f"{self.name}: {why}; correct the row."))
        return Given(row.values, units=self.units)


class ValueTable:
    """The site's table, read again when the file has changed; without a path there are no values."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._read: tuple[tuple[int, int, int], Table | Refused] | None = None

    def of(self, images: Sequence[Instance]) -> Given:
        """The values of the study of these images."""
        if self._path is None:
            return NOTHING_GIVEN
        try:
            version = _version(self._path)
            if self._read is None or self._read[0] != version:
                self._read = (version, _table_or_refused(self._path))
        except OSError:
            self._read = None
            return Given(fault=unreadable(self._path.name, "the file is not there or may not be read"))
        table = self._read[1]
        return Given(fault=table) if isinstance(table, Refused) else table.of(keys_of(images))


def site_table(path: Path) -> Table:
    """The table of a site; some column must say whose row it is.  Raises ``Refused`` (values-unreadable), OSError."""
    table = read_table(path)
    if not table.keyed:
        raise unreadable(table.name, f"no column says whose row it is: {', '.join(KEYS)}")
    return table


def values_of_file(path: Path, images: Sequence[Instance]) -> Given:
    """The values in a file that a person names for the study of these images; a file without a row of it is a fault.

    Raises ``Refused`` (values-unreadable, no-such-folder).
    """
    if not path.is_file():
        raise Refused("no-such-folder", f"There is no file {path.name} of values. Check the path.")
    try:
        table = read_table(path)
    except OSError:
        raise unreadable(path.name, "the file may not be read") from None
    found = table.of(keys_of(images))
    if found is NOTHING_GIVEN:
        why = f"{path.name}: no row is of this study; name the right file."
        return Given(fault=Refused("values-other-patient", why))
    return found


def keys_of(images: Sequence[Instance]) -> Keys:
    """What says whose values they are; "" where the images do not say it, or not in one way."""
    found = {
        "study_instance_uid": {i.study_instance_uid for i in images[:1]},
        "accession_number": {str(i.get("AccessionNumber", "")).strip() for i in images},
        "patient_id": {str(i.get("PatientID", "")).strip() for i in images},
        "study_date": {_date(str(i.get("StudyDate", ""))) for i in images},
    }
    return {key: values.pop() if len(values) == 1 else "" for key, values in found.items()}


def unreadable(name: str, why: str) -> Refused:
    """The refusal of a file of values, ``why`` being the end of a sentence."""
    return Refused("values-unreadable", f"{name}: {why}; correct the file of values.")


def _version(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _table_or_refused(path: Path) -> Table | Refused:
    try:
        _wait_while_written(path)
        return site_table(path)
    except Refused as refused:
        return refused


def _wait_while_written(path: Path) -> None:
    """A file that has just changed and ends within a line is being written: half of a number is another number."""
    for _ in range(WRITTEN_LOOKS):
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            if file.read(1) in (b"\n", b"\r", b"}") or time.time() - path.stat().st_mtime > WRITTEN_S:
                return
        time.sleep(WRITTEN_S / WRITTEN_LOOKS)


def read_table(path: Path) -> Table:
    """The table in a CSV or JSON file.  Raises ``Refused`` (values-unreadable), OSError."""
    if path.stat().st_size > MOST_BYTES:
        raise unreadable(path.name, f"it is larger than {MOST_BYTES >> 20} MiB")
    data = path.read_bytes()
    if path.suffix.lower() == ".json":
        return _of_json(path.name, data)
    return _of_csv(path.name, data)


def _of_json(name: str, data: bytes) -> Table:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise unreadable(name, "it is no JSON") from None
    if not isinstance(found, dict):
        raise unreadable(name, "one object is wanted: { name: value }")
    cells: dict[str, str] = {}
    for key, value in found.items():
        if not isinstance(value, str | int | float | None) or isinstance(value, bool):
            raise unreadable(name, f"the value of '{key[:64]}' is neither a number nor a text")
        cells[key] = "" if value is None else str(value)
    return _table(name, list(cells), [(1, list(cells.values()))], decimal_comma=False)


def _of_csv(name: str, data: bytes) -> Table:
    text = _decoded(name, data)
    first = text.split("\n", 1)[0]
    separator = max((",", ";", "\t"), key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error:
        raise unreadable(name, f"line {reader.line_num} cannot be split into cells") from None
    if len(lines) < 2:
        raise unreadable(name, "it has no row below its header")
    if len(lines) - 1 > MOST_ROWS or len(lines[0][1]) > MOST_COLUMNS:
        raise unreadable(name, f"it has more than {MOST_ROWS} rows or {MOST_COLUMNS} columns")
    return _table(name, lines[0][1], lines[1:], decimal_comma=separator != ",")


def _decoded(name: str, data: bytes) -> str:
    for encoding in _ENCODINGS:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise unreadable(name, "it is no text; save it as CSV (UTF-8)")


def _table(
    name: str, header: Sequence[str], lines: Sequence[tuple[int, Sequence[str]]], *, decimal_comma: bool
) -> Table:
    keys = [_KEYS.get(slug(title).replace("_", ""), "") for title in header]
    names = [key or value_name(title) for key, title in zip(keys, header, strict=True)]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise unreadable(name, f"the column {twice[0]} is there twice")
    rows = []
    for number, cells in lines:
        fault = "" if len(cells) == len(header) else f"has {len(cells)} cells and the header {len(header)}"
        told = list(zip(names, keys, (cell.strip() for cell in cells), strict=False))
        if long := [n for n, _, cell in told if len(cell) > LONGEST_CELL]:
            fault = fault or f"has more than {LONGEST_CELL} characters in {long[0]}"
        rows.append(
            Row(
                number,
                {n: _date(cell) if n == "study_date" else cell for n, key, cell in told if key and cell},
                {n: _cell(n, cell, decimal_comma=decimal_comma) for n, key, cell in told if not key},
                fault,
            )
        )
    units = {n: unit for n, key, title in zip(names, keys, header, strict=True) if not key and (unit := unit_in(title))}
    return Table(name, tuple(rows), any(keys), units)


def _cell(name: str, cell: str, *, decimal_comma: bool) -> str | None:
    if is_missing(cell):
        return None
    if name == "sex":
        return SEXES.get(cell.lower(), cell)
    return number_text(cell, decimal_comma=decimal_comma) or cell


def _date(text: str) -> str:
    """A date as DICOM writes it, from that, ISO 8601 or day.month.year; anything else as it is."""
    text = text.strip()
    if len(text) == 10 and text[4] == text[7] == "-":
        return text.replace("-", "")
    if len(text) == 10 and text[2] == text[5] == ".":
        return text[6:] + text[3:5] + text[:2]
    return text


def _is_of(row: Keys, study: Keys) -> bool:
    """Whether one of the ways to name a study names this one."""
    ways = (("study_instance_uid",), ("accession_number",), ("patient_id", "study_date"))
    return any(all(study.get(k) and _same(k, row.get(k, ""), study[k]) for k in way) for way in ways)


def _same(key: str, one: str, other: str) -> bool:
    return one.casefold() == other.casefold() if key == "patient_id" else one == other
