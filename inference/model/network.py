"""Named networks with checked arguments, all MONAI ResNets: early fusion here, with values and branches beside.

A bundle names its network here; nothing of a bundle is ever executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, assert_never, overload

import numpy as np
import numpy.typing as npt
import torch
from monai.networks.nets.resnet import ResNet, resnet18
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from inference.facts import Refused
from inference.model.slice_network import SliceNet, SliceResNet
from inference.model.trunk import CLASSES, Network, four_stages, last_stage, pooled
from inference.model.two_branch import TwoBranch, TwoBranchNet
from inference.model.value_network import ResNet10, ValueNet

__all__ = [
    "CLASSES",
    "FusionNet",
    "MonaiResNet18",
    "Network",
    "NetworkSettings",
    "ResNet10",
    "RoiResNet",
    "SliceResNet",
    "TwoBranch",
    "build",
    "restore",
    "values_taken",
]


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


NetworkSettings = Annotated[
    RoiResNet | MonaiResNet18 | ResNet10 | TwoBranch | SliceResNet, Field(discriminator="network")
]


class FusionNet(Network):
    """A ResNet with early fusion and no values."""

    def __init__(self, resnet: ResNet, *, with_maximum: bool) -> None:
        super().__init__()
        self.resnet = resnet
        self.with_maximum = with_maximum
        if with_maximum:
            self.resnet.fc = nn.Linear(2 * resnet.fc.in_features, CLASSES)

    @property
    def embedding_width(self) -> int:
        return int(self.resnet.fc.in_features)

    def features(self, x: Tensor) -> Tensor:
        return last_stage(self.resnet, x)

    def embedding(self, features: Tensor, values: Tensor | None = None) -> Tensor:  # noqa: ARG002 - it takes none
        return pooled(features, with_maximum=self.with_maximum)

    def head(self, features: Tensor, values: Tensor | None = None) -> Tensor:
        logits: Tensor = self.resnet.fc(self.embedding(features, values))
        return logits


@overload
def build(settings: RoiResNet | MonaiResNet18) -> FusionNet: ...
@overload
def build(settings: NetworkSettings) -> Network: ...
def build(settings: NetworkSettings) -> Network:
    """A network with fresh weights, drawn from torch's generator."""
    match settings:
        case MonaiResNet18():
            resnet = resnet18(spatial_dims=3, n_input_channels=settings.channels, num_classes=CLASSES)
            return FusionNet(resnet, with_maximum=False)
        case RoiResNet():
            resnet = four_stages(settings.channels, settings.widths, settings.strides)
            return FusionNet(resnet, with_maximum=settings.pooling == "average+max")
        case ResNet10():
            return ValueNet(settings)
        case TwoBranch():
            return TwoBranchNet(settings)
        case SliceResNet():
            return SliceNet(settings)
        case _:
            assert_never(settings)


def values_taken(settings: NetworkSettings) -> int:
    """Length of the value vector that the network takes; 0 for none."""
    return settings.values if isinstance(settings, ResNet10 | TwoBranch) else 0


def restore(settings: NetworkSettings, weights: Mapping[str, npt.NDArray[np.generic]]) -> Network:
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
