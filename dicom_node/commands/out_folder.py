"""The folder that a command writes into (`--out`): made and judged before the work begins."""

from __future__ import annotations

import os
from pathlib import Path

from dicom_node.report.readback.kinds import ORDER
from dicom_node.report.readback.read import read_result
from inference.facts import Refused


def make(folder: Path) -> None:
    """Make ``folder`` if it is not there.  Raises ``Refused``: out-not-writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(None, "no right to write there")
    except OSError as error:
        raise Refused(
            "out-not-writable",
            f"Results cannot be written in {folder}: {error.strerror}. Name another folder by --out.",
        ) from None


def prepare_for_results(folder: Path) -> None:
    """Make ``folder``; nothing of another's may be replaced in it.

    Raises ``Refused``: out-not-writable; out-holds-other-files where a file of a result's name (``seg.dcm``, say, a
    person's own segmentation) was not written by petct-node.
    """
    make(folder)
    for path in _results_in(folder):
        if not _is_ours(path):
            raise Refused(
                "out-holds-other-files",
                f"{path} was not written by petct-node, and a result of that name would replace it. "
                "Name another folder by --out.",
            )


def _results_in(folder: Path) -> list[Path]:
    """The files there that have the name of a result."""
    named = [path for kind in ORDER for path in (folder / f"{kind}.dcm", *folder.glob(f"{kind}_[0-9][0-9][0-9].dcm"))]
    return [path for path in named if path.exists()]


def _is_ours(path: Path) -> bool:
    try:
        read_result(path)
    except Refused:
        return False
    return True
