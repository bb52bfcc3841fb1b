"""All that a report says of a run, as one record: read from its files, computed here, shown by ``write``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import JsonValue

from inference.facts import Refused
from training.evaluate.answers import Tested, answers_of
from training.evaluate.conformal import Coverage
from training.evaluate.permutation import Permuted
from training.evaluate.subgroups import Subgroups
from training.record import Part, Predicted, RunRecord
from training.report.numbers import (
    Comparison,
    Performance,
    by_group,
    chance,
    comparisons,
    cross_conformal,
    performance,
    precision_lines,
    precision_recall_curve,
    roc_curve,
)
from training.report.published import Beside, Optimum, beside_published, optima
from training.report.survival_page import SurvivalNumbers, survival_numbers

if TYPE_CHECKING:
    from training.recipe import Recipe

Groups = Mapping[str, Mapping[str, str]]
KINDS: tuple[tuple[str, Part, str], ...] = (
    ("cv", "test", "out of fold"),
    ("centre", "test", "centre left out"),
    ("final", "external", "external test"),
    ("final", "train", "training studies"),
)
TOLD_AT_THE_TOP = ("region-automatic", "lost-to-follow-up")  # cautions that change what the figures mean
IN_WORDS = {(scheme, part): words for scheme, part, words in KINDS}


@dataclass(frozen=True, slots=True)
class Findings:
    """``performances``: every variant on every set.  All that follows is of ``kind``: out of fold, else external.

    ``curves``: variant → "roc", "precision_recall" → arrays.  ``groups``: of the first variant, by column.
    ``flow``: steps and counts.  ``notes``: what a reader must know.  ``source``: the paper.
    """

    source: str
    kind: str
    performances: tuple[Performance, ...]
    curves: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]]
    comparisons: tuple[Comparison, ...]
    chance: Mapping[str, Permuted]
    groups: Mapping[str, Subgroups]
    coverage: Mapping[str, Coverage]
    survival: tuple[SurvivalNumbers, ...]
    precision: tuple[str, ...]
    beside: tuple[Beside, ...]
    optima: tuple[Optimum, ...]
    flow: tuple[tuple[str, int], ...]
    costs: Mapping[str, Mapping[str, JsonValue]]
    notes: tuple[str, ...]

    @property
    def primary(self) -> tuple[Performance, ...]:
        """Those of ``kind``, in the order of the variants."""
        return _of(self.performances, self.kind)


def findings(record: RunRecord, rows: Sequence[Predicted], groups: Groups, draws: int) -> Findings:
    """Raises ``Refused`` ``report-nothing-tested``: no variant has two tested studies of each class."""
    found = {
        (variant, words): answered
        for variant in record.variants
        for scheme, part, words in KINDS
        if (answered := answers_of(rows, variant, scheme, part)) is not None and answered.judgeable
    }
    kind = next((words for _, _, words in KINDS[:3] if any(key[1] == words for key in found)), None)
    if kind is None:
        raise Refused(
            "report-nothing-tested",
            "The run holds no variant with two tested studies of each class yet, so there is nothing to report. Let it "
            "go on, or give it more labelled studies.",
        )
    primary = [found[variant, kind] for variant in record.variants if (variant, kind) in found]
    performances = tuple(performance(one, draws) for one in found.values())
    recipe = _recipe(record.recipe)
    phantom = bool(record.truth)
    scheme, part = primary[0].scheme, primary[0].part
    with_follow_up = [answers_of(rows, variant, scheme, part, labelled=False) for variant in record.variants]
    chances = {one.variant: chance(rows, one) for one in primary if one.scheme == "cv"}
    conformal = {one.variant: cross_conformal(one) for one in primary if one.scheme == "cv"}
    survival = [survival_numbers(one, draws) for one in with_follow_up if one is not None]
    grouped = by_group(primary[0], groups, draws)
    best = next(one for one in performances if one.variant == primary[0].variant and _part(one) == part)
    return Findings(
        source=recipe.source if recipe else "",
        kind=kind,
        performances=performances,
        curves={
            one.variant: {"roc": roc_curve(one, draws), "precision_recall": precision_recall_curve(one)}
            for one in primary
        },
        comparisons=tuple(comparisons(primary)),
        chance={name: one for name, one in chances.items() if one is not None},
        groups=grouped,
        coverage={name: one for name, one in conformal.items() if one is not None},
        survival=tuple(one for one in survival if one is not None),
        precision=tuple(precision_lines(best)),
        beside=tuple(beside_published(recipe.published, performances, phantom)) if recipe else (),
        optima=tuple(optima(record.truth, _of(performances, kind), recipe.sources if recipe else {})),
        flow=_flow(record, rows, primary[0]),
        costs=_costs(record.costs),
        notes=tuple(_notes(record, primary, grouped)),
    )


def _of(performances: Sequence[Performance], kind: str) -> tuple[Performance, ...]:
    return tuple(one for one in performances if IN_WORDS[one.scheme, _part(one)] == kind)


def _part(one: Performance) -> Part:
    return "external" if one.part == "external" else "train" if one.part == "train" else "test"


def _recipe(name: str) -> Recipe | None:
    from training.recipes import recipe

    try:
        return recipe(name)
    except Refused:  # a bundle of another house, evaluated here
        return None


def _flow(record: RunRecord, rows: Sequence[Predicted], primary: Tested) -> tuple[tuple[str, int], ...]:
    external = {row.study for row in rows if row.part == "external"}
    words = IN_WORDS[primary.scheme, primary.part]
    steps = [
        ("studies that could not be used (left out)", len(record.left_out)),
        ("subjects in the cohort", record.subjects),
        ("studies with a positive label", record.positives),
        (f"studies without a label ({'training only' if record.folds else 'not used'})", record.unlabelled),
        (f"studies tested, {words}", len(primary)),
    ]
    if primary.part != "external":
        steps.append(("studies tested by the final model, external", len(external)))
    return tuple(steps)


def _costs(costs: Mapping[str, JsonValue]) -> dict[str, dict[str, JsonValue]]:
    """Mean over the folds of each number, by variant."""
    found: dict[str, dict[str, JsonValue]] = {}
    for variant, told in costs.items():
        places = [one for one in told.values() if isinstance(one, dict)] if isinstance(told, dict) else []
        flat: list[dict[str, Any]] = places or ([told] if isinstance(told, dict) else [])
        names = dict.fromkeys(name for one in flat for name in one)
        found[variant] = {name: _mean([one[name] for one in flat if name in one]) for name in names}
    return found


def _mean(values: Sequence[Any]) -> JsonValue:
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return float(np.mean(values))
    first: JsonValue = values[0]
    return first


def _notes(record: RunRecord, primary: Sequence[Tested], groups: Mapping[str, Subgroups]) -> list[str]:
    first = primary[0]
    notes = []
    if record.state != "done":
        notes.append(f"This run is not finished (state: {record.state}); the numbers are of the folds that are.")
    if record.truth:
        notes.append("The cohort is made of phantoms with a planted signal: nothing here speaks about patients.")
    elif len(first) <= 30:
        notes.append(f"{len(first)} studies prove that the pipeline runs, not that the model works.")
    told = [said for said in record.cautions if said.code in TOLD_AT_THE_TOP]
    notes += [f"{said.studies} {'study' if said.studies == 1 else 'studies'}: {said.text}" for said in told]
    if not first.one_study_a_patient:
        notes.append("Some patients have several studies: intervals of AUCs are by bootstrap of patients.")
    if first.incomplete:
        notes.append(f"{first.incomplete} unfinished repeats are left out.")
    if first.probabilities.shape[1] > 1:
        notes.append(
            "AUC and average precision are means over the repeats; curves, thresholds and calibration are of the first."
        )
    for column, group in groups.items():
        if group.learnt_the_group and group.within is not None:
            within, pooled = group.within, group.pooled
            notes.append(
                f"The pooled AUC ({pooled:.3f}) lies above that within {column} ({within.value:.3f}, 95 % limit "
                f"{within.high:.3f}): the model may have learnt the {column} in place of the label."
            )
    missing = [variant for variant in record.variants if variant not in {one.variant for one in primary}]
    if missing:
        notes.append(f"Without enough tested studies: {', '.join(missing)}.")
    return notes
