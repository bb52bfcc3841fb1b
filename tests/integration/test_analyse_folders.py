"""`petct-node analyse` on every folder of real and made trouble: the decision of its case.json, the SUV it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dicom_node.commands.offline import analyse_folder
from dicom_node.config import Settings
from dicom_node.errors import ROWS
from tests.conftest import SHARED
from tests.integration.decisions_table import rows

pytestmark = pytest.mark.data
FOLDERS = sorted(p.parent for kind in ("geometry", "robustness") for p in (SHARED / kind).glob("*/case.json"))


def _codes(answer: dict[str, Any]) -> set[str]:
    return {warning["code"] for warning in answer["warnings"]}


@pytest.fixture(scope="module")
def usual(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What is said of the pair that has nothing wrong: a flag is a warning beyond these."""
    folder = shared_data / "geometry" / "baseline"
    return _codes(analyse_folder(folder, tmp_path_factory.mktemp("baseline"), Settings()))


def test_all_77_cases_are_there(shared_data: Path) -> None:
    assert len(list(shared_data.glob("*/*/case.json"))) == 77


def test_the_table_says_what_was_decided(shared_data: Path) -> None:
    folders = [shared_data / "geometry" / "baseline", shared_data / "robustness" / "dose_in_mbq"]
    assert list(rows(folders)) == [
        ("geometry/baseline", "used", "used", "", ""),
        ("robustness/dose_in_mbq", "used_with_flag", "used_with_flag", "", "dose-in-mbq"),
    ]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_folder_ends_with_its_decision(folder: Path, usual: set[str], tmp_path: Path) -> None:
    case = json.loads((folder / "case.json").read_text())
    decision = case["expected"]["decision"]
    answer: dict[str, Any] = analyse_folder(folder, tmp_path, Settings())
    used = "used_with_flag" if _codes(answer) - usual else "used"
    taken = {"done": used}.get(answer["status"], answer["status"])
    assert taken in ([decision] if isinstance(decision, str) else decision), (answer["reason"], answer["warnings"])
    if answer["status"] == "refused":
        assert answer["reason_code"] in ROWS
        assert len(answer["reason"]) > 20
    else:
        assert {"seg", "sr", "sr_viewer", "key_image", "heatmap"} >= {r["kind"] for r in answer["results"]} > {"sr"}
        assert all(Path(r["path"]).is_file() for r in answer["results"])
        if factor := case.get("truth", {}).get("suvbw_factor"):  # by the file's half-life; 0.02 % from the nuclide's
            assert answer["suv"]["factor"] == pytest.approx(factor, rel=2.1e-4 if "half_life" in folder.name else 1e-6)
    json.dumps(answer, allow_nan=False)
