"""The sanity checks of methods D6 on the networks of a bundle: may its heatmaps be shown?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from pydantic import TypeAdapter
from scipy import ndimage
from torch import Tensor, nn

from inference.model.bundle import Bundle
from inference.model.explain import class_activation
from inference.model.inputs import CanonicalRoi
from inference.model.network import Network, NetworkSettings, restore
from training.evaluate.saliency_checks import Map, SaliencyChecks, check_saliency

MOST_STUDIES = 12  # a study takes a forward a layer and about 150 more


class OfImage(nn.Module):
    """A member of the bundle with the values of one subject, as a network of the image alone."""

    def __init__(self, network: Network, values: Tensor | None) -> None:
        super().__init__()
        self.network, self.values = network, values

    def forward(self, x: Tensor) -> Tensor:
        values = None if self.values is None else self.values.expand(len(x), -1)
        return self.network.head(self.network.features(x), values)


def heatmap_checks(
    bundle: Bundle,
    inputs: npt.NDArray[np.float32],
    values: npt.NDArray[np.float32] | None,
    *,
    seed: int,
) -> SaliencyChecks | None:
    """Of the first member, on up to 12 studies: inputs (n, channel, slice, row, column), encoded values (n, k).

    Values are set to their mean over the studies: the checks are about the image.  None where the preset does not tell
    the lesion from its surroundings (only the canonical region is 0 outside), or the model has no heatmap.
    """
    served = bundle.served
    if not isinstance(served.input, CanonicalRoi) or served.heads or not len(inputs):
        return None
    if served.radiomics and served.radiomics.network_weight == 0.0:
        return None
    settings = TypeAdapter[NetworkSettings](NetworkSettings).validate_python(served.network)
    beside = None if values is None else torch.from_numpy(values.mean(axis=0, keepdims=True))
    member = OfImage(restore(settings, bundle.members[0]), beside).eval()
    chosen = _spread(len(inputs))
    arrays = [torch.from_numpy(np.array(inputs[i : i + 1])) for i in chosen]
    masks = [np.asarray((inputs[i] != 0.0).any(axis=0)) for i in chosen]
    cell = settings.cell_voxels
    return check_saliency(member, lambda net, x: grad_cam(net, x, cell), arrays, masks, seed=seed)


def grad_cam(member: nn.Module, x: Tensor, cell_voxels: int) -> Map:
    """The node's heatmap of the class that is called, on the voxels of the input (slice, row, column)."""
    assert isinstance(member, OfImage)
    with torch.no_grad():
        features = member.network.features(x)
        logits = member.network.head(features, member.values)[0]
    cells = class_activation(member.network, features, int(logits[1] >= logits[0]), member.values).cpu().numpy()
    return np.asarray(
        ndimage.affine_transform(
            cells.astype(float), np.full(3, 1.0 / cell_voxels), output_shape=x.shape[2:], order=1, mode="nearest"
        )
    )


def _spread(count: int) -> Sequence[int]:
    """At most 12 of the studies, evenly over their order."""
    return [int(i) for i in np.unique(np.linspace(0, count - 1, min(count, MOST_STUDIES)).round())]
