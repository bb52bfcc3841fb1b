"""Tables of what ``training.experiments.labels`` measured: paired differences with intervals, as Markdown.

    python -m training.experiments.labels_table docs/measured/ussl.jsonl --phantoms confirmation

Differences are paired by draw.  Interval: Student's t over draws; it holds label draw and training noise, not the
choice of phantoms, which all draws share.  p: Wilcoxon's signed rank test, from six draws on, not corrected.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.experiments.labels_plan import REVISION
from training.experiments.lines import read_lines

GROUP = ("model", "unlabelled", "flips", "labels", "steps")
JOINED = {"auc_with_radiomics": "radiomics", "auc_with_agreement": "agreement"}
BASELINES = ("supervised", "radiomics")
FEWEST_RANKED = 6

Draws = Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Difference:
    """Of ``draws`` pairs: mean, 95 % interval, sd, how many above 0, and Wilcoxon's p (None with few draws)."""

    draws: int
    mean: float
    low: float
    high: float
    sd: float
    above: int
    p: float | None


def paired(first: Draws, second: Draws) -> Difference | None:
    """``first`` − ``second`` over the draws that both have; None with fewer than two."""
    from scipy import stats

    common = sorted(first.keys() & second.keys())
    if len(common) < 2:
        return None
    away = np.array([first[draw] - second[draw] for draw in common])
    mean, sd = float(away.mean()), float(away.std(ddof=1))
    half = float(stats.t.ppf(0.975, len(away) - 1)) * sd / len(away) ** 0.5
    ranked = len(away) >= FEWEST_RANKED and bool(away.any())
    p = float(stats.wilcoxon(away).pvalue) if ranked else None
    return Difference(len(away), mean, mean - half, mean + half, sd, int((away > 0).sum()), p)


def tables(lines: Sequence[Mapping[str, Any]], phantoms: str) -> str:
    """Markdown, a table for each label model, kind of unlabelled images and share of flips."""
    groups: dict[tuple[Any, ...], dict[str, dict[int, float]]] = {}
    for line in lines:
        if line.get("phantoms") == phantoms and line.get("revision") == REVISION:
            methods = groups.setdefault(tuple(line[name] for name in GROUP), {})
            for name, auc in entries(line):
                methods.setdefault(name, {})[line["draw"]] = auc
    text = [f"Phantoms: {phantoms}.  AUC on phantoms of other seeds; Δ is paired by draw, 95 % interval.", ""]
    for heading in sorted({key[:3] for key in groups}, key=str):
        model, kind, flips = heading
        text += [f"**{model}**, unlabelled: {kind}, flipped labels: {flips:.0%}", "", *_header()]
        for key in sorted(key for key in groups if key[:3] == heading):
            text += [_row(key[3], name, groups[key]) for name in _ordered(groups[key])]
        text.append("")
    return "\n".join(text)


def entries(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The method, and what becomes of it joined with a model of the features."""
    yield line["method"], float(line["auc"])
    for name, beside in JOINED.items():
        if name in line:
            yield f"{line['method']} + {beside}", float(line[name])


def _ordered(methods: Mapping[str, Draws]) -> list[str]:
    first = [name for name in BASELINES if name in methods]
    return first + sorted(set(methods) - set(first))


def _header() -> list[str]:
    columns = ("Labels", "Method", "Draws", "AUC", "Δ supervised", "Δ radiomics", "Δ stronger", "> 0", "sd", "p")
    return [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]


def _row(labels: int, name: str, methods: Mapping[str, Draws]) -> str:
    """``Δ stronger``: against the baseline with the higher mean; sd, draws above 0 and p are of that difference."""
    known = [one for one in BASELINES if one in methods]
    against = {one: paired(methods[name], methods[one]) for one in known if one != name}
    stronger = max(known, key=lambda one: float(np.mean(list(methods[one].values()))), default=None)
    last = against.get(stronger) if stronger else None
    cells = [str(labels), name, str(len(methods[name])), f"{np.mean(list(methods[name].values())):.3f}"]
    cells += [_told(against.get(one)) for one in BASELINES]
    cells += [_told(last)]
    cells += ["–"] * 3 if last is None else [
        f"{last.above}/{last.draws}", f"{last.sd:.3f}", "–" if last.p is None else f"{last.p:.2g}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _told(difference: Difference | None) -> str:
    if difference is None:
        return "–"
    return f"{difference.mean:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--phantoms", default="confirmation")
    args = parser.parse_args()
    print(tables(read_lines(args.file), args.phantoms))  # noqa: T201 - it is what the command is for


if __name__ == "__main__":
    main()
