"""Which settings give results UIDs of their own."""

from __future__ import annotations

import pytest

from dicom_node.config import Settings
from dicom_node.identity import Basis, make_run

STARTED = "20260301101500.250000+0100"


def digest(**report: object) -> str:
    return make_run(Settings(report=report), STARTED).settings_digest


def test_the_order_of_optional_objects_and_one_named_twice_make_no_difference() -> None:
    same = (["ko", "pdf"], ["pdf", "ko"], ["pdf", "ko", "pdf"])
    assert len({digest(also=also) for also in same}) == 1
    assert len({Basis.of(Settings(report={"also": also}), "m").as_json() for also in same}) == 1


@pytest.mark.parametrize("report", [{"language": "de"}, {"also": ["pdf"]}, {"also": ["ko"]}], ids=str)
def test_another_language_or_other_objects_are_other_results(report: dict[str, object]) -> None:
    assert digest(**report) != digest()
    assert Basis.of(Settings(report=report), "m").changes(Basis.of(Settings(), "m")) == ("settings",)


def test_each_model_of_a_node_has_its_own_block_of_series_numbers() -> None:
    settings = Settings(route=[{"name": "1", "bundle": "a"}, {"name": "2", "bundle": "b", "when": {"tracer": "fdg"}}])
    assert [make_run(settings, STARTED, bundle=name).series_block for name in ("a", "b", "gone", "")] == [0, 1, 2, 0]
