"""The fuzz targets for some seconds each, and what they have found.  ``make fuzz-long`` runs them for hours."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dicom_node.assemble import assemble
from inference.facts import Refused
from inference.geometry.volume import stack
from inference.reading.instance import read_buffer
from inference.suv.rule import suv_rule
from tests.fuzz.header import try_header
from tests.fuzz.mutate import mutate
from tests.fuzz.region import try_region
from tests.fuzz.seeds import header_seeds, made_seeds, pet_image, region_seeds, written
from tests.fuzz.study import study_seeds, try_study
from tests.studies import ct, pet

ROOT = Path(__file__).resolve().parents[2]
TARGETS = {"header": try_header, "study": try_study, "region": try_region}


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this platform")
@pytest.mark.parametrize("target", TARGETS)
def test_a_short_run_finds_nothing(target: str, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    limits = ["-seed=20260101", "-runs=300", "-max_total_time=3", f"-artifact_prefix={tmp_path}/"]
    run = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", target, *limits, str(tmp_path / "corpus")],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    done = re.search(r"Done (\d+) runs", run.stderr)
    assert done is not None
    assert int(done[1]) > 20, "it did run"


@pytest.mark.parametrize("target", TARGETS)
def test_every_seed_passes(target: str) -> None:
    seeds = {"header": header_seeds, "study": study_seeds, "region": region_seeds}[target]()
    results = [TARGETS[target](seed) for seed in seeds]
    assert results.count(None) > len(seeds) // 4, "most seeds are good, else nothing is fuzzed"


def test_wounds_reach_every_way_out() -> None:
    """The mutations get past the first element: many refusals of many kinds, and many files still read."""
    seeds, ends = made_seeds(), set()
    for number in range(700):
        random = Random(number)
        refused = try_header(mutate(random.choice(seeds), random, 1 << 16))
        ends.add(refused.code if refused else "read")
    assert ends >= {
        "read", "unreadable-truncated", "unreadable-structure", "nesting-too-deep", "no-identity", "uid-invalid",
        "identity-mismatch", "pixel-data-short", "unreadable-deflated",
    }  # fmt: skip


# What was found with the fuzzer, written out.


def code_of(data: bytes) -> str:
    with pytest.raises(Refused) as caught:
        read_buffer(data, "")
    return caught.value.code


def with_element(data: bytes, element: bytes, before: bytes = b"\x10\x00\x10\x00PN") -> bytes:
    at = data.index(before)
    return data[:at] + element + data[at:]


def test_a_data_set_cannot_unsay_its_meta_header() -> None:
    """Group 2 elements in front of a data set were read as meta header: another instance than the command named."""
    data = written(pet_image())
    start = data.index(b"\x08\x00\x05\x00CS")
    for again in (b"\x02\x00\x03\x00UI\x06\x001.2.3\0", b"\x02\x00\x10\x00UI\x12\x001.2.840.10008.1.2\0"):
        assert code_of(data[:start] + again + data[start:]) == "unreadable-structure"


def test_a_meta_header_without_end() -> None:
    """It was copied whole, however long it said it is."""
    long = b"\x02\x00\x02\x01OB\0\0" + (1 << 20).to_bytes(4, "little") + bytes(1 << 20)
    data = written(pet_image())
    start = data.index(b"\x08\x00\x05\x00CS")
    assert code_of(data[:start] + long + data[start:]) == "unreadable-structure"


@pytest.mark.parametrize(
    ("keyword", "element"),
    [
        ("Modality", b"\x08\x00\x60\x00US\x02\x00\x01\x00"),  # a number where text must stand
        ("SeriesDate", b"\x08\x00\x21\x00FD\x08\x00" + bytes(8)),
        ("PatientWeight", b"\x10\x00\x30\x10SQ\0\0\0\0\0\0"),  # a sequence where a number must stand
        ("RadiopharmaceuticalInformationSequence", b"\x54\x00\x16\x00LO\x04\x00none"),
        ("Rows", b"\x28\x00\x10\x00LO\x04\x00many"),
        ("PatientWeight", b"\x10\x00\x30\x10DS\x06\x001e300 "),  # beyond any quantity: sums and times overflowed
        ("NumberOfSlices", b"\x54\x00\x81\x00FD\x08\x00" + bytes(6) + b"\xf0\x7f"),
    ],
)
def test_a_value_of_another_kind_than_the_dictionary_says(keyword: str, element: bytes) -> None:
    """It was taken as it came, and what computes with it failed later."""
    ds = pet_image()
    del ds[keyword]
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    del ds.PixelData  # so that Rows may be wrong
    attributes = read_buffer(written(ds) + element, "").attributes
    assert keyword not in attributes
    assert attributes["UnreadableValues"] == [keyword]


def peak_of(data: bytes) -> tuple[str, int]:
    """What becomes of the file, and the most memory taken meanwhile, beyond the file itself."""
    tracemalloc.start()
    try:
        try:
            text = json.dumps(read_buffer(data, "").attributes)
            code = "" if len(text) < 1 << 25 else "long"
        except Refused as refused:
            code = refused.code
        return code, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def sequence(tag: bytes, items: bytes) -> bytes:
    return tag + b"SQ\0\0" + len(items).to_bytes(4, "little") + items


ITEM = b"\xfe\xff\x00\xe0\0\0\0\0"
NAMES = b"\x06\x30\x26\x00LO\xfe\xff" + b"x" * 0xFFFE  # 64 KiB of ROI Name
NAMES_HEAD = ITEM[:4] + len(NAMES).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("element", "code"),
    [
        (sequence(b"\x54\x00\x16\x00", ITEM * 20_000), "too-many-elements"),
        (sequence(b"\x09\x00\x10\x10", ITEM * 20_000), "too-many-elements"),
        (b"\x09\x00\x01\x10SH\0\0" * 20_000, "too-many-elements"),
        (sequence(b"\x06\x30\x20\x00", (NAMES_HEAD + NAMES) * 300), "header-too-large"),
    ],
)
def test_memory_is_bounded_whatever_the_header_holds(
    element: bytes, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million empty items of a sequence that is kept took 240 MB, and 300 long names a row of the index as long."""
    monkeypatch.setattr("inference.reading.elements.MOST_KEPT", 10_000)
    ds = pet_image()
    del ds.RadiopharmaceuticalInformationSequence
    found, peak = peak_of(with_element(written(ds), element))
    assert found == code
    assert peak < (4 << 20) + (len(element) if code == "header-too-large" else 0)


def deflated(head: bytes, data: bytes, zeros_mib: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(data) + b"".join(packer.compress(bytes(1 << 20)) for _ in range(zeros_mib))
    return head + packed + packer.flush()


@pytest.mark.parametrize(("zeros_mib", "code"), [(200, ""), (300, "unreadable-deflated")])
def test_a_deflated_data_set_is_not_kept_whole(zeros_mib: int, code: str) -> None:
    """Its header is; 200 MiB of pixels were in memory twice."""
    plain, meta = written(pet_image()), written(pet_image(), "1.2.840.10008.1.2.1.99")
    start = plain.index(b"\x08\x00\x05\x00CS")
    pixels = plain.rindex(b"\xe0\x7f\x10\x00OW") + 8
    data = plain[start:pixels] + (zeros_mib << 20).to_bytes(4, "little")
    head = meta[: 144 + int.from_bytes(meta[140:144], "little")]
    assert peak_of(deflated(head, data, zeros_mib)) == (code, pytest.approx(0, abs=160 << 20))


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("pixel-spacing-mixed", {"PixelSpacing": [1e-300, 1e-300]}),  # its inverse was infinite
        ("time-missing", {"AcquisitionDate": "99991231", "SeriesDate": None, "FrameReferenceTime": 9e4}),
        ("time-missing", {"FrameReferenceTime": 1e15, "SeriesDate": None, "NumberOfSlices": None}),  # no such date
        ("weight-implausible", {"PatientWeight": 1e-300}),  # the factor was 0
    ],
)
def test_numbers_that_overflow(code: str, changed: dict[str, Any]) -> None:
    pets = pet(4, RescaleSlope=0.5, RescaleIntercept=0.0, **changed)
    with pytest.raises(Refused) as caught:
        suv_rule(stack(assemble([*pets, *ct(4)]).pet.instances).instances)
    assert caught.value.code == code
