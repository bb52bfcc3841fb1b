"""Clinical and laboratory values of a cohort: how they are encoded is learnt from training rows alone.

The encoding itself is ``inference.model.values``, the one that serves.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from inference.facts import Refused
from inference.model.values import Value, ValueSpec, encode, width
from training.prepared import UNLABELLED, Prepared, Rows

Missing = Literal["filled", "refused", "as-seen"]
BEYOND = 0.25  # of the training's range: how far a value may lie outside it and still be like the training's [R]

TITLES = {
    "age": "age",
    "sex": "sex",
    "cea": "CEA",
    "suv_max": "SUVmax",
    "mtv_ml": "MTV",
    "tlg": "TLG",
    "volume_ml": "lesion volume",
    "cga": "chromogranin A",
    "ggt": "gamma-GT",
    "alp": "alkaline phosphatase",
    "ast": "AST",
    "alt": "ALT",
    "hb": "haemoglobin",
    "ldh": "LDH",
}
_HEADER, _MEASURED = ("age", "sex"), ("suv_max", "mtv_ml", "tlg", "volume_ml")


def fit_specs(
    prepared: Prepared,
    rows: Rows,
    names: Sequence[str],
    *,
    log: Sequence[str] = (),
    missing: Missing = "as-seen",
    units: Mapping[str, str] | None = None,
) -> tuple[ValueSpec, ...]:
    """How each of ``names`` that the cohort has is encoded: median, mean, sd, levels and (widened) range of ``rows``.

    ``log``: columns whose logarithm is taken (where a value of ``rows`` is not above 0, it is not).  ``missing``:
    "as-seen" fills (and flags) a column that any labelled study lacks, be it of ``rows`` or of those that are held out
    (they must get an answer), and makes the model abstain without it where none does; studies without a label are not
    asked.  "filled" and "refused" hold for all columns.  ``units``: UCUM by column, where the table states none.

    A column that no row of ``rows`` has is left out.  The names of a category's levels come from the whole table (they
    tell nothing of a label), their order from ``rows``, the most frequent first.
    Raises ``Refused`` ``values-mixed`` where a column mixes numbers and words.
    """
    specs = []
    labelled = np.flatnonzero(prepared.labels != UNLABELLED)
    for name in names:
        column = prepared.values.get(name)
        if column is None:
            continue
        known = [column[row] for row in rows if not _absent(column[row])]
        if not known:
            continue
        lacking = any(_absent(column[row]) for row in (*rows, *labelled))
        handling = missing if missing != "as-seen" else "filled" if lacking else "refused"
        common: dict[str, Any] = {
            "name": name,
            "title": TITLES.get(name, name.replace("_", " ")),
            "unit": prepared.units.get(name) or (units or {}).get(name, ""),
            "missing": handling,
            "source": "header" if name in _HEADER else "measured" if name in _MEASURED else "table",
        }
        _refuse_mixed(name, column)
        if isinstance(known[0], str):
            specs.append(ValueSpec(**common, levels=_levels(known, column)))
        else:
            specs.append(_number(np.array(known, float), common, logarithm=name in log))
    return tuple(specs)


def encode_rows(prepared: Prepared, rows: Rows, specs: Sequence[ValueSpec]) -> npt.NDArray[np.float32]:
    """The vectors of ``rows``, float32 (len(rows), width), by the encoding that serves.

    Raises ``Refused`` ``value-missing`` or ``value-not-usable`` naming the study.
    """
    vectors = np.zeros((len(rows), width(specs)), np.float32)
    for i, row in enumerate(rows):
        try:
            vectors[i] = encode(prepared.values_of(int(row)), specs).vector
        except Refused as refused:
            reason = f"In study {prepared.studies[row]}: {refused.reason}"
            raise Refused(refused.code, reason, **refused.facts) from refused
    return vectors


def column_names(specs: Sequence[ValueSpec]) -> tuple[str, ...]:
    """What each number of the vector is, for tables of coefficients."""
    named = [n for s in specs for n in ([f"{s.name} = {level}" for level in s.levels[1:]] if s.levels else [s.name])]
    return (*named, *(f"{spec.name} missing" for spec in specs if spec.missing == "filled"))


def _absent(value: Value | None) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or value == ""


def _refuse_mixed(name: str, column: Sequence[Value | None]) -> None:
    kinds = {isinstance(value, str) for value in column if not _absent(value)}
    if len(kinds) > 1:
        raise Refused("values-mixed", f"Column '{name}' mixes numbers and words; write one kind only.", column=name)


def _levels(known: Sequence[Value], column: Sequence[Value | None]) -> tuple[str, ...]:
    counts = Counter(str(value).strip() for value in known)
    every = {str(value).strip() for value in column if not _absent(value)}
    return tuple(sorted(every, key=lambda level: (-counts[level], level)))


def _number(values: npt.NDArray[np.float64], common: Mapping[str, Any], *, logarithm: bool) -> ValueSpec:
    """``low`` and ``high`` lie a quarter of the range beyond the rows' own, on the scale that the model takes.

    The smallest and largest of n rows miss about 2 of n + 1 new patients, in each value; of a dozen values and 60 rows
    that would withhold the answer to a third of patients who are like the training's [R].
    """
    taken = np.log(values) if (logarithm := logarithm and bool((values > 0).all())) else values
    low, high = _widened(taken)
    if not logarithm and values.min() >= 0:
        low = max(low, 0.0)  # a quantity that cannot be negative
    sd = float(taken.std())
    return ValueSpec(
        **common,
        transform="log" if logarithm else "none",
        median=float(np.median(values)),
        mean=float(taken.mean()),
        sd=sd if sd > 1e-9 * max(1.0, abs(float(taken.mean()))) else 1.0,
        low=math.exp(low) if logarithm else low,
        high=math.exp(high) if logarithm else high,
    )


def _widened(taken: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(taken.min()), float(taken.max())
    beyond = BEYOND * (high - low)
    return low - beyond, high + beyond
