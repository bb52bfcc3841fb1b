"""Our numbers beside the paper's, and beside the best there is where the cohort is a phantom."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from training.report.numbers import Performance

NEAR = 0.03  # methods A0: within this of the Bayes AUC


@dataclass(frozen=True, slots=True)
class Beside:
    """A row of the paper's table.  ``ours``: text, "" where we have nothing like it.  ``verdict``: with the reason."""

    model: str
    quantity: str
    published: str
    ours: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Optimum:
    """A variant against the Bayes AUC of the sources it may use.  ``suspicious``: above it by more than 2 SE."""

    variant: str
    sources: str
    bayes_auc: float
    auc: float
    standard_error: float
    near: bool
    suspicious: bool


def beside_published(
    published: Sequence[tuple[str, str, str]], found: Sequence[Performance], phantom: bool
) -> list[Beside]:
    """Each published AUC with ours of the same model and kind of test; other quantities have no counterpart."""
    return [_beside(row, found, phantom) for row in published]


def optima(truth: Mapping[str, JsonValue], found: Sequence[Performance], sources: Mapping[str, str]) -> list[Optimum]:
    """Results on studies that were not learnt from against the truth file; only variants whose sources are known.

    ``sources``: variant → sources in any order ("ct+pet"); with none: the first variant, all sources.
    """
    known = truth.get("bayes_auc")
    if isinstance(known, int | float):
        known = {"all": known}
    if not isinstance(known, dict) or not known:
        return []
    given = truth.get("bayes_auc_as_given")  # the same where the table has holes: what can be reached from it
    values = {_set(name): (name, value) for name, value in known.items()}
    if isinstance(given, dict):
        values |= {_set(name): (f"{name} (some values missing)", value) for name, value in given.items()}
    if not sources and found:
        sources = {found[0].variant: max(values.values(), key=lambda one: _float(one[1]))[0].split(" ")[0]}
    rows = []
    for one in found:
        name, value = values.get(_set(sources.get(one.variant, "")), ("", None))
        if not isinstance(value, int | float):
            continue
        error = (one.auc.high - one.auc.low) / (2.0 * 1.96)
        gap = value - one.auc.value
        rows.append(Optimum(one.variant, name, value, one.auc.value, error, abs(gap) <= NEAR, gap < -2.0 * error))
    return rows


def _set(sources: str) -> frozenset[str]:
    return frozenset(sources.split("+"))


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _beside(row: tuple[str, str, str], found: Sequence[Performance], phantom: bool) -> Beside:
    model, quantity, value = row
    mine = _counterpart(model, quantity, found)
    number = re.match(r"\s*(0?\.\d+|1\.0*)", value)
    if mine is None or number is None:
        return Beside(model, quantity, value, "", "no counterpart in this run")
    ours = f"{mine.auc.value:.3f} ({mine.auc.low:.3f}–{mine.auc.high:.3f}), n = {mine.studies}"
    inside = mine.auc.low <= float(number.group(1)) <= mine.auc.high
    agrees = "inside our 95 % interval" if inside else "outside our 95 % interval"
    why = (
        "not comparable: phantoms with a planted signal, not patients"
        if phantom
        else "not the paper's patients, and parts of the method are reconstructed"
    )
    return Beside(model, quantity, value, ours, f"{agrees}; {why}")


def _counterpart(model: str, quantity: str, found: Sequence[Performance]) -> Performance | None:
    """The same name but for case and spaces, and the kind of test that the quantity names."""
    if not re.search(r"\bAU(RO)?C\b", quantity):
        return None
    lower = quantity.lower()
    if re.search(r"\btrain", lower):  # not "pretrained"
        wanted = ("final", "train")
    elif "external" in lower or "evc" in lower:
        wanted = ("final", "external")
    else:
        wanted = ("cv", "test")
    same = [one for one in found if _bare(one.variant) == _bare(model)]
    return next((one for one in same if (one.scheme, one.part) == wanted), None)


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
