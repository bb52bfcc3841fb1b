"""Our own results, sent back to us by an archive: no kind of them starts anything, or counts as a person's region."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.config import Settings
from dicom_node.report import write, write_refusal, write_results
from inference.facts import Instance, Refused
from inference.reading.instance import read_instance
from tests.report_case import RUN, make_analysis
from tests.site import Site
from tests.studies import STUDY, ct, pet


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> list[Instance]:
    """Every object that there is, and a refusal's, as the receiver reads them."""
    folder = tmp_path_factory.mktemp("ours")
    analysis = make_analysis(folder)
    written = write_results(analysis, replace(RUN, also=tuple(write.OPTIONAL)), folder / "results")
    why = Refused("no-ct", "There is no CT.")
    written += write_refusal(analysis.pair.pet.instances, why, None, RUN, folder / "refusal")
    assert {r.kind for r in written} == {*write.DEFAULT, *write.OPTIONAL}
    return [replace(read_instance(r.path), study_instance_uid=STUDY) for r in written]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(Settings(node={"data_dir": tmp_path}, deliver={"refusals": "all"}))
    yield made
    made.close()


def test_alone_they_are_no_study(site: Site, ours: list[Instance]) -> None:
    site.arrive(ours, at=100.0)
    site.tick_until(100.1, 1000.0, 30.0)
    assert site.runs() == []
    assert site.ledger.timeline(STUDY) == ()


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_to_a_study_that_is_decided_they_add_nothing(restarted: bool, site: Site, ours: list[Instance]) -> None:
    site.arrive([*pet(), *ct()], at=100.0)
    site.tick_until(100.1, 102.0)
    before = site.runs()
    assert len(before) == 1
    site.arrive(ours, at=200.0)
    if restarted:
        site.start()
    site.tick_until(200.1, 1000.0, 30.0)
    assert site.runs() == before
    assert {event.event for event in site.ledger.timeline(STUDY)} == {"last-slice-stored", "pair-complete"}


def test_one_that_comes_with_the_study_is_no_region_and_no_delay(site: Site, ours: list[Instance]) -> None:
    site.arrive([*pet(), *ct(), *ours], at=100.0)
    site.tick_until(100.1, 102.0)
    (run_id,) = site.runs()
    assert site.ledger.work(run_id).content["region"] is None
