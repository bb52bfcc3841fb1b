"""Runs against each other: paired on common studies, refused where they cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dicom_node.cli import REFUSED, app
from inference.facts import Refused
from tests.simulated_run import simulated_run
from training.evaluate.compare import compare_runs
from training.evaluate.delong import auc_difference
from training.record import append_predictions, read_predictions


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """The same cohort, three models; the third run lacks some studies."""
    folders = [tmp_path / name for name in ("good", "fair", "poor")]
    for folder, variant in zip(folders, ("CPC", "P", "clinical"), strict=True):
        simulated_run(folder, variants=(variant,), repeats=2 if variant == "CPC" else 1)
    rows = [row for row in read_predictions(folders[2]) if row.patient > "p019"]
    (folders[2] / "predictions.jsonl").unlink()
    append_predictions(folders[2], rows)
    return folders


def test_pairs_on_common_studies(runs: list[Path]) -> None:
    found = compare_runs(runs)
    assert (found.kind, found.studies, len(found.pairs)) == ("out of fold", 160, 3)
    assert [one.repeats for one in found.runs] == [2, 1, 1]
    assert any("numbers of repeats" in note for note in found.notes)
    assert all(pair.holm_p >= pair.difference.p for pair in found.pairs)
    rows = {
        name: {r.patient: r for r in read_predictions(folder) if r.scheme == "cv" and r.patient > "p019"}
        for name, folder in (("fair", runs[1]), ("poor", runs[2]))
    }
    patients = sorted(rows["fair"])
    labels = np.array([rows["fair"][one].label == 1 for one in patients])
    by_hand = auc_difference(
        labels, *(np.array([rows[name][one].probability for one in patients]) for name in ("fair", "poor"))
    )
    assert found.pairs[2].difference == by_hand


def test_other_cohort_or_labels_or_nothing_common_is_refused(runs: list[Path], tmp_path: Path) -> None:
    simulated_run(tmp_path / "abroad", variants=("CPC",), cohort_digest="d" * 64)
    with pytest.raises(Refused, match="another cohort than 'good'"):
        compare_runs([runs[0], tmp_path / "abroad"])
    simulated_run(tmp_path / "labels", variants=("CPC",), seed=9)
    with pytest.raises(Refused, match="another label than 'good'"):
        compare_runs([runs[0], tmp_path / "labels"])
    simulated_run(tmp_path / "strangers", variants=("CPC",), prefix="q")
    with pytest.raises(Refused, match="0 studies in common"):
        compare_runs([runs[0], tmp_path / "strangers"])
    with pytest.raises(Refused, match="two different runs"):
        compare_runs([runs[0], runs[0]])
    with pytest.raises(Refused, match="no variant 'X'"):
        compare_runs(runs, "X")


def test_the_command_answers_people_machines_and_mistakes(runs: list[Path], tmp_path: Path) -> None:
    cli = CliRunner()
    told = cli.invoke(app, ["compare", *map(str, runs[:2])])
    assert told.exit_code == 0
    assert "good - fair" in told.output
    machine = json.loads(cli.invoke(app, ["compare", *map(str, runs[:2]), "--json"]).output)
    assert machine["studies"] == 180
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "run.json").write_text("{")
    for folder in (tmp_path / "bad", tmp_path / "nowhere"):
        refused = cli.invoke(app, ["compare", str(runs[0]), str(folder)])
        assert refused.exit_code == REFUSED
        assert "run-unreadable" in refused.output
        assert "Traceback" not in refused.output
