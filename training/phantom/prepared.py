"""A phantom cohort as recipes learn from it, without files but a cache: thousands of subjects for experiments.

The voxels are those that ``training.phantom.write`` writes.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.facts import Refused
from inference.model import radiomics as features
from inference.model.applicability import quantities
from inference.model.inputs import CanonicalRoi, InputSettings, settings_digest
from inference.model.look import see
from training.cohort.parallel import each
from training.phantom.images import Images, render_subject
from training.phantom.settings import PhantomSettings
from training.phantom.subjects import PhantomSubject, draw_subjects
from training.prepared import UNLABELLED, Prepared
from training.recipe import Progress

REVISION = 2  # raise it whenever the same settings give other subjects or voxels
CHUNK = 100  # subjects of one piece of work, and of one file of the cache

_Chunk = tuple[list[PhantomSubject], Path | None]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Of some subjects: ``arrays``: look → (n, channel, …); ``quantities``: name → (n,); ``radiomics``: (n, k)."""

    arrays: dict[str, npt.NDArray[np.float32]]
    quantities: dict[str, npt.NDArray[np.float64]]
    radiomics: npt.NDArray[np.float64]


def prepare_phantom(
    settings: PhantomSettings,
    looks: Mapping[str, InputSettings],
    *,
    processes: int = 1,
    cache: Path | None = None,
    tell: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Prepared:
    """The cohort of ``settings``, seen by each of ``looks``.

    ``cache``: folder to keep the arrays in; an interrupted call goes on from there.  Radiomics are computed where one
    of the looks is the canonical ROI (NaN where a region is too thin).  ``processes``: of one thread each.  What
    ``training.cohort`` measures on a lesion (``suv_max``, ``mtv_ml`` …) is not among the values here.
    Raises ``Refused`` as ``inference.model.look.see``, naming the subject; ``Stopped``.
    """
    subjects = draw_subjects(settings)
    digest = _digest(settings, looks)
    folder = None if cache is None else cache / digest[:24]
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    pieces = []
    work = partial(_piece, settings=settings, looks=dict(looks))
    for done, piece in enumerate(each(work, _chunks(subjects, folder), processes, stop), 1):
        pieces.append(piece)
        tell(Progress(min(done * CHUNK, len(subjects)), len(subjects), "phantoms"))
    inputs = {name: _joined(name, [p.arrays[name] for p in pieces], folder) for name in looks}
    found = {name: np.concatenate([p.quantities[name] for p in pieces]) for name in pieces[0].quantities}
    told = np.concatenate([p.radiomics for p in pieces])
    names = features.NAMES if told.shape[1] else ()
    return replace(
        _table(subjects), inputs=inputs, quantities=found, radiomics=told, radiomics_names=names, digest=digest
    )


def _table(subjects: list[PhantomSubject]) -> Prepared:
    """All that stands in the table."""
    return Prepared(
        patients=tuple(s.patient for s in subjects),
        studies=tuple(f"{s.patient}-1" for s in subjects),
        centres=tuple(f"centre {s.centre + 1}" for s in subjects),
        labels=np.array([UNLABELLED if s.given is None else int(s.given) for s in subjects], np.int8),
        inputs={},
        values={name: tuple(s.values[name] for s in subjects) for name in subjects[0].values},
        months=np.array([np.nan if s.months is None else s.months for s in subjects]),
        events=np.array([-1 if s.event is None else s.event for s in subjects], np.int8),
        groups={"sex": tuple(str(s.values.get("sex") or "") for s in subjects)},
        sets=tuple(s.part for s in subjects),
    )


def _chunks(subjects: list[PhantomSubject], folder: Path | None) -> list[_Chunk]:
    starts = range(0, len(subjects), CHUNK)
    return [
        (subjects[n : n + CHUNK], None if folder is None else folder / f"{number:06d}.npz")
        for number, n in enumerate(starts)
    ]


def _piece(chunk: _Chunk, settings: PhantomSettings, looks: dict[str, InputSettings]) -> _Piece:
    """Read from the chunk's file where it is whole, else made, and kept there."""
    subjects, file = chunk
    kept = _read(file) if file is not None else None
    if kept is not None:
        return kept
    rows = [_seen(subject, render_subject(subject, settings), looks) for subject in subjects]
    piece = _Piece(
        {name: np.stack([arrays[name] for arrays, _, _ in rows]) for name in looks},
        {name: np.array([found[name] for _, found, _ in rows]) for name in rows[0][1]},
        np.array([told for _, _, told in rows]),
    )
    if file is not None:
        _keep(file, piece)
    return piece


def _seen(
    subject: PhantomSubject, images: Images, looks: Mapping[str, InputSettings]
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, float], list[float]]:
    """Arrays of all looks, the first one's quantities, and radiomics where a look allows them."""
    arrays: dict[str, npt.NDArray[np.float32]] = {}
    found: dict[str, float] = {}
    told: list[float] = []
    for name, look in looks.items():
        try:
            seen = see(images.suv, images.anatomy, images.region, look, subject.values)
        except Refused as refused:
            raise Refused(refused.code, f"Phantom {subject.patient}: {refused.reason}") from None
        arrays[name] = seen.array
        found = found or quantities(seen, images.reference)
        if isinstance(look, CanonicalRoi) and not told:
            told = _radiomics(seen)
    return arrays, found, told


def _radiomics(seen: Any) -> list[float]:
    try:
        return list(features.radiomics(seen).values())
    except Refused:
        return [np.nan] * len(features.NAMES)


def _digest(settings: PhantomSettings, looks: Mapping[str, InputSettings]) -> str:
    told = {
        "revisions": [REVISION, features.REVISION],
        "settings": settings.as_json(),
        "preset": repr(settings.of),  # a preset that was changed must not find its old arrays
        "extent_mm": settings.extent_mm,
        "looks": {name: settings_digest(look) for name, look in looks.items()},
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _keep(file: Path, piece: _Piece) -> None:
    """In one step, so that a killed run leaves no half file."""
    partial_file = file.with_suffix(f".{os.getpid()}.partial.npz")
    arrays = {f"look {name}": array for name, array in piece.arrays.items()}
    found = {f"quantity {name}": array for name, array in piece.quantities.items()}
    np.savez(partial_file, allow_pickle=False, radiomics=piece.radiomics, **arrays, **found)
    partial_file.replace(file)


def _read(file: Path) -> _Piece | None:
    """None where there is none, or a damaged one."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
    return _Piece(
        {name.removeprefix("look "): array for name, array in arrays.items() if name.startswith("look ")},
        {name.removeprefix("quantity "): array for name, array in arrays.items() if name.startswith("quantity ")},
        arrays["radiomics"],
    )


def _joined(name: str, parts: list[npt.NDArray[np.float32]], folder: Path | None) -> npt.NDArray[np.float32]:
    """One array; with a cache memory-mapped, so that several processes share it."""
    if folder is None:
        return np.concatenate(parts)
    file = folder / f"input-{hashlib.sha256(name.encode()).hexdigest()[:12]}.npy"
    if not file.is_file():
        partial_file = file.with_suffix(f".{os.getpid()}.partial.npy")
        np.save(partial_file, np.concatenate(parts), allow_pickle=False)
        partial_file.replace(file)
    mapped: npt.NDArray[np.float32] = np.load(file, mmap_mode="r", allow_pickle=False)
    return mapped
