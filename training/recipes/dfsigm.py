"""``dfsigm``: deep features of iodine maps with clinical data, PD-L1 in gastric cancer (methods A4; a reconstruction).

Chen et al., Academic Radiology 2026, PMID 41547630.  Published: 267 patients with dual-energy CT (143 training, 60
internal, 64 external), ResNet-50 features of the tumour on the iodine map, 12 features, a clinical logistic model, a
fusion of both.  Not known to us: the CPS cut-off, the phase, slices and size, the classifier of the features, and how
both were fused; all of these here are our defaults.

The models: DFSigM is the image alone (logistic regression of at most 12 features), "clinical" a logistic regression of
the values, fusion a logistic regression of DFSigM's out-of-fold logit and the values.  The code is that of ``dlr``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from pydantic import Field, model_validator

from inference.model.bundle import SCHEME
from inference.model.served import Concept
from inference.model.slices import AxialSlices
from training.recipe import Recipe, refuse_never
from training.tabular.classifiers import ClassifierName
from training.tabular.deep_radiomics import LOOK, DeepRadiomics
from training.tabular.system import DeepRadiomicsSettings, System

TITLE = "DFSigM (a reconstruction): deep features of iodine maps with clinical values"
SOURCE = "Chen et al., Academic Radiology 2026, PMID 41547630"
CLINICAL = ("age", "sex", "cea", "ca199", "t_stage", "n_stage", "m_stage", "lauren", "location", "differentiation")
AORTA = "aorta_iodine"
NEVER = {
    "cps": "the label is made of it",
    "tps": "it comes from the same stained section as the label",
    "response": "it is known only after treatment",
}
SYSTEM = System(
    title=TITLE,
    source=SOURCE,
    images="iodine map",
    parts={"fusion": "fusion", "dfsigm": "image", "clinical": "clinical"},
    skewed=("cea", "ca199"),
    units={"age": "a", "cea": "ng/ml", "ca199": "[U]/ml", AORTA: "mg/ml"},
    served={
        "target": "PD-L1 CPS >= 5",
        "intended_use": "Research on PD-L1 (CPS >= 5) from iodine maps. Never for a decision about a patient.",
        "tracer": "none (iodine map alone)",
        "body_part": "stomach, primary tumour",
        "region_rule": "contour of the primary tumour on the iodine map by a person",
        "status_code": Concept(value="DFSIGM-PRED", scheme=SCHEME, meaning="Predicted PD-L1 CPS >= 5"),
        "probability_code": Concept(
            value="DFSIGM-PROB", scheme=SCHEME, meaning="Predicted probability of PD-L1 CPS >= 5"
        ),
    },
)


class DfsigmSettings(DeepRadiomicsSettings):
    """[P] published, [R] default of ours."""

    iodine_clip: float = Field(8.0, gt=0, description="[R] mg/ml that becomes 1, in all three channels")
    normalise: bool = Field(
        False, description=f"[R] divide by the aorta's iodine, column '{AORTA}' (normalised iodine concentration)"
    )
    classifiers: tuple[ClassifierName, ...] = Field(
        ("logistic regression",), min_length=1, description="[R] the paper's is unknown; linear, so it has a heatmap"
    )
    most_features: int = Field(12, ge=0, description="[P] 12; 0: a tenth of the training subjects")
    values: tuple[str, ...] = Field(CLINICAL, description="[R] columns of the table, those that it has")

    @model_validator(mode="after")
    def _known_at_the_scan(self) -> Self:
        refuse_never(self.values, NEVER)
        return self


def look_of(settings: DfsigmSettings) -> AxialSlices:
    """The input of the network."""
    window = (0.0, 1.0) if settings.normalise else (0.0, settings.iodine_clip)
    return AxialSlices(
        images="iodine map",
        slices=settings.slices,
        size=settings.pixels,
        margin_mm=settings.margin_mm,
        windows=(window, window, window),
        divide_by=AORTA if settings.normalise else "",
    )


def estimator(settings: DfsigmSettings, variant: str) -> DeepRadiomics:
    """A fresh one."""
    system = replace(SYSTEM, needed=(AORTA,)) if settings.normalise else SYSTEM
    return DeepRadiomics(settings, variant, system, look_of(settings))


def _published() -> tuple[tuple[str, str, str], ...]:
    aucs = {
        "dfsigm": ("0.854", "0.836", "0.818"),
        "clinical": ("0.785", "0.720", "0.695"),
        "fusion": ("0.858", "0.828", "0.833"),
    }
    parts = ("AUC, training", "AUC, internal validation", "AUC, external validation")
    return tuple((model, part, value) for model, row in aucs.items() for part, value in zip(parts, row, strict=True))


RECIPE = Recipe(
    name="dfsigm",
    title=TITLE,
    source=SOURCE,
    images="iodine map",
    settings=DfsigmSettings,
    looks=lambda settings: {LOOK: look_of(settings)},
    variants=tuple(SYSTEM.parts),
    estimator=estimator,
    values=CLINICAL,
    sources={"fusion": "iodine+clinical", "dfsigm": "iodine", "clinical": "clinical"},
    never=NEVER,
    published=_published(),
)
