"""Learn from a teacher that is no network: soft targets from features or from small models (methods B3) [M]."""

from __future__ import annotations

import torch
from torch import Tensor

from training.semi_supervised.losses import soft, supervised
from training.semi_supervised.method import Bench, Plain, Step


class RadiomicsTeacher(Plain):
    """Unlabelled images get ``Problem.targets``; images without a target (NaN) teach nothing.

    ``weight``: of that loss beside the labels'.  The teacher is fitted on the same labels
    (``training.semi_supervised.features``), so nothing leaks.
    """

    name = "radiomics-teacher"
    needs_unlabelled = True

    def __init__(self, weight: float = 1.0) -> None:
        self._weight = weight

    def begin(self, bench: Bench) -> None:
        if bench.problem.targets is None:
            raise ValueError("the method needs Problem.targets")
        bench.memory["targets"] = torch.from_numpy(bench.problem.targets.astype("float32")).to(bench.device)

    def loss(self, step: Step, bench: Bench) -> Tensor:
        rows = torch.cat([step.labelled, step.unlabelled])
        logits = bench.student.logits(bench.view(bench.pictures(rows), step.generator))
        n = len(step.labelled)
        loss = supervised(logits[:n], bench.labels(step.labelled), smoothing=bench.settings.smoothing).mean()
        target = bench.memory["targets"][step.unlabelled]
        known = ~torch.isnan(target)
        if not known.any():
            return loss
        return loss + self._weight * soft(logits[n:][known], target[known]).mean()
