"""What all networks have in common: their interface, and a MONAI 3D ResNet cut at its last stage."""

from __future__ import annotations

from typing import Any, Literal

import torch
from monai.networks.nets.resnet import ResNet
from torch import Tensor, nn

CLASSES = 2  # 0: label absent, 1: label present; the score is the difference of the two
Stem = Literal["small", "medicalnet"]
STEM_STRIDE: dict[Stem, int] = {"small": 1, "medicalnet": 4}
Widths = tuple[int, int, int, int]


class Network(nn.Module):
    """Cut at its last stage, so that a saliency map needs no second forward.

    ``x``: (batch, channel, …); ``values``: (batch, n) as ``inference.model.values.encode`` gives them, None where the
    network takes none.  Logits (batch, 2) = ``head(features(x), values)``.
    """

    @property
    def embedding_width(self) -> int:
        """Length of the penultimate layer."""
        raise NotImplementedError

    def features(self, x: Tensor) -> Tensor:
        """Output of the last stage, (batch, width, slice, row, column); cell i is centred on input voxel i × stride."""
        raise NotImplementedError

    def embedding(self, features: Tensor, values: Tensor | None = None) -> Tensor:
        """The penultimate layer, (batch, n)."""
        raise NotImplementedError

    def head(self, features: Tensor, values: Tensor | None = None) -> Tensor:
        """Logits (batch, 2)."""
        raise NotImplementedError

    def forward(self, x: Tensor, values: Tensor | None = None) -> Tensor:
        return self.head(self.features(x), values)


def four_stages(channels: int, widths: Widths, strides: Widths, stem: Stem = "small") -> ResNet:
    """MONAI's ResNet with one basic block in each of four stages: ten layers, ResNet-10.

    ``stem`` "small": one 3³ kernel; "medicalnet": 7³ with stride 2 and max pooling with stride 2, as MedicalNet's (Chen
    et al. 2019, arXiv 1904.00625).  Raises ``ValueError`` for a stride that the first stage cannot have.
    """
    small = stem == "small"
    resnet = ResNet(
        block="basic",
        layers=[1, 1, 1, 1],
        block_inplanes=list(widths),
        n_input_channels=channels,
        conv1_t_size=3 if small else 7,
        conv1_t_stride=1 if small else 2,
        no_max_pool=small,
        num_classes=CLASSES,
        bias_downsample=False,
    )
    for stage, stride in zip((resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4), strides, strict=True):
        _set_stride(stage, stride)
    return resnet


def last_stage(net: ResNet, x: Tensor) -> Tensor:
    """Output of the fourth stage."""
    x = net.act(net.bn1(net.conv1(x)))
    if not net.no_max_pool:
        x = net.maxpool(x)
    features: Tensor = net.layer4(net.layer3(net.layer2(net.layer1(x))))
    return features


def pooled(features: Tensor, *, with_maximum: bool) -> Tensor:
    """Mean, and maximum beside it where wanted, of each map: (batch, width) or (batch, 2 × width)."""
    parts = [features.mean(dim=(2, 3, 4))]
    if with_maximum:
        parts.append(features.amax(dim=(2, 3, 4)))
    return torch.cat(parts, dim=1)


def _set_stride(stage: nn.Sequential, stride: int) -> None:
    """Give a stage another stride (MONAI's ResNet has no argument for it): its first 3³ kernel and its projection."""
    block: Any = stage[0]
    block.conv1.stride = (stride,) * 3
    if block.downsample is not None:
        block.downsample[0].stride = (stride,) * 3
    elif stride != 1:
        raise ValueError("a stage without projection cannot have a stride")
