"""What becomes of the 77 reference folders, as a Markdown table: ``python -m tests.integration.decisions_table``."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dicom_node.commands.offline import analyse_folder
from dicom_node.config import Settings
from tests.conftest import SHARED

BASELINE = SHARED / "geometry" / "baseline"


def rows(folders: Iterable[Path]) -> Iterator[tuple[str, str, str, str, str]]:
    """Folder, decision expected, decision taken, code of the refusal, cautions that ``baseline`` does not have."""
    usual = _codes(_analysed(BASELINE))
    for folder in folders:
        expected = json.loads((folder / "case.json").read_text())["expected"]["decision"]
        answer = _analysed(folder)
        flags = _codes(answer) - usual
        taken = {"done": "used_with_flag" if flags else "used"}.get(answer["status"], answer["status"])
        wanted = [expected] if isinstance(expected, str) else expected
        right = "" if taken in wanted else " (NOT AS EXPECTED)"
        cautions = ", ".join(sorted(flags)) if answer["status"] == "done" else ""
        name = f"{folder.parent.name}/{folder.name}"
        yield name, " or ".join(wanted), taken + right, answer["reason_code"] or "", cautions


def _analysed(folder: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as out:
        answer: dict[str, Any] = analyse_folder(folder, Path(out), Settings())
        return answer


def _codes(answer: dict[str, Any]) -> set[str]:
    return {warning["code"] for warning in answer["warnings"]}


def main() -> int:
    folders = sorted(p.parent for kind in ("geometry", "robustness") for p in (SHARED / kind).glob("*/case.json"))
    if not folders:
        print("../shared/data is not beside this repository", file=sys.stderr)
        return 3
    print("| Folder | Expected | Got | Code | Cautions beyond baseline's |\n| --- | --- | --- | --- | --- |")
    for row in rows(folders):
        print("| " + " | ".join(row) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
