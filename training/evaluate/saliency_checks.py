"""May a model's heatmap be shown?  The sanity checks of methods D6, on a torch network and arrays.

Adebayo et al. 2018 (cascading randomisation), Sundararajan et al. 2017 (completeness), Petsiuk et al. 2018 (deletion,
insertion), Zhang et al. 2016 (pointing game).  If a check fails the heatmap is not released; the probability may be.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

Map = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]
Explain = Callable[[nn.Module, Tensor], Map]
"""A network and one input (1, channel, slice, row, column) → its heatmap (slice, row, column), not below 0."""

SAME_BELOW = 0.5
COMPLETE_WITHIN = 0.05
POINTING_ATLEAST = 0.8
DISTRACTOR_BELOW = 0.2
INTEGRATION_STEPS = 64
CURVE_STEPS = 20


@dataclass(frozen=True, slots=True)
class SaliencyChecks:
    """Means over the subjects.  ``layers``: what was randomised, from the answer down, and the similarity after it.

    ``energy_in_mask`` against ``mask_share``; ``distractor_energy`` is None where no distractor was planted.
    ``deletion``, ``insertion``: areas under the probability of the class, and ``random_*`` those of a random order.
    """

    layers: tuple[tuple[str, float], ...]
    permuted_labels_similarity: float | None
    completeness_error: float
    pointing: float
    energy_in_mask: float
    mask_share: float
    distractor_energy: float | None
    deletion: float
    insertion: float
    random_deletion: float
    random_insertion: float

    @property
    def failures(self) -> tuple[str, ...]:
        """Why the heatmap must not be released; none where it may."""
        checks = [
            (self.layers[-1][1] < SAME_BELOW, "it stays the same when all weights are random"),
            (
                self.permuted_labels_similarity is None or self.permuted_labels_similarity < SAME_BELOW,
                "a model of permuted labels gives the same",
            ),
            (self.completeness_error < COMPLETE_WITHIN, "integrated gradients do not add up to the answer"),
            (self.pointing >= POINTING_ATLEAST, "its maximum lies outside the lesion too often"),
            (self.energy_in_mask > self.mask_share, "it holds no more of the lesion than chance"),
            (
                self.distractor_energy is None or self.distractor_energy <= DISTRACTOR_BELOW,
                "a distractor attracts it",
            ),
            (self.deletion < self.random_deletion, "deleting what it shows changes no more than deleting anything"),
            (self.insertion > self.random_insertion, "inserting what it shows brings no more than inserting anything"),
        ]
        return tuple(why for good, why in checks if not good)


def similarity(one: Map, other: Map) -> float:
    """Spearman correlation of two maps; 0 where one of them is constant."""
    if np.ptp(one) == 0.0 or np.ptp(other) == 0.0:
        return 0.0
    return float(spearmanr(one.ravel(), other.ravel()).statistic)


def cascading_randomisation(
    network: nn.Module, explain: Explain, inputs: Sequence[Tensor], *, seed: int
) -> tuple[tuple[str, float], ...]:
    """Layers get new random weights one after another, from the last to the first; similarity with the original map."""
    original = [explain(network, x) for x in inputs]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        broken = copy.deepcopy(network)
        found = []
        for name, module in reversed(list(broken.named_modules())):
            reset = getattr(module, "reset_parameters", None)
            if reset is None or not any(True for _ in module.parameters(recurse=False)):
                continue
            reset()
            after = [similarity(map_, explain(broken, x)) for map_, x in zip(original, inputs, strict=True)]
            found.append((name, float(np.mean(after))))
    return tuple(found)


def completeness_error(network: nn.Module, x: Tensor) -> float:
    """|Σ integrated gradients − Δ score| ÷ |Δ score|, against the crop's channel means."""
    from captum.attr import IntegratedGradients

    baseline = x.mean(dim=tuple(range(2, x.ndim)), keepdim=True).expand_as(x)
    with torch.no_grad():
        change = float(_score(network, x) - _score(network, baseline))
    integrated = IntegratedGradients(lambda batch: _score(network, batch))
    total = float(integrated.attribute(x, baseline, n_steps=INTEGRATION_STEPS, internal_batch_size=8).sum())
    return abs(total - change) / max(abs(change), 1e-12)


def pointing(heatmap: Map, mask: Mask) -> bool:
    """Does the maximum lie inside the mask?"""
    return bool(mask.ravel()[int(np.argmax(heatmap))])


def energy_in(heatmap: Map, mask: Mask) -> float:
    """Share of the map's sum that lies inside the mask; 0 of an empty map."""
    total = float(heatmap.sum())
    return float(heatmap[mask].sum()) / total if total > 0.0 else 0.0


def deletion_insertion(network: nn.Module, x: Tensor, order_by: Map, label: int) -> tuple[float, float]:
    """Area under the class's probability while voxels, the hottest first, go to (or come from) the channel means."""
    order = torch.from_numpy(np.argsort(-order_by.ravel(), kind="stable").copy())
    baseline = x.mean(dim=tuple(range(2, x.ndim)), keepdim=True).expand_as(x)
    counts = np.linspace(0, order.numel(), CURVE_STEPS + 1).astype(int)
    deleted, inserted = [], []
    for count in counts:
        chosen = torch.zeros(order.numel(), dtype=torch.bool)
        chosen[order[: int(count)]] = True
        shape = chosen.reshape(x.shape[2:])
        deleted.append(torch.where(shape, baseline, x))
        inserted.append(torch.where(shape, x, baseline))
    with torch.no_grad():
        curves = [
            torch.sigmoid(_score(network, torch.cat(steps)) * (1 if label else -1)) for steps in (deleted, inserted)
        ]
    areas = [float(np.trapezoid(curve.numpy(), dx=1.0 / CURVE_STEPS)) for curve in curves]
    return areas[0], areas[1]


def check_saliency(
    network: nn.Module,
    explain: Explain,
    inputs: Sequence[Tensor],
    masks: Sequence[Mask],
    *,
    seed: int,
    distractors: Sequence[Mask] | None = None,
    permuted: nn.Module | None = None,
) -> SaliencyChecks:
    """All checks on subjects whose lesion is known.  ``permuted``: the same network trained on permuted labels."""
    network.eval()
    rng = np.random.default_rng(seed)
    maps = [explain(network, x) for x in inputs]
    with torch.no_grad():
        labels = [int(_score(network, x) >= 0.0) for x in inputs]
    guided = [deletion_insertion(network, x, m, y) for x, m, y in zip(inputs, maps, labels, strict=True)]
    blind = [
        deletion_insertion(network, x, rng.random(m.shape), y) for x, m, y in zip(inputs, maps, labels, strict=True)
    ]
    other = (
        None if permuted is None else [similarity(m, explain(permuted, x)) for m, x in zip(maps, inputs, strict=True)]
    )
    strays = None if distractors is None else [energy_in(m, d) for m, d in zip(maps, distractors, strict=True)]
    return SaliencyChecks(
        layers=cascading_randomisation(network, explain, inputs, seed=seed),
        permuted_labels_similarity=None if other is None else float(np.mean(other)),
        completeness_error=float(np.mean([completeness_error(network, x) for x in inputs])),
        pointing=float(np.mean([pointing(m, mask) for m, mask in zip(maps, masks, strict=True)])),
        energy_in_mask=float(np.mean([energy_in(m, mask) for m, mask in zip(maps, masks, strict=True)])),
        mask_share=float(np.mean([mask.mean() for mask in masks])),
        distractor_energy=None if strays is None else float(np.mean(strays)),
        deletion=float(np.mean([one[0] for one in guided])),
        insertion=float(np.mean([one[1] for one in guided])),
        random_deletion=float(np.mean([one[0] for one in blind])),
        random_insertion=float(np.mean([one[1] for one in blind])),
    )


def _score(network: nn.Module, x: Tensor) -> Tensor:
    """Logit of the label against no label, (n,)."""
    logits: Tensor = network(x)
    return logits[:, 1] - logits[:, 0]
