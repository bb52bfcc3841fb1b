"""The cells of a CSV or XLSX file as text, with the row numbers that a spreadsheet shows.

CSV: UTF-8 (with or without byte order mark), UTF-16, else Windows-1252 with a warning; comma, semicolon or tab, which
the header or Excel's ``sep=`` line tells.  Where the separator is no comma, numbers may have a decimal comma.
XLSX: the first sheet; a warning where others hold something too.  Blank lines are skipped and still counted.
"""

from __future__ import annotations

import csv
import io
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from inference.facts import Refused
from training.cohort.findings import Finding

MOST_BYTES = 64 * 2**20  # of the file
MOST_INFLATED = 512 * 2**20  # of an XLSX, unpacked
MOST_ROWS = 200_000
MOST_COLUMNS = 2_000
SEPARATORS = (",", ";", "\t")
BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}

Numbered = tuple[int, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Sheet:
    """``header``: as written, stripped.  ``rows``: (number, cells), each as many cells as the header has.

    ``decimal_comma``: "1,5" is a number here.
    """

    header: tuple[str, ...]
    rows: tuple[Numbered, ...]
    decimal_comma: bool
    findings: tuple[Finding, ...]


def read_sheet(file: Path) -> Sheet:
    """The cells of ``file``.  Raises ``Refused``: ``no-such-folder``, ``cohort-unreadable``, ``cohort-too-large``."""
    if not file.is_file():
        raise Refused("no-such-folder", f"There is no file {file}. Check the path.")
    if file.stat().st_size > MOST_BYTES:
        raise too_large(file, f"it has {file.stat().st_size} bytes; at most {MOST_BYTES} are read")
    kind = file.suffix.lower()
    if kind in (".xlsx", ".xlsm"):
        numbered, findings = _spreadsheet(file)
        return _sheet(file, numbered, False, findings, ragged_is_fault=False)
    if kind not in (".csv", ".tsv", ".txt"):
        raise unreadable(file, "a cohort is a CSV or an XLSX table; save it as one of these")
    text, findings = _decoded(file)
    separator, text = _separator(text)
    return _sheet(file, _records(file, text, separator), separator != ",", findings, ragged_is_fault=True)


def unreadable(file: Path, why: str) -> Refused:
    """The refusal of a table that is none."""
    return Refused("cohort-unreadable", f"{file.name}: {why}.")


def too_large(file: Path, why: str) -> Refused:
    """The refusal of a file beyond a limit."""
    return Refused("cohort-too-large", f"{file.name}: {why}.")


def _sheet(
    file: Path, numbered: Iterable[Numbered], decimal_comma: bool, findings: list[Finding], *, ragged_is_fault: bool
) -> Sheet:
    header: tuple[str, ...] = ()
    rows: list[Numbered] = []
    for number, raw in numbered:
        cells = _trimmed(raw)
        if not cells:
            continue
        if not header:
            header = cells
            continue
        if len(rows) == MOST_ROWS:
            raise too_large(file, f"it has more than {MOST_ROWS} rows")
        if len(cells) > len(header) or (ragged_is_fault and len(raw) < len(header)):
            text = f"it has {len(raw)} cells and the header {len(header)}; put a value with the separator in quotes"
            findings.append(Finding("error", "ragged-row", text, number))
            continue
        rows.append((number, cells + ("",) * (len(header) - len(cells))))
    if len(header) > MOST_COLUMNS:
        raise too_large(file, f"it has {len(header)} columns; at most {MOST_COLUMNS} are read")
    if not rows:
        raise unreadable(file, "it has no row below its header" if header else "it is empty")
    return Sheet(header, tuple(rows), decimal_comma, tuple(findings))


def _trimmed(cells: Sequence[str]) -> tuple[str, ...]:
    """Stripped, without the empty cells at the end."""
    found = [cell.strip() for cell in cells]
    while found and not found[-1]:
        found.pop()
    return tuple(found)


def _decoded(file: Path) -> tuple[str, list[Finding]]:
    data = file.read_bytes()
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            try:
                return data.decode(encoding), []
            except UnicodeDecodeError:
                raise unreadable(file, f"its byte order mark says {encoding}, and it is not") from None
    if b"\0" in data:
        raise unreadable(file, "it holds zero bytes, so it is no text; save it as CSV (UTF-8) or XLSX")
    try:
        return data.decode(), []
    except UnicodeDecodeError:
        text = "the file is not UTF-8 and is read as Windows-1252; save it as CSV UTF-8 to be sure of its letters"
        return data.decode("cp1252", errors="replace"), [Finding("warning", "table-encoding", text)]


def _separator(text: str) -> tuple[str, str]:
    """The separator, and the text without Excel's line that names it (blank in its place: rows keep their numbers)."""
    lines = text.lstrip("\r\n").split("\n", 1)
    first = lines[0].strip("\r")
    if first.lower().startswith("sep=") and len(first) == len("sep=") + 1:
        return first[-1], text.replace(first, "", 1)
    counts = {separator: first.count(separator) for separator in SEPARATORS}
    return max(SEPARATORS, key=lambda separator: counts[separator]), text


def _records(file: Path, text: str, separator: str) -> Iterator[Numbered]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for number, cells in enumerate(reader, 1):
            yield number, tuple(cells)
    except csv.Error as error:
        raise unreadable(file, f"line {reader.line_num} cannot be split into cells ({error})") from None


def _spreadsheet(file: Path) -> tuple[list[Numbered], list[Finding]]:
    try:
        with zipfile.ZipFile(file) as archive:
            inflated = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError):
        raise unreadable(file, "it is no XLSX file, or has a password; save it again without one") from None
    if inflated > MOST_INFLATED:
        raise too_large(file, f"unpacked it has {inflated} bytes; at most {MOST_INFLATED} are read")
    from openpyxl import load_workbook

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parts that have no cells (validation, styles)
            shown, written = (load_workbook(file, read_only=True, data_only=only) for only in (True, False))
            try:
                rows, findings = _first_sheet(shown)
                return rows, [*findings, *_without_value(rows, written)]
            finally:
                shown.close()
                written.close()
    except Exception as error:  # noqa: BLE001 - whatever a broken file makes the XML reader raise
        raise unreadable(file, f"it is a damaged XLSX file ({type(error).__name__}); save it again") from None


def _first_sheet(book: object) -> tuple[list[Numbered], list[Finding]]:
    first, *others = book.worksheets  # type: ignore[attr-defined]
    rows = [
        (number, tuple(_cell(value) for value in values))
        for number, values in enumerate(first.iter_rows(values_only=True, max_row=MOST_ROWS + 2), 1)
    ]
    more = [sheet.title for sheet in others if any(any(v is not None for v in r) for r in _top(sheet))]
    text = f"only the first sheet is read; {len(more)} other(s) hold cells too"
    return rows, [Finding("warning", "several-sheets", text)] if more else []


def _without_value(rows: Sequence[Numbered], written: object) -> list[Finding]:
    """Formulas whose result was never stored: their cells look empty."""
    count, first = 0, None
    sheet = written.worksheets[0]  # type: ignore[attr-defined]
    for (number, cells), formulas in zip(rows, sheet.iter_rows(values_only=True, max_row=MOST_ROWS + 2), strict=False):
        for cell, formula in zip(cells, formulas, strict=False):
            if not cell and isinstance(formula, str) and formula.startswith("="):
                count, first = count + 1, first or number
    text = f"{count} formula(s) have no stored result; open the file in a spreadsheet program and save it again"
    return [Finding("error", "formula-without-value", text, first)] if count else []


def _top(sheet: object) -> Iterator[tuple[object, ...]]:
    return sheet.iter_rows(values_only=True, max_row=10)  # type: ignore[attr-defined,no-any-return]


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.15g}"
        case datetime() | date():
            return value.isoformat()
        case _:
            return str(value)
