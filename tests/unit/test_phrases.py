"""The tables of what people read: complete in six languages, used, and there for every code that can reach a report."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import dicom_node
import inference
from dicom_node import errors
from dicom_node.report.words import verdict
from dicom_node.report.words.phrases import LANGUAGES, TABLES, Phrases, table
from inference.facts import Caution, Refused
from inference.model.applicability import _QUANTITIES, _out_of_range

REPORT = Path(dicom_node.__file__).parent / "report"
KEY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")


def _sources(*rooms: Path) -> Iterator[ast.Module]:
    return (ast.parse(path.read_text()) for room in rooms for path in sorted(room.rglob("*.py")))


def _placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def _is_whole(row: Mapping[str, str]) -> bool:
    english = _placeholders(row["en"])
    return tuple(row) == LANGUAGES and all(t.strip() and _placeholders(t) == english for t in row.values())


@pytest.mark.parametrize("name", TABLES)
def test_every_row_has_all_languages_with_the_same_placeholders(name: str) -> None:
    assert table(name)
    assert [key for key, row in table(name).items() if not _is_whole(row)] == []


@pytest.mark.parametrize("language", ["ja", "zh"])
def test_east_asian_sentences_have_their_own_punctuation(language: str) -> None:
    said = [row[language] for name in TABLES for row in table(name).values()]
    assert [text for text in said if re.search(r"[\u3040-\u9fff}][:;,](?! ?\d)|\.$", text)] == []


def _said_keys(tree: ast.Module) -> Iterator[ast.expr]:
    """The first argument of every call of phrases."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if called in ("say", "Phrases"):
                yield node.args[0]


def test_every_key_that_the_code_names_is_there() -> None:
    named = {
        constant.value
        for tree in _sources(REPORT)
        for key in _said_keys(tree)
        if not isinstance(key, ast.JoinedStr | ast.Compare)
        for constant in ast.walk(key)
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str) and KEY.fullmatch(constant.value)
    }
    assert named, "the code calls its phrases in another way than this test knows"
    assert sorted(named - table("phrases").keys()) == []


def test_no_phrase_is_unused() -> None:
    constants, beginnings = set(), set()
    for tree in _sources(REPORT):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                constants.add(node.value)
            if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                beginnings.add(str(node.values[0].value))
    beginnings = {text for text in beginnings if re.fullmatch(r"([a-z]+-)+", text)}
    unused = [k for k in table("phrases") if k not in constants and not any(k.startswith(b) for b in beginnings)]
    assert unused == []


def _caution_codes() -> set[str]:
    """Every code of a caution in the code; where it is a variable, what looks like one where it is made."""
    rooms = [Path(inference.__file__).parent, *(Path(dicom_node.__file__).parent / r for r in ("assemble", "report"))]
    codes = set()
    for tree in _sources(*rooms):
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        written = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _name(node) == "Caution"]
        firsts = [call.args[0] for call in written if call.args]
        codes |= {str(first.value) for first in firsts if isinstance(first, ast.Constant)}  # of constants as well
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
            for call in [n for n in ast.walk(function) if isinstance(n, ast.Call) and _name(n) == "Caution" and n.args]:
                code = call.args[0]
                if isinstance(code, ast.Constant):
                    codes.add(code.value)
                elif isinstance(code, ast.Name) and code.id in constants:
                    codes.add(constants[code.id])
                else:
                    codes |= _like_codes(function)
                    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and _name(n) == function.name]
                    codes |= {code for caller in calls for code in _like_codes(caller)}
    return codes


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def _like_codes(tree: ast.AST) -> set[str]:
    values = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return {value for value in values if KEY.fullmatch(value)}


def test_every_caution_has_its_row_and_every_row_its_caution() -> None:
    codes = _caution_codes()
    assert len(codes) > 60
    assert sorted(codes - table("cautions").keys()) == []
    assert sorted(table("cautions").keys() - codes) == []


WITHOUT_REPORT = ("bundle-out", "nothing-to-answer-to", "source-identity-invalid")


def _reaches_a_report(row: errors.Row) -> bool:
    """All but what stops a command, a node's start or a delivery: there is no report then."""
    stops_other_work = row.http == 400 or (row.concept.value.startswith("REFUSED-9") and row.who == "operator")
    return not stops_other_work and row.code not in WITHOUT_REPORT


def test_every_refusal_that_can_reach_a_report_has_its_row_and_its_advice() -> None:
    rows = {code: row for code, row in errors.ROWS.items() if _reaches_a_report(row)}
    assert len(rows) > 120
    assert set(table("refusals")) == set(rows)
    advice = {row["en"] for row in table("advice").values()}
    assert advice == {row.advice for row in rows.values()}
    assert {row.who for row in rows.values()} == {"sender", "operator", "developer"}


def test_a_refusals_english_is_that_of_its_coded_reason() -> None:
    meanings = {code: f"{errors.ROWS[code].concept.meaning}." for code in table("refusals")}
    assert {code: row["en"] for code, row in table("refusals").items()} == meanings


def test_english_keeps_its_values_and_other_languages_give_them_behind() -> None:
    caution = Caution("uptake-time", "FDG uptake time is 95 min [sic], outside 55 to 75 min.")
    refused = Refused("weight-missing", "Patient's Weight (0010,1030) is missing.")
    german = Phrases("de")
    assert verdict.caution_sentence(caution) == caution.text
    assert verdict.refusal_sentence(refused) == refused.reason
    assert verdict.in_full(verdict.caution_sentence(caution), caution.text) == caution.text
    said = verdict.in_full(verdict.caution_sentence(caution, german), caution.text)
    assert said.startswith("Die Uptake-Zeit ist ungewöhnlich")
    assert said.endswith(f"[en: {caution.text}]")
    assert verdict.original(said) == caution.text == verdict.original(caution.text)
    assert verdict.refusal_sentence(refused, german) == "Das Patientengewicht fehlt."
    assert verdict.what_to_do(refused, german).startswith("Was zu tun ist (Absender): Den Header")


def test_what_has_no_row_is_said_in_english() -> None:
    assert verdict.caution_sentence(Caution("new-one", "Something new."), Phrases("ja")) == "Something new."
    assert Phrases("ja").reason("a reason nobody has translated") == "a reason nobody has translated"
    assert Phrases("ja").advice("Do something new.") == "Do something new."


@pytest.mark.parametrize("name", _QUANTITIES)
def test_a_range_is_told_with_its_values_in_every_language(name: str) -> None:
    english = _out_of_range(name, 31.25, (2.0, 25.0))
    assert Phrases("en").reason(english) == english
    for language in LANGUAGES[1:]:
        said = Phrases(language).reason(english)
        assert all(value in said for value in ("31.25", "2", "25", _QUANTITIES[name][1]))
        assert _QUANTITIES[name][0] not in said


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_a_reason_is_found_again_by_its_english(language: str) -> None:
    for row in table("reasons").values():
        values = {name: f"{number}0" for number, name in enumerate(sorted(_placeholders(row["en"])), 1)}
        assert Phrases(language).reason(row["en"].format(**values)) == row[language].format(**values)
