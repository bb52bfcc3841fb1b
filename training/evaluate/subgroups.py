"""AUC per centre or subgroup, a random-effects summary, and whether groups differ beyond chance.

A model that learnt the centre in place of the disease has a pooled AUC above those of the centres: that is flagged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluate.bootstrap import DRAWS, draws_of, mean_auc
from training.evaluate.delong import auc_interval, delong
from training.evaluate.estimate import Estimate, Labels, Scores

FEWEST = 5  # of each class, else no AUC of the group is printed


@dataclass(frozen=True, slots=True)
class Group:
    """``auc`` is None where the group has fewer than five of a class."""

    name: str
    subjects: int
    positives: int
    auc: Estimate | None


@dataclass(frozen=True, slots=True)
class Subgroups:
    """``summary``: random effects (DerSimonian & Laird on the logit), ``i2``: share of the spread that is not chance.

    ``interaction_p``: bootstrap, for the largest difference between two groups; None with fewer than two groups.
    ``pooled``: all subjects together, ``within``: pairs of the same group only; ``learnt_the_group``: pooled lies above
    the upper end of ``within``.
    """

    groups: tuple[Group, ...]
    summary: Estimate | None
    i2: float | None
    interaction_p: float | None
    pooled: float
    within: Estimate | None
    learnt_the_group: bool


def subgroups(
    labels: Labels, scores: Scores, names: Sequence[str], patients: Sequence[str], *, seed: int, draws: int = DRAWS
) -> Subgroups:
    """``names``: the group of each row, "" where unknown (left out).  ``scores``: as ``auc_interval``."""
    of = np.asarray(names, dtype=str)
    known = [name for name in dict.fromkeys(sorted(of)) if name]
    found = tuple(_group(labels, scores, of == name, name) for name in known)
    usable = [group.name for group in found if group.auc is not None]
    pooled = mean_auc(labels, scores)
    if len(usable) < 2:
        return Subgroups(found, None, None, None, pooled, None, False)
    masks = [of == name for name in usable]
    summary, i2 = _random_effects(labels, scores, masks)

    def per_group(rows: np.ndarray) -> np.ndarray:
        aucs = [mean_auc(labels[rows[mask[rows]]], scores[rows[mask[rows]]]) for mask in masks]
        return np.array([*aucs, _within(labels[rows], scores[rows], [mask[rows] for mask in masks])])

    seen = per_group(np.arange(len(labels)))
    drawn = draws_of(per_group, labels, patients, seed=seed, draws=draws)
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    low, high = np.percentile(drawn[:, -1], [2.5, 97.5])
    within = Estimate(float(seen[-1]), float(low), float(high))
    return Subgroups(found, summary, i2, _interaction(seen[:-1], drawn[:, :-1]), pooled, within, pooled > within.high)


def _group(labels: Labels, scores: Scores, mask: Labels, name: str) -> Group:
    positives, subjects = int(labels[mask].sum()), int(mask.sum())
    enough = min(positives, subjects - positives) >= FEWEST
    return Group(name, subjects, positives, auc_interval(labels[mask], scores[mask]) if enough else None)


def _random_effects(labels: Labels, scores: Scores, masks: list[Labels]) -> tuple[Estimate, float]:
    """On the logit of each group's AUC, kept half a pair away from 0 and 1."""
    from statsmodels.stats.meta_analysis import combine_effects

    effects, variances = [], []
    for mask in masks:
        columns = scores[mask] if scores.ndim == 2 else scores[mask][:, None]
        found = delong(labels[mask], columns)
        m, n = int(labels[mask].sum()), int((~labels[mask]).sum())
        auc = float(np.clip(found.aucs.mean(), 0.5 / (m * n), 1.0 - 0.5 / (m * n)))
        variance = max(float(found.covariance.mean()), 1.0 / (12.0 * m * n))
        effects.append(math.log(auc / (1.0 - auc)))
        variances.append(variance / (auc * (1.0 - auc)) ** 2)
    # statsmodels leaves the between-group variance negative where groups agree better than chance: then it is 0
    with np.errstate(invalid="ignore", divide="ignore"):
        combined = combine_effects(np.array(effects), np.array(variances), method_re="dl")
        frame = combined.summary_frame()
    row = "random effect" if combined.tau2 > 0.0 else "fixed effect"
    value, low, high = (1.0 / (1.0 + math.exp(-frame.loc[row, name])) for name in ("eff", "ci_low", "ci_upp"))
    return Estimate(value, low, high), max(float(combined.i2), 0.0)


def _interaction(seen: np.ndarray, drawn: np.ndarray) -> float:
    """Two-sided: is the largest spread between groups larger than what resampling alone gives around equal AUCs?"""
    centred = drawn - seen
    spread = centred.max(axis=1) - centred.min(axis=1)
    return float((1 + np.sum(spread >= seen.max() - seen.min())) / (1 + len(spread)))


def _within(labels: Labels, scores: Scores, masks: list[Labels]) -> float:
    """AUC over pairs of the same group, each group with the weight of its pairs."""
    aucs = [mean_auc(labels[mask], scores[mask]) for mask in masks]
    pairs = [float(labels[mask].sum() * (~labels[mask]).sum()) for mask in masks]
    known = [(auc, pair) for auc, pair in zip(aucs, pairs, strict=True) if pair]
    return float(np.average([a for a, _ in known], weights=[p for _, p in known])) if known else float("nan")
