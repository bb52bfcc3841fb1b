"""A user's segmenter: what it returns is checked, whatever it does is a lesion or a reason."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dicom_node.assemble import assemble
from dicom_node.commands.doctor import examine
from dicom_node.config import Settings
from dicom_node.identity import settings_digest
from dicom_node.index import Arrival, Index
from dicom_node.ledger import Ledger
from dicom_node.work.analyst import _Desk
from dicom_node.work.job import Work
from dicom_node.work.result_set import read_set
from inference.analyse import analyse
from inference.facts import Refused, Region, Tracer, Volume
from inference.lesions.lesion import MOST_LESIONS
from inference.lesions.segmenter import MOST_REGIONS, Segmenter, load_segmenter, segmented
from inference.model.bundle import find_bundle
from inference.model.predict import Model
from inference.reading.instance import scan_folder
from tests.images import grid

SUV, CT = grid((4, 5, 6), (3.0, 4.0, 4.0), 1.0), grid((8, 9, 9), (1.5, 2.0, 2.0), 40.0)
FDG = Tracer("fdg", "F-18")


class Finds:
    """Returns what it was given, or what a function makes of its input."""

    name, version = "found", "1"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def lesions(self, suv: Volume, ct: Volume, tracer: Tracer) -> Sequence[Region]:
        found: Sequence[Region] = self.answer(suv, ct, tracer) if callable(self.answer) else self.answer
        return found


def cube(start: tuple[int, int, int] = (0, 0, 0), size: int = 1) -> Region:
    return Region(start, np.ones((size, size, size), bool))


def failure(answer: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        segmented(Finds(answer), SUV, CT, FDG)
    assert refused.value.code == "segmenter-failed"
    assert "found 1" in refused.value.reason
    return refused.value


def test_its_lesions_are_taken_in_its_order_and_named_as_its_own() -> None:
    proposal = segmented(Finds([cube((2, 3, 4)), cube((0, 0, 0), 2)]), SUV, CT, FDG)
    assert [r.start for r in proposal.regions] == [(2, 3, 4), (0, 0, 0)]
    (caution,) = proposal.cautions
    assert caution.code == "region-automatic"
    assert "found 1" in caution.text


def test_it_is_given_what_the_protocol_says() -> None:
    seen: list[Any] = []
    segmented(Finds(lambda *given: seen.append(given) or []), SUV, CT, FDG)
    ((suv, ct, tracer),) = seen
    assert np.array_equal(suv.array, SUV.array)
    assert np.array_equal(suv.affine, SUV.affine)
    assert np.array_equal(ct.array, CT.array)
    assert tracer == FDG


def test_no_lesion_is_an_answer() -> None:
    proposal = segmented(Finds([]), SUV, CT, FDG)
    assert proposal.regions == ()
    assert [c.code for c in proposal.cautions] == ["no-lesion-found"]


def test_a_large_mask_is_cut_to_its_voxels() -> None:
    mask = np.zeros(SUV.array.shape, bool)
    mask[1:3, 2, 4] = True
    (region,) = segmented(Finds([Region((0, 0, 0), mask)]), SUV, CT, FDG).regions
    assert (region.start, region.mask.shape) == ((1, 2, 4), (2, 1, 1))


def test_many_lesions_are_cut_and_endless_ones_refused() -> None:
    places = [(int(k), int(r), int(c)) for k, r, c in np.argwhere(SUV.array > 0)]
    proposal = segmented(Finds([cube(place) for place in places[: MOST_LESIONS + 3]]), SUV, CT, FDG)
    assert len(proposal.regions) == MOST_LESIONS
    assert [c.code for c in proposal.cautions] == ["region-automatic", "lesions-left-out"]
    assert str(MOST_REGIONS) in failure(lambda *_: iter(cube, None)).reason


def test_lesions_that_share_voxels_are_said() -> None:
    proposal = segmented(Finds([cube(), cube((0, 0, 0), 2)]), SUV, CT, FDG)
    assert [c.code for c in proposal.cautions] == ["region-automatic", "regions-overlap"]


def writes(suv: Volume, ct: Volume, tracer: Tracer) -> list[Region]:
    suv.array[0, 0, 0] = 99.0
    return []


def raises(kind: type[BaseException]) -> Callable[..., list[Region]]:
    def raising(*_: Any) -> list[Region]:
        raise kind("the message may hold anything")

    return raising


NONSENSE = {
    "None": None,
    "a number": 3,
    "a full mask": np.ones(SUV.array.shape, bool),
    "masks": [np.ones(SUV.array.shape, bool)],
    "a float mask": [Region((0, 0, 0), np.full((1, 1, 1), np.nan))],  # type: ignore[arg-type]
    "labels": [Region((0, 0, 0), np.ones((1, 1, 1), np.uint8))],  # type: ignore[arg-type]
    "a list as mask": [Region((0, 0, 0), [[[True]]])],  # type: ignore[arg-type]
    "a flat mask": [Region((0, 0, 0), np.ones((2, 2), bool))],
    "an empty mask": [Region((0, 0, 0), np.zeros((2, 2, 2), bool))],
    "no mask at all": [Region((0, 0, 0), np.zeros((0, 0, 0), bool))],
    "beyond the grid": [cube((3, 4, 5), 2)],
    "before the grid": [cube((-1, 0, 0))],
    "the CT's grid": [Region((0, 0, 0), np.ones(CT.array.shape, bool))],
    "no place": [Region((np.nan, 0, 0), np.ones((1, 1, 1), bool))],  # type: ignore[arg-type]
    "two places": [Region((0, 0), np.ones((1, 1, 1), bool))],  # type: ignore[arg-type]
    "text as place": [Region(("a", "b", "c"), np.ones((1, 1, 1), bool))],  # type: ignore[arg-type]
    "an error": raises(RuntimeError),
    "an exit": raises(SystemExit),
    "a disk fault": raises(OSError),
    "changed input": writes,
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_refused_and_says_what_to_do(answer: Any) -> None:
    refused = failure(answer)
    assert "infer.segmenter" in refused.reason
    assert "anything" not in refused.reason
    assert SUV.array.max() == 1.0


def test_memory_that_ran_out_is_the_nodes_affair() -> None:
    with pytest.raises(MemoryError):
        segmented(Finds(raises(MemoryError)), SUV, CT, FDG)


@given(
    start=st.tuples(*(st.integers(-2, 7),) * 3),
    mask=arrays.arrays(bool, st.tuples(*(st.integers(0, 6),) * 3)),
)
def test_any_region_lies_in_the_grid_or_is_refused(start: tuple[int, int, int], mask: np.ndarray[Any, Any]) -> None:
    region = Region(start, mask)
    inside = all(s >= 0 and s + n <= size for s, n, size in zip(start, mask.shape, SUV.array.shape, strict=True))
    if not (inside and mask.any()):
        failure([region])
        return
    (found,) = segmented(Finds([region]), SUV, CT, FDG).regions
    assert np.array_equal(found.full(SUV.array.shape), region.full(SUV.array.shape))


def test_what_it_prints_does_not_reach_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    segmented(Finds(lambda *_: print("epoch 1") or []), SUV, CT, FDG)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "epoch 1\n")


# ------------------------------------------------------------------------------------------------------------- loading


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """An installed distribution ``given_segmenter`` with the entry points named, of a module of this text."""

    def install(text: str) -> None:
        (tmp_path / "given_segmenter.py").write_text(text)
        info = tmp_path / "given_segmenter-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: given-segmenter\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[petct_node.segmenters]\ngiven = given_segmenter:Given\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "given_segmenter", raising=False)
        assert metadata.entry_points(group="petct_node.segmenters", name="given")

    return install


WHOLE = """
class Given:
    name, version = "given", "3"
    def lesions(self, suv, ct, tracer):
        return []
"""


def test_it_is_loaded_by_its_name(package: Callable[[str], None]) -> None:
    package(WHOLE)
    found = load_segmenter("given")
    assert isinstance(found, Segmenter)
    assert (found.name, found.version) == ("given", "3")


@pytest.mark.parametrize(
    "text",
    [
        "import no_such_package",
        "Other = 1",
        "Given = None",
        "def Given(): raise FileNotFoundError('weights')",
        "def Given(): raise SystemExit(1)",
        "def Given(): return object()",
        WHOLE.replace('"given"', "None"),
        WHOLE.replace('"3"', '""'),
        WHOLE.replace('"3"', '"x" * 65'),
        WHOLE.replace('"3"', r'"a\nb"'),
    ],
)
def test_a_package_that_cannot_be_used_says_so(package: Callable[[str], None], text: str) -> None:
    package(text)
    with pytest.raises(Refused) as refused:
        load_segmenter("given")
    assert refused.value.code == "segmenter-unusable"


def test_an_unknown_name_lists_what_is_installed(package: Callable[[str], None]) -> None:
    package(WHOLE)
    with pytest.raises(Refused) as refused:
        load_segmenter("other")
    assert refused.value.code == "segmenter-not-found"
    assert "given" in refused.value.reason


def test_the_settings_digest_tells_segmenters_and_names_apart() -> None:
    digests = [
        settings_digest(use_given_region=True, segmenter=segmenter, region_names=names)
        for segmenter in ("", "a 1", "a 2")
        for names in (("gtv",), ("gtv", "tumour"))
    ]
    assert len(set(digests)) == len(digests)


# ------------------------------------------------------------------------------------------------------ in the analysis


@pytest.mark.data
def test_it_is_asked_only_where_nobody_drew_a_region(shared_data: Path) -> None:
    study = shared_data / "cohort_sts" / "STS_002"
    model = Model.load(find_bundle("demo"), threads=1)
    pair = assemble(scan_folder(study).instances)
    assert pair.region is not None
    drawn = analyse(pair, model, segmenter=Finds(raises(AssertionError)))
    assert {lesion.source for lesion in drawn.lesions} == {"RTSTRUCT"}
    found = analyse(replace(pair, region=None), model, segmenter=Finds([cube((9, 8, 7), 3), cube((5, 5, 5), 2)]))
    assert [(lesion.source, lesion.region.start) for lesion in found.lesions] == [
        ("automatic", (9, 8, 7)),
        ("automatic", (5, 5, 5)),
    ]
    assert any("found 1" in c.text for c in found.cautions)
    unnamed = [c.code for c in analyse(pair, model, region_names=("no such name",)).cautions]
    assert "region-not-named-tumour" in unnamed


@pytest.mark.data
def test_the_node_loads_it_and_refuses_a_study_where_it_fails(
    shared_data: Path, tmp_path: Path, package: Callable[[str], None]
) -> None:
    """In the analysing process itself, which the doctor would have told of."""
    package(WHOLE.replace("return []", "raise RuntimeError"))
    instances = scan_folder(shared_data / "geometry" / "baseline").instances
    settings = Settings(node={"data_dir": tmp_path / "data"}, infer={"segmenter": "given"})
    work = Work.of_pair(assemble(instances), "b" * 64)
    index, ledger = Index(settings.index_file), Ledger(settings.index_file)
    try:
        index.add([Arrival(i, 1.0) for i in instances])
        ledger.decide(work.study_instance_uid, [work], 1.0)
        started = ledger.begin(work.run_id, "20260101120000.000000+0000")
        _Desk(settings).write(work.run_id, started, "")
        found = read_set(settings.results_dir / work.run_id)
    finally:
        index.close()
        ledger.close()
    assert found is not None
    assert (found.state, found.code) == ("refused", "segmenter-failed")
    assert {r.kind for r in found.results} >= {"sr"}
    (finding,) = [f for f in examine(settings) if f.thing == "segmenter"]
    assert (finding.state, finding.found) == ("ok", "given 3")
    unknown = settings.model_copy(update={"infer": settings.infer.model_copy(update={"segmenter": "gone"})})
    (finding,) = [f for f in examine(unknown) if f.thing == "segmenter"]
    assert finding.state == "fault"
