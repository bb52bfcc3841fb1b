"""Losses and small pieces that several methods share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def supervised(logits: Tensor, labels: Tensor, *, smoothing: float, robust: float = 0.0) -> Tensor:
    """Cross-entropy of each (n,), or with ``robust`` g > 0 the generalised one, (1 − p^g) ÷ g.

    Zhang & Sabuncu 2018 (arXiv 1805.07836): g → 0 is cross-entropy, g = 1 the mean absolute error.
    """
    if robust > 0.0:
        right = logits.softmax(1).gather(1, labels[:, None])[:, 0].clamp_min(1e-6)
        return (1.0 - right**robust) / robust
    return nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")


def soft(logits: Tensor, positive: Tensor) -> Tensor:
    """Cross-entropy of each (n,) against a probability of the label."""
    return nn.functional.binary_cross_entropy_with_logits(logits[:, 1] - logits[:, 0], positive, reduction="none")


def ramp(done: float, start: float = 0.0, length: float = 0.15) -> float:
    """0 before ``start``, 1 after ``start + length``, shares of the run."""
    return min(max((done - start) / length, 0.0), 1.0)


def sinkhorn(scores: Tensor, *, epsilon: float, columns: Tensor, rounds: int) -> Tensor:
    """Soft targets (n, k), rows sum to 1, columns to n × ``columns`` (k,) as nearly as ``rounds`` bring them.

    Cuturi 2013 (arXiv 1306.0895) on exp(scores ÷ epsilon), in logarithms.
    """
    log = scores / epsilon
    wanted = torch.log(columns * len(scores))
    for _ in range(rounds):
        log = log - torch.logsumexp(log, 0, keepdim=True) + wanted
        log = log - torch.logsumexp(log, 1, keepdim=True)
    return log.exp()
