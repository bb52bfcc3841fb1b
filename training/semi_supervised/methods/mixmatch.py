"""MixMatch (Berthelot et al. 2019, arXiv 1905.02249): sharpened guesses, and everything mixed with everything."""

from __future__ import annotations

import torch
from torch import Tensor

from training.semi_supervised.losses import ramp, soft
from training.semi_supervised.method import Bench, Plain, Step
from training.semi_supervised.student import probabilities

VIEWS = 2


class MixMatch(Plain):
    """``sharpness`` .5, ``alpha`` .75, two views as published; ``weight`` 5 [R] (75 on CIFAR-10), ramped."""

    name = "mixmatch"
    needs_unlabelled = True

    def __init__(self, sharpness: float = 0.5, alpha: float = 0.75, weight: float = 5.0) -> None:
        self._sharpness, self._alpha, self._weight = sharpness, alpha, weight

    def loss(self, step: Step, bench: Bench) -> Tensor:
        known, free = bench.pictures(step.labelled), bench.pictures(step.unlabelled)
        views = [bench.weak(free, step.generator) for _ in range(VIEWS if len(free) else 0)]
        x = torch.cat([bench.view(known, step.generator), *views])
        y = torch.cat([bench.labels(step.labelled).float(), *([self._guess(views, bench)] * len(views))])
        mixed, target = self._mixed(x, y, step.generator)
        logits = bench.student.logits(mixed)
        n = len(known)
        loss = soft(logits[:n], target[:n]).mean()
        if not len(free):
            return loss
        away = (logits[n:].softmax(1)[:, 1] - target[n:]) ** 2
        return loss + self._weight * ramp(step.done, 0.0, 0.4) * away.mean()

    def _guess(self, views: list[Tensor], bench: Bench) -> Tensor:
        if not views:
            return torch.empty(0, device=bench.device)
        p = torch.stack([probabilities(bench.teacher, view) for view in views]).mean(0)
        up, down = p ** (1.0 / self._sharpness), (1.0 - p) ** (1.0 / self._sharpness)
        return up / (up + down)

    def _mixed(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Each image with another one, its own share at least a half; λ ~ Beta(α, α) from two gamma variates."""
        share = _beta(self._alpha, len(x), generator)
        share = torch.maximum(share, 1.0 - share)
        other = torch.randperm(len(x), generator=generator, device=x.device)
        wide = share.view(-1, *[1] * (x.ndim - 1))
        return wide * x + (1.0 - wide) * x[other], share * y + (1.0 - share) * y[other]


def _beta(alpha: float, n: int, generator: torch.Generator) -> Tensor:
    """Beta(α, α) by Jöhnk's method, which needs only uniform numbers; α below 1 accepts most of them."""
    tries = torch.rand(2, 32, n, generator=generator, device=generator.device) ** (1.0 / alpha)
    total = tries.sum(0)
    first = (total <= 1.0).float().argmax(0)
    pick = torch.arange(n, device=generator.device)
    return tries[0, first, pick] / total[first, pick].clamp_min(1e-12)
