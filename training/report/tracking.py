"""A run into MLflow, where a tracking URI is configured (environment ``MLFLOW_TRACKING_URI``); else nothing happens."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from inference.facts import Refused
from training.record import BUNDLE_FOLDER, PREDICTIONS_FILE, RUN_FILE, RunRecord
from training.report.findings import IN_WORDS, Findings

CONFIGURED_BY = "MLFLOW_TRACKING_URI"
LONGEST_PARAMETER = 500
TAG = "petct_node.run"
ARTEFACTS = (RUN_FILE, PREDICTIONS_FILE, "report.html", "report.json")


def track(run_folder: Path, record: RunRecord, found: Findings) -> str | None:
    """Parameters, metrics and files of the run; gives MLflow's run id, None where nothing is configured.

    A report that is written again goes to the same MLflow run (tag: cohort and settings digests, seed, start).  No
    patient's name is among parameters and metrics; predictions.jsonl holds the cohort's study names, so the tracking
    store must be as private as the cohort.  Raises ``Refused`` ``tracking-failed``; by then the report is written.
    """
    if not os.environ.get(CONFIGURED_BY) or find_spec("mlflow") is None:
        return None
    from mlflow.exceptions import MlflowException

    try:
        return _log(run_folder, record, found)
    except MlflowException as fault:
        raise Refused(
            "tracking-failed",
            f"The run is complete and its report is written, but MLflow did not take it ({type(fault).__name__}). "
            f"Check {CONFIGURED_BY} and run the same command again.",
        ) from fault


def _log(run_folder: Path, record: RunRecord, found: Findings) -> str:
    import mlflow

    experiment = mlflow.set_experiment(f"petct-node {record.recipe}")
    mark = f"{record.cohort_digest[:16]} {record.settings_digest[:16]} {record.seed} {record.started_at}"
    client = mlflow.MlflowClient()
    earlier = client.search_runs([experiment.experiment_id], f"tags.`{TAG}` = '{mark}'", max_results=1)
    with mlflow.start_run(run_id=earlier[0].info.run_id if earlier else None) as active:
        if not earlier:
            mlflow.set_tags({TAG: mark, "title": record.title, "machine": record.machine})
            mlflow.log_params(_parameters(record))
        mlflow.log_metrics(metrics(found) | {"seconds": record.seconds, "peak_memory_mb": record.peak_memory_mb})
        for name in ARTEFACTS:
            if (run_folder / name).is_file():
                mlflow.log_artifact(str(run_folder / name))
        if (run_folder / BUNDLE_FOLDER).is_dir():
            mlflow.log_artifacts(str(run_folder / BUNDLE_FOLDER), BUNDLE_FOLDER)
        run_id: str = active.info.run_id
    return run_id


def metrics(found: Findings) -> dict[str, float]:
    """The main table, as MLflow names it: variant, where tested, quantity."""
    values = {}
    for one in found.performances:
        where = IN_WORDS[one.scheme, one.part].replace(" ", "_")  # type: ignore[index]
        for quantity, value in (
            ("auc", one.auc.value),
            ("auc_low", one.auc.low),
            ("auc_high", one.auc.high),
            ("average_precision", one.average_precision.value),
            ("brier", one.calibration.brier),
            ("sensitivity", one.point.sensitivity.value),
            ("specificity", one.point.specificity.value),
        ):
            if value == value:  # not NaN
                values[f"{_key(one.variant)}/{where}/{quantity}"] = value
    return values


def _parameters(record: RunRecord) -> dict[str, str]:
    fixed = {
        "recipe": record.recipe,
        "command": record.command,
        "seed": record.seed,
        "repeats": record.repeats,
        "folds": record.folds,
        "subjects": record.subjects,
        "positives": record.positives,
        "unlabelled": record.unlabelled,
        "cohort_digest": record.cohort_digest,
        "settings_digest": record.settings_digest,
        "bundle_digest": record.bundle_digest,
    }
    settings = {f"settings.{name}": value for name, value in record.settings.items()}
    return {name: str(value)[:LONGEST_PARAMETER] for name, value in (fixed | settings).items()}


def _key(name: str) -> str:
    """MLflow takes letters, digits and _ - . space : / only."""
    return "".join(c if c.isalnum() or c in "_-. " else "_" for c in name.replace("+", " and "))
