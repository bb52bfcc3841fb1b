"""A fault in the writer of an optional object: the default set comes out all the same, and says what is missing."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.report import read_result, write, write_results
from dicom_node.report.objects.captures import captures
from dicom_node.report.write import DEFAULT
from inference.facts import Analysis, Refused
from tests.report_case import RUN, make_analysis

ASKED = replace(RUN, also=("captures", "mip", "ko"))


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return make_analysis(tmp_path_factory.mktemp("missing"))


def raising(error: Exception) -> Callable[..., Sequence[Dataset]]:
    def writer(*_: object) -> Sequence[Dataset]:
        raise error

    return writer


def last_cannot_be_encoded(*given: object) -> Sequence[Dataset]:
    found = list(captures(*given))  # type: ignore[arg-type]
    found[-1].Rows = "no number"
    return found


@pytest.mark.parametrize(
    ("kind", "writer"),
    [("mip", raising(IndexError("Miller^Anna"))), ("captures", last_cannot_be_encoded)],
    ids=["made", "encoded"],
)
def test_the_rest_is_written_and_the_report_says_what_is_missing(
    kind: str,
    writer: Callable[..., Sequence[Dataset]],
    analysis: Analysis,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(write.OPTIONAL, kind, writer)  # type: ignore[attr-defined]
    results = write_results(analysis, ASKED, tmp_path)
    assert {r.kind for r in results} == {*DEFAULT, *ASKED.also} - {kind}
    assert {p.name for p in tmp_path.iterdir()} == {"key_image.png", *(r.path.name for r in results)}
    (report,) = (read_result(r.path) for r in results if r.kind == "sr")
    assert [w for w in report.warnings if w.startswith("optional-object-missing") and f"'{kind}'" in w]
    assert kind not in {named.kind for named in report.members}
    assert "Miller" not in report.warnings[0] + "".join(capfd.readouterr())


def test_nothing_is_said_where_nothing_is_missing(analysis: Analysis, tmp_path: Path) -> None:
    report = next(r for r in write_results(analysis, ASKED, tmp_path) if r.kind == "sr")
    assert not [w for w in read_result(report.path).warnings if w.startswith("optional-object-missing")]
    assert "optional" not in str(pydicom.dcmread(report.path))


@pytest.mark.parametrize(
    "error", [Refused("report-place-differs", "Not where it was."), OSError(errno.ENOSPC, "full"), MemoryError()]
)
def test_what_speaks_against_the_whole_set_is_not_hushed_up(
    error: Exception, analysis: Analysis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(write.OPTIONAL, "mip", raising(error))  # type: ignore[attr-defined]
    with pytest.raises(type(error)):
        write_results(analysis, ASKED, tmp_path)
