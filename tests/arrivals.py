"""One study, encoded and sent in the ways that modalities and archives do."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless
from pynetdicom import AE

from tests.node_run import LIMIT_S, dicom_files, start_sending
from training.phantom.headers import Examination, ct_image, pet_image
from training.phantom.solids import Grid

PROPOSE_JPEG_2000 = ("--required", "--propose-j2k-lossless")
PROPOSE_PLAIN = ("--required",)
STEADY_PER_S = 50.0

Send = Callable[[int, Sequence[Path], Sequence[str]], None]


def write_small_study(folder: Path, seed: int, slices: int = 20) -> str:
    """A bright ball in a body of water, CT of 128² and PET of 64²; its Study Instance UID."""
    exam = Examination.draw(seed, "small study", np.random.default_rng(seed))
    z_mm = np.arange(slices) * 3.0
    for size, modality in ((128, "CT"), (64, "PET")):
        grid = Grid.axial(size, 384.0 / size, z_mm)
        k, r, c = np.meshgrid(grid.z_mm, grid.y_mm, grid.x_mm, indexing="ij")
        body = np.hypot(r, c) < 150.0
        ball = (k - 30.0) ** 2 + r**2 + c**2 < 15.0**2
        (folder / modality).mkdir(parents=True, exist_ok=True)
        for index in range(slices):
            if modality == "CT":
                image = ct_image(exam, grid, index, (1024 * body[index] + index).astype(np.uint16))
            else:
                image = pet_image(exam, grid, index, (100 * body[index] + 900 * ball[index]).astype(np.uint16), 20.0)
            image.save_as(folder / modality / f"{index:03}.dcm", enforce_file_format=True)
    return str(exam.uid("study"))


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


def at_a_steady_pace(port: int, files: Sequence[Path], _options: Sequence[str]) -> None:
    """Over one association, as fast as a scanner reconstructs or a slow line lets through."""
    entity = AE("STEADY")
    metas = [pydicom.filereader.read_file_meta_info(file) for file in files]
    for sop_class, syntax in {(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID) for meta in metas}:
        entity.add_requested_context(sop_class, syntax)
    association = entity.associate("127.0.0.1", port, ae_title="PETCTNODE")
    assert association.is_established
    began = time.monotonic()
    for number, file in enumerate(files):
        time.sleep(max(0.0, began + number / STEADY_PER_S - time.monotonic()))
        assert association.send_c_store(file).Status == 0x0000
    association.release()


WAYS: Mapping[str, Send] = {
    "one association": in_one_association,
    "an association for every image": in_an_association_each,
    "shuffled over four associations": shuffled_over_four,
    "50 images a second": at_a_steady_pace,
}


def _wait(senders: Sequence[subprocess.Popen[bytes]]) -> None:
    codes = [sender.wait(LIMIT_S) for sender in senders]
    assert codes == [0] * len(codes), "a C-STORE did not succeed"
