"""What stops us and what warns, with stable codes."""

from __future__ import annotations

from dataclasses import dataclass


class Refused(Exception):  # noqa: N818 - a refusal is an answer, not a fault of the program
    """We do not go on, and say why.

    ``code`` is a row of the refusal table (``dicom_node/errors.py``), stable for machines; ``reason`` is a plain
    sentence that names the thing, the rule and what to do, without patient data; ``facts`` are UIDs, expected
    and found values.
    """

    def __init__(self, code: str, reason: str, **facts: object) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
        self.facts = facts

    def __reduce__(self) -> tuple[object, ...]:
        """From a process of its own it comes back as what it was; pickle's default would call with the text alone."""
        return _refused, (self.code, self.reason, self.facts)


def _refused(code: str, reason: str, facts: dict[str, object]) -> Refused:
    return Refused(code, reason, **facts)


@dataclass(frozen=True, slots=True)
class Caution:
    """A visible warning that travels into every result: a stable code and a plain sentence."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept (DICOM PS3.3 8.8)."""

    value: str
    scheme: str
    meaning: str
