"""``prrt_pfs``: progression-free survival after PRRT from SSTR PET, CT and laboratory values (methods A5).

Baur et al., arXiv 2511.05169 and Cancers 2026;18(8):1194, doi 10.3390/cancers18081194.  Published: short PFS is at most
a year; seven models, among them a random forest of laboratory values, 3D CNNs of SSTR PET and of CT, and their fusion,
the best, with a pretrained CT branch; repeated threefold cross-validation.  Ours: all sizes, widths and schedules.  On
what that branch was pretrained is not known to us, and no such weights are here: the setting ``trunk`` takes a file.

The label follows from time and event: progression or death within 12 months is short.  Who was lost before 12 months
is neither: left out, or made up for by weights (IPCW), never called long.  The number of PRRT cycles is known only
afterwards and is refused as a predictor.
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
from inference.model.served import Concept
from inference.model.trunk import Stem, Widths
from inference.model.two_branch import Branch, TwoBranch
from inference.model.value_network import FULL
from inference.model.values import ValueSpec, width
from inference.model.whole_body import WholeBody
from training.cohort.pfs import censoring_weights, with_pfs_labels
from training.networks.ensemble import Ensemble, fit_ensemble
from training.prepared import Parts, Prepared, Rows
from training.recipe import Conditions, Recipe, Release, refuse_never
from training.release.calibrate import Calibration, calibrate
from training.release.model_card import model_card, statement
from training.semi_supervised.settings import LoopSettings
from training.tabular.value_model import ValueModel
from training.tabular.values import fit_specs

LOOK = "whole body"
TARGET = "PFS <= 12 months after PRRT"
TITLE = "PRRT-PFS (a reconstruction): SSTR PET, CT and laboratory values"
SOURCE = "Baur et al., Cancers 2026;18(8):1194, doi 10.3390/cancers18081194"
FUSED, FOREST, LATE = "lab+PET+CT", "lab RF", "late average"
BRANCHES: Mapping[str, tuple[Branch, ...]] = {
    FUSED: ("PET", "CT"),
    "PET": ("PET",),
    "CT": ("CT",),
    "PET+CT": ("PET", "CT"),
}
VARIANTS = (FUSED, "PET", "CT", FOREST, "PET+CT", LATE)
UNITS = {
    "cga": "ug/l",
    "ggt": "U/l",
    "alp": "U/l",
    "ast": "U/l",
    "alt": "U/l",
    "bilirubin": "mg/dl",
    "creatinine": "mg/dl",
    "haemoglobin": "g/dl",
    "leucocytes": "10*9/l",
    "platelets": "10*9/l",
    "ldh": "U/l",
    "albumin": "g/l",
}
LABORATORY = tuple(UNITS)
NEVER = {
    "cycles": "the number of PRRT cycles is known only after treatment, and progression ends it",
    "prrt_cycles": "the number of PRRT cycles is known only after treatment, and progression ends it",
    "pfs_months": "the label is made of it",
    "best_response": "it is known only after treatment",
}
FULL_SIZE: Mapping[str, object] = {
    "shape": (256, 128, 128),
    "spacing_mm": 4.0,
    "widths": FULL,
    "steps": 1500,
    "batch": 4,
    "learning_rate": 3e-4,
    "evaluate_every": 50,
    "members": 5,
}


class PrrtSettings(BaseModel):
    """Every default is ours ([R] of methods A5) unless the description says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Literal["reduced", "full"] = Field(
        "reduced", description="reduced: 8 mm and narrow networks, for two cores; full: 4 mm and ResNet-10, for a GPU"
    )
    shape: tuple[int, int, int] = Field((64, 32, 32), description="slices, rows, columns of the input")
    spacing_mm: float = Field(8.0, ge=1, le=20, description="of the input; full 4")
    widths: Widths = Field((8, 16, 32, 64), description="of the four stages of both branches; full 64, 128, 256, 512")
    stem: Stem = Field(
        "medicalnet", description="7³ with stride 2 and pooling: the body is large, lesions are not small"
    )
    strides: Widths = Field((1, 2, 1, 1), description="of the four stages; one cell of the heatmap is 8 voxels")
    pooling: Literal["average", "average+max"] = Field("average+max", description="maximum beside the mean [M] (A0)")
    image_width: int = Field(128, ge=1, le=1024, description="of each branch's embedding")
    value_width: int = Field(32, ge=1, le=256, description="of the laboratory values' embedding")
    dropout: float = Field(0.3, ge=0, lt=1, description="before the last layer")
    modality_dropout: float = Field(0.2, ge=0, lt=1, description="how often a branch is left out in training")
    steps: int = Field(200, ge=1, description="of a batch each; a run of all models ends within 20 minutes")
    batch: int = Field(8, ge=2, le=512, description="subjects a step")
    learning_rate: float = Field(2e-3, gt=0, le=1, description="of AdamW, narrow networks (B2); full 3e-4")
    weight_decay: float = Field(1e-3, ge=0, description="not on norms and biases (B2)")
    evaluate_every: int = Field(30, ge=1, description="steps between looks at the validation AUC, the best is kept")
    patience: int = Field(0, ge=0, description="looks without a gain after which it ends; 0: never")
    trunk: str = Field(
        "", description="safetensors of MedicalNet's ResNet-10 to begin with (full widths); none: from scratch"
    )
    members: int = Field(3, ge=1, le=32, description="deep ensemble; 5 at full size (D8)")
    trees: int = Field(500, ge=1, le=10_000, description="of the random forest, classes balanced")
    values: tuple[str, ...] = Field(
        LABORATORY, description="columns of the table, those that it has, in our units unless it states its own"
    )
    logarithm: tuple[str, ...] = Field(("cga", "ggt"), description="values whose logarithm is taken")
    censored: Literal["left out", "weighted"] = Field(
        "left out", description="who was lost before 12 months; weighted: the others stand for them (IPCW)"
    )

    @model_validator(mode="before")
    @classmethod
    def _of_the_size(cls, given: Any) -> Any:
        """The size chooses defaults; what is given by name stays."""
        return {**FULL_SIZE, **given} if isinstance(given, Mapping) and given.get("size") == "full" else given

    @model_validator(mode="after")
    def _fits(self) -> Self:
        look_of(self)
        PrrtPfs(self, FUSED).network(0)  # both raise where they cannot be
        refuse_never(self.values, NEVER)
        return self


def look_of(settings: PrrtSettings) -> WholeBody:
    """The input of all its networks."""
    return WholeBody(shape=settings.shape, spacing_mm=settings.spacing_mm)


class PrrtPfs:
    """One of the six models; see the module."""

    def __init__(self, settings: PrrtSettings, variant: str) -> None:
        self.settings, self.variant = settings, variant
        self.facts: dict[str, JsonValue] = {}
        self.costs: dict[str, JsonValue] = {}
        self._ensemble: Ensemble | None = None
        self._forest: ValueModel | None = None
        self._late: LateAverage | None = None

    def fit(self, data: Prepared, parts: Parts, conditions: Conditions) -> Self:
        if self.variant == LATE:
            self._late = LateAverage.fit(self.settings, data, parts, conditions)
            self.facts = self._late.facts()
            return self
        specs = laboratory_specs(self.settings, data, parts) if self.variant in (FUSED, FOREST) else ()
        weights = censoring_weights(data, parts.train) if self.settings.censored == "weighted" else None
        if self.variant == FOREST:
            self._forest = ValueModel.fit(self._trees(conditions), data, parts, specs, weights)
            self.facts = self._forest.facts()
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
            weights=weights,
        )
        self.facts, self.costs = self._ensemble.facts(), self._ensemble.costs()
        return self

    def predict_proba(self, data: Prepared, rows: Rows) -> npt.NDArray[np.float64]:
        fitted = self._ensemble or self._forest or self._late
        if fitted is None:
            raise ValueError("fit it first")
        return fitted.predict_proba(data, rows)

    def save_bundle(self, out: Path, release: Release) -> str:
        if self._ensemble is None:
            raise Refused(
                "recipe-variant-not-served",
                f"The model '{self.variant}' is for comparison only, and the node serves none such; serve {FUSED}.",
            )
        what = {
            "target": TARGET,
            "statement": statement(TITLE, release),
            "intended_use": "Research on PRRT of neuroendocrine tumours. Never for a decision about a patient.",
            "tracer": "[68Ga]Ga-DOTATOC, [68Ga]Ga-DOTATATE or [68Ga]Ga-DOTANOC",
            "tracers": ("dotatoc", "dotatate", "dotanoc"),
            "body_part": "whole body",
            "region_rule": "none: it looks at the whole body",
            "status_code": Concept(value="PFS12-PRED", scheme=SCHEME, meaning="Predicted PFS <= 12 months"),
            "probability_code": Concept(
                value="PFS12-PROB", scheme=SCHEME, meaning="Predicted probability of PFS <= 12 months"
            ),
            "images": "PET/CT",
        }
        card = model_card(TITLE, SOURCE, self.variant, self.settings, release)
        return self._ensemble.save(out, look_of(self.settings), release, what, card)

    def _trees(self, conditions: Conditions) -> Any:
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(
            self.settings.trees, class_weight="balanced", random_state=conditions.seed, n_jobs=conditions.threads
        )

    def network(self, values: int) -> TwoBranch:
        """The variant's network, for a value vector of that length.  Raises ``pydantic.ValidationError``."""
        names = ("widths", "stem", "strides", "pooling", "image_width", "value_width", "dropout", "modality_dropout")
        chosen = {name: getattr(self.settings, name) for name in names}
        return TwoBranch(branches=BRANCHES[self.variant], values=values, **chosen)

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


class LateAverage:
    """Mean of the logits of PET, CT and laboratory models that were trained apart, then calibrated.

    What joint fusion is compared with: it cannot use what one source tells only together with another.
    """

    def __init__(self, models: tuple[PrrtPfs, ...], calibration: Calibration) -> None:
        self._models, self._calibration = models, calibration

    @classmethod
    def fit(cls, settings: PrrtSettings, data: Prepared, parts: Parts, conditions: Conditions) -> Self:
        from dataclasses import replace

        models = tuple(
            PrrtPfs(settings, name).fit(data, parts, replace(conditions, folder=conditions.folder / name))
            for name in ("PET", "CT", FOREST)
        )
        scores = _mean_logit(models, data, parts.validation)
        return cls(models, calibrate(scores, data.labels[parts.validation]))

    def predict_proba(self, data: Prepared, rows: Rows) -> npt.NDArray[np.float64]:
        return self._calibration.probability(_mean_logit(self._models, data, rows))

    def facts(self) -> dict[str, JsonValue]:
        return {**self._calibration.facts(), "parts": {one.variant: one.facts for one in self._models}}


def laboratory_specs(settings: PrrtSettings, data: Prepared, parts: Parts) -> tuple[ValueSpec, ...]:
    """How the values are encoded, from the training rows; what is missing is filled and flagged, also when serving."""
    specs = fit_specs(data, parts.train, settings.values, log=settings.logarithm, missing="filled", units=UNITS)
    if not specs:
        raise Refused(
            "recipe-values-missing",
            "The model needs laboratory values, and the table has none of "
            f"{', '.join(settings.values)}; add columns, or name yours in the setting 'values'.",
        )
    return specs


def _mean_logit(models: tuple[PrrtPfs, ...], data: Prepared, rows: Rows) -> npt.NDArray[np.float64]:
    found = np.clip([model.predict_proba(data, rows) for model in models], 1e-9, 1.0 - 1e-9)
    return np.asarray(np.log(found / (1.0 - found)).mean(axis=0))


RECIPE = Recipe(
    name="prrt_pfs",
    title=TITLE,
    source=SOURCE,
    images="PET/CT",
    settings=PrrtSettings,
    looks=lambda settings: {LOOK: look_of(settings)},
    variants=VARIANTS,
    sources={
        FUSED: "pet+ct+clinical",
        "PET": "pet",
        "CT": "ct",
        FOREST: "clinical",
        "PET+CT": "pet+ct",
        LATE: "pet+ct+clinical",
    },
    estimator=PrrtPfs,
    values=LABORATORY,
    never=NEVER,
    published=(
        (FOREST, "AUROC, mean ± spread of repeats", "0.59 ± 0.02"),
        ("PET", "AUROC, mean ± spread of repeats", "0.42 ± 0.03"),
        ("CT", "AUROC, mean ± spread of repeats", "0.54 ± 0.01"),
        (FUSED, "AUROC, mean ± spread of repeats (pretrained CT branch)", "0.72 ± 0.01"),
        (FUSED, "AUPRC, mean ± spread of repeats (pretrained CT branch)", "0.80 ± 0.01"),
    ),
    relabelled=lambda _, data: with_pfs_labels(data),
)
