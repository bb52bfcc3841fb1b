"""The finished result set of one run: a folder that appears whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dicom_node.report import read_result
from inference.facts import Predecessor, Refused, Result

MANIFEST = "results.json"
REPORTS = ("sr", "sr_viewer")


@dataclass(frozen=True, slots=True)
class ResultSet:
    """``state``: "done", "refused" or "failed" (with code and reason).  ``demonstration``: by a demonstration model.

    ``made_with``: the run's ``identity.Basis`` as JSON.
    """

    state: str
    code: str
    reason: str
    demonstration: bool
    results: tuple[Result, ...]
    timings_s: Mapping[str, float] = field(default_factory=dict)
    made_with: str = ""


def read_set(folder: Path) -> ResultSet | None:
    """The set in this folder, None where there is none yet."""
    try:
        stored: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        return None
    results = tuple(Result(**{**r, "path": folder / r["path"]}) for r in stored.pop("results"))
    return ResultSet(results=results, **stored)


def reports(folder: Path) -> tuple[Predecessor, ...]:
    """The SRs of the set in this folder, the main one first, as a successor names them; none where there is no set."""
    found = read_set(folder)
    written = [r for r in found.results if r.kind in REPORTS] if found else []
    return tuple(_predecessor(report) for report in sorted(written, key=lambda r: REPORTS.index(r.kind)))


def _predecessor(report: Result) -> Predecessor:
    """When it was made, and by which model, as far as the file still tells it."""
    try:
        said = read_result(report.path)
        created, model = said.created, said.model
    except Refused:  # only its words are lost: what identifies it is on record
        created = model = ""
    return Predecessor(
        report.study_instance_uid,
        report.series_instance_uid,
        report.sop_class_uid,
        report.sop_instance_uid,
        report.kind,
        created,
        model,
    )


def publish(temporary: Path, folder: Path, found: ResultSet) -> None:
    """Make what was written in ``temporary`` the set of ``folder``: synced, then renamed.

    Where another process has been faster its set stays: the same input gives the same bytes.
    """
    stored = {
        "state": found.state,
        "code": found.code,
        "reason": found.reason,
        "demonstration": found.demonstration,
        "results": [_stored(r) for r in found.results],
        "timings_s": dict(found.timings_s),
        "made_with": found.made_with,
    }
    (temporary / MANIFEST).write_text(json.dumps(stored, indent=1) + "\n")
    for path in temporary.iterdir():
        _sync(path)
    _sync(temporary)
    try:
        temporary.rename(folder)
    except OSError:
        if read_set(folder) is None:
            raise
        shutil.rmtree(temporary)
    _sync(folder.parent)


def sweep(results_dir: Path, run_ids: Sequence[str] = ()) -> None:
    """Remove what a crash left half written (all of it, or that of some runs)."""
    for path in results_dir.glob(".*.writing"):
        if not run_ids or path.name[1:].removesuffix(".writing") in run_ids:
            shutil.rmtree(path, ignore_errors=True)


def temporary_folder(results_dir: Path, run_id: str) -> Path:
    """A fresh folder to write the set in, in the file system of its final place."""
    path = results_dir / f".{run_id}.writing"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def _stored(result: Result) -> dict[str, str]:
    keys = ("kind", "sop_class_uid", "sop_instance_uid", "series_instance_uid", "study_instance_uid", "sha256")
    return {key: getattr(result, key) for key in keys} | {"path": result.path.name}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
