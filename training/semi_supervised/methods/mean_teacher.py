"""Mean Teacher (Tarvainen & Valpola 2017, arXiv 1703.01780): agree with the slow copy on another view."""

from __future__ import annotations

import torch
from torch import Tensor

from training.semi_supervised.losses import ramp, supervised
from training.semi_supervised.method import Bench, Plain, Step
from training.semi_supervised.student import probabilities


class MeanTeacher(Plain):
    """``weight`` [R]: of the squared difference of probabilities, rising over the first 40 % of the run."""

    name = "mean-teacher"
    needs_unlabelled = True

    def __init__(self, weight: float = 5.0) -> None:
        self._weight = weight

    def loss(self, step: Step, bench: Bench) -> Tensor:
        known, free = bench.pictures(step.labelled), bench.pictures(step.unlabelled)
        logits = bench.student.logits(torch.cat([bench.view(known, step.generator), bench.weak(free, step.generator)]))
        n = len(known)
        loss = supervised(logits[:n], bench.labels(step.labelled), smoothing=bench.settings.smoothing).mean()
        if not len(free):
            return loss
        target = probabilities(bench.teacher, bench.weak(free, step.generator))
        away = (logits[n:].softmax(1)[:, 1] - target) ** 2
        return loss + self._weight * ramp(step.done, 0.0, 0.4) * away.mean()
