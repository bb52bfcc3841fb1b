"""Named networks with checked arguments: MONAI 3D ResNets with early fusion (PET and CT are input channels).

A bundle names its network here; nothing of a bundle is ever executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from monai.networks.nets.resnet import ResNet, resnet18
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from inference.facts import Refused

CLASSES = 2  # 0: label absent, 1: label present; the score is the difference of the two


class RoiResNet(BaseModel):
    """A narrow ResNet for small cubes: four stages of one block, 3³ kernels, batch normalisation.

    ``strides``: of the four stages; their product is the edge of one saliency cell in input voxels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Literal["roi-resnet"] = "roi-resnet"
    channels: int = Field(3, ge=1, le=8)
    widths: tuple[int, int, int, int] = (8, 16, 32, 64)
    strides: tuple[int, int, int, int] = (1, 2, 1, 1)
    pooling: Literal["average", "average+max"] = "average+max"

    @property
    def cell_voxels(self) -> int:
        """Edge of one cell of the last stage, in input voxels."""
        return int(np.prod(self.strides))


class MonaiResNet18(BaseModel):
    """MONAI's ``resnet18`` as it comes: conv 7³, max pooling, strides 1, 2, 2, 2, average pooling."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Literal["monai-resnet18"] = "monai-resnet18"
    channels: int = Field(2, ge=1, le=8)
    pooling: Literal["average"] = "average"

    @property
    def cell_voxels(self) -> int:
        """Edge of one cell of the last stage, in input voxels."""
        return 16


NetworkSettings = Annotated[RoiResNet | MonaiResNet18, Field(discriminator="network")]


class FusionNet(nn.Module):
    """A MONAI ResNet cut at its last stage, so that a saliency map needs no second forward.

    ``forward``: (batch, channel, slice, row, column) → logits (batch, 2) = ``head(features(x))``.
    """

    def __init__(self, resnet: ResNet, *, with_maximum: bool) -> None:
        super().__init__()
        self.resnet = resnet
        self.with_maximum = with_maximum
        if with_maximum:
            self.resnet.fc = nn.Linear(2 * resnet.fc.in_features, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """Output of the last stage, (batch, width, slice, row, column); cell i is centred on input voxel i × stride."""
        net = self.resnet
        x = net.act(net.bn1(net.conv1(x)))
        if not net.no_max_pool:
            x = net.maxpool(x)
        features: Tensor = net.layer4(net.layer3(net.layer2(net.layer1(x))))
        return features

    def embedding(self, features: Tensor) -> Tensor:
        """Pooled features (batch, n), the penultimate layer."""
        pooled = [features.mean(dim=(2, 3, 4))]
        if self.with_maximum:
            pooled.append(features.amax(dim=(2, 3, 4)))
        return torch.cat(pooled, dim=1)

    def head(self, features: Tensor) -> Tensor:
        """Logits (batch, 2)."""
        logits: Tensor = self.resnet.fc(self.embedding(features))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def build(settings: RoiResNet | MonaiResNet18) -> FusionNet:
    """A network with fresh weights, drawn from torch's generator."""
    if isinstance(settings, MonaiResNet18):
        resnet = resnet18(spatial_dims=3, n_input_channels=settings.channels, num_classes=CLASSES)
        return FusionNet(resnet, with_maximum=False)
    resnet = ResNet(
        block="basic",
        layers=[1, 1, 1, 1],
        block_inplanes=list(settings.widths),
        n_input_channels=settings.channels,
        conv1_t_size=3,
        no_max_pool=True,
        num_classes=CLASSES,
        bias_downsample=False,
    )
    for stage, stride in zip(
        (resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4), settings.strides, strict=True
    ):
        _set_stride(stage, stride)
    return FusionNet(resnet, with_maximum=settings.pooling == "average+max")


def restore(settings: RoiResNet | MonaiResNet18, weights: Mapping[str, npt.NDArray[np.generic]]) -> FusionNet:
    """The network with a bundle's weights, ready for inference.

    Raises ``Refused`` ``bundle-weights`` unless names and shapes are exactly the network's.
    """
    with torch.device("meta"), _Unfilled():
        network = build(settings)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(array.shape) for name, array in weights.items()}
    if expected != found:
        wrong = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
        raise Refused(
            "bundle-weights",
            f"The bundle's weights do not fit the network '{settings.network}' it names; use a complete bundle.",
            tensors=wrong[:5],
        )
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()}, assign=True)
    return network.eval().requires_grad_(False)


class _Unfilled(TorchFunctionMode):
    """Leaves weights undrawn: the bundle has them, and drawing on "meta" would import torch's compiler (1.4 CPU s)."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (torch.Tensor.normal_, torch.Tensor.uniform_):
            return args[0]
        return func(*args, **(kwargs or {}))


def _set_stride(stage: nn.Sequential, stride: int) -> None:
    """Give a stage another stride (MONAI's ResNet has no argument for it): its first 3³ kernel and its projection."""
    block: Any = stage[0]
    block.conv1.stride = (stride,) * 3
    if block.downsample is not None:
        block.downsample[0].stride = (stride,) * 3
    elif stride != 1:
        raise ValueError("a stage without projection cannot have a stride")
