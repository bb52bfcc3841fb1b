"""A finished bundle on a cohort that it did not learn from: the external test, through the same preprocessing."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Literal, cast

import numpy as np
from pydantic import JsonValue, ValidationError

from inference.facts import Refused
from inference.model.applicability import FeatureStatistics, judge
from inference.model.bundle import Bundle, load_bundle
from inference.model.value_names import same_unit
from inference.model.values import encode, out_of_training_range
from training.prepared import Prepared
from training.recipe import Progress, Recipe
from training.record import (
    HEATMAP_CHECKS,
    PREDICTIONS_FILE,
    RUN_FILE,
    Predicted,
    RunRecord,
    append_predictions,
    read_record,
    write_record,
)
from training.run.cost import Clock, peak_mb

APPLIES = "where the model applies"
LOOK = "served"
Tell = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """Calibrated probability of one study, and whether the node would print it (``inference.model.predict``)."""

    row: int
    probability: float
    inside: bool


def evaluate_bundle(
    path: Path,
    table: Path,
    out: Path,
    *,
    skip_bad: bool = False,
    device: str = "auto",
    processes: int = 1,
    threads: int = 0,
    heatmaps: bool = True,
    command: str = "",
    tell: Tell = lambda _: None,
) -> tuple[RunRecord, Prepared]:
    """Run the bundle on every labelled study of the cohort; run.json and predictions.jsonl lie in ``out``.

    A study that lacks a value which the model needs is left out with the reason.  On the cohort that it was trained on,
    only the rows of ``set`` "external" count.  ``heatmaps``: check them too (methods D6).  Gives the record and
    the cohort.
    Raises ``Refused``: ``evaluate-on-training``, ``run-folder-used``, those of bundle, cohort and device.
    """
    from inference.model.torch_backend import TorchBackend
    from training.cohort.prepare import prepare
    from training.cohort.table import read_cohort
    from training.run.start import cache_folder, said_of, truth_of

    clock = Clock()
    bundle = load_bundle(path)
    _free(out, bundle)
    backend = TorchBackend(bundle, device=_device(device), threads=threads)
    prepared = prepare(
        read_cohort(table),
        {LOOK: bundle.served.input},
        cache=cache_folder(),
        processes=processes,
        skip_bad=skip_bad,
        tell=tell,
    )
    recipe = _recipe(bundle)
    data = _relabelled(recipe, bundle, prepared.data)
    _refuse_other_units(bundle, data)
    rows = _rows(bundle, data)
    answers, missing = _answers(bundle, backend, data, rows, tell)
    record = _record(bundle, recipe, data, rows, table, command, backend.name.removeprefix("torch "))
    record.left_out = {**prepared.left_out, **missing}
    record.cautions = said_of(prepared.cautions)
    record.truth = truth_of(table)
    record.facts = {record.variants[0]: _facts(bundle, data, answers)}
    if heatmaps and answers:
        tell(Progress(0, 1, "heatmap checks"))
        record.facts |= _heatmap_facts(bundle, data, [answer.row for answer in answers])
    record.seconds = clock.seconds()
    record.peak_memory_mb = peak_mb()
    out.mkdir(parents=True, exist_ok=True)
    (out / PREDICTIONS_FILE).unlink(missing_ok=True)
    append_predictions(out, _predicted(data, answers, record, bundle.served.threshold))
    write_record(out, record)
    return record, data


def _device(name: str) -> Literal["auto", "cpu", "cuda"]:
    if name not in ("auto", "cpu", "cuda"):
        raise Refused("device-unknown", f"The device is '{name}'; it must be auto, cpu or cuda.")
    return cast(Literal["auto", "cpu", "cuda"], name)


def _free(out: Path, bundle: Bundle) -> None:
    """An earlier evaluation of the same bundle is replaced, nothing else is."""
    if not out.exists() or not any(out.iterdir()):
        return
    try:
        earlier = read_record(out)
    except (OSError, ValidationError, UnicodeDecodeError):
        earlier = None
    if earlier is None or earlier.folds != 0 or earlier.bundle_digest != bundle.digest:
        raise Refused(
            "run-folder-used", f"The folder '{out.name}' holds something else; give a new or empty folder for the test."
        )
    for name in (RUN_FILE, PREDICTIONS_FILE):
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / "work", ignore_errors=True)


def _recipe(bundle: Bundle) -> Recipe | None:
    """The recipe that the bundle was made by, where it is one of ours."""
    from training.recipes import RECIPES, recipe

    name = bundle.served.name.replace("-", "_")
    return recipe(name) if name in RECIPES else None


def _relabelled(recipe: Recipe | None, bundle: Bundle, data: Prepared) -> Prepared:
    """Labels as the training took them (a label may follow from a time)."""
    if recipe is None:
        return data
    try:
        settings = recipe.settings.model_validate(bundle.served.training.get("settings", {}))
    except ValidationError:
        raise Refused(
            "bundle-metadata", "The bundle's training settings are not those of this version's recipe; train it again."
        ) from None
    return recipe.relabelled(settings, data)


def _refuse_other_units(bundle: Bundle, data: Prepared) -> None:
    """A table may state its units; numbers in another than the model's would be other values."""
    for spec in bundle.served.values:
        stated = data.units.get(spec.name, "")
        if stated and not spec.levels and not same_unit(stated, spec.unit):
            raise Refused(
                "evaluate-other-unit",
                f"The table gives {spec.title} ({spec.name}) in {stated}, and the model takes it "
                f"{'in ' + spec.unit if spec.unit else 'without a unit'}. Convert the column, and correct its unit.",
            )


def _rows(bundle: Bundle, data: Prepared) -> list[int]:
    usable = [i for i in range(len(data)) if data.labels[i] >= 0 or (len(data.events) and data.events[i] >= 0)]
    if bundle.served.training.get("cohort_digest") == data.digest:
        usable = [i for i in usable if data.sets[i] == "external"]
        if not usable:
            raise Refused(
                "evaluate-on-training",
                'The model learnt from this very cohort, and it has no rows of set "external": its answers would only '
                "show what it remembers. Give a cohort that it has not seen.",
            )
    if not usable:
        raise Refused("evaluate-on-training", "The cohort has no labelled studies to test on. Give it labels.")
    return usable


def _answers(
    bundle: Bundle, backend: object, data: Prepared, rows: list[int], tell: Tell
) -> tuple[list[Answer], dict[str, str]]:
    """Each row's answer as the node would compute it, and why some have none."""
    served = bundle.served
    statistics = None if bundle.statistics is None else FeatureStatistics.of(bundle.statistics)
    answers: list[Answer] = []
    missing: dict[str, str] = {}
    for number, row in enumerate(rows):
        tell(Progress(number, len(rows), "studies"))
        values = data.values_of(row)
        try:
            encoded = encode(values, served.values)
        except Refused as refused:
            missing[data.studies[row]] = refused.reason
            continue
        members = backend.forward(  # type: ignore[attr-defined]
            np.ascontiguousarray(data.inputs[LOOK][row]), encoded.vector if served.values else None
        )
        scores = [member.score for member in members]
        if served.radiomics:
            features = dict(zip(data.radiomics_names, map(float, data.radiomics[row]), strict=True))
            scores = [served.radiomics.score(features, score) for score in scores]
        found = {name: float(column[row]) for name, column in data.quantities.items()}
        embedding = np.concatenate([member.embedding for member in members])
        verdict = judge(found, served.ranges, statistics, embedding)
        strange = out_of_training_range(values, served.values)
        logit = float(np.mean(scores)) / served.temperature
        probability = 0.5 * (1.0 + math.tanh(0.5 * logit))
        answers.append(Answer(row, probability, verdict.state == "inside" and not strange))
    return answers, missing


def _facts(bundle: Bundle, data: Prepared, answers: list[Answer]) -> dict[str, JsonValue]:
    own = bundle.served.training.get("cohort_digest") == data.digest
    other = "another than the training's; whether a patient is in both, names cannot tell"
    inside = sum(answer.inside for answer in answers)
    return {
        "studies answered": len(answers),
        "of these like its training data (the node prints the others only for demonstrations)": inside,
        "cohort": "external rows of the training's cohort" if own else other,
        "not checked here": "what headers tell a node: tracer, body part, age",
    }


def _heatmap_facts(bundle: Bundle, data: Prepared, rows: list[int]) -> dict[str, JsonValue]:
    from training.evaluate.heatmaps import heatmap_checks

    specs = bundle.served.values
    values = np.stack([encode(data.values_of(row), specs).vector for row in rows]) if specs else None
    checks = heatmap_checks(bundle, data.inputs[LOOK][rows], values, seed=0)
    if checks is None:
        return {}
    told = {"released": not checks.failures, "failures": list(checks.failures), **asdict(checks)}
    return {HEATMAP_CHECKS: json.loads(json.dumps(told))}


def _predicted(data: Prepared, answers: list[Answer], record: RunRecord, threshold: float) -> list[Predicted]:
    rows = []
    for variant in record.variants:
        for answer in answers:
            if variant != record.variants[0] and not answer.inside:
                continue
            i = answer.row
            months = float(data.months[i]) if len(data.months) else math.nan
            event = int(data.events[i]) if len(data.events) else -1
            rows.append(
                Predicted(
                    variant=variant,
                    scheme="final",
                    repeat=0,
                    fold=0,
                    part="external",
                    patient=data.patients[i],
                    study=data.studies[i],
                    centre=data.centres[i],
                    label=int(data.labels[i]),
                    probability=answer.probability,
                    threshold=threshold,
                    months=None if math.isnan(months) else months,
                    event=None if event < 0 else event,
                )
            )
    return rows


def _record(
    bundle: Bundle, recipe: Recipe | None, data: Prepared, rows: list[int], table: Path, command: str, device: str
) -> RunRecord:
    from training.run.environment import machine, versions

    served = bundle.served
    tested = replace(data, labels=data.labels[rows])
    name = str(served.training.get("variant") or (recipe.variants[0] if recipe else served.name))
    settings = {
        "bundle": f"{served.name} {served.version}",
        "target": served.target,
        "preprocessing_digest": served.input_digest,
        "threshold": served.threshold,
        "temperature": served.temperature,
    }
    return RunRecord(
        recipe=recipe.name if recipe else served.name,
        title=f"{recipe.title if recipe else served.target}: external test of {served.name} {served.version}",
        command=command,
        settings=dict(settings),
        settings_digest=sha256(repr(settings).encode()).hexdigest(),
        cohort=table.name,
        cohort_digest=data.digest,
        subjects=len({data.patients[i] for i in rows}),
        positives=int((tested.labels == 1).sum()),
        unlabelled=int((data.labels < 0).sum()),
        variants=(name, f"{name}, {APPLIES}"),
        seed=0,
        repeats=1,
        folds=0,
        state="done",
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine(device),
        versions=versions(),
        bundle_digest=bundle.digest,
    )
