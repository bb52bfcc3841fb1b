"""Labelled images only: what every other method is compared with, step for step."""

from __future__ import annotations

from torch import Tensor

from training.semi_supervised.losses import supervised
from training.semi_supervised.method import Bench, Plain, Step


class Supervised(Plain):
    """``robust``: g of the generalised cross-entropy, 0 for the usual one."""

    def __init__(self, robust: float = 0.0) -> None:
        self.name = "supervised-gce" if robust else "supervised"
        self._robust = robust

    def loss(self, step: Step, bench: Bench) -> Tensor:
        x = bench.view(bench.pictures(step.labelled), step.generator)
        logits = bench.student.logits(x, bench.values(step.labelled))
        each = supervised(logits, bench.labels(step.labelled), smoothing=bench.settings.smoothing, robust=self._robust)
        return (each * bench.weights(step.labelled)).mean()
