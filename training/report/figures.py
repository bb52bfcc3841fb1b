"""The pictures of a report: print size, 8 pt or larger, colours that colour-blind people tell apart (Okabe & Ito)."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.evaluate.calibration import CalibrationCurve
from training.evaluate.permutation import Permuted
from training.evaluate.subgroups import Subgroups
from training.evaluate.survival import SurvivalCurve
from training.evaluate.utility import DecisionCurve
from training.report.numbers import Comparison

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
GREY = "#595959"
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "petct-node",
    "font.family": "DejaVu Sans",
}
COLUMN_INCH = 4.3
Curves = Mapping[str, Mapping[str, np.ndarray]]
P = ParamSpec("P")


def _styled(draw: Callable[P, str]) -> Callable[P, str]:
    """The style holds while a figure is made, and nowhere else."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> str:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


@_styled
def roc_figure(curves: Curves, aucs: Mapping[str, str], kind: str) -> str:
    """ROC of each variant, the first with its 95 % band; ``aucs``: what the legend says of them."""
    figure, axes = _square(f"ROC, {kind}", "1 − specificity", "Sensitivity", len(curves))
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    for number, (name, curve) in enumerate(curves.items()):
        if number == 0:
            axes.fill_between(curve["x"], curve["low"], curve["high"], color=COLOURS[0], alpha=0.18, linewidth=0)
        axes.step(curve["x"], curve["y"], where="post", label=f"{name}: {aucs[name]}", **_line(number))
    _legend(axes, len(curves))
    return data_uri(figure)


@_styled
def precision_recall_figure(curves: Curves, precisions: Mapping[str, str], prevalence: float) -> str:
    """Precision over recall with the prevalence as the line of chance."""
    figure, axes = _square("Precision and recall", "Recall (sensitivity)", "Precision (PPV)", len(curves))
    axes.axhline(prevalence, color=GREY, linewidth=0.8, linestyle=":")
    axes.annotate(
        f"prevalence {prevalence:.2f}", (0.02, prevalence), (0, 2), textcoords="offset points", fontsize=8, color=GREY
    )
    for number, (name, curve) in enumerate(curves.items()):
        axes.step(curve["x"], curve["y"], where="post", label=f"{name}: {precisions[name]}", **_line(number))
    _legend(axes, len(curves))
    return data_uri(figure)


@_styled
def calibration_figure(name: str, curve: CalibrationCurve) -> str:
    """Smooth curve with band, the ten equal-mass bins as points."""
    figure, axes = _square(f"Calibration of {name}", "Predicted probability", "Observed frequency")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":", label="perfect")
    axes.fill_between(curve.predicted, curve.low, curve.high, color=COLOURS[0], alpha=0.18, linewidth=0)
    axes.plot(curve.predicted, curve.observed, label="smooth (lowess), 95 % band", **_line(0))
    axes.plot(
        [p for p, _, _ in curve.bins],
        [o for _, o, _ in curve.bins],
        linestyle="",
        marker="o",
        markersize=4,
        color=COLOURS[1],
        label="ten groups of equal size",
    )
    _legend(axes, 3)
    return data_uri(figure)


@_styled
def decision_figure(curves: Mapping[str, DecisionCurve]) -> str:
    """Net benefit by threshold probability, against treating all and none."""
    figure, axes = _axes("Decision curve", "Threshold probability", "Net benefit per subject")
    first = next(iter(curves.values()))
    axes.axhline(0.0, color=GREY, linewidth=0.8, label="treat none")
    axes.plot(first.thresholds, first.treat_all, color=GREY, linestyle="--", linewidth=1.0, label="treat all")
    axes.fill_between(first.thresholds, first.low, first.high, color=COLOURS[0], alpha=0.18, linewidth=0)
    for number, (name, curve) in enumerate(curves.items()):
        axes.plot(curve.thresholds, curve.model, label=name, **_line(number))
    top = max(float(curve.high.max()) for curve in curves.values())
    axes.set_ylim(-0.25 * max(top, 0.05), 1.1 * max(top, 0.05))
    axes.set_xlim(float(first.thresholds[0]), float(first.thresholds[-1]))
    _legend(axes, len(curves) + 2)
    return data_uri(figure)


@_styled
def forest_figure(found: Mapping[str, Subgroups]) -> str:
    """AUC of each centre and subgroup, and the random-effects summary of each column."""
    rows: list[tuple[str, float, float, float, bool]] = []
    for column, groups in found.items():
        for group in groups.groups:
            text = f"{column} {group.name} (n = {group.subjects}, {group.positives} positive)"
            if group.auc is not None:
                rows.append((text, group.auc.value, group.auc.low, group.auc.high, False))
        if groups.summary is not None:
            rows.append(
                (f"{column}, random effects", groups.summary.value, groups.summary.low, groups.summary.high, True)
            )
    return _forest(rows, "AUC per centre and subgroup", "AUC (95 % interval)", 0.5) if rows else ""


@_styled
def differences_figure(found: Sequence[Comparison]) -> str:
    """Paired differences of AUC."""
    rows = [(f"{one.one} − {one.other}", one.delong.value, one.delong.low, one.delong.high, False) for one in found]
    return _forest(rows, "Differences on the same studies", "Difference of AUC (95 % interval, DeLong)", 0.0)


@_styled
def permutation_figure(found: Permuted) -> str:
    """AUCs of permuted labels, and the one observed."""
    figure, axes = _axes("Permuted labels", "AUC, whole pipeline repeated", "Runs")
    axes.hist(found.permuted, bins=max(5, min(30, len(found.permuted) // 3)), color="#BBBBBB", edgecolor="white")
    axes.axvline(found.observed, color=COLOURS[1], label=f"observed {found.observed:.3f}, p = {found.p:.3g}")
    axes.axvline(found.mean, color=GREY, linestyle=":", label=f"mean of permuted {found.mean:.3f}")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes, 2)
    return data_uri(figure)


@_styled
def survival_figure(low: SurvivalCurve, high: SurvivalCurve, sentence: str) -> str:
    """Kaplan–Meier curves of the two risk groups with bands and numbers at risk."""
    figure = Figure(figsize=(COLUMN_INCH * 1.25, 3.9), layout="constrained")
    axes, table = figure.subplots(2, 1, height_ratios=(5, 1), sharex=True)
    last = max(float(low.months[-1]), float(high.months[-1]))
    ticks = np.arange(0, last + 1, 12 if last > 30 else 6)
    for row, (name, curve) in enumerate((("low risk", low), ("high risk", high))):
        axes.fill_between(curve.months, curve.low, curve.high, step="post", color=COLOURS[row], alpha=0.15, linewidth=0)
        axes.step(
            curve.months,
            curve.survival,
            where="post",
            label=f"{name}: {curve.events} events of {curve.subjects}",
            **_line(row),
        )
        for tick in ticks:
            table.text(tick, 1 - row, str(_at_risk(curve, float(tick))), ha="center", va="center", fontsize=8)
    axes.set(ylim=(0, 1.02), ylabel="Survival", title=f"Kaplan–Meier by risk group ({sentence})")
    _legend(axes, 2)
    table.set(ylim=(-0.5, 1.5), yticks=[1, 0], yticklabels=["low", "high"], xlabel="Months", ylabel="At risk")
    table.set_xticks(ticks)
    table.tick_params(length=0)
    for spine in table.spines.values():
        spine.set_visible(False)
    return data_uri(figure)


def data_uri(figure: Figure) -> str:
    """The figure as SVG in a data URI: the same numbers give the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def _axes(title: str, x: str, y: str, height: float = 3.4) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(COLUMN_INCH, height), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


def _square(title: str, x: str, y: str, entries: int = 0) -> tuple[Figure, Axes]:
    """``entries``: of the legend; more than three stand below the axes."""
    figure, axes = _axes(title, x, y, height=4.1 + (0.17 * entries + 0.1 if entries > 3 else 0.0))
    axes.set(xlim=(0, 1), ylim=(0, 1.005), aspect="equal")
    return figure, axes


def _line(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number % len(DASHES)]}


def _legend(axes: Axes, entries: int) -> None:
    """Inside where it fits; below the axes with many entries."""
    if entries <= 3:
        axes.legend(loc="best")
    else:
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.17), ncols=1 if entries <= 5 else 2)


def _forest(rows: Sequence[tuple[str, float, float, float, bool]], title: str, x: str, reference: float) -> str:
    figure = Figure(figsize=(COLUMN_INCH * 1.6, 1.1 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(reference, color=GREY, linewidth=0.8, linestyle=":")
    for row, (_, value, low, high, summary) in enumerate(rows):
        colour = COLOURS[1] if summary else COLOURS[0]
        axes.plot([low, high], [row, row], color=colour, linewidth=1.4)
        axes.plot([value], [row], marker="D" if summary else "s", color=colour, markersize=5)
        axes.annotate(
            f"{value:.3f} ({low:.3f} to {high:.3f})".replace("-", "−"),
            (1.01, row),
            xycoords=("axes fraction", "data"),
            fontsize=8,
            va="center",
        )
    axes.set(title=title, xlabel=x, yticks=range(len(rows)), yticklabels=[row[0] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return data_uri(figure)


def _at_risk(curve: SurvivalCurve, month: float) -> int:
    index = int(np.searchsorted(curve.months, month, side="left"))
    return int(curve.at_risk[index]) if index < len(curve.at_risk) else 0
