"""Pretraining: a task that needs no label is learnt first, then the labels from there (methods B1 to B3).

Run ``training.semi_supervised.loop.fit`` with one of these, and give its weights as ``initial`` to the fit of the
labels.  ``Problem.unlabelled`` are then all images to learn from, the labelled ones among them.  Four quarter-turns
cannot be told apart in a tumour crop, which has no preferred direction: measured at chance (methods B3) [M]; they are
here for fixed crops, and for comparison.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.semi_supervised.method import Bench, Plain, Step
from training.semi_supervised.methods.free_tasks import rotation

REGRESSION = "regression"


class RotationPretext(Plain):
    """Which quarter-turn was made (Gidaris et al. 2018, arXiv 1803.07728)."""

    name = "rotation-pretext"
    needs_unlabelled = True

    def heads(self, features: int) -> dict[str, nn.Module]:
        return {"rotation": nn.Linear(features, 4)}

    def loss(self, step: Step, bench: Bench) -> Tensor:
        return rotation(bench.weak(bench.pictures(step.unlabelled), step.generator), step, bench)


class FeaturePretext(Plain):
    """The radiomics features of the image, standardised (``Problem.pretext``): a task about the region [M]."""

    name = "feature-pretext"
    needs_unlabelled = True

    def __init__(self, count: int) -> None:
        self._count = count

    def heads(self, features: int) -> dict[str, nn.Module]:
        return {REGRESSION: nn.Linear(features, self._count)}

    def begin(self, bench: Bench) -> None:
        if bench.problem.pretext is None:
            raise ValueError("the method needs Problem.pretext")
        bench.memory["pretext"] = torch.from_numpy(bench.problem.pretext).to(bench.device)

    def loss(self, step: Step, bench: Bench) -> Tensor:
        rows = step.unlabelled
        _, embedding = bench.student(bench.view(bench.pictures(rows), step.generator))
        answer = bench.student.extra[REGRESSION](embedding)
        return nn.functional.smooth_l1_loss(answer, bench.memory["pretext"][rows])
