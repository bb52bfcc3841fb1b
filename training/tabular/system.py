"""What the systems of deep-learning radiomics have in common, and what each says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from inference.model.served import Images
from inference.model.slice_network import SliceResNet
from training.tabular.classifiers import NAMES, ClassifierName

PAPER_LIKE: Mapping[str, object] = {"pixels": 224, "depth": 50, "width": 64, "stem": "imagenet"}
Part = Literal["image", "clinical", "fusion"]


class DeepRadiomicsSettings(BaseModel):
    """What both systems let a user choose; [P] published, [R] default of ours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Literal["reduced", "paper-like"] = Field(
        "reduced", description="reduced: minutes on two cores; paper-like: 224² pixels and ResNet-50 [P]"
    )
    slices: int = Field(3, ge=1, le=16, description="[R] axial slices of largest area")
    margin_mm: float = Field(5.0, ge=0, le=50, description="[R] around the region, in the slice")
    pixels: int = Field(
        96, ge=32, le=512, description="[R] edge of a slice; paper-like 224, as ImageNet's networks take"
    )
    depth: Literal[18, 50] = Field(18, description="of the ResNet; [P] 50")
    width: int = Field(16, ge=4, le=64, description="[R] maps of the first stage; ResNet-50 has 64")
    stem: Literal["imagenet", "small"] = Field(
        "imagenet", description="[P] as in ResNet-50; small [R]: one 3² kernel, for small slices"
    )
    weights: Path | None = Field(
        None,
        description="safetensors with torchvision's names, or of `petct-node train backbone`; none: random weights, "
        "for tests and comparison",
    )
    classifiers: tuple[ClassifierName, ...] = Field(NAMES, min_length=1, description="compared by inner AUC")
    most_features: int = Field(0, ge=0, description="the LASSO keeps at most; 0: a tenth of the training subjects [R]")
    store_patients: bool = Field(
        False, description="may k-NN or an RBF SVM be kept, whose file holds feature vectors of training patients?"
    )
    values: tuple[str, ...] = Field((), description="columns of the table, those that it has")

    @model_validator(mode="before")
    @classmethod
    def _of_the_size(cls, given: Any) -> Any:
        """The size chooses defaults; what is given by name stays."""
        paper_like = isinstance(given, Mapping) and given.get("size") == "paper-like"
        return {**PAPER_LIKE, **given} if paper_like else given

    @property
    def network(self) -> SliceResNet:
        """The frozen backbone."""
        return SliceResNet(depth=self.depth, width=self.width, stem=self.stem)


@dataclass(frozen=True, slots=True)
class System:
    """What a recipe says of its system.

    ``parts``: variant → which parts of the model it has.  ``skewed``: values whose logarithm is taken.  ``needed``:
    values that the input divides by.  ``served``: fields of ``Served`` (target, statement's codes …).
    """

    title: str
    source: str
    images: Images
    parts: Mapping[str, Part]
    skewed: Sequence[str]
    units: Mapping[str, str]
    served: Mapping[str, Any]
    needed: Sequence[str] = ()
