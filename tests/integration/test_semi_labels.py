"""A cell of the experiment of labels, from phantoms to its line."""

from __future__ import annotations

import json
from pathlib import Path

from training.experiments.labels import main


def test_a_cell_is_measured_once(tmp_path: Path) -> None:
    out = tmp_path / "lines.jsonl"
    asked = ["--size", "0.04", "--steps", "2", "--labels", "16", "--draws", "0", "--flips", "0.25", "--cache",
             str(tmp_path / "cache"), "--out", str(out), "--methods", "agreement", "supervised"]  # fmt: skip
    main(asked)
    before = out.read_text()
    found = [json.loads(one) for one in before.splitlines()]
    assert [one["method"] for one in found] == ["agreement", "supervised"]
    assert all(0.0 <= one["auc"] <= 1.0 for one in found)
    assert "auc_with_agreement" in found[1]
    main(asked)
    assert out.read_text() == before
