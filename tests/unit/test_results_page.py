"""docs/results.md is what docs/measured says, and its verdicts follow the rules of methods A0 and the issue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.experiments.labels_goal import goal_text
from training.experiments.lines import append_line
from training.experiments.optimum_table import measured, permuted_verdict, published_order, verdict
from training.experiments.results_page import COMMANDS, COSTS, MEASURED, OPTIMUM, PAGE, PATIENTS, page
from training.recipes import recipe

REPOSITORY = Path(__file__).resolve().parents[2]


def optimum_line(auc: float, **more: Any) -> dict[str, Any]:
    line = {"recipe": "cpc", "variant": "CPC", "train": 2000, "test": 1500, "settings": [], "permutation": -1}
    line |= {"seed": 1, "auc": auc, "low": auc - 0.02, "high": auc + 0.02, "se": 0.01, "tested": 1500, "learnt": 2000}
    return {**line, "bayes_auc": 0.833, "source": "pet+ct+clinical", "seconds": 1.0, "machine": "a machine", **more}


def test_the_committed_page_is_what_the_measurements_say() -> None:
    assert (REPOSITORY / PAGE).read_text() == page(REPOSITORY / MEASURED), "run make results"


def test_what_was_not_measured_is_said_with_its_command(tmp_path: Path) -> None:
    text = page(tmp_path)
    for file, command in COMMANDS.items():
        assert f"**Not measured**: there is no `docs/measured/{file}`.  Command: `{command}`." in text
    assert "| CPC | AUC, external validation | 0.843 |" in text
    assert "Published figures: not available to us" in text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (optimum_line(0.804), "reached (within 0.03)"),
        (optimum_line(0.802), "not reached: 0.031 below Bayes"),
        (optimum_line(0.852), "reached (within 0.03)"),
        (optimum_line(0.854), "**FAILURE**: 0.021 above Bayes, more than 2 SE: something leaks"),
        (optimum_line(0.82, learnt=1500), "reached (within 0.03); only 1500 training subjects, 2000 are asked for"),
        (optimum_line(0.82, bayes_auc=None), "no Bayes AUC is known"),
        (None, "not measured"),
    ],
)
def test_a_variant_is_held_against_the_bayes_auc(line: dict[str, Any] | None, said: str) -> None:
    assert verdict(line) == said


def test_permuted_labels_must_give_a_half() -> None:
    assert permuted_verdict([0.475] * 10) == "0.475 in 10 runs, as it must be"
    assert permuted_verdict([0.47, 0.46]).endswith("**FAILURE**: not 0.50 ± 0.03; 10 runs are asked for")
    lines = [optimum_line(0.8), *(optimum_line(0.5, permutation=i, bayes_auc=0.5) for i in range(3))]
    lines.append(optimum_line(0.7, settings=["steps=1"]))
    first, second = measured(lines, "cpc")
    assert (first.true, first.permuted) == (lines[0], (0.5, 0.5, 0.5))
    assert (second.settings, second.permuted) == (("steps=1",), ())


def test_the_papers_order_is_of_its_external_data() -> None:
    assert published_order(recipe("cpc")) == ["CPC", "PC", "P", "clinical", "C"]
    assert published_order(recipe("dfsigm")) == ["fusion", "dfsigm", "clinical"]
    assert published_order(recipe("prrt_pfs")) == ["lab+PET+CT", "lab RF", "CT", "PET"]
    assert published_order(recipe("ussl")) == []


def label_lines(method: str, gain: float, **more: Any) -> list[dict[str, Any]]:
    cell = {"phantoms": "confirmation", "model": "clustered", "labels": 40, "unlabelled": "in-domain", "flips": 0.0}
    return [
        {**cell, "steps": 300, "method": method, "draw": draw, "auc": 0.8 + gain + 0.001 * (draw % 3), **more}
        for draw in range(6)
    ]


def test_a_design_reaches_the_goal_only_where_all_of_it_is_measured() -> None:
    lines = []
    for model in ("clustered", "continuous"):
        for labels in (20, 40):
            for method, gain in {"supervised": 0.0, "radiomics": 0.01, "good": 0.035, "weak": 0.025}.items():
                lines += label_lines(method, gain, model=model, labels=labels)
    *_, good, weak = goal_text(lines, "confirmation")
    assert good.startswith("| good |")
    assert good.endswith("| not all measured |")
    assert weak.endswith("| not reached |")  # 0.015 above the stronger
    for method, loss in {"supervised": 0.0, "good": -0.005}.items():
        lines += label_lines(method, loss, unlabelled="wrong-organ") + label_lines(method, loss, flips=0.2)
    assert goal_text(lines, "confirmation")[-2].endswith("| **reached** |")
    lines += label_lines("good", -0.02, flips=0.2)
    assert goal_text(lines, "confirmation")[-2].endswith("| not reached |")
    assert goal_text(lines, "development") == ["No method but the baselines is measured."]


def test_tables_of_patients_and_costs(tmp_path: Path) -> None:
    row = {"model": "cpc", "variant": "PC", "patients": 20, "positives": 7, "auc": 0.6, "low": 0.4, "high": 0.8}
    told = {"statement": "Plumbing.", "folds": 4, "repeats": 5, "seed": 0, "machine": "a machine"}
    (tmp_path / PATIENTS).write_text(json.dumps({**told, "rows": [{**row, "permutation_p": 0.25}]}))
    cost = {"recipe": "cpc", "variant": "CPC", "device": "cuda", "machine": "a card", "threads": 2, "precision": "bf16"}
    cost |= {"input": [2, 96, 96, 96], "batch": 4, "seconds_per_step": 9.0, "subjects": 331, "input_share": 0.1}
    cost |= {"subjects_of": "the paper's", "seconds_per_epoch": 3.0, "peak_memory_mb": 2048.0, "flops_per_second": 2e12}
    append_line(tmp_path / COSTS, cost)
    append_line(tmp_path / COSTS, {**cost, "seconds_per_step": 0.25, "share_of_peak": 0.5, "peak": "a peak"})
    append_line(tmp_path / OPTIMUM, optimum_line(0.82))
    text = page(tmp_path)
    assert "| cpc | PC | 20 (7) | 0.600 (0.400–0.800) | 0.25 |" in text
    assert "| 2 × 96 × 96 × 96 | 4 | 0.25 | 3 (331, the paper's) | 2.0 GiB | 10.0% | 2 | 50.0% of a peak |" in text
    assert "| 9 |" not in text  # measured again since
    assert "**Not measured**: ussl, dlr, dfsigm, prrt_pfs." in text
    assert (
        "| CPC | defaults | 2000 | 1500 | 0.820 (0.800–0.840) | 0.833 | reached (within 0.03) | not measured |" in text
    )
