"""A run's folder with simulated answers: what a recipe leaves behind, without training anything."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from training.record import Predicted, RunRecord, append_predictions, write_record

QUALITY = {"CPC": 1.5, "PC": 1.35, "P": 1.1, "C": 0.8, "clinical": 0.3}
"""Distance of the classes in standard deviations, by variant."""


def simulated_run(
    folder: Path,
    *,
    studies: int = 180,
    repeats: int = 2,
    folds: int = 3,
    permutations: int = 0,
    external: int = 0,
    survival: bool = False,
    leak: bool = False,
    truth: bool = True,
    variants: tuple[str, ...] = tuple(QUALITY),
    seed: int = 0,
    prefix: str = "p",
    cohort_digest: str = "c" * 64,
    recipe: str = "simulated",
) -> RunRecord:
    """Write run.json and predictions.jsonl; the same arguments give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows: list[Predicted] = []
    labels = rng.random(studies) < 0.4
    centres = np.where(rng.random(studies) < (np.where(labels, 0.9, 0.15) if leak else 0.5), "North", "South")
    months, events = _survival(labels, rng) if survival else (None, None)

    def add(variant: str, scheme: str, part: str, repeat: int, who: range, y: np.ndarray, score: np.ndarray) -> None:
        for i in who:
            fold = i % folds
            rows.append(
                Predicted(
                    variant=variant,
                    scheme=scheme,
                    repeat=repeat,
                    fold=fold if scheme != "final" else 0,
                    part=part,  # type: ignore[arg-type]
                    patient=f"{prefix}{i:03d}",
                    study=f"{prefix}{i:03d}-1",
                    centre="Overseas" if part == "external" else str(centres[i % studies]),
                    label=int(y[i]),
                    probability=float(1 / (1 + math.exp(-(1.2 * score[i] - 0.5)))),
                    threshold=0.38 + 0.02 * fold,
                    months=None if months is None or part == "external" else float(months[i]),
                    event=None if events is None or part == "external" else int(events[i]),
                )
            )

    shared = rng.normal(size=studies)
    for variant in variants:
        own = QUALITY[variant] * (labels - 0.5) + 0.8 * shared + 0.4 * rng.normal(size=studies)
        if leak:
            own = own + 1.5 * (centres == "North")
        for repeat in range(repeats):
            score = own + 0.3 * rng.normal(size=studies)
            add(variant, "cv", "test", repeat, range(studies), labels, score)
        if variant == variants[0]:
            add(variant, "final", "train", 0, range(studies), labels, own + 1.5 * (labels - 0.5))
        for number in range(permutations if variant == variants[0] else 0):
            add(
                variant,
                f"permuted-{number}",
                "test",
                0,
                range(studies),
                rng.permutation(labels),
                rng.normal(size=studies),
            )
    if external:
        y = rng.random(external + studies) < 0.45
        score = 0.9 * QUALITY[variants[0]] * (y - 0.5) + rng.normal(size=len(y))
        add(variants[0], "final", "external", 0, range(studies, studies + external), y, score)
    append_predictions(folder, rows)
    record = _record(folder, studies, labels, variants, repeats, folds, truth, seed, cohort_digest, recipe)
    write_record(folder, record)
    return record


def _survival(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Weibull of methods A0: the positive live shorter."""
    scale = 14 / math.log(2) ** (1 / 1.2)
    time = scale * (-np.log(rng.random(len(labels))) / np.where(labels, 2.4, 1.0)) ** (1 / 1.2)
    end = rng.uniform(12, 48, len(labels))
    return np.minimum(time, end), time <= end


def _record(
    folder: Path,
    studies: int,
    labels: np.ndarray,
    variants: tuple[str, ...],
    repeats: int,
    folds: int,
    truth: bool,
    seed: int,
    cohort_digest: str,
    recipe: str,
) -> RunRecord:
    costs = {
        name: {f"cv 0.{k}": {"seconds_an_epoch": 1.2 + 0.1 * k, "input_share": 0.11} for k in range(folds)}
        for name in variants
    }
    return RunRecord(
        recipe=recipe,
        title="CPC: PD-L1 from PET, CT and clinical values, a reconstruction",
        command="petct-node train cpc --cohort cohort.csv --out run --folds 3 --repeats 2",
        settings={
            "steps": 300,
            "learning_rate": 1e-4,
            "seeds": [1, 2, 3],
            "input": {"preset": "canonical-roi", "size": 16},
        },
        settings_digest="5" * 64,
        cohort="cohort.csv",
        cohort_digest=cohort_digest,
        subjects=studies,
        positives=int(labels.sum()),
        unlabelled=40,
        variants=variants,
        seed=seed,
        repeats=repeats,
        folds=folds,
        state="done",
        started_at="2026-11-21T20:00:00+00:00",
        seconds=812.4,
        peak_memory_mb=1432.0,
        machine="a processor, 2 cores, Linux x86_64",
        versions={"python": "3.11.2", "torch": "2.13.0", "numpy": "2.4.6"},
        left_out={"p999-1": "the CT folder holds no image"},
        truth={"bayes_auc": {"pet": 0.78, "ct": 0.7, "ct+pet": 0.825, "pet+ct+clinical": 0.86}} if truth else {},
        facts={variants[0]: {"cv 0.0": {"temperature": 1.31, "stopped_at": 280}}},
        costs=costs,
    )
