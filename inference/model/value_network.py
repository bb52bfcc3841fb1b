"""3D ResNet-10 with early fusion, and clinical or laboratory values beside the images (methods A3; our default).

Image embedding ⊕ MLP of the value vector → one linear layer.
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from inference.model.trunk import CLASSES, STEM_STRIDE, Network, Stem, Widths, four_stages, last_stage, pooled

FULL, LIGHT = (64, 128, 256, 512), (16, 32, 64, 128)


class ResNet10(BaseModel):
    """``channels``: of the input; ``takes``: which of them the network looks at, empty for all.

    ``values``: length of the value vector, 0 for none; ``value_width``: of its MLP.  ``widths``: MedicalNet's by
    default, ``LIGHT`` for CPUs.  ``stem``, ``strides`` of the four stages: by default one cell is 8 voxels wide, as in
    MedicalNet (which dilates its last two stages; MONAI's ResNet does not).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Literal["resnet10"] = "resnet10"
    channels: int = Field(2, ge=1, le=8)
    takes: tuple[int, ...] = ()
    values: int = Field(0, ge=0, le=256)
    value_width: int = Field(16, ge=1, le=256)
    widths: Widths = FULL
    stem: Stem = "medicalnet"
    strides: Widths = (1, 2, 1, 1)
    pooling: Literal["average", "average+max"] = "average"
    dropout: float = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _channels_exist(self) -> Self:
        if len(set(self.takes)) < len(self.takes) or any(not 0 <= one < self.channels for one in self.takes):
            raise ValueError("takes: each must be one of the input's channels, once")
        if self.strides[0] != 1:
            raise ValueError("strides: the first stage has no projection, its stride is 1")
        return self

    @property
    def cell_voxels(self) -> int:
        """Edge of one cell of the last stage, in input voxels."""
        return STEM_STRIDE[self.stem] * int(np.prod(self.strides))


class ValueNet(Network):
    """The network of ``ResNet10``."""

    def __init__(self, settings: ResNet10) -> None:
        super().__init__()
        self.takes = list(settings.takes)
        self.with_maximum = settings.pooling == "average+max"
        self.resnet = four_stages(
            len(settings.takes) or settings.channels, settings.widths, settings.strides, settings.stem
        )
        self.resnet.fc = nn.Identity()
        width = settings.widths[-1] * (1 + self.with_maximum)
        self.of_values = value_layers(settings.values, settings.value_width)
        self.dropout = nn.Dropout(settings.dropout)
        self.fc = nn.Linear(width + (settings.value_width if settings.values else 0), CLASSES)

    @property
    def embedding_width(self) -> int:
        return self.fc.in_features

    def features(self, x: Tensor) -> Tensor:
        return last_stage(self.resnet, x[:, self.takes] if self.takes else x)

    def embedding(self, features: Tensor, values: Tensor | None = None) -> Tensor:
        image = pooled(features, with_maximum=self.with_maximum)
        return image if self.of_values is None else torch.cat([image, self.of_values(values)], dim=1)

    def head(self, features: Tensor, values: Tensor | None = None) -> Tensor:
        logits: Tensor = self.fc(self.dropout(self.embedding(features, values)))
        return logits


def value_layers(values: int, width: int) -> nn.Sequential | None:
    """The MLP of a value vector; None where there are no values."""
    return nn.Sequential(nn.Linear(values, width), nn.ReLU()) if values else None
