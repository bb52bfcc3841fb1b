"""Does a design of ours reach the goal of Show 2?  (Issue 11; methods B3, F2.)

The goal: on the clustered phantom, with 20 and with 40 labels, at least 0.02 above the stronger of supervised and
radiomics, the interval above 0; on the continuous one no loss (the interval does not lie below 0); on average at most
0.01 below supervised with unlabelled images of the wrong organ, or with 20 % of the labels flipped for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.experiments.labels_table import BASELINES, Difference, Draws, entries, paired

GAIN, LARGEST_LOSS = 0.02, 0.01
LABELS = (20, 40)
STRESS_LABELS = 40
Line = Mapping[str, Any]
Setting = tuple[str, str, float, int]  # label model, unlabelled images, share of flips, labels


@dataclass(frozen=True, slots=True)
class Part:
    """One condition of the goal for one method: ``reached`` is None where it was not measured."""

    name: str
    difference: Difference | None
    reached: bool | None


def goal_text(lines: Sequence[Line], phantoms: str) -> list[str]:
    """Markdown: every method that is no baseline, each condition, and the verdict."""
    by_setting = _by_setting(lines, phantoms)
    clustered = {name for key, methods in by_setting.items() if key[0] == "clustered" for name in methods}
    candidates = sorted(clustered - set(BASELINES))
    if not candidates:
        return ["No method but the baselines is measured."]
    parts = {name: _parts(name, by_setting) for name in candidates}
    heads = [part.name for part in parts[candidates[0]]]
    text = [f"| Method | {' | '.join(heads)} | Goal |", "|" + "---|" * (len(heads) + 2)]
    rows = {name: [name, *map(_told, parts[name]), goal_verdict(parts[name])] for name in candidates}
    return [*text, *(f"| {' | '.join(cells)} |" for cells in rows.values())]


def goal_verdict(parts: Sequence[Part]) -> str:
    """Reached only where every condition is measured and holds."""
    if any(part.reached is False for part in parts):
        return "not reached"
    return "not all measured" if any(part.reached is None for part in parts) else "**reached**"


def _parts(name: str, by_setting: Mapping[Setting, Mapping[str, Draws]]) -> list[Part]:
    found = []
    for labels in LABELS:
        one = _against_stronger(name, by_setting.get(("clustered", "in-domain", 0.0, labels), {}))
        reached = None if one is None else one.mean >= GAIN and one.low > 0.0
        found.append(Part(f"clustered, {labels} labels", one, reached))
    for labels in LABELS:
        one = _against_stronger(name, by_setting.get(("continuous", "in-domain", 0.0, labels), {}))
        found.append(Part(f"continuous, {labels} labels", one, None if one is None else one.high >= 0.0))
    for title, kind, flips in (("wrong organ", "wrong-organ", 0.0), ("20 % flipped", "in-domain", 0.2)):
        methods = by_setting.get(("clustered", kind, flips, STRESS_LABELS), {})
        one = paired(methods.get(name, {}), methods.get("supervised", {}))
        found.append(Part(f"{title}, against supervised", one, None if one is None else one.mean >= -LARGEST_LOSS))
    return found


def _against_stronger(name: str, methods: Mapping[str, Draws]) -> Difference | None:
    """Against the baseline with the higher mean; both must be there."""
    if name not in methods or any(one not in methods for one in BASELINES):
        return None
    stronger = max(BASELINES, key=lambda one: float(np.mean(list(methods[one].values()))))
    return paired(methods[name], methods[stronger])


def _by_setting(lines: Sequence[Line], phantoms: str) -> dict[Setting, dict[str, dict[int, float]]]:
    """AUC by setting, method and draw; of several lengths of training the last measured."""
    found: dict[Setting, dict[str, dict[int, float]]] = {}
    for line in lines:
        if line.get("phantoms") == phantoms:
            key = (line["model"], line["unlabelled"], float(line["flips"]), int(line["labels"]))
            for name, auc in entries(line):
                found.setdefault(key, {}).setdefault(name, {})[line["draw"]] = auc
    return found


def _told(part: Part) -> str:
    if part.difference is None:
        return "not measured"
    one = part.difference
    return f"{one.mean:+.3f} ({one.low:+.3f} to {one.high:+.3f}), {one.draws} draws: {'yes' if part.reached else 'no'}"
