"""``cpc``: PET/CT ResNet-10 with clinical values, PD-L1 in oesophageal cancer (methods A3; a reconstruction).

Xie et al., EJNMMI 2025, doi 10.1007/s00259-025-07463-0.  Published: four 3D ResNet-10 models (PET, CT, both, both with
clinical values), a clinical logistic model, positive = CPS ≥ 10, their AUCs.  Not known to us: spacing, crop, fusion,
training schedule and the clinical variables; all of these here are our defaults.

The models: P and C see one modality, PC sees both as channels of one network (early fusion), CPC joins PC's image
embedding with an MLP of the clinical values before the last layer, "clinical" is a logistic regression of the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from inference.facts import Refused
from inference.model.bundle import SCHEME
from inference.model.inputs import CanonicalRoi, FixedCrop
from inference.model.network import ResNet10
from inference.model.served import Concept
from inference.model.trunk import Stem, Widths
from inference.model.value_network import FULL
from inference.model.values import ValueSpec, width
from training.networks.ensemble import Ensemble, fit_ensemble
from training.prepared import Parts, Prepared, Rows
from training.recipe import Conditions, Recipe, Release, refuse_never
from training.release.model_card import model_card, statement
from training.semi_supervised.settings import LoopSettings
from training.tabular.value_model import ValueModel
from training.tabular.values import fit_specs

LOOK = "lesion"
TARGET = "PD-L1 CPS >= 10"
TITLE = "CPC (a reconstruction): PET/CT ResNet-10 with clinical values"
SOURCE = "Xie et al., EJNMMI 2025, doi 10.1007/s00259-025-07463-0"
VARIANTS = ("CPC", "PC", "P", "C", "clinical")
CLINICAL = (
    "age",
    "sex",
    "t_stage",
    "n_stage",
    "m_stage",
    "length_mm",
    "location",
    "differentiation",
    "suv_max",
    "mtv_ml",
    "tlg",
)
SKEWED = ("length_mm", "suv_max", "mtv_ml", "tlg")  # their logarithm is taken
UNITS = {"age": "a", "length_mm": "mm", "suv_max": "g/ml", "mtv_ml": "ml", "tlg": "g"}
NEVER = {
    "cps": "the label is made of it",
    "tps": "it comes from the same stained section as the label",
    "response": "it is known only after treatment",
}
ABDOMEN_HU = (-160.0, 240.0)
PAPER_LIKE: Mapping[str, object] = {
    "look": "fixed-crop",
    "cube": 96,
    "widths": FULL,
    "stem": "medicalnet",
    "pooling": "average",
    "steps": 2250,
    "batch": 8,
    "learning_rate": 1e-4,
    "evaluate_every": 23,
    "members": 5,
}


class CpcSettings(BaseModel):
    """Every default is ours ([R] of methods A3) unless the description says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Literal["reduced", "paper-like"] = Field(
        "reduced", description="reduced: a run on two cores; paper-like: 96³ crop and full ResNet-10, for a GPU"
    )
    look: Literal["canonical-roi", "fixed-crop"] = Field(
        "canonical-roi",
        description="canonical ROI learns fastest from few cases [M]; fixed crop keeps scale and context",
    )
    cube: int = Field(16, ge=8, le=128, description="edge of the input in voxels; paper-like 96, or 64 for less memory")
    extent_mm: float = Field(192.0, gt=0, description="edge of a fixed crop: 96 × 2 mm, the oesophagus is long in z")
    widths: Widths = Field((8, 16, 32, 64), description="of the four stages; ResNet-10 has 64, 128, 256, 512")
    stem: Stem = Field("small", description="3³ kernel for small cubes; MedicalNet's for crops")
    pooling: Literal["average", "average+max"] = Field("average+max", description="maximum beside the mean [M] (A0)")
    value_width: int = Field(16, ge=1, le=256, description="width of the clinical MLP")
    steps: int = Field(200, ge=1, description="of a batch each; paper-like: 100 epochs of 180 subjects")
    batch: int = Field(16, ge=2, le=512, description="subjects a step [M]; paper-like 8")
    learning_rate: float = Field(2e-3, gt=0, le=1, description="of AdamW [M]; paper-like 1e-4")
    weight_decay: float = Field(1e-3, ge=0, description="not on norms and biases (B2)")
    evaluate_every: int = Field(25, ge=1, description="steps between looks at the internal AUC, the best is kept")
    patience: int = Field(0, ge=0, description="looks without a gain after which it ends; 0: never")
    trunk: str = Field(
        "", description="safetensors of MedicalNet's ResNet-10 to begin with (full widths); none: from scratch"
    )
    members: int = Field(3, ge=1, le=32, description="deep ensemble; 5 at full size (D8)")
    values: tuple[str, ...] = Field(
        CLINICAL, description="columns of the table, those that it has, in our units unless it states its own"
    )

    @model_validator(mode="before")
    @classmethod
    def _of_the_size(cls, given: Any) -> Any:
        """The size chooses defaults; what is given by name stays."""
        paper_like = isinstance(given, Mapping) and given.get("size") == "paper-like"
        return {**PAPER_LIKE, **given} if paper_like else given

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.cube < 16 and self.stem == "medicalnet":
            raise ValueError("cube: MedicalNet's stem needs 16 voxels or more")
        Cpc(self, "PC").network(0)  # raises where look and network cannot be
        refuse_never(self.values, NEVER)
        return self


def look_of(settings: CpcSettings) -> CanonicalRoi | FixedCrop:
    """The input of all its networks."""
    if settings.look == "canonical-roi":
        scale = settings.cube / 16.0
        return CanonicalRoi(size=settings.cube, radius_voxels=6.5 * scale)
    return FixedCrop(size=settings.cube, spacing_mm=settings.extent_mm / settings.cube, ct_window_hu=ABDOMEN_HU)


class Cpc:
    """One of the five models; see the module."""

    def __init__(self, settings: CpcSettings, variant: str) -> None:
        self.settings, self.variant = settings, variant
        self.facts: dict[str, JsonValue] = {}
        self.costs: dict[str, JsonValue] = {}
        self._ensemble: Ensemble | None = None
        self._clinical: ValueModel | None = None

    def fit(self, data: Prepared, parts: Parts, conditions: Conditions) -> Self:
        specs = self._specs(data, parts) if self.variant in ("CPC", "clinical") else ()
        if self.variant == "clinical":
            from sklearn.linear_model import LogisticRegression  # L2, C = 1

            self._clinical = ValueModel.fit(LogisticRegression(max_iter=1000), data, parts, specs)
            self.facts = self._clinical.facts()
            return self
        self._ensemble = fit_ensemble(
            data,
            parts,
            conditions,
            look=LOOK,
            seen=look_of(self.settings),
            network=self.network(width(specs)),
            specs=specs,
            loop=self._loop(),
            members=self.settings.members,
            trunk=self.settings.trunk,
        )
        self.facts, self.costs = self._ensemble.facts(), self._ensemble.costs()
        return self

    def predict_proba(self, data: Prepared, rows: Rows) -> npt.NDArray[np.float64]:
        if self._clinical is not None:
            return self._clinical.predict_proba(data, rows)
        return self._fitted().predict_proba(data, rows)

    def save_bundle(self, out: Path, release: Release) -> str:
        look = look_of(self.settings)
        what = {
            "target": TARGET,
            "statement": statement(TITLE, release),
            "intended_use": "Research on PD-L1 (CPS >= 10) from FDG PET/CT. Never for a decision about a patient.",
            "tracer": "[18F]FDG",
            "tracers": ("fdg",),
            "body_part": "oesophagus, primary tumour",
            "region_rule": "contour of the primary tumour by a person, or a proposal that a person has confirmed",
            "status_code": Concept(value="CPC-PRED", scheme=SCHEME, meaning="Predicted PD-L1 CPS >= 10"),
            "probability_code": Concept(
                value="CPC-PROB", scheme=SCHEME, meaning="Predicted probability of PD-L1 CPS >= 10"
            ),
        }
        card = model_card(TITLE, SOURCE, self.variant, self.settings, release)
        return self._fitted().save(out, look, release, what, card)

    def _fitted(self) -> Ensemble:
        if self._ensemble is None:
            raise Refused(
                "recipe-variant-not-served",
                f"The model '{self.variant}' looks at no image, and the node serves none such; serve {VARIANTS[0]}.",
            )
        return self._ensemble

    def _specs(self, data: Prepared, parts: Parts) -> tuple[ValueSpec, ...]:
        specs = fit_specs(data, parts.train, self.settings.values, log=SKEWED, units=UNITS)
        if not specs:
            raise Refused(
                "recipe-values-missing",
                f"The model '{self.variant}' needs clinical values, and the table has none of "
                f"{', '.join(self.settings.values)}; add columns, or name yours in the setting 'values'.",
            )
        return specs

    def network(self, values: int) -> ResNet10:
        """The variant's network, for a value vector of that length.  Raises ``pydantic.ValidationError``."""
        channels = look_of(self.settings).channels
        wanted = {"P": "PET", "C": "CT"}.get(self.variant, "")
        takes = tuple(i for i, name in enumerate(channels) if name.startswith(wanted))
        return ResNet10(
            channels=len(channels),
            takes=takes if wanted else (),
            values=values,
            value_width=self.settings.value_width,
            widths=self.settings.widths,
            stem=self.settings.stem,
            pooling=self.settings.pooling,
        )

    def _loop(self) -> LoopSettings:
        chosen = self.settings
        return LoopSettings(
            steps=chosen.steps,
            batch=chosen.batch,
            learning_rate=chosen.learning_rate,
            weight_decay=chosen.weight_decay,
            check_every=chosen.evaluate_every,
            choose_by="AUC",
            patience=chosen.patience,
        )


def _published() -> tuple[tuple[str, str, str], ...]:
    aucs = {
        "CPC": ("0.927", "0.882", "0.843"),
        "PC": ("0.904", "0.848", "0.806"),
        "P": ("0.886", "0.770", "0.759"),
        "C": ("0.934", "0.745", "0.667"),
        "clinical": ("0.603", "0.524", "0.671"),
    }
    parts = ("AUC, training", "AUC, internal validation", "AUC, external validation")
    return tuple((model, part, value) for model, row in aucs.items() for part, value in zip(parts, row, strict=True))


RECIPE = Recipe(
    name="cpc",
    title=TITLE,
    source=SOURCE,
    images="PET/CT",
    settings=CpcSettings,
    looks=lambda settings: {LOOK: look_of(settings)},
    variants=VARIANTS,
    sources={"CPC": "pet+ct+clinical", "PC": "pet+ct", "P": "pet", "C": "ct", "clinical": "clinical"},
    estimator=Cpc,
    values=CLINICAL,
    never=NEVER,
    published=_published(),
)
