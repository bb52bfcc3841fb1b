"""PET and CT in a 3D ResNet-10 of their own, laboratory values in an MLP, joined before the last layer (methods A5).

Published is that PET, CT and laboratory values are fused; the widths, dropout and modality dropout are our defaults.
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from inference.model.trunk import CLASSES, STEM_STRIDE, Network, Stem, Widths, four_stages, last_stage, pooled
from inference.model.value_network import FULL, value_layers

Branch = Literal["PET", "CT"]
CHANNEL: dict[Branch, int] = {"PET": 0, "CT": 1}


class TwoBranch(BaseModel):
    """``channels``: of the input, PET then CT; ``branches``: which of them are looked at.

    ``image_width``, ``value_width``: of each branch's and of the values' part of the penultimate layer.
    ``dropout``: of that layer; ``modality_dropout``: how often, in training, each part is left out whole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Literal["two-branch"] = "two-branch"
    channels: Literal[2] = 2
    branches: tuple[Branch, ...] = ("PET", "CT")
    values: int = Field(0, ge=0, le=256)
    image_width: int = Field(128, ge=1, le=1024)
    value_width: int = Field(32, ge=1, le=256)
    widths: Widths = FULL
    stem: Stem = "medicalnet"
    strides: Widths = (1, 2, 1, 1)
    pooling: Literal["average", "average+max"] = "average"
    dropout: float = Field(0.3, ge=0, lt=1)
    modality_dropout: float = Field(0.2, ge=0, lt=1)

    @model_validator(mode="after")
    def _branches_once(self) -> Self:
        if not self.branches or len(set(self.branches)) < len(self.branches):
            raise ValueError("branches: PET, CT or both, each once")
        if self.strides[0] != 1:
            raise ValueError("strides: the first stage has no projection, its stride is 1")
        return self

    @property
    def cell_voxels(self) -> int:
        """Edge of one cell of the last stage, in input voxels."""
        return STEM_STRIDE[self.stem] * int(np.prod(self.strides))


class TwoBranchNet(Network):
    """The network of ``TwoBranch``; its features are those of all branches, one after another."""

    def __init__(self, settings: TwoBranch) -> None:
        super().__init__()
        self.channels = [CHANNEL[branch] for branch in settings.branches]
        self.with_maximum = settings.pooling == "average+max"
        self.trunks = nn.ModuleList(
            four_stages(1, settings.widths, settings.strides, settings.stem) for _ in settings.branches
        )
        for trunk in self.trunks:
            trunk.fc = nn.Identity()
        width = settings.widths[-1] * (1 + self.with_maximum)
        self.of_images = nn.ModuleList(
            nn.Sequential(nn.Linear(width, settings.image_width), nn.ReLU()) for _ in settings.branches
        )
        self.of_values = value_layers(settings.values, settings.value_width)
        self.modality_dropout = settings.modality_dropout
        self.dropout = nn.Dropout(settings.dropout)
        joined = len(settings.branches) * settings.image_width + (settings.value_width if settings.values else 0)
        self.fc = nn.Linear(joined, CLASSES)

    @property
    def embedding_width(self) -> int:
        return self.fc.in_features

    def features(self, x: Tensor) -> Tensor:
        """(batch, branches × width, slice, row, column): a Grad-CAM over all maps is the sum of the branches'."""
        parts = [last_stage(trunk, x[:, [c]]) for trunk, c in zip(self.trunks, self.channels, strict=True)]
        return torch.cat(parts, dim=1)

    def embedding(self, features: Tensor, values: Tensor | None = None) -> Tensor:
        maps = features.chunk(len(self.trunks), dim=1)
        parts = [
            layer(pooled(one, with_maximum=self.with_maximum)) for layer, one in zip(self.of_images, maps, strict=True)
        ]
        if self.of_values is not None:
            parts.append(self.of_values(values))
        return torch.cat(self._some_left_out(parts), dim=1)

    def head(self, features: Tensor, values: Tensor | None = None) -> Tensor:
        logits: Tensor = self.fc(self.dropout(self.embedding(features, values)))
        return logits

    def _some_left_out(self, parts: list[Tensor]) -> list[Tensor]:
        """In training, leave each part of each subject out now and then (never all); the rest is scaled up."""
        if not self.training or self.modality_dropout == 0.0 or len(parts) == 1:
            return parts
        kept = torch.rand(len(parts[0]), len(parts), device=parts[0].device) >= self.modality_dropout
        kept = kept | ~kept.any(dim=1, keepdim=True)
        return [part * kept[:, [i]] / (1.0 - self.modality_dropout) for i, part in enumerate(parts)]
