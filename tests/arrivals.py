"""One study, encoded and sent in the ways that modalities and archives do."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import imagecodecs
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from tests.node_run import LIMIT_S, dicom_files, start_sending

PROPOSE_JPEG_2000 = ("--required", "--propose-j2k-lossless")
PROPOSE_PLAIN = ("--required",)

Send = Callable[[int, Sequence[Path], Sequence[str]], None]


def write_jpeg_2000(source: Path, target: Path) -> None:
    """The images below ``source`` again, losslessly compressed, with the same UIDs."""
    for path in dicom_files(source):
        ds = pydicom.dcmread(path)
        stream = imagecodecs.jpeg2k_encode(ds.pixel_array, level=0, reversible=True, codecformat="j2k")
        ds.PixelData = encapsulate([stream])
        ds["PixelData"].VR = "OB"
        ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        ds.save_as(copy, enforce_file_format=True)


def in_one_association(port: int, files: Sequence[Path], options: Sequence[str]) -> None:
    """Series after series, as a console does."""
    _wait([start_sending(port, files, options=options)])


def in_an_association_each(port: int, files: Sequence[Path], options: Sequence[str]) -> None:
    """A new association for every image, as some archives do."""
    for file in files:
        _wait([start_sending(port, [file], options=options)])


def shuffled_over_four(port: int, files: Sequence[Path], options: Sequence[str]) -> None:
    """Both series mixed, over four associations at once."""
    mixed = random.Random(9).sample(list(files), len(files))
    _wait([start_sending(port, mixed[n::4], options=options) for n in range(4)])


WAYS: Mapping[str, Send] = {
    "one association": in_one_association,
    "an association for every image": in_an_association_each,
    "shuffled over four associations": shuffled_over_four,
}


def _wait(senders: Sequence[subprocess.Popen[bytes]]) -> None:
    codes = [sender.wait(LIMIT_S) for sender in senders]
    assert codes == [0] * len(codes), "a C-STORE did not succeed"
