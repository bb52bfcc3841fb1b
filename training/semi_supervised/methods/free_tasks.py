"""What a network can learn from images without labels, in the alternation's task U (methods B1, B2)."""

from __future__ import annotations

from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from training.semi_supervised.losses import sinkhorn
from training.semi_supervised.method import Bench, Step

PROTOTYPES = "prototypes"
SAME_HEAD_EPSILON, CLUSTER_EPSILON, TEMPERATURE = 0.1, 0.07, 0.1
QUEUE = 1024  # embeddings kept where a batch is smaller than four times the clusters
FROZEN = 0.05  # share of the run in which prototypes stay


def same_head(x: Tensor, places: Tensor, weight: Tensor, step: Step, bench: Bench, *, assignment: bool) -> Tensor:
    """The class head itself must tell balanced groups apart: squared distance to a one-hot target on the unit sphere.

    Targets: Sinkhorn on the teacher's outputs [R]; with ``assignment`` the linear assignment between outputs and the
    classes that these same images own at the moment, whose histogram is thereby kept [L] (B1).
    """
    with torch.no_grad():
        seen = nn.functional.normalize(bench.teacher.logits(x), dim=1)
        if assignment:
            owned = nn.functional.one_hot(bench.memory["owned"][places], 2).to(seen.dtype)
            _, other = linear_sum_assignment(-(seen @ owned.T).double().cpu().numpy())
            target = owned[torch.from_numpy(other).to(owned.device)]
            bench.memory["owned"][places] = target.argmax(1)
        else:
            prior = torch.tensor([1.0 - bench.problem.prior, bench.problem.prior], device=x.device)
            codes = sinkhorn(seen, epsilon=SAME_HEAD_EPSILON, columns=prior, rounds=10)
            target = nn.functional.one_hot(codes.argmax(1), 2).to(seen.dtype)
    answer = nn.functional.normalize(bench.student.logits(bench.strong(x, step.generator)), dim=1)
    return (weight * ((answer - target) ** 2).sum(1)).mean()


def over_cluster(x: Tensor, weight: Tensor, step: Step, bench: Bench) -> Tensor:
    """Two strong views must fall into the same of more clusters than classes (Caron et al. 2020, arXiv 2006.09882)."""
    heads: Any = bench.student.extra
    weights = heads[PROTOTYPES].weight
    with torch.no_grad():
        weights.copy_(nn.functional.normalize(weights, dim=1))
    prototypes = weights.detach() if step.done < FROZEN else weights
    views = torch.cat([bench.strong(x, step.generator), bench.strong(x, step.generator)])
    unit = nn.functional.normalize(heads["projector"](bench.student(views)[1]), dim=1)
    first, second = (unit @ prototypes.T).chunk(2)
    codes = [_codes(part.detach(), prototypes.detach(), bench) for part in (first, second)]
    bench.memory["queue"] = torch.cat([unit[: len(x)].detach(), bench.memory["queue"]])[:QUEUE]
    crossed = _swapped(codes[0], second) + _swapped(codes[1], first)
    return (weight * 0.5 * crossed).mean()


def _codes(scores: Tensor, prototypes: Tensor, bench: Bench) -> Tensor:
    """Balanced over the batch and the embeddings before it."""
    clusters = len(prototypes)
    queue = bench.memory["queue"].to(scores.dtype) @ prototypes.to(scores.dtype).T
    uniform = torch.full((clusters,), 1.0 / clusters, device=scores.device)
    both = torch.cat([scores, queue]).float()
    return sinkhorn(both, epsilon=CLUSTER_EPSILON, columns=uniform, rounds=3)[: len(scores)]


def _swapped(codes: Tensor, scores: Tensor) -> Tensor:
    return -(codes * nn.functional.log_softmax(scores / TEMPERATURE, dim=1)).sum(1)


def rotation(x: Tensor, step: Step, bench: Bench) -> Tensor:
    """Which of four axial quarter-turns was made; only for crops in which directions mean something."""
    turns = torch.randint(4, (len(x),), generator=step.generator, device=x.device)
    turned = torch.stack([one.rot90(int(k), (2, 3)) for one, k in zip(x, turns.tolist(), strict=True)])
    heads: Any = bench.student.extra
    return nn.functional.cross_entropy(heads["rotation"](bench.student(turned)[1]), turns)
