"""What is wrong, or odd, with a cohort: findings that name row and column, and the refusal that lists them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from inference.facts import Refused

MOST_SHOWN = 20  # in one refusal; `petct-node cohort check` lists all


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    ``level``: "error" (nothing is trained) or "warning".  ``code``: short and stable.  ``row``: as a spreadsheet
    counts, the header being row 1; None where it is of the whole table.  ``column``: its header, "" for none.
    ``text``: a sentence with what to do, without a patient's value.
    """

    level: Literal["error", "warning"]
    code: str
    text: str
    row: int | None = None
    column: str = ""

    @property
    def place(self) -> str:
        """As "row 4, column label"."""
        parts = [f"row {self.row}"] if self.row is not None else []
        parts += [f"column {self.column}"] if self.column else []
        return ", ".join(parts)

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" if self.place else self.text


def errors_of(findings: Iterable[Finding]) -> list[Finding]:
    """Those that forbid training."""
    return [finding for finding in findings if finding.level == "error"]


def refuse_errors(findings: Iterable[Finding], table: str) -> None:
    """Raise ``Refused`` ``cohort-faults`` naming all errors, if there is one.  ``table``: name of the file."""
    errors = errors_of(findings)
    if not errors:
        return
    shown = "\n".join(f"  {error}" for error in errors[:MOST_SHOWN])
    more = len(errors) - MOST_SHOWN
    rest = f"\n  … and {more} more; `petct-node cohort check` lists all." if more > 0 else ""
    raise Refused("cohort-faults", f"The cohort {table} has {len(errors)} fault(s):\n{shown}{rest}")
