"""What a bundle says of itself: target, input, network, calibration, what it may be used for.

The ``petct_node`` part of a bundle's ``metadata.json``; ``inference.model.bundle`` reads and writes it.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from inference.facts import Code
from inference.model.inputs import InputSettings
from inference.model.radiomics import LinearHead
from inference.model.values import ValueSpec
from inference.suv.tracer import NAMES, tracer_named

Range = tuple[float, float]
ShortText = Annotated[str, Field(min_length=1, max_length=16)]  # a CS (PS3.5 6.2)
CONTRACT = ("tracers", "body_parts", "units", "age_years", "images", "values", "heads", "radiomics")
Images = Literal["PET/CT", "CT", "iodine map"]


class Frozen(BaseModel):
    """Base of what is read from a bundle: unknown fields are refused, nothing changes later."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _known_tracer(name: str) -> str:
    if name not in NAMES:
        raise ValueError(f"'{name}' is no tracer that we know; known are {', '.join(NAMES)}")
    return name


TracerName = Annotated[str, AfterValidator(_known_tracer)]


class Concept(Frozen):
    """A code of the bundle's own target (PS3.3 8.8)."""

    value: str = Field(min_length=1, max_length=16)
    scheme: str = Field(min_length=1, max_length=16)
    meaning: str = Field(min_length=1, max_length=64)

    def code(self) -> Code:
        """As the fact that crosses to the report."""
        return Code(self.value, self.scheme, self.meaning)


class Evaluation(Frozen):
    """How well the model told held-out subjects apart.

    ``auc``, ``auc_interval``: with its 95 % interval.  ``bayes_auc``: the best any reader of the hidden score could
    reach in expectation; ``score_auc``: what the hidden score itself reaches on the same subjects; both None for
    patients, where nobody knows.  ``inside_fraction``: share of the subjects that applicability called inside.
    """

    subjects: int
    data: str
    auc: float
    auc_interval: Range
    bayes_auc: float | None = None
    score_auc: float | None = None
    expected_calibration_error: float
    inside_fraction: float | None = None


class Served(Frozen):
    """What the node serves by; the ``petct_node`` part of ``metadata.json``.

    ``network``: arguments of ``.network``, checked there.  ``ranges``: the input contract, lowest and highest
    value seen in training by quantity (``inference.model.applicability.quantities``).  ``threshold``: on the calibrated
    probability.  ``conformal_quantile``: 90 % quantile of 1 − p(true label) on the validation subjects.

    ``tracers`` (names in ``suv.tracer``), ``body_parts`` (Body Part Examined), ``units`` (of the stored PET) and
    ``age_years`` (lowest and highest): what the model is for, empty for any (``inference.model.contract``).  Where
    ``tracers`` is empty, those that ``tracer``, the text for people, names are meant.

    ``images``: what a study must hold for the model: PET with its CT, a CT alone, or an iodine map alone.
    ``values``: clinical and laboratory values it takes, in this order.  ``heads``: how many ONNX files
    (``models/head_0.onnx`` …) turn the network's features (and values) into the probability; 0: the network does.
    ``radiomics``: a linear model of hand-made features that speaks beside the network, None where it speaks alone.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")
    version: str = Field(min_length=1, max_length=64)
    target: str
    statement: str
    demonstration: bool
    intended_use: str
    tracer: str
    body_part: str
    region_rule: str
    status_code: Concept
    probability_code: Concept
    input: InputSettings
    input_digest: str
    network: dict[str, JsonValue]
    members: int = Field(ge=1, le=32)
    temperature: float = Field(gt=0)
    threshold: float = Field(gt=0, lt=1)
    conformal_quantile: Annotated[float, Field(ge=0, le=1)] | None = None
    ranges: dict[str, Range] = Field(default_factory=dict)
    evaluation: Evaluation | None = None
    training: dict[str, JsonValue] = Field(default_factory=dict)
    tracers: tuple[TracerName, ...] = ()
    body_parts: tuple[ShortText, ...] = ()
    units: tuple[ShortText, ...] = ()
    age_years: Range | None = None
    images: Images = "PET/CT"
    values: tuple[ValueSpec, ...] = ()
    heads: int = Field(0, ge=0, le=32)
    radiomics: LinearHead | None = None

    @property
    def admitted_tracers(self) -> tuple[str, ...]:
        """The tracers that the model is for; none: any."""
        return self.tracers or tracer_named(self.tracer)

    @model_validator(mode="after")
    def _ages_in_order(self) -> Self:
        if self.age_years is not None and self.age_years[0] > self.age_years[1]:
            raise ValueError("age_years: the lowest is above the highest")
        return self
