"""FixMatch (Sohn et al. 2020, arXiv 2001.07685) with the distribution alignment of ReMixMatch (1911.09785)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.semi_supervised.losses import ramp, supervised
from training.semi_supervised.method import Bench, Plain, Step
from training.semi_supervised.student import probabilities


class FixMatch(Plain):
    """Strong views must have the class that the teacher is sure of on the weak view.

    ``threshold``: .95 is the paper's; with labels that are wrong in a tenth of cases a calibrated network cannot exceed
    .9, so .8 is our default [M] (methods B3).
    """

    name = "fixmatch"
    needs_unlabelled = True

    def __init__(self, threshold: float = 0.8, weight: float = 1.0) -> None:
        self._threshold, self._weight = threshold, weight

    def begin(self, bench: Bench) -> None:
        bench.memory["mean"] = torch.tensor(bench.problem.prior, device=bench.device)

    def loss(self, step: Step, bench: Bench) -> Tensor:
        known, free = bench.pictures(step.labelled), bench.pictures(step.unlabelled)
        views = [bench.view(known, step.generator)]
        if len(free):
            views.append(bench.strong(free, step.generator))
        logits = bench.student.logits(torch.cat(views))
        n = len(known)
        loss = supervised(logits[:n], bench.labels(step.labelled), smoothing=bench.settings.smoothing).mean()
        if not len(free):
            return loss
        positive = self.aligned(probabilities(bench.teacher, bench.weak(free, step.generator)), bench)
        sure = (torch.maximum(positive, 1.0 - positive) > self._threshold).float()
        each = nn.functional.cross_entropy(logits[n:], (positive > 0.5).long(), reduction="none")
        return loss + self._weight * ramp(step.done, 0.15) * (sure * each).mean()

    def aligned(self, positive: Tensor, bench: Bench) -> Tensor:
        """The teacher's probabilities, moved so that their running mean is the prior."""
        mean = bench.memory["mean"]
        mean.copy_(0.99 * mean + 0.01 * bench.averaged(positive.mean()))
        up = positive * bench.problem.prior / mean
        down = (1.0 - positive) * (1.0 - bench.problem.prior) / (1.0 - mean)
        return up / (up + down)
