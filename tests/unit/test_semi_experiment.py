"""The experiment of labels: cells are measured once, paired by draw, and told with their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from training.experiments.labels_plan import PLAN, REVISION
from training.experiments.labels_table import paired, tables
from training.semi_supervised.methods import NAMES

EXTRA = {"radiomics", "agreement", "agreement-teacher", "rotation-pretraining", "feature-pretraining"}


def test_differences_are_paired_by_draw() -> None:
    first, second = {0: 0.8, 1: 0.9, 2: 0.7, 5: 0.1}, {0: 0.7, 1: 0.85, 2: 0.72}
    found = paired(first, second)
    assert found is not None
    away = [0.1, 0.05, -0.02]
    interval = stats.t.interval(0.95, 2, np.mean(away), stats.sem(away))
    assert (found.low, found.high) == pytest.approx(interval)
    assert (found.draws, found.above, found.p) == (3, 2, None)
    assert paired({0: 0.5}, {0: 0.4}) is None


def test_wilcoxon_from_six_draws_on() -> None:
    away = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]
    found = paired({i: 0.7 + a for i, a in enumerate(away)}, dict.fromkeys(range(6), 0.7))
    assert found is not None
    assert found.p == pytest.approx(0.03125)


def line(method: str, draw: int, auc: float, **more: object) -> dict[str, object]:
    cell = {"phantoms": "confirmation", "model": "clustered", "labels": 40, "unlabelled": "in-domain", "flips": 0.0}
    return {**cell, "steps": 300, "revision": REVISION, "method": method, "draw": draw, "auc": auc, **more}


def test_the_table_compares_with_the_stronger_baseline() -> None:
    lines = [line("supervised", d, 0.8 + 0.01 * d) for d in range(3)]
    lines += [line("radiomics", d, 0.85 + 0.01 * d) for d in range(3)]
    lines += [line("agreement", d, 0.88 + 0.012 * d, auc_with_radiomics=0.9) for d in range(3)]
    lines.append({**line("agreement", 0, 0.1), "phantoms": "development"})
    rows = [row for row in tables(lines, "confirmation").splitlines() if row.startswith("| 40")]
    assert [row.split(" | ")[1] for row in rows] == ["supervised", "radiomics", "agreement", "agreement + radiomics"]
    cells = rows[2].strip("| ").split(" | ")
    assert cells[3] == "0.892"
    assert cells[4].startswith("+0.082 (")
    assert cells[6].startswith("+0.032 (")
    assert cells[7] == "3/3"


def test_the_plan_names_methods_that_exist() -> None:
    assert {name for block in PLAN for name in block.methods} <= {*NAMES, *EXTRA}
