"""`petct-node analyse` on every folder of real and made trouble: done or refused with a plain reason, nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dicom_node.commands.offline import analyse_folder
from dicom_node.config import Settings
from dicom_node.errors import ROWS
from tests.conftest import SHARED

pytestmark = pytest.mark.data
FOLDERS = sorted(p.parent for kind in ("geometry", "robustness") for p in (SHARED / kind).glob("*/case.json"))


def _allowed(folder: Path) -> set[str]:
    """The statuses that case.json allows."""
    decision = json.loads((folder / "case.json").read_text())["expected"]["decision"]
    listed = [decision] if isinstance(decision, str) else decision
    return {"refused" if d == "refused" else "done" for d in listed}


def test_all_77_cases_are_there(shared_data: Path) -> None:
    assert len(list(shared_data.glob("*/*/case.json"))) == 77


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_folder_ends_with_an_answer(folder: Path, tmp_path: Path) -> None:
    answer: dict[str, Any] = analyse_folder(folder, tmp_path, Settings())
    assert answer["status"] in _allowed(folder), (answer["reason"], answer["story"])
    if answer["status"] == "refused":
        assert answer["reason_code"] in ROWS
        assert len(answer["reason"]) > 20
    else:
        assert {"seg", "sr", "sr_viewer", "key_image", "heatmap"} >= {r["kind"] for r in answer["results"]} > {"sr"}
        assert all(Path(r["path"]).is_file() for r in answer["results"])
    json.dumps(answer, allow_nan=False)
