"""Codes and character sets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from pydicom.charset import python_encoding
from pydicom.sr.coding import Code

from deploy.conformance.markdown import code, table
from dicom_node.errors import ROWS
from dicom_node.report import codes
from inference.model.bundle import find_bundle

WHO = {"sender": "the sender", "operator": "the operator", "developer": "us"}


def private_codes() -> str:
    """Codes of our own scheme: those of the reports, and those that the packaged model brings."""
    ours = [c for c in _codes() if c.scheme_designator == codes.PRIVATE_SCHEME]
    return table(("Code", "Meaning"), [(code(c.value), c.meaning) for c in ours])


def private_scheme() -> str:
    """How each object explains the scheme (Coding Scheme Identification Sequence)."""
    return table(("Attribute", "Value"), [(element.name, code(element.value)) for element in codes.private_scheme()])


def standard_codes() -> str:
    """Codes of other schemes."""
    found = {(c.scheme_designator, c.value, c.meaning) for c in _codes()}
    rows = sorted(row for row in found if row[0] != codes.PRIVATE_SCHEME)
    return table(("Scheme", "Code", "Meaning"), [(scheme, code(value), meaning) for scheme, value, meaning in rows])


def refusals() -> str:
    """Every reason not to go on, with its code in the report."""
    return table(
        ("Code in the report", "Reason", "Meaning", "Who acts", "What to do"),
        [
            (code(row.concept.value), code(row.code), row.concept.meaning, WHO[row.who], row.advice)
            for row in sorted(ROWS.values(), key=lambda row: int(row.concept.value.rsplit("-", 1)[1]))
        ],
    )


def _codes() -> list[Code]:
    brought = json.loads((find_bundle("demo") / "configs" / "metadata.json").read_text())["petct_node"]
    models = [brought[name] for name in ("status_code", "probability_code")]
    own = [Code(found["value"], found["scheme"], found["meaning"]) for found in models]
    return list(dict.fromkeys([*_within(vars(codes)), *own]))


def _within(value: object) -> Iterator[Code]:
    if isinstance(value, Code):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _within(each)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _within(each)


def character_sets() -> str:
    """Defined terms of Specific Character Set that are read."""
    return table(("Defined term",), [(code(term),) for term in sorted(python_encoding) if term])
