"""The model that is served: one fit on all labelled studies but the external ones, its bundle and its test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import BaseModel, JsonValue

from inference.facts import Refused
from training.cohort.splits import external, final_parts
from training.evaluate.discrimination import auc_with_interval, expected_calibration_error
from training.prepared import Prepared
from training.recipe import Recipe, Release
from training.record import BUNDLE_FOLDER, Predicted, RunRecord, append_predictions, read_predictions
from training.run.task import CV, FINAL, Where, conditions, predictions, stable_seed, youden_threshold

NOT_SERVED = "recipe-variant-not-served"  # a model for comparison only
LEAST_OF_A_CLASS = 2  # fewer give no interval


def final_fit(
    recipe: Recipe,
    settings: BaseModel,
    data: Prepared,
    out: Path,
    where: Where,
    seed: int,
    record: RunRecord,
    version: str,
) -> str:
    """Fit the first variant on ``final_parts``, keep its answers to training and external rows, write the bundle.

    Gives the bundle's digest, "" where the variant is for comparison only.  Raises as ``Estimator.fit``.
    """
    variant = record.variants[0]
    parts = final_parts(data, seed)
    estimator = recipe.estimator(settings, variant)
    folder = where.folder / FINAL
    estimator.fit(data, parts, conditions(where, folder, stable_seed(seed, FINAL), lambda _: None))
    threshold = youden_threshold(estimator, data, parts)
    rows = [*predictions(estimator, data, parts.train, variant, FINAL, "train", threshold)]
    outside = external(data)
    if len(outside):
        rows += predictions(estimator, data, outside, variant, FINAL, "external", threshold)
    if not any(p.scheme == FINAL for p in read_predictions(out)):
        append_predictions(out, rows)
    record.facts[f"{variant}, final"] = dict(getattr(estimator, "facts", {}))
    release = Release(
        name=recipe.name.replace("_", "-"),
        version=version,
        demonstration=bool(record.truth),
        evaluation=evaluation(read_predictions(out), variant, record),
        manifest=_manifest(record),
        card=_card(record),
    )
    try:
        return estimator.save_bundle(out / BUNDLE_FOLDER, release)
    except Refused as refusal:
        if refusal.code != NOT_SERVED:
            raise
        record.facts[f"{variant}, bundle"] = refusal.reason  # a model for comparison: the run is whole without
        return ""


def evaluation(rows: list[Predicted], variant: str, record: RunRecord) -> dict[str, JsonValue] | None:
    """What the bundle says of its test: external studies where there are some, else out of fold, first repeat.

    None where a class has too few to give an interval.
    """
    mine = [row for row in rows if row.variant == variant and row.label >= 0]
    apart = [row for row in mine if row.scheme == FINAL and row.part == "external"]
    tested = apart or [row for row in mine if row.scheme == CV and row.repeat == 0]
    labels = np.array([row.label == 1 for row in tested], bool)
    if min(labels.sum(), (~labels).sum()) < LEAST_OF_A_CLASS:
        return None
    probabilities = np.array([row.probability for row in tested])
    auc = auc_with_interval(labels, probabilities)
    who = "phantoms" if record.truth else "studies"
    return {
        "subjects": len(tested),
        "data": f"external {who}" if apart else f"{who}, out of fold",
        "auc": round(auc.value, 4),
        "auc_interval": [round(auc.low, 4), round(auc.high, 4)],
        "expected_calibration_error": round(expected_calibration_error(labels, probabilities), 4),
    }


def _manifest(record: RunRecord) -> dict[str, JsonValue]:
    return {
        "command": record.command,
        "recipe": record.title,
        "settings": record.settings,
        "cohort_digest": record.cohort_digest,
        "subjects": record.subjects,
        "positives": record.positives,
        "unlabelled": record.unlabelled,
        "seed": record.seed,
        "versions": dict(record.versions),
    }


def _card(record: RunRecord) -> str:
    return (
        f"Trained by `{record.command}` on {record.subjects} subjects ({record.positives} positive studies, "
        f"{record.unlabelled} without a label). Research use only.\n"
    )
