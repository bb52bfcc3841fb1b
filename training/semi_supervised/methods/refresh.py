"""A look of the alternation at all images: which are far from the labelled, what the neighbours say (methods B2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.semi_supervised.graph import NEIGHBOURS, in_domain, outliers, propagate
from training.semi_supervised.losses import sinkhorn
from training.semi_supervised.method import Bench

BATCH = 64


def look_at_all(bench: Bench, *, graph: bool, outlier_rule: bool) -> None:
    """Renew ``weight`` (of unlabelled images), and where asked ``target``, ``sure`` and ``trusted`` of the memory."""
    positive, features = answers(bench, bench.everything)
    n, memory = len(bench.problem.train), bench.memory
    found = features.double().cpu().numpy()
    if len(found) > n:
        memory["weight"][n:] = _tensor(in_domain(found[:n], found[n:]), bench)
    labels = np.full(len(found), -1)
    labels[:n] = bench.problem.labels[bench.problem.train]
    if outlier_rule:
        # a label must not vote for itself: what the network and the other images say counts
        mean = 0.5 * _others(found[:n], labels[:n]) + 0.5 * positive[:n].double().cpu().numpy()
        memory["trusted"] = _tensor(~outliers(memory["loss"].cpu().numpy(), labels[:n], mean, 0), bench)
    if graph:
        votes = 0.5 * _tensor(propagate(found, labels), bench) + 0.5 * positive
        memory["target"], memory["sure"] = _balanced(votes, bench)


@torch.no_grad()
def answers(bench: Bench, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The teacher's probabilities (n,) and features (n, d) of images as they are."""
    found = [bench.teacher(bench.pictures(part)) for part in torch.split(rows, BATCH)]
    logits, features = (torch.cat(column) for column in zip(*found, strict=True))
    return logits.softmax(1)[:, 1], features


def _balanced(votes: Tensor, bench: Bench) -> tuple[Tensor, Tensor]:
    """Targets (n,) with the prior as their mean, and how sure each is: 1 − entropy in bits."""
    prior = torch.tensor([1.0 - bench.problem.prior, bench.problem.prior], device=bench.device)
    scores = torch.log(torch.stack([1.0 - votes, votes], 1).clamp_min(1e-6))
    target = sinkhorn(scores, epsilon=1.0, columns=prior, rounds=20)[:, 1].clamp(1e-6, 1.0 - 1e-6)
    entropy = -(target * torch.log2(target) + (1.0 - target) * torch.log2(1.0 - target))
    return target, 1.0 - entropy


def _others(features: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Share of positives among the ten nearest labelled images, the image itself left out."""
    from sklearn.neighbors import NearestNeighbors

    k = min(NEIGHBOURS, len(labels) - 1)
    near = NearestNeighbors(n_neighbors=k).fit(features).kneighbors(return_distance=False)
    return np.asarray(labels[near].mean(1))


def _tensor(values: npt.NDArray[Any], bench: Bench) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32)).to(bench.device)
