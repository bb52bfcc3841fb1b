"""A run in MLflow, where a tracking URI is configured."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.facts import Refused
from tests.simulated_run import simulated_run
from training.record import read_predictions
from training.report.findings import findings
from training.report.tracking import metrics, track
from training.report.write import write_report


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    simulated_run(folder, variants=("CPC", "P"), studies=60, repeats=1)
    return folder


def test_nothing_happens_without_a_tracking_uri(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    record = simulated_run(run.with_name("other"), variants=("CPC",), studies=60, repeats=1)
    found = findings(record, read_predictions(run.with_name("other")), {}, 10)
    assert track(run, record, found) is None


def test_metrics_are_the_main_table(run: Path) -> None:
    record = simulated_run(run.with_name("other"), variants=("CPC",), studies=60, repeats=1)
    found = findings(record, read_predictions(run.with_name("other")), {}, 10)
    assert metrics(found)["CPC/out_of_fold/auc"] == found.primary[0].auc.value


@pytest.mark.slow  # MLflow makes its database anew
# of MLflow's own use of its database and files
@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::ResourceWarning", "ignore::sqlalchemy.exc.SADeprecationWarning"
)
def test_parameters_metrics_and_files_arrive_once(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)  # where MLflow lays files beside a database
    write_report(run, draws=10)
    write_report(run, draws=10)  # the report written again is no second run
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("petct-node simulated")
    (logged,) = client.search_runs([experiment.experiment_id])
    assert logged.data.params["settings.steps"] == "300"
    assert logged.data.params["cohort_digest"] == "c" * 64
    assert 0.5 < logged.data.metrics["CPC/out_of_fold/auc"] <= 1.0
    assert {one.path for one in client.list_artifacts(logged.info.run_id)} >= {"report.html", "report.json", "run.json"}
    assert not any("p000" in str(value) for value in logged.data.params.values())


def test_a_store_that_does_not_answer_loses_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "gopher://user:secret@nowhere")
    with pytest.raises(Refused, match="report is written") as refused:
        write_report(run, draws=10)
    assert "secret" not in refused.value.reason
    assert (run / "report.html").is_file()
