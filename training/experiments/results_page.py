"""docs/results.md, out of what docs/measured holds; nothing in it is typed.

    python -m training.experiments.results_page

A measurement that is missing is said to be missing, with the command that makes it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.experiments.labels import SEEDS
from training.experiments.labels_goal import goal_text
from training.experiments.labels_plan import PLAN
from training.experiments.labels_table import tables
from training.experiments.lines import read_lines
from training.experiments.optimum_table import recipe_text
from training.recipes import RECIPES, recipe

MEASURED, PAGE = Path("docs/measured"), Path("docs/results.md")
OPTIMUM, LABELS, PATIENTS, COSTS = "optimum.jsonl", "ussl.jsonl", "sts.json", "training_costs.jsonl"
COMMANDS = {
    OPTIMUM: "python -m training.experiments.optimum ussl dlr cpc dfsigm prrt_pfs --permutations 10",
    LABELS: "python -m training.experiments.labels --plan --phantoms confirmation --out docs/measured/ussl.jsonl",
    PATIENTS: "python -m training.experiments.sts --runs runs/sts",
    COSTS: "make bench-training",
}
PHANTOMS = ("confirmation", "development")
STRESS = (
    "Label models: in *clustered* and *continuous* (methods A0) PET and CT show one score; in *separate* they show "
    "two that are independent given the label, in *ct-only* PET shows nothing of it: there the assumption that both "
    "agree is weak, or false."
)
Line = Mapping[str, Any]


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--measured", type=Path, default=MEASURED)
    parser.add_argument("--out", type=Path, default=PAGE)
    args = parser.parse_args()
    args.out.write_text(page(args.measured))


def page(measured: Path) -> str:
    """The whole page, Markdown."""
    parts = [
        "# Results of training",
        "",
        "Written by `make results` from the files in `docs/measured`; do not edit it.  Phantoms have a planted signal "
        "and a known optimum: they show whether a recipe finds what is there, and nothing about patients.  The recipes "
        "are reconstructions of published systems without public code; no figure of ours is a figure of theirs.",
        "",
        *_optimum(measured / OPTIMUM),
        *_labels(measured / LABELS),
        *_patients(measured / PATIENTS),
        *_costs(measured / COSTS),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _optimum(file: Path) -> list[str]:
    lines = read_lines(file)
    text = [
        "## 1. Each recipe against its paper and against the best there is",
        "",
        *_origin(file, [f"phantoms of seed {seed}" for seed in _told(lines, "seed")], lines),
        "Bayes AUC: the best that any reader of the variant's sources can reach on this phantom.  Goal: within 0.03 of "
        "it with 2000 training subjects or more; above it by more than 2 SE is a failure; permuted labels give "
        "0.50 ± 0.03 over 10 runs.",
        "",
    ]
    for name in RECIPES:
        text += recipe_text(recipe(name), lines)
    return text


def _labels(file: Path) -> list[str]:
    lines = read_lines(file)
    draws = sorted({line["draw"] for line in lines})
    seeds = [f"phantoms {SEEDS[name]} ({name})" for name in PHANTOMS if name in _told(lines, "phantoms")]
    seeds += [f"label draws {draws[0]} to {draws[-1]}"] if draws else []
    text = [
        "## 2. What unlabelled images are worth",
        "",
        *_origin(file, seeds, lines),
    ]
    for phantoms in PHANTOMS:
        if not any(line.get("phantoms") == phantoms for line in lines):
            if lines:
                text += [f"On {phantoms} phantoms: **not measured**.", ""]
            continue
        kind = "what was chosen before" if phantoms == "confirmation" else "for choosing a design"
        text += [f"### {phantoms.capitalize()} phantoms ({kind})", "", _progress(lines, phantoms), ""]
        text += [STRESS, "", tables(lines, phantoms)]
        text += ["Is there a design that reaches the goal?  (At 20 and 40 labels ≥ 0.02 above the stronger of "
                 "supervised and radiomics, interval above 0; no loss on the continuous model; at most 0.01 below "
                 "supervised under wrong-organ images and 20 % flipped labels.)", ""]  # fmt: skip
        text += [*goal_text(lines, phantoms), ""]
    return text


def _progress(lines: Sequence[Line], phantoms: str) -> str:
    """How much of the plan is there."""
    wanted = {cell for block in PLAN for cell in block.cells()}
    names = ("model", "unlabelled", "draw", "labels", "flips", "method")
    done = wanted & {tuple(line[name] for name in names) for line in lines if line["phantoms"] == phantoms}
    return f"{len(done)} of the {len(wanted)} cells of the plan are measured; what has no row below is not."


def _patients(file: Path) -> list[str]:
    found = json.loads(file.read_text()) if file.is_file() else {}
    seeds = [f"{found['repeats']} × {found['folds']} folds, run seed {found.get('seed', 0)}"] if found else []
    text = ["## 3. Twenty real patients", "", *_origin(file, seeds, [found] if found else [])]
    if not found:
        return text
    text += [
        f"**{found['statement']}**  Soft-tissue sarcoma, the label is later lung metastasis: not the disease of any "
        "recipe.  AUC of the mean out-of-fold logit of each patient; p by dealing out the labels anew over these "
        "predictions, not through every fit, and not corrected for the number of rows.",
        "",
    ]
    text += ["| Model | Variant | Patients (positive) | AUC (95 %) | Permutation p |", "|---|---|---|---|---|"]
    for row in found["rows"]:
        auc = f"{row['auc']:.3f} ({row['low']:.3f}–{row['high']:.3f})"
        who = f"{row['patients']} ({row['positives']})"
        text.append(f"| {row['model']} | {row['variant']} | {who} | {auc} | {row['permutation_p']:.3g} |")
    return [*text, ""]


def _costs(file: Path) -> list[str]:
    lines = read_lines(file)
    last = {
        tuple(str(line.get(k)) for k in ("recipe", "variant", "device", "machine", "threads")): line for line in lines
    }
    text = [
        "## 4. What training costs",
        "",
        *_origin(file, ["random numbers of the input's shape, seed 0"] if lines else [], lines),
    ]
    if lines:
        text += [
            "Large sizes.  A step of ussl, cpc and prrt_pfs is forward, backward and AdamW on a batch; of dlr and "
            "dfsigm it is the frozen network on a batch of studies (three slices each), once for a cohort.  Input: "
            "share of a step for fetching and augmenting prepared arrays (on a GPU as the processor sees it).  Peak "
            "memory: of the whole process, on a GPU what torch took of it.",
            "",
            "| Recipe, variant | Device | Input | Batch | s a step | s an epoch (subjects) | Peak memory | Input share "
            "| TFLOP/s | Share of the card's peak |",
            "|" + "---|" * 10,
            *(_cost(line) for line in last.values()),
            "",
        ]
        if not any(line["device"] == "cuda" for line in lines):
            text += ["On a GPU: **not measured**.", ""]
        missing = [name for name in RECIPES if not any(line["recipe"] == name for line in lines)]
        if missing:
            text += [f"**Not measured**: {', '.join(missing)}.", ""]
    return text


def _cost(line: Line) -> str:
    where = line["machine"] + (f", {line['threads']} threads" if line["device"] == "cpu" else "")
    share = f"{line['share_of_peak']:.1%} of {line['peak']}" if "share_of_peak" in line else "–"
    cells = [
        f"{line['recipe']}, {line['variant']}",
        f"{where}, {line['precision']}",
        " × ".join(map(str, line["input"])),
        str(line["batch"]),
        f"{line['seconds_per_step']:.3g}",
        f"{line['seconds_per_epoch']:.4g} ({line['subjects']}, {line['subjects_of']})",
        f"{line['peak_memory_mb'] / 1024:.1f} GiB",
        f"{line['input_share']:.1%}",
        f"{line['flops_per_second'] / 1e12:.3g}",
        share,
    ]
    return "| " + " | ".join(cells) + " |"


def _origin(file: Path, seeds: Sequence[str], lines: Sequence[Line]) -> list[str]:
    """Command, seeds and machines, or that there is nothing yet."""
    command = COMMANDS[file.name]
    if not lines:
        return [f"**Not measured**: there is no `docs/measured/{file.name}`.  Command: `{command}`.", ""]
    machines = _told(lines, "machine")
    return [f"Command: `{command}`.  Seeds: {'; '.join(seeds)}.  Machines: {'; '.join(machines)}.", ""]


def _told(lines: Sequence[Line], name: str) -> list[str]:
    """The different values, in the order in which they came."""
    return list(dict.fromkeys(str(line[name]) for line in lines if name in line))


if __name__ == "__main__":
    main()
