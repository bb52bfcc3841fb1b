"""``ussl``: PET/CT of lung cancer and PD-L1 with few labels.  USSL, a reconstruction (methods A1, B) [R].

Da-Ano et al., Sci Rep 2026, doi 10.1038/s41598-026-57812-8 (S1).  Known from the abstract [P]: FDG PET and CT in early
fusion, a semi-supervised and an unsupervised task that run alternately, labels that propagate to unlabelled images.
Architecture, losses, schedule, cohort and every number are not known to us; the alternation here is rebuilt from the
lineage [L] (Xiao & Lu, doi 10.3390/app13095520; Lerner et al., arXiv 2012.00504) and is *not* the published method.

What is served by default is supervised + radiomics: on our phantoms no usual semi-supervised method gained anything at
equal supervised steps (methods B3, F2) [M].  "agreement" is our own design, see ``training.semi_supervised.features``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from inference.facts import Refused
from inference.model.bundle import SCHEME
from inference.model.inputs import CanonicalRoi, FixedCrop
from inference.model.network import ResNet10
from inference.model.radiomics import SETS, LinearHead
from inference.model.served import Concept
from inference.model.trunk import Stem, Widths
from inference.model.value_network import FULL
from training.networks.ensemble import Ensemble, fit_ensemble
from training.prepared import Parts, Prepared, Rows
from training.recipe import Conditions, Recipe, Release
from training.release.calibrate import Calibration, calibrate
from training.release.model_card import model_card, statement
from training.semi_supervised.features import Features, agreement, joined, logistic, probability, scores, similar
from training.semi_supervised.settings import LoopSettings

LOOK = "lesion"
TITLE = "USSL (reconstruction): PET/CT with few labels"
SOURCE = "Da-Ano et al., Sci Rep 2026, doi 10.1038/s41598-026-57812-8 (abstract only), and its lineage"
# variant → (method of the network, or none; model of the features, or none)
VARIANTS: Mapping[str, tuple[str | None, str | None]] = {
    "supervised+radiomics": ("supervised", "radiomics"),
    "supervised": ("supervised", None),
    "radiomics": (None, "radiomics"),
    "ussl": ("ussl", None),
    "agreement": (None, "agreement"),
    "distilled+agreement": ("radiomics-teacher", "agreement"),
}
NEVER = {
    "tps": "the label is made of it",
    "cps": "it comes from the same stained section as the label",
    "response": "it is known only after treatment",
}
PAPER_LIKE: Mapping[str, object] = {
    "look": "fixed-crop",
    "cube": 64,
    "widths": FULL,
    "stem": "medicalnet",
    "steps": 4000,
    "learning_rate": 3e-4,
    "members": 5,
    "check_every": 100,
}


class UsslSettings(BaseModel):
    """[P] published, [L] lineage, [M] measured by us, [R] our reconstruction or default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Literal["reduced", "paper-like"] = Field(
        "reduced", description="reduced: a run on two cores; paper-like: 64³ of 2 mm, ResNet-10 widths, for a GPU [R]"
    )
    look: Literal["canonical-roi", "fixed-crop"] = Field(
        "canonical-roi", description="canonical ROI: the largest gain at 40 labels [M]; fixed crop keeps the scale [R]"
    )
    cube: int = Field(16, ge=8, le=128, description="edge of the input in voxels [R]")
    spacing_mm: float = Field(2.0, gt=0, description="of a fixed crop [R]")
    widths: Widths = Field((8, 16, 32, 64), description="of the four stages [M]; ResNet-10 has 64 to 512 [R]")
    stem: Stem = Field("small", description="3³ kernel for small cubes [M]; MedicalNet's for crops [R]")
    method: str = Field("alternation", description="of variant ussl [R]; a name of semi_supervised.methods")
    features: Literal["all", "without ratios", "first order"] = Field(
        "all", description="radiomics that take part; the ratios know where a phantom hides its label [M]"
    )
    joining: Literal["mean", "stacked"] = Field(
        "mean", description="of the two logits, each calibrated; stacked: logistic on the validation rows [R]"
    )
    steps: int = Field(200, ge=1, description="supervised steps; 300 reach .865 of .891 with 1000 labels [M]")
    batch: int = Field(16, ge=2, le=1024, description="labelled images a step [M]")
    unlabelled_batch: int = Field(32, ge=2, le=4096, description="unlabelled images a step [M]; 7:1 in [L]")
    learning_rate: float = Field(2e-3, gt=0, le=1, description="of AdamW [M]; 3e-4 for ResNet-10 widths [R]")
    check_every: int = Field(50, ge=0, description="steps between looks at the validation rows; the best is kept [R]")
    patience: int = Field(0, ge=0, description="looks without a gain after which it ends; 0: never [R]")
    members: int = Field(2, ge=1, le=32, description="deep ensemble; 5 at full size (D8) [R]")

    @model_validator(mode="before")
    @classmethod
    def _of_the_size(cls, given: Any) -> Any:
        """The size chooses defaults; what is given by name stays."""
        paper_like = isinstance(given, Mapping) and given.get("size") == "paper-like"
        return {**PAPER_LIKE, **given} if paper_like else given

    @model_validator(mode="after")
    def _known(self) -> Self:
        from training.semi_supervised.methods import NAMES

        if self.method not in NAMES or self.method == "radiomics-teacher":
            raise ValueError(f"method: none of {', '.join(n for n in NAMES if n != 'radiomics-teacher')}")
        return self


def look_of(settings: UsslSettings) -> CanonicalRoi | FixedCrop:
    """The input of the network."""
    if settings.look == "canonical-roi":
        return CanonicalRoi(size=settings.cube, radius_voxels=6.5 * settings.cube / 16.0)
    return FixedCrop(size=settings.cube, spacing_mm=settings.spacing_mm)


def looks(settings: UsslSettings) -> dict[str, CanonicalRoi | FixedCrop]:
    """The network's input, and the canonical ROI for the features where that is another."""
    own = look_of(settings)
    return {LOOK: own} if isinstance(own, CanonicalRoi) else {LOOK: own, "features": CanonicalRoi()}


class Ussl:
    """One of ``VARIANTS``: a network, a model of the features, or both."""

    def __init__(self, settings: UsslSettings, variant: str) -> None:
        method, self._features_by = VARIANTS[variant]
        self._method = settings.method if method == "ussl" else method
        self.settings, self.variant = settings, variant
        self.facts: dict[str, JsonValue] = {}
        self.costs: dict[str, JsonValue] = {}
        self._ensemble: Ensemble | None = None
        self._head: LinearHead | None = None
        self._calibration = Calibration(1.0, 0.5, None)

    def fit(self, data: Prepared, parts: Parts, conditions: Conditions) -> Self:
        self._head = self._fit_head(data, parts)
        if self._method is not None:
            self._ensemble = self._fit_networks(data, parts, conditions)
            self.costs = self._ensemble.costs()
        if self._ensemble is not None and self._head is not None:
            labels = data.labels[parts.validation]
            network = self._ensemble.scores(data, parts.validation)
            hand_made = scores(self._head, self._features(data), parts.validation)
            self._head = joined(self._head, network, hand_made, labels, stacked=self.settings.joining == "stacked")
        self._calibration = calibrate(self._scores(data, parts.validation), data.labels[parts.validation])
        self.facts = {**self._calibration.facts(), **self._told()}
        if self._features_by == "agreement":
            kept = similar(self._features(data), parts.train, parts.unlabelled)
            self.facts |= {"unlabelled": len(parts.unlabelled), "unlabelled_in_domain": len(kept)}
        return self

    def predict_proba(self, data: Prepared, rows: Rows) -> npt.NDArray[np.float64]:
        return self._calibration.probability(self._scores(data, rows))

    def save_bundle(self, out: Path, release: Release) -> str:
        if self._ensemble is None:
            raise Refused(
                "recipe-variant-not-served",
                f"The model '{self.variant}' has no network, and the node serves none such; serve "
                f"{next(iter(VARIANTS))}.",
            )
        look = look_of(self.settings)
        if self._head is not None and not isinstance(look, CanonicalRoi):
            raise Refused(
                "recipe-variant-not-served",
                f"The model '{self.variant}' needs features of the canonical ROI beside a fixed crop, and the node "
                "looks once; serve the variant supervised, or set look to canonical-roi.",
            )
        what = {
            "target": "PD-L1 TPS >= 1 %",
            "statement": statement(TITLE, release),
            "intended_use": "Research on PD-L1 (TPS >= 1 %) from FDG PET/CT. Never for a decision about a patient.",
            "tracer": "[18F]FDG",
            "tracers": ("fdg",),
            "body_part": "lung, primary tumour",
            "region_rule": "contour of the primary tumour by a person, or a proposal that a person has confirmed",
            "status_code": Concept(value="USSL-PRED", scheme=SCHEME, meaning="Predicted PD-L1 TPS >= 1 %"),
            "probability_code": Concept(
                value="USSL-PROB", scheme=SCHEME, meaning="Predicted probability of PD-L1 TPS >= 1 %"
            ),
            "radiomics": self._head,
        }
        card = model_card(TITLE, SOURCE, self.variant, self.settings, release)
        served = replace(self._ensemble, calibration=self._calibration)
        return served.save(out, look, release, what, card)

    def _scores(self, data: Prepared, rows: Rows) -> npt.NDArray[np.float64]:
        """As the node computes them: the network's part and the features' part, not calibrated."""
        total = np.zeros(len(rows))
        if self._ensemble is not None:
            weight = 1.0 if self._head is None else self._head.network_weight
            total += weight * self._ensemble.scores(data, rows)
        if self._head is not None:
            total += scores(self._head, self._features(data), rows)
        return total

    def _features(self, data: Prepared) -> Features:
        if not data.radiomics_names:
            raise Refused(
                "recipe-values-missing",
                f"The model '{self.variant}' needs the features of the canonical ROI, and the cohort was prepared "
                "without that look.",
            )
        return Features(data.radiomics, data.radiomics_names, data.centres).chosen(SETS[self.settings.features])

    def _fit_head(self, data: Prepared, parts: Parts) -> LinearHead | None:
        if self._features_by is None:
            return None
        if self._features_by == "agreement":
            return agreement(self._features(data), data.labels, parts.train, parts.unlabelled)
        return logistic(self._features(data), data.labels, parts.train)

    def _fit_networks(self, data: Prepared, parts: Parts, conditions: Conditions) -> Ensemble:
        chosen, look = self.settings, look_of(self.settings)
        targets = None
        if self._method == "radiomics-teacher" and self._head is not None:
            targets = np.full(len(data), np.nan, np.float32)
            targets[parts.unlabelled] = probability(self._head, self._features(data), parts.unlabelled)
        return fit_ensemble(
            data,
            parts,
            conditions,
            look=LOOK,
            seen=look,
            network=ResNet10(
                channels=len(look.channels), widths=chosen.widths, stem=chosen.stem, pooling="average+max"
            ),
            specs=(),
            loop=LoopSettings(
                steps=chosen.steps,
                batch=chosen.batch,
                unlabelled_batch=chosen.unlabelled_batch,
                learning_rate=chosen.learning_rate,
                check_every=chosen.check_every,
                patience=chosen.patience,
            ),
            members=chosen.members,
            method=str(self._method),
            targets=targets,
        )

    def _told(self) -> dict[str, JsonValue]:
        told: dict[str, JsonValue] = {"method": self._method, "features": self._features_by}
        if self._ensemble is not None:
            told["members"] = self._ensemble.facts()["members"]
        if self._head is not None:
            told["feature_weights"] = dict(zip(self._head.names, np.round(self._head.weights, 4).tolist(), strict=True))
            told["network_weight"] = self._head.network_weight
        return told


RECIPE = Recipe(
    name="ussl",
    title=TITLE,
    source=SOURCE,
    images="PET/CT",
    settings=UsslSettings,
    looks=looks,
    variants=tuple(VARIANTS),
    estimator=Ussl,
    never=NEVER,
    published=(),  # S1's abstract has no figures; none is invented
    sources=dict.fromkeys(VARIANTS, "ct+pet"),
)
