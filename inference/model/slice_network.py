"""2D ResNet over the slices of one lesion: features for a head that is fitted apart (methods A2, A4).

Published is ResNet-50.  Depth 50 and width 64 are its architecture as torchvision and MONAI both build it, tensor for
tensor under the same names, so ImageNet weights fit; the other sizes are ours, for CPUs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from monai.networks.nets.resnet import ResNet
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from inference.facts import Refused
from inference.model.trunk import Network, last_stage

IMAGENET_MEAN, IMAGENET_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what its weights expect of 0..1 pictures
_PREFIX = "resnet."


class SliceResNet(BaseModel):
    """``depth`` 18 or 50; ``width``: of the first stage, 64 in the paper of He et al.; ``stem`` "small": one 3² kernel
    without pooling, for slices of 32 to 112 pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Literal["slice-resnet"] = "slice-resnet"
    channels: Literal[3] = 3
    depth: Literal[18, 50] = 50
    width: int = Field(64, ge=4, le=64)
    stem: Literal["imagenet", "small"] = "imagenet"

    @property
    def features(self) -> int:
        """How many pooled features there are."""
        return 8 * self.width * (4 if self.depth == 50 else 1)

    @property
    def cell_voxels(self) -> int:
        """Edge of one cell of the last stage, in input pixels."""
        return 8 if self.stem == "small" else 32


class SliceNet(Network):
    """The network of ``SliceResNet``; it has no head of its own.

    Input (batch, 3, slice, row, column), 0..1; features (batch, width, slice, row, column): slices do not mix.
    """

    def __init__(self, settings: SliceResNet) -> None:
        super().__init__()
        small = settings.stem == "small"
        deep = settings.depth == 50
        self.resnet = ResNet(
            block="bottleneck" if deep else "basic",
            layers=[3, 4, 6, 3] if deep else [2, 2, 2, 2],
            block_inplanes=[settings.width * factor for factor in (1, 2, 4, 8)],
            spatial_dims=2,
            n_input_channels=settings.channels,
            conv1_t_size=3 if small else 7,
            conv1_t_stride=1 if small else 2,
            no_max_pool=small,
            feed_forward=False,
            bias_downsample=False,
        )

    def features(self, x: Tensor) -> Tensor:
        mean, sd = (x.new_tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_SD))
        batch, _, slices = x.shape[:3]
        pictures = (x.transpose(1, 2).flatten(0, 1) - mean) / sd
        features = last_stage(self.resnet, pictures)
        return features.reshape(batch, slices, *features.shape[1:]).transpose(1, 2)

    def embedding(self, features: Tensor, values: Tensor | None = None) -> Tensor:  # noqa: ARG002 - the head takes them
        """Mean over a slice, then over the slices: (batch, ``SliceResNet.features``)."""
        return features.mean(dim=(2, 3, 4))


def from_torchvision(settings: SliceResNet, tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Weights named as torchvision does (``conv1.weight`` …) as this network's; its classifier (``fc``) is left out.

    Raises ``Refused`` ``backbone-weights`` unless names and shapes fit.
    """
    expected = SliceNet(settings).state_dict()
    found = {name.removeprefix(_PREFIX): array for name, array in tensors.items()}
    weights: dict[str, npt.NDArray[Any]] = {}
    for name, tensor in expected.items():
        plain = name.removeprefix(_PREFIX)
        array = found.get(plain)
        if array is None and plain.endswith("num_batches_tracked"):
            array = np.array(0, np.int64)  # weights of before torch 0.4.1 have none; inference does not use it
        if array is None or tuple(array.shape) != tuple(tensor.shape):
            raise Refused(
                "backbone-weights",
                f"The weights have no '{plain}' of shape {tuple(tensor.shape)}, which ResNet-{settings.depth} of width "
                f"{settings.width} needs; give weights of that network, or set depth, width and stem to theirs.",
            )
        if not np.isfinite(array).all():
            raise Refused("backbone-weights", f"'{plain}' of the weights holds values that are no numbers.")
        weights[name] = np.array(array, np.int64 if plain.endswith("tracked") else np.float32, order="C")
    return weights
