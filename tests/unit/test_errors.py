"""The refusal table and the code agree."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.errors import ROWS, row
from inference.reading.agreement import GEOMETRY

ROOT = Path(__file__).parents[2]
SOURCES = [p for package in ("dicom_node", "inference", "training") for p in (ROOT / package).rglob("*.py")]
GIVE_CODES = {"Refused", "Fault"}  # calls whose first argument is a code that may become a refusal
ONLY_CHOICES = {  # reasons why a series was left out beside one that was taken: never a refusal by themselves
    "own-object",
    "not-pet-or-ct",
    "localizer",
    "already-normalised",
    "another-pet",
    "another-ct",
    "of-another-kind",
    "older-region",
    "automatic-region",
    "rejected-region",
    "region-names-no-lesion",
}


def strings(node: ast.AST) -> Iterator[str]:
    for child in ast.walk(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value


def codes_given() -> dict[str, str]:
    given = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in GIVE_CODES
                and node.args
            ):
                literal = isinstance(node.args[0], ast.Constant | ast.IfExp)
                for code in strings(node.args[0]) if literal else ():
                    given[code] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return given


def test_every_code_has_a_row() -> None:
    lacking = {code: where for code, where in codes_given().items() if code not in ROWS and code not in ONLY_CHOICES}
    assert not lacking
    assert {code for code, _ in GEOMETRY.values()} <= set(ROWS)


def test_every_row_has_a_user() -> None:
    used = {s for p in SOURCES if p.name != "errors.py" for s in strings(ast.parse(p.read_text()))}
    assert not set(ROWS) - used


def test_rows_are_fit_for_their_protocols() -> None:
    values = [r.concept.value for r in ROWS.values()]
    assert len(values) == len(set(values))
    for code, r in ROWS.items():
        assert r.code == code
        assert len(r.concept.value) <= 16  # SH
        assert 0 < len(r.concept.meaning) <= 64  # LO
        assert r.dimse in (0x0000, 0xA700, 0xA900, 0xC000)
        assert 400 <= r.http < 600
        assert r.advice.endswith(".")


@pytest.mark.parametrize(("code", "status"), [("spool-full", 0xA700), ("identity-mismatch", 0xA900)])
def test_statuses_of_c_store(code: str, status: int) -> None:
    assert row(code).dimse == status


def test_an_unknown_code_is_a_fault_of_the_program() -> None:
    assert row("no-such-code").who == "developer"
