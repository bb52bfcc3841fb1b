"""``dlr``: deep-learning radiomics of CT with clinical data, PD-L1 in lung cancer (methods A2; a reconstruction).

Lu et al., Sci Rep 2025;15:12495, doi 10.1038/s41598-025-91575-y.  Published: 352 patients, 48.29 % positive, ResNet-50
features of a semi-automatic tumour region on CT, LASSO, seven algorithms of which the best was kept, and a combined
model with clinical data.  Not known to us: slices, windows, size, the seven algorithms, the clinical variables, how
both were combined, and what the published figures were measured on; all of these here are our defaults.

The models: DLR is the image alone, "clinical" a logistic regression of the values, DLR + clinical a logistic regression
of DLR's out-of-fold logit and the values.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from inference.model.bundle import SCHEME
from inference.model.served import Concept
from inference.model.slices import AxialSlices, Window
from training.recipe import Recipe, refuse_never
from training.tabular.deep_radiomics import LOOK, DeepRadiomics
from training.tabular.system import DeepRadiomicsSettings, System

TITLE = "DLR (a reconstruction): CT deep-learning radiomics with clinical values"
SOURCE = "Lu et al., Sci Rep 2025;15:12495, doi 10.1038/s41598-025-91575-y"
CLINICAL = ("age", "sex", "smoking", "pack_years", "histology", "stage", "tumour_size", "cea")
NEVER = {
    "tps": "the label is made of it",
    "cps": "it comes from the same stained section as the label",
    "response": "it is known only after treatment",
}
SYSTEM = System(
    title=TITLE,
    source=SOURCE,
    images="CT",
    parts={"dlr+clinical": "fusion", "dlr": "image", "clinical": "clinical"},
    skewed=("pack_years", "tumour_size", "cea"),
    units={"age": "a", "cea": "ng/ml", "tumour_size": "mm", "pack_years": "{pack_years}"},
    served={
        "target": "PD-L1 TPS >= 1 %",
        "intended_use": "Research on PD-L1 (TPS >= 1 %) from CT. Never for a decision about a patient.",
        "tracer": "none (CT alone)",
        "body_part": "lung, primary tumour",
        "region_rule": "contour of the primary tumour on the CT by a person",
        "status_code": Concept(value="DLR-PRED", scheme=SCHEME, meaning="Predicted PD-L1 TPS >= 1 %"),
        "probability_code": Concept(
            value="DLR-PROB", scheme=SCHEME, meaning="Predicted probability of PD-L1 TPS >= 1 %"
        ),
    },
)


class DlrSettings(DeepRadiomicsSettings):
    """[P] published, [R] default of ours."""

    lung_window_hu: Window = Field((-1000.0, 400.0), description="[R] first channel")
    soft_window_hu: Window = Field((-160.0, 240.0), description="[R] second and third channel")
    values: tuple[str, ...] = Field(CLINICAL, description="[R] columns of the table, those that it has")

    @model_validator(mode="after")
    def _known_at_the_scan(self) -> Self:
        refuse_never(self.values, NEVER)
        return self


def look_of(settings: DlrSettings) -> AxialSlices:
    """The input of the network."""
    return AxialSlices(
        slices=settings.slices,
        size=settings.pixels,
        margin_mm=settings.margin_mm,
        windows=(settings.lung_window_hu, settings.soft_window_hu, settings.soft_window_hu),
    )


def estimator(settings: DlrSettings, variant: str) -> DeepRadiomics:
    """A fresh one."""
    return DeepRadiomics(settings, variant, SYSTEM, look_of(settings))


RECIPE = Recipe(
    name="dlr",
    title=TITLE,
    source=SOURCE,
    images="CT",
    settings=DlrSettings,
    looks=lambda settings: {LOOK: look_of(settings)},
    variants=tuple(SYSTEM.parts),
    estimator=estimator,
    values=CLINICAL,
    sources={"dlr+clinical": "ct+clinical", "dlr": "ct", "clinical": "clinical"},
    never=NEVER,
    published=(
        ("dlr", "AUC (95 % CI)", "0.85 (0.82–0.88)"),
        ("dlr", "sensitivity (95 % CI)", "0.80 (0.74–0.85)"),
        ("dlr", "specificity (95 % CI)", "0.73 (0.70–0.77)"),
        ("dlr+clinical", "AUC (95 % CI)", "0.91 (0.87–0.95)"),
        ("dlr+clinical", "sensitivity (95 % CI)", "0.85 (0.82–0.89)"),
        ("dlr+clinical", "specificity (95 % CI)", "0.75 (0.72–0.80)"),
    ),
)
