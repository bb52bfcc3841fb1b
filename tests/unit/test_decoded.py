"""Pixels decoded ahead of the analysis: the same values, never half a file, never one of another object or time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from inference.facts import Instance, Refused
from inference.reading import decoded
from inference.reading.decoded import decode, decoded_size, folder_of_study, is_encoded, with_decoded
from inference.reading.instance import read_instance, scan_folder
from inference.reading.pixels import stored_slices
from tests.made_series import ct_image, write_ct_series

CRASHING_CODEC = """
import os, sys
from pathlib import Path
from inference.reading import decoded
from inference.reading.instance import read_instance
decoded.stored_slices = lambda _instances: os._exit(7)
decoded.decode(read_instance(Path(sys.argv[1])), Path(sys.argv[2]))
"""
SYNTAXES = ("big_endian", "deflated", "htj2k", "j2k", "j2k_lossy", "jpeg_lossless_sv1", "jpeg_ls", "rle")


@pytest.fixture
def compressed(tmp_path: Path) -> Instance:
    """One CT slice as JPEG 2000."""
    return jpeg_2000(tmp_path / "0001.dcm", frames=1)


def jpeg_2000(path: Path, frames: int, number: int = 1) -> Instance:
    ds = ct_image(number, edge=32)
    values = [ds.pixel_array + n for n in range(frames)]
    streams = [imagecodecs.jpeg2k_encode(v, level=0, reversible=True, codecformat="j2k") for v in values]
    ds.PixelData = encapsulate(streams)
    ds["PixelData"].VR = "OB"
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
    if frames > 1:
        ds.NumberOfFrames = frames
    ds.save_as(path, enforce_file_format=True)
    return read_instance(path)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.data
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_values_are_those_that_the_analysis_would_decode(syntax: str, shared_data: Path, tmp_path: Path) -> None:
    instances = scan_folder(shared_data / "robustness" / f"ts_{syntax}").instances
    encoded = [instance for instance in instances if is_encoded(instance)]
    assert encoded
    for instance in encoded:
        assert decode(instance, tmp_path) == decoded_size(instance) > 0
    pointing = [with_decoded(instance, tmp_path) for instance in encoded]
    assert all(instance.pixel_path and instance.pixel_offset == 0 for instance in pointing)
    for fresh, ahead in zip(stored_slices(encoded), stored_slices(pointing), strict=True):
        assert fresh.dtype == ahead.dtype
        assert np.array_equal(fresh, ahead)


def test_the_file_is_read_and_nothing_is_decoded_again(compressed: Instance, tmp_path: Path) -> None:
    decode(compressed, tmp_path)
    (before,) = stored_slices([with_decoded(compressed, tmp_path)])
    Path(compressed.path).unlink()
    (after,) = stored_slices([with_decoded(compressed, tmp_path)])
    assert np.array_equal(before, after)


def test_frames_lie_in_a_row(tmp_path: Path) -> None:
    instance = jpeg_2000(tmp_path / "frames.dcm", frames=3)
    length = 32 * 32 * 2
    assert decode(instance, tmp_path) == decoded_size(instance) == 3 * length
    whole = with_decoded(instance, tmp_path)
    frames = [replace(whole, frame=n, pixel_offset=n * length, pixel_length=length) for n in range(3)]
    first = ct_image(1, edge=32).pixel_array
    assert [np.array_equal(values, first + n) for n, values in enumerate(stored_slices(frames))] == [True] * 3


def test_what_lies_plain_in_its_own_file_is_left_there(tmp_path: Path) -> None:
    (path,) = write_ct_series(tmp_path / "ct", 1)
    plain = read_instance(path)
    assert decode(plain, tmp_path / "decoded") == 0
    assert with_decoded(plain, tmp_path / "decoded") is plain
    assert not (tmp_path / "decoded").exists()


def test_it_is_done_once(compressed: Instance, tmp_path: Path) -> None:
    folder = tmp_path / "decoded"
    assert with_decoded(compressed, folder) is compressed
    assert decode(compressed, folder) > 0
    assert decode(compressed, folder) == 0
    assert len(files(folder)) == 1
    assert [path.name for path in folder.iterdir()] == [folder_of_study(compressed.study_instance_uid)]


def test_what_killed_its_writer_is_not_tried_again_and_not_used(compressed: Instance, tmp_path: Path) -> None:
    folder = tmp_path / "decoded"
    died = subprocess.run([sys.executable, "-c", CRASHING_CODEC, compressed.path, str(folder)], timeout=60)
    assert died.returncode == 7
    (left,) = files(folder)
    assert left.suffix == ".part"
    assert decode(compressed, folder) == 0
    assert with_decoded(compressed, folder) is compressed


def test_what_cannot_be_decoded_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cut.dcm"
    instance = jpeg_2000(path, frames=1)
    ds = pydicom.dcmread(path)
    ds.PixelData = encapsulate([b"\xff\x4f\xff\x51 no codestream"])
    ds.save_as(path)
    instance = read_instance(path)
    with pytest.raises(Refused) as caught:
        decode(instance, tmp_path / "decoded")
    assert caught.value.code == "pixel-data-unreadable"
    assert files(tmp_path / "decoded") == []
    assert with_decoded(instance, tmp_path / "decoded") is instance


@pytest.mark.parametrize("harm", ["removed", "cut short"])
def test_a_file_that_is_gone_when_it_is_wanted_costs_time_only(harm: str, compressed: Instance, tmp_path: Path) -> None:
    folder = tmp_path / "decoded"
    decode(compressed, folder)
    (expected,) = stored_slices([compressed])
    if harm == "removed":
        pointing = with_decoded(compressed, folder)
        files(folder)[0].unlink()
    else:
        os.truncate(files(folder)[0], 100)
        pointing = with_decoded(compressed, folder)
    (values,) = stored_slices([pointing])
    assert np.array_equal(values, expected)


def test_other_bytes_another_syntax_another_study_have_files_of_their_own(compressed: Instance, tmp_path: Path) -> None:
    decode(compressed, tmp_path)
    for other in (
        replace(compressed, sha256="0" * 64),
        replace(compressed, transfer_syntax_uid="1.2.840.10008.1.2.4.91"),
        replace(compressed, study_instance_uid="1.2.3.2"),
    ):
        assert with_decoded(other, tmp_path) is other


@pytest.fixture
def start_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Makes it look as if the machine had been started anew."""

    def start() -> None:
        (tmp_path / "boot_id").write_text("another\n")
        monkeypatch.setattr(decoded, "BOOT_ID", tmp_path / "boot_id")
        decoded._trusted_while.cache_clear()

    yield start
    decoded._trusted_while.cache_clear()


def test_a_file_from_before_the_machine_started_is_not_used(
    compressed: Instance, tmp_path: Path, start_anew: Callable[[], None]
) -> None:
    """It was never synced: after a power loss it may have its length and hold zeros."""
    decode(compressed, tmp_path / "decoded")
    assert with_decoded(compressed, tmp_path / "decoded") is not compressed
    start_anew()
    assert with_decoded(compressed, tmp_path / "decoded") is compressed


def test_a_number_of_frames_that_is_none_is_left_to_the_analysis(compressed: Instance, tmp_path: Path) -> None:
    for count in ("x", 0, -1, 1 << 31, [1, 2]):
        strange = replace(compressed, attributes={**compressed.attributes, "NumberOfFrames": count})
        assert not is_encoded(strange)
        assert decode(strange, tmp_path / "decoded") == 0
        assert with_decoded(strange, tmp_path / "decoded") is strange
