"""How a fit runs: the numbers of methods B2 and of the measured recipe of methods A0."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class LoopSettings(BaseModel):
    """Settings that all methods share.  [R] our default, [M] measured by us, [L] of the lineage (methods B1).

    ``steps`` counts supervised steps: every method takes as many; what it learns without labels comes on top.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(300, ge=1, le=1_000_000, description="supervised steps [M]: 300 reach .865 of .891 (A0)")
    batch: int = Field(16, ge=2, le=1024, description="labelled images a step [M]")
    unlabelled_batch: int = Field(32, ge=2, le=4096, description="unlabelled images a step [M]; 7:1 in [L]")
    learning_rate: float = Field(2e-3, gt=0, le=1, description="of AdamW [M]; 3e-4 for wide networks [R]")
    warm_up: int = Field(30, ge=0, description="steps in which the rate rises [M]; a cosine to 0 follows")
    weight_decay: float = Field(1e-3, ge=0, description="not on norms and biases [R]")
    largest_gradient: float = Field(5.0, gt=0, description="norm that gradients are clipped to [R]")
    ema: float = Field(0.98, ge=0, lt=1, description="decay of the teacher [M]; grows as (t+1)/(t+10) up to it [R]")
    smoothing: float = Field(0.0, ge=0, lt=0.5, description="of labels; B2 has .05 [R], the measured recipe none [M]")
    augmentation: Literal["none", "weak", "strong"] = Field("weak", description="of labelled images [M]: weak")
    check_every: int = Field(0, ge=0, description="steps between looks at the validation rows; 0: none, keep the last")
    choose_by: Literal["log loss", "AUC"] = Field("log loss", description="what a look compares; A3 stops by AUC [R]")
    patience: int = Field(0, ge=0, description="looks without gain after which it ends; 0: never")
    refresh_every: int = Field(60, ge=1, description="supervised steps between passes over all images [R]")
    save_every: int = Field(100, ge=1, description="steps between checkpoints, where there is a folder for them")
