"""A phantom cohort as files: the table that ``training.cohort`` reads, one folder of volumes a subject, and the truth.

cohort.csv           one row a subject; paths relative to it
cohort.columns.toml  units of the values
truth.json           ``training.phantom.truth``: hidden scores and the best AUC there is
images/P000001/      pet.nii (SUVbw, float32), ct.nii (HU, int16), iodine.nii (mg/ml, float32), region.nii (uint8)

Volumes are not compressed: the size of a compressed file would tell something of the texture, so of the label.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.facts import Refused, Volume
from training.cohort.parallel import each
from training.phantom.images import Images, render_subject
from training.phantom.prepared import REVISION
from training.phantom.presets import Number
from training.phantom.settings import PhantomSettings
from training.phantom.subjects import PhantomSubject, draw_subjects
from training.phantom.truth import truth_of
from training.recipe import Progress

KEEP_FREE = 10**9
HEADER_BYTES = 352  # of a NIfTI file
TABLE, COLUMNS, TRUTH, IMAGES = "cohort.csv", "cohort.columns.toml", "truth.json", "images"


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.  ``bayes_auc``: set of sources → the best AUC there is."""

    table: Path
    subjects: int
    labelled: int
    positives: int
    unlabelled: int
    bayes_auc: dict[str, float]


def write_cohort(
    out: Path,
    settings: PhantomSettings,
    *,
    processes: int = 1,
    keep_free: int = KEEP_FREE,
    tell: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Written:
    """Write the cohort to ``out``; a stopped or killed call goes on where it was.  The same settings, the same bytes.

    The table comes last: where it is, all images are.  ``keep_free``: bytes that stay free on the disk.
    Raises ``Refused``: ``phantom-folder`` (it holds something else), ``phantom-no-space``; ``Stopped``.
    """
    _check_space(out, settings, keep_free)
    subjects = draw_subjects(settings)
    truth = {"revision": REVISION, **truth_of(settings, subjects)}
    _check_folder(out, truth)
    out.mkdir(parents=True, exist_ok=True)
    _replace(out / TRUTH, json.dumps(truth, indent=1, sort_keys=True, default=_plain) + "\n")
    work = partial(_write_images, out=out / IMAGES, settings=settings)
    for done, _ in enumerate(each(work, subjects, processes, stop), 1):
        tell(Progress(done, len(subjects), "writing phantoms"))
    _replace(out / COLUMNS, _columns(settings))
    _write_table(out / TABLE, subjects, settings)
    given = [s.given for s in subjects]
    labelled = len(given) - given.count(None)
    best = truth["bayes_auc"]
    return Written(out / TABLE, len(given), labelled, given.count(True), len(given) - labelled, best)


def _check_folder(out: Path, truth: dict[str, Any]) -> None:
    """Only a folder that is empty, or holds this cohort or part of it, is written to."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        there = json.loads((out / TRUTH).read_text())
        same = there["settings"] == truth["settings"] and there["revision"] == truth["revision"]
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise Refused(
            "phantom-folder",
            f"{out} holds something else than this cohort. Name a new or an empty folder, or the same settings again.",
        )


def space_needed(settings: PhantomSettings) -> int:
    """Bytes that the volumes take, at most: as if the centre with the finest grid scanned all."""
    few = replace(settings, subjects=min(settings.count, 24), unlabelled=dict.fromkeys(settings.more, 1))
    sample = {subject.centre: subject for subject in draw_subjects(few)}.values()
    largest = max(_bytes(render_subject(subject, few)) for subject in sample)
    return largest * (settings.count + sum(settings.more.values()))


def _bytes(images: Images) -> int:
    return sum(volume.array.nbytes + HEADER_BYTES for volume in _volumes(images).values())


def _check_space(out: Path, settings: PhantomSettings, keep_free: int) -> None:
    needed = space_needed(settings) + keep_free
    there = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    done = sum(file.stat().st_size for file in (out / IMAGES).rglob("*.nii"))
    free = shutil.disk_usage(there).free + done
    if needed > free:
        raise Refused(
            "phantom-no-space",
            f"The cohort needs about {needed / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB; write fewer subjects.",
        )


def _write_images(subject: PhantomSubject, out: Path, settings: PhantomSettings) -> None:
    """One subject's folder, in one step."""
    folder = out / subject.patient
    if folder.is_dir():
        return
    images = render_subject(subject, settings)
    partial_folder = out / f".{subject.patient}.{os.getpid()}"
    shutil.rmtree(partial_folder, ignore_errors=True)
    partial_folder.mkdir(parents=True)
    for name, volume in _volumes(images).items():
        _write_volume(partial_folder / f"{name}.nii", volume)
    try:
        partial_folder.replace(folder)
    except OSError:  # another process was faster
        if not folder.is_dir():
            raise
        shutil.rmtree(partial_folder, ignore_errors=True)


def _volumes(images: Images) -> dict[str, Volume]:
    found = {"pet": images.suv, "ct": images.ct, "iodine": images.iodine}
    if images.region is not None:
        grid = images.reference
        mask = images.region.full(grid.array.shape).astype(np.uint8)
        found["region"] = Volume(mask, grid.affine, grid.frame_of_reference_uid)
    return {name: volume for name, volume in found.items() if volume is not None}


def _write_volume(file: Path, volume: Volume) -> None:
    """NIfTI, uncompressed; ITK has the order column, row, slice."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(volume.array)
    spacing = np.array(volume.spacing_mm)
    direction: npt.NDArray[np.float64] = (volume.affine[:3, :3] / spacing)[:, ::-1]
    image.SetSpacing([float(v) for v in spacing[::-1]])
    image.SetDirection([float(v) for v in direction.ravel()])
    image.SetOrigin([float(v) for v in volume.affine[:3, 3]])
    sitk.WriteImage(image, str(file), useCompression=False)


def _write_table(file: Path, subjects: Sequence[PhantomSubject], settings: PhantomSettings) -> None:
    roles = [name for name in ("pet", "ct", "iodine", "region") if name in _names(settings)]
    columns = list(subjects[0].values)
    followed = settings.of.outcome != "none"
    header = [
        "patient",
        "study",
        "centre",
        "label",
        "set",
        *roles,
        *columns,
        *(["months", "event"] if followed else []),
    ]
    partial_file = file.with_suffix(".partial")
    with partial_file.open("w", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(header)
        for s in subjects:
            row: list[object] = [s.patient, f"{s.patient}-1", f"centre {s.centre + 1}"]
            row += [None if s.given is None else int(s.given), s.part]
            row += [f"{IMAGES}/{s.patient}/{role}.nii" for role in roles]
            row += [s.values[column] for column in columns]
            table.writerow(row + ([s.months, s.event] if followed else []))
    partial_file.replace(file)


def _names(settings: PhantomSettings) -> tuple[str, ...]:
    """The volumes that subjects of this cohort have."""
    of_kind = {"PET/CT": ("pet", "ct"), "CT": ("ct",), "iodine map": ("iodine",)}[settings.of.images]
    return of_kind if settings.of.body == "whole body" else (*of_kind, "region")


def _columns(settings: PhantomSettings) -> str:
    """Units of the values, and what is known only after baseline, for ``training.cohort.roles``."""
    lines = ['post_baseline = ["cycles"]'] if settings.of.outcome == "progression" else []
    lines.append("[units]")
    lines += [f'{c.name} = "{c.unit}"' for c in settings.of.columns if isinstance(c, Number)]
    return "\n".join(lines) + "\n"


def _replace(file: Path, text: str) -> None:
    partial_file = file.with_suffix(".partial")
    partial_file.write_text(text)
    partial_file.replace(file)


def _plain(value: object) -> object:
    """Numbers of numpy as plain ones."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no place in JSON")
