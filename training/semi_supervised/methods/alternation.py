"""The alternation of methods B2, USSL-R: our reconstruction of S1 from its lineage, never "the published method" [R].

Two tasks take turns on one network: task S learns labels (and, if asked, labels that the teacher or the neighbours
propagate), task U learns groups without labels.  Its measured preset [M]: one free step after every second supervised
one from a quarter of the run on, same head, no propagation, no rotation.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.semi_supervised.graph import in_domain, outliers, propagate
from training.semi_supervised.guards import collapsed
from training.semi_supervised.losses import ramp, sinkhorn, soft, supervised
from training.semi_supervised.method import Bench, Plain, Step
from training.semi_supervised.methods.free_tasks import PROTOTYPES, over_cluster, rotation, same_head
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
        positive, features = _answers(bench, bench.everything[:: max(len(bench.everything) // LOOKED_AT, 1)])
        if collapsed(positive, features, bench.problem.prior):
            bench.memory["aborted"] += 1
            for now, good in zip(bench.teacher.parameters(), self._good(bench), strict=True):
                now.copy_(good)
            bench.student.load_state_dict(bench.teacher.state_dict())
        else:
            self._keep_good(bench)
        if self._gate or self._propagation == "graph" or self._outlier_rule:
            self._look_at_all(bench)

    def _look_at_all(self, bench: Bench) -> None:
        positive, features = _answers(bench, bench.everything)
        n = len(bench.problem.train)
        found = features.double().cpu().numpy()
        memory = bench.memory
        if self._gate:
            memory["weight"][n:] = _tensor(in_domain(found[:n], found[n:]), bench) if len(found) > n else 1.0
        if self._propagation != "graph" and not self._outlier_rule:
            return
        labels = np.full(len(found), -1)
        labels[:n] = bench.problem.labels[bench.problem.train]
        votes = propagate(found, labels)
        if self._outlier_rule:
            # a label must not vote for itself: what the network and the other images say counts
            mean = 0.5 * _without_own(found[:n], labels[:n]) + 0.5 * positive[:n].cpu().numpy()
            doubted = outliers(memory["loss"].cpu().numpy(), labels[:n], mean, 0)
            memory["trusted"] = _tensor(~doubted, bench)
        prior = torch.tensor([1.0 - bench.problem.prior, bench.problem.prior], device=bench.device)
        both = 0.5 * _tensor(votes, bench) + 0.5 * positive
        scores = torch.log(torch.stack([1.0 - both, both], 1).clamp_min(1e-6))
        target = sinkhorn(scores, epsilon=1.0, columns=prior, rounds=20)[:, 1].clamp(1e-6, 1.0 - 1e-6)
        entropy = -(target * torch.log2(target) + (1.0 - target) * torch.log2(1.0 - target))
        memory["target"], memory["sure"] = target, 1.0 - entropy

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


@torch.no_grad()
def _answers(bench: Bench, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The teacher's probabilities (n,) and features (n, d) of images as they are."""
    answers = [bench.teacher(bench.pictures(part)) for part in torch.split(rows, 64)]
    logits, features = (torch.cat(column) for column in zip(*answers, strict=True))
    return logits.softmax(1)[:, 1], features


def _without_own(features: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Share of positives among the ten nearest labelled images, the image itself left out."""
    from sklearn.neighbors import NearestNeighbors

    k = min(10, len(labels) - 1)
    near = NearestNeighbors(n_neighbors=k).fit(features).kneighbors(return_distance=False)
    return np.asarray(labels[near].mean(1))


def _tensor(values: npt.NDArray[Any], bench: Bench) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32)).to(bench.device)
