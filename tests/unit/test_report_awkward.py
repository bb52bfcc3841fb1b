"""Reports of runs that are leaky, unfinished, tiny or degenerate: said, not hidden, and never a crash."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from inference.facts import Refused
from tests.report_page import Page
from tests.simulated_run import simulated_run
from training.evaluate.answers import answers_of
from training.record import Predicted, append_predictions, read_predictions, write_record
from training.report.survival_page import survival_numbers
from training.report.write import write_report

DRAWS = 40
FEW = ("CPC", "P")


def test_a_leak_by_centre_is_said_on_top(tmp_path: Path) -> None:
    simulated_run(tmp_path, variants=FEW, studies=400, repeats=1, leak=True, truth=False)
    text = " ".join(Page(write_report(tmp_path, draws=DRAWS).read_text()).text)
    assert "may have learnt the centre in place of the label" in text
    assert "phantom" not in text.split("Checklist")[0]


def test_incomplete_repeats_are_left_out_and_a_cut_run_still_reports(tmp_path: Path) -> None:
    record = simulated_run(tmp_path, variants=FEW, studies=90, repeats=2)
    rows = [row for row in read_predictions(tmp_path) if not (row.repeat == 1 and row.fold == 2)]
    (tmp_path / "predictions.jsonl").unlink()
    append_predictions(tmp_path, rows)
    record.state = "stopped"
    write_record(tmp_path, record)
    of = answers_of(rows, "CPC", "cv", "test")
    assert of is not None
    assert (of.probabilities.shape, of.incomplete) == ((90, 1), 1)
    text = " ".join(Page(write_report(tmp_path, draws=10).read_text()).text)
    assert "This run is not finished" in text
    assert "1 unfinished repeats are left out" in text


def test_nothing_tested_is_refused(tmp_path: Path) -> None:
    simulated_run(tmp_path, variants=FEW, studies=30, repeats=1)
    rows = [row.model_copy(update={"label": 1}) for row in read_predictions(tmp_path)]
    (tmp_path / "predictions.jsonl").unlink()
    append_predictions(tmp_path, rows)
    with pytest.raises(Refused, match="two tested studies of each class"):
        write_report(tmp_path, draws=10)


def test_several_studies_a_patient_take_the_bootstrap(tmp_path: Path) -> None:
    simulated_run(tmp_path, variants=FEW, studies=60, repeats=1)
    rows = read_predictions(tmp_path)
    twins = [row.model_copy(update={"study": row.study.replace("-1", "-2")}) for row in rows]
    (tmp_path / "predictions.jsonl").unlink()
    append_predictions(tmp_path, [*rows, *twins])
    write_report(tmp_path, draws=DRAWS)
    told = json.loads((tmp_path / "report.json").read_text())["findings"]
    first = told["performances"][0]
    assert (first["studies"], first["patients"]) == (120, 60)
    assert first["auc"] == first["auc_bootstrap"]
    assert any("several studies" in note for note in told["notes"])


def test_a_weak_score_is_called_indistinguishable(tmp_path: Path) -> None:
    simulated_run(tmp_path, variants=("clinical",), studies=50, repeats=1, survival=True, seed=3)
    of = answers_of(read_predictions(tmp_path), "clinical", "cv", "test", labelled=False)
    assert of is not None
    found = survival_numbers(of, DRAWS)
    assert found is not None
    assert "cannot be told from 0.5" in found.sentence


@pytest.mark.parametrize("kind", ["constant", "perfect", "sure", "twenty", "no events", "one positive a fold"])
def test_awkward_answers_still_make_a_report(kind: str, tmp_path: Path) -> None:
    simulated_run(
        tmp_path,
        variants=FEW,
        studies=20 if kind == "twenty" else 45,
        folds=5,
        permutations=2,
        survival=True,
        external=3,
    )
    rows = read_predictions(tmp_path)
    changed: dict[str, Callable[[Predicted], dict[str, float]]] = {
        "constant": lambda _: {"probability": 0.4},
        "perfect": lambda row: {"probability": 0.2 + 0.6 * row.label},
        "sure": lambda row: {"probability": float(row.probability > 0.5)},
        "no events": lambda _: {"event": 0},
        "one positive a fold": lambda row: {"label": int(row.patient < "p005")},
    }
    change = changed.get(kind, lambda _: {})
    (tmp_path / "predictions.jsonl").unlink()
    append_predictions(tmp_path, [row.model_copy(update=change(row)) for row in rows])
    write_report(tmp_path, draws=DRAWS)
    told = json.loads((tmp_path / "report.json").read_text())["findings"]
    first = told["performances"][0]["auc"]
    if kind == "constant":
        assert first["value"] == 0.5
    if kind == "perfect":
        assert first["low"] < first["value"] == 1.0
    if kind == "twenty":
        assert "nothing here speaks about patients" in " ".join(told["notes"])
