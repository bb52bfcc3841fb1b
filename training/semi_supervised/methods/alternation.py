"""The alternation of methods B2, USSL-R: our reconstruction of S1 from its lineage, never "the published method" [R].

Two tasks take turns on one network: task S learns labels (and, if asked, labels that the teacher or the neighbours
propagate), task U learns groups without labels.  Its measured preset [M]: one free step after every second supervised
one from a quarter of the run on, same head, no propagation, no rotation.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from training.semi_supervised.guards import collapsed
from training.semi_supervised.losses import ramp, soft, supervised
from training.semi_supervised.method import Bench, Plain, Step
from training.semi_supervised.methods.free_tasks import PROTOTYPES, over_cluster, rotation, same_head
from training.semi_supervised.methods.refresh import answers, look_at_all
from training.semi_supervised.student import probabilities

PROJECTED, CLUSTERS = 128, 16
LOOKED_AT = 512  # images of a look for collapse
SMOOTH_LOSS = 0.9
Propagation = Literal["none", "threshold", "graph"]
FreeTask = Literal["same-head", "assignment", "over-cluster"]


class Alternation(Plain):
    """``propagation``: who gives unlabelled images a target in task S.  ``free_task``: what task U is.

    ``ratio``: supervised steps to a free one.  ``robust``: g of the generalised cross-entropy; ``outlier_rule``: labels
    that loss and neighbours both speak against are not learnt until the next refresh.  ``gate``: unlabelled images far
    from all labelled ones weigh little.
    """

    needs_unlabelled = True

    def __init__(
        self, *, free_task: FreeTask = "same-head", propagation: Propagation = "none", robust: float = 0.0,
        outlier_rule: bool = False, gate: bool = True, with_rotation: bool = False, ratio: int = 2,
        begins: float = 0.25, threshold: float = 0.8,
    ) -> None:  # fmt: skip
        self.name = "alternation"
        self._free_task, self._propagation, self._robust = free_task, propagation, robust
        self._outlier_rule, self._gate, self._with_rotation = outlier_rule, gate, with_rotation
        self._ratio, self._begins, self._threshold = ratio, begins, threshold
        parts = [free_task, propagation, f"gce{robust}", "outliers" if outlier_rule else "", "rot" * with_rotation]
        self.name = "alternation:" + "+".join(part for part in parts if part and part != "none" and part != "gce0.0")

    def heads(self, features: int) -> dict[str, nn.Module]:
        heads: dict[str, nn.Module] = {}
        if self._free_task == "over-cluster":
            heads["projector"] = nn.Linear(features, PROJECTED, bias=False)
            heads[PROTOTYPES] = nn.Linear(PROJECTED, CLUSTERS, bias=False)
        if self._with_rotation:
            heads["rotation"] = nn.Linear(features, 4)
        return heads

    def begin(self, bench: Bench) -> None:
        n, device = len(bench.everything), bench.device
        bench.memory["weight"] = torch.ones(n, device=device)
        bench.memory["target"] = torch.full((n,), bench.problem.prior, device=device)
        bench.memory["sure"] = torch.zeros(n, device=device)
        bench.memory["loss"] = torch.zeros(len(bench.problem.train), device=device)
        bench.memory["trusted"] = torch.ones(len(bench.problem.train), device=device)
        bench.memory["owned"] = (torch.arange(n, device=device) / n < bench.problem.prior).long()
        bench.memory["queue"] = torch.zeros(0, PROJECTED, device=device)
        bench.memory["aborted"] = torch.zeros((), device=device)
        self._keep_good(bench)

    def loss(self, step: Step, bench: Bench) -> Tensor:
        """Task S."""
        known, free = bench.pictures(step.labelled), bench.pictures(step.unlabelled)
        propagates = self._propagation != "none" and step.done > self._begins and len(free) > 0
        views = [bench.view(known, step.generator)]
        if propagates:
            views.append(bench.strong(free, step.generator))
        logits = bench.student.logits(torch.cat(views))
        places = bench.row_of[step.labelled]
        each = supervised(logits[: len(known)], bench.labels(step.labelled), smoothing=bench.settings.smoothing,
                          robust=self._robust)  # fmt: skip
        self._remember(places, each.detach(), bench)
        trust = bench.memory["trusted"][places]
        loss = (trust * each).sum() / trust.sum().clamp_min(1.0)
        if propagates:
            target, sure = self._propagated(free, bench.row_of[step.unlabelled], step, bench)
            loss = loss + ramp(step.done, self._begins) * (sure * soft(logits[len(known) :], target)).mean()
        return loss

    def free_steps(self, number: int, total: int) -> int:
        begun = number >= self._begins * total
        return int(begun and number % self._ratio == self._ratio - 1)

    def free_loss(self, step: Step, bench: Bench) -> Tensor:
        """Task U: labels are not looked at."""
        x, places = bench.pictures(step.unlabelled), bench.row_of[step.unlabelled]
        weight = bench.memory["weight"][places]
        if self._free_task == "over-cluster":
            loss = over_cluster(x, weight, step, bench)
        else:
            loss = same_head(x, places, weight, step, bench, assignment=self._free_task == "assignment")
        return loss + 0.5 * rotation(x, step, bench) if self._with_rotation else loss

    def refresh(self, step: Step, bench: Bench) -> None:
        if step.done < self._begins:
            return
        positive, features = answers(bench, bench.everything[:: max(len(bench.everything) // LOOKED_AT, 1)])
        if collapsed(positive, features, bench.problem.prior):
            bench.memory["aborted"] += 1
            for now, good in zip(bench.teacher.parameters(), self._good(bench), strict=True):
                now.copy_(good)
            bench.student.load_state_dict(bench.teacher.state_dict())
        else:
            self._keep_good(bench)
        if self._gate or self._propagation == "graph" or self._outlier_rule:
            look_at_all(bench, graph=self._propagation == "graph", outlier_rule=self._outlier_rule)

    def _propagated(self, free: Tensor, places: Tensor, step: Step, bench: Bench) -> tuple[Tensor, Tensor]:
        """Target and weight of each unlabelled image."""
        gate = bench.memory["weight"][places]
        if self._propagation == "graph":
            return bench.memory["target"][places], gate * bench.memory["sure"][places]
        p = probabilities(bench.teacher, bench.weak(free, step.generator))
        return (p > 0.5).float(), gate * (torch.maximum(p, 1.0 - p) > self._threshold).float()

    def _remember(self, places: Tensor, each: Tensor, bench: Bench) -> None:
        old = bench.memory["loss"][places]
        bench.memory["loss"][places] = torch.where(old > 0, SMOOTH_LOSS * old + (1 - SMOOTH_LOSS) * each, each)

    def _keep_good(self, bench: Bench) -> None:
        for name, value in bench.teacher.named_parameters():
            bench.memory[f"good.{name}"] = value.detach().clone()

    def _good(self, bench: Bench) -> list[Tensor]:
        return [bench.memory[f"good.{name}"] for name, _ in bench.teacher.named_parameters()]
