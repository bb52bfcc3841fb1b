"""Pseudo-label (Lee 2013): the teacher's own confident classes are learnt as if they were labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.semi_supervised.losses import ramp, supervised
from training.semi_supervised.method import Bench, Plain, Step
from training.semi_supervised.student import probabilities


class PseudoLabel(Plain):
    """``threshold`` [R]: on the teacher's probability; ``weight`` grows from a quarter to two fifths of the run [R]."""

    name = "pseudo-label"
    needs_unlabelled = True

    def __init__(self, threshold: float = 0.8, weight: float = 1.0) -> None:
        self._threshold, self._weight = threshold, weight

    def loss(self, step: Step, bench: Bench) -> Tensor:
        known, free = bench.pictures(step.labelled), bench.pictures(step.unlabelled)
        views = torch.cat([bench.view(known, step.generator), bench.weak(free, step.generator)])
        logits = bench.student.logits(views)
        n = len(known)
        loss = supervised(logits[:n], bench.labels(step.labelled), smoothing=bench.settings.smoothing).mean()
        if not len(free):
            return loss
        positive = probabilities(bench.teacher, free)
        sure = (torch.maximum(positive, 1.0 - positive) > self._threshold).float()
        each = nn.functional.cross_entropy(logits[n:], (positive > 0.5).long(), reduction="none")
        return loss + self._weight * ramp(step.done, 0.25) * (sure * each).mean()
