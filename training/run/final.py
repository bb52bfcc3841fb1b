"""The model that is served: one fit on all labelled studies but the external ones, its bundle and its test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, JsonValue

from inference.facts import Refused
from training.cohort.splits import external, final_parts
from training.evaluate.answers import answers_of
from training.evaluate.bootstrap import bootstrap_interval, mean_auc
from training.evaluate.delong import auc_interval
from training.evaluate.discrimination import expected_calibration_error
from training.evaluate.estimate import Estimate, Labels, Scores
from training.prepared import Parts, Prepared, Rows
from training.recipe import Recipe, Release
from training.record import BUNDLE_FOLDER, Predicted, RunRecord, append_predictions, keep_whole, read_predictions
from training.run.task import CV, FINAL, Where, conditions, fixed_threshold, predictions, stable_seed

NOT_SERVED = "recipe-variant-not-served"  # a model for comparison only


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

    Where the node cannot serve it (it is for comparison only, or not with these settings), the record says why and the
    next one is taken.  Gives the bundle's digest, "" where none can be served.  Raises as ``Estimator.fit``.
    """
    for variant in record.variants:
        if digest := _final_fit_of(variant, recipe, settings, data, out, where, seed, record, version):
            return digest
    return ""


def _final_fit_of(
    variant: str,
    recipe: Recipe,
    settings: BaseModel,
    data: Prepared,
    out: Path,
    where: Where,
    seed: int,
    record: RunRecord,
    version: str,
) -> str:
    parts = final_parts(data, seed)
    estimator = recipe.estimator(settings, variant)
    folder = where.folder / f"{FINAL}-{record.variants.index(variant)}"
    estimator.fit(data, parts, conditions(where, folder, stable_seed(seed, FINAL), lambda _: None))
    threshold = fixed_threshold(estimator, data, parts, variant)
    rows = [*predictions(estimator, data, parts.train, variant, FINAL, "train", threshold)]
    outside = external(data)
    if len(outside):
        rows += predictions(estimator, data, outside, variant, FINAL, "external", threshold)
    if not keep_whole(out, {(variant, FINAL, 0, 0): len(rows)}):
        append_predictions(out, rows)
    record.facts[f"{variant}, final"] = dict(getattr(estimator, "facts", {}))
    release = Release(
        name=recipe.name.replace("_", "-"),
        version=version,
        demonstration=bool(record.truth),
        evaluation=evaluation(read_predictions(out), variant, record),
        manifest=_manifest(record, variant, data, parts),
        card=_card(record, data, parts),
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

    Out of fold, other models of the same making answered, each trained on fewer studies.  ``subjects`` are patients; of
    several studies a patient the interval is by bootstrap of patients.  None where a class has too few for one.
    """
    tested = answers_of(rows, variant, FINAL, "external")
    apart = tested is not None and tested.judgeable
    tested = tested if apart else answers_of(rows, variant, CV, "test")
    if tested is None or not tested.judgeable:
        return None
    auc = (auc_interval if tested.one_study_a_patient else _by_patient(tested.patients))(tested.labels, tested.first)
    who = "phantoms" if record.truth else "patients"
    return {
        "subjects": len(set(tested.patients)),
        "data": f"external {who}" if apart else f"{who}, out of fold",
        "auc": round(auc.value, 4),
        "auc_interval": [round(auc.low, 4), round(auc.high, 4)],
        "expected_calibration_error": round(expected_calibration_error(tested.labels, tested.first), 4),
    }


def _by_patient(patients: Sequence[str]) -> Callable[[Labels, Scores], Estimate]:
    def interval(labels: Labels, scores: Scores) -> Estimate:
        return bootstrap_interval(lambda rows: mean_auc(labels[rows], scores[rows]), labels, patients, seed=0)

    return interval


def _manifest(record: RunRecord, variant: str, data: Prepared, parts: Parts) -> dict[str, JsonValue]:
    return {
        "command": record.command,
        "recipe": record.title,
        "variant": variant,
        "settings": record.settings,
        "cohort_digest": record.cohort_digest,
        "subjects": record.subjects,
        "positives": record.positives,
        "unlabelled": record.unlabelled,
        "learnt_from": _patients(data, parts.train),
        "calibrated_on": _patients(data, parts.validation),
        "seed": record.seed,
        "versions": dict(record.versions),
    }


def _card(record: RunRecord, data: Prepared, parts: Parts) -> str:
    learnt, calibrated = _patients(data, parts.train), _patients(data, parts.validation)
    return (
        f"Trained by `{record.command}`: it learnt from {learnt} labelled subjects, and was chosen and calibrated on "
        f"{calibrated} others. The cohort has {record.subjects} subjects with {record.positives} positive studies and "
        f"{record.unlabelled} without a label; rows of set 'external' were not learnt from. Research use only.\n"
    )


def _patients(data: Prepared, rows: Rows) -> int:
    return len({data.patients[row] for row in rows})
