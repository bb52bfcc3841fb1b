"""Tables of what ``training.experiments.optimum`` measured: beside the paper's, against the Bayes AUC, and verdicts.

Rules of methods A0: with 2000 training subjects or more, within 0.03 of the Bayes AUC; above it by more than 2 SE is a
failure (something leaks); over 10 runs with permuted labels the mean lies in 0.50 ± 0.03.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from training.recipe import Recipe

Line = Mapping[str, Any]
NEAR, FEWEST = 0.03, 2000
PERMUTED_NEAR, PERMUTATIONS = 0.03, 10
KEY = ("recipe", "variant", "train", "test", "settings", "seed")
_NUMBER = re.compile(r"\d+\.\d+")


@dataclass(frozen=True, slots=True)
class Measured:
    """A variant with one choice of settings: its line, None where only permuted labels were tried, and the permuted."""

    recipe: str
    variant: str
    settings: tuple[str, ...]
    true: Line | None
    permuted: tuple[float, ...]


def measured(lines: Sequence[Line], recipe: str) -> list[Measured]:
    """What there is of a recipe, in the order in which it was measured."""
    groups: dict[tuple[Any, ...], list[Line]] = {}
    for line in lines:
        if line["recipe"] == recipe:
            groups.setdefault(tuple(str(line[name]) for name in KEY), []).append(line)
    found = []
    for group in groups.values():
        true = [line for line in group if line["permutation"] < 0]
        permuted = {line["permutation"]: float(line["auc"]) for line in group if line["permutation"] >= 0}
        first = group[0]
        settings = tuple(first["settings"])
        last = true[-1] if true else None
        found.append(Measured(recipe, first["variant"], settings, last, tuple(permuted.values())))
    return found


def verdict(line: Line | None) -> str:
    """Of a variant with true labels."""
    if line is None:
        return "not measured"
    if line["bayes_auc"] is None:
        return "no Bayes AUC is known"
    above = float(line["auc"]) - float(line["bayes_auc"])
    if above > 2.0 * float(line["se"]):
        return f"**FAILURE**: {above:.3f} above Bayes, more than 2 SE: something leaks"
    few = f"; only {line['learnt']} training subjects, {FEWEST} are asked for" if line["learnt"] < FEWEST else ""
    if above >= -NEAR:
        return f"reached (within {NEAR}){few}"
    return f"not reached: {-above:.3f} below Bayes{few}"


def permuted_verdict(aucs: Sequence[float]) -> str:
    """Of the runs with permuted labels."""
    if not aucs:
        return "not measured"
    mean = float(np.mean(aucs))
    held = "as it must be" if abs(mean - 0.5) <= PERMUTED_NEAR else f"**FAILURE**: not 0.50 ± {PERMUTED_NEAR}"
    few = f"; {PERMUTATIONS} runs are asked for" if len(aucs) < PERMUTATIONS else ""
    return f"{mean:.3f} in {len(aucs)} runs, {held}{few}"


def recipe_text(recipe: Recipe, lines: Sequence[Line]) -> list[str]:
    """Markdown of one recipe: the paper's table, ours, and the paper's order of its models."""
    found = measured(lines, recipe.name)
    text = [f"### {recipe.name}", "", f"{recipe.title}.  {recipe.source}.", "", *_published(recipe), ""]
    if not found:
        return [*text, "Ours: **not measured**.", ""]
    text += [
        "| Ours, variant | Settings | Trained on | Tested on | AUC (95 %) | Bayes AUC | Verdict | Permuted labels |",
        "|" + "---|" * 8,
        *(_row(one) for one in found),
        "",
    ]
    return [*text, *_claims(recipe, found)]


def _published(recipe: Recipe) -> list[str]:
    if not recipe.published:
        return ["Published figures: not available to us (the abstract has none)."]
    rows = [f"| {model} | {quantity} | {value} |" for model, quantity, value in recipe.published]
    return ["| Published, model | Quantity | Value |", "|---|---|---|", *rows]


def _row(one: Measured) -> str:
    line = one.true
    if line is None:
        told = ["–", "–", "–", "–"]
    else:
        bayes = "–" if line["bayes_auc"] is None else f"{line['bayes_auc']:.3f}"
        auc = f"{line['auc']:.3f} ({line['low']:.3f}–{line['high']:.3f})"
        told = [str(line["learnt"]), str(line["tested"]), auc, bayes]
    settings = ", ".join(f"`{name}`" for name in one.settings) or "defaults"
    return "| " + " | ".join([one.variant, settings, *told, verdict(line), permuted_verdict(one.permuted)]) + " |"


def _claims(recipe: Recipe, found: Sequence[Measured]) -> list[str]:
    """The paper's models in the order of its last AUC, pair by pair, and whether ours lie so."""
    order = published_order(recipe)
    best: dict[str, Line] = {}
    for one in found:  # the settings with the highest AUC of each variant speak for it
        if one.true is not None and one.true["auc"] > best.get(one.variant, {"auc": -1.0})["auc"]:
            best[one.variant] = one.true
    text = []
    for better, worse in pairwise(order):
        if better not in best or worse not in best:
            text.append(f"- {better} above {worse}: not measured")
            continue
        away = best[better]["auc"] - best[worse]["auc"]
        noise = 2.0 * float(np.hypot(best[better]["se"], best[worse]["se"]))
        told = "reproduced" if away > noise else "not reproduced" if away < -noise else "within noise"
        text.append(f"- {better} above {worse}: {told} ({away:+.3f}, 2 SE {noise:.3f} as if independent)")
    if not text:
        return []
    return [
        "The paper's order of its models, on this phantom, which was built with it in mind (best of several settings):",
        "",
        *text,
        "",
    ]


def published_order(recipe: Recipe) -> list[str]:
    """The paper's models, the best first, by the AUC on its last (most external) data."""
    aucs = [(m, q, float(n[0])) for m, q, v in recipe.published if q.startswith("AU") and (n := _NUMBER.findall(v))]
    aucs = [row for row in aucs if not row[1].startswith("AUPRC")]
    if not aucs:
        return []
    last = aucs[-1][1].split(" (")[0]
    return [m for m, q, _ in sorted(aucs, key=lambda row: -row[2]) if q.split(" (")[0] == last]
