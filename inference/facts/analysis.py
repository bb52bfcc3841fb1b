"""What the model says, and everything that the report needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from inference.facts.images import Pair, Volume
from inference.facts.measures import UNKNOWN_TRACER, Lesion, ReferenceUptake, SuvRule, SuvScale, Tracer
from inference.facts.refusal import Caution, Code


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Which model spoke.

    ``digest``: SHA-256 of the bundle's manifest.  ``backend``: e.g. "torch cpu"; ``precision``: "fp32".

    ``statement`` must stand in every SR and on every picture ("" where there is none).  ``demonstration``: trained on
    phantoms, delivered to loopback only.  ``status_code``, ``probability_code``: concepts of the model's own target.
    ``preprocessing_digest``: settings of ``inference.model.inputs``.  ``whole_body``: it looks at all of the images,
    and what it says belongs to the study and to no lesion.
    """

    name: str
    version: str
    digest: str
    backend: str
    precision: str
    target: str
    demonstration: bool
    statement: str
    status_code: Code
    probability_code: Code
    preprocessing_digest: str
    whole_body: bool = False


@dataclass(frozen=True, slots=True)
class Prediction:
    """Probability of the model's target, calibrated, with the ensemble's interval.

    ``status``: "reported", "indeterminate" (interval crosses the threshold), "withheld" (model does not apply), "none"
    (no lesion to look at).  ``probability``/``interval`` are None unless reported or indeterminate, 0..1; ``interval``
    is None too where the model has one member.
    ``applicability``: "inside", "outside" or "unknown", with ``applicability_reasons``.
    ``label``: True when the probability is at or above the bundle's threshold, None unless reported.
    """

    status: Literal["reported", "indeterminate", "withheld", "none"]
    probability: float | None
    interval: tuple[float, float] | None
    label: bool | None
    applicability: Literal["inside", "outside", "unknown"]
    applicability_reasons: tuple[str, ...] = ()
    member_probabilities: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Saliency:
    """Head-only Grad-CAM on the reference grid, scaled to 0..1 over its box; zero outside it.

    ``array``: float32 (slice, row, column), the box at ``start`` in the reference grid.  ``cell_mm``: edge of one cell
    of the network's last block: nothing finer than that may be read from it.  ``raw_max``: maximum before scaling.
    """

    start: tuple[int, int, int]
    array: npt.NDArray[np.float32]
    cell_mm: float
    raw_max: float


@dataclass(frozen=True, slots=True)
class TakenValue:
    """A clinical or laboratory value, or a measure of the lesion, that the model takes beside the images.

    ``name``, ``title``, ``unit`` (UCUM, "" for none) as ``inference.model.values.ValueSpec``.  ``value``: None where it
    was missing, and the model took its training's median instead.  ``source``: "table" (or file) of the site, "header"
    (DICOM), "measured".  Patient data: nothing of it goes into a log.
    """

    name: str
    title: str
    unit: str
    value: float | str | None
    source: str


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything the report needs; nothing in it is read again.

    ``suv``: PET as float32 SUVbw (g/ml), None without a PET, as ``rule`` is.  ``ct``: int16 HU on its own grid, whose
    slices are not the CT's images where those lay off a grid (``volume.Stack.regrid``; -1025 where no image reaches);
    of an iodine map float32 mg/ml.  ``lesions``: largest MTV (without a PET largest volume) first, but the one given to
    the model (index lesion) always first.  ``references``: liver and blood pool, where found.
    ``also_suv``: other kinds of SUV that were asked for, beside SUVbw.
    ``timings_s``: seconds per stage.  ``values``: what the model takes beside the images, in its order.
    """

    pair: Pair
    suv: Volume | None
    ct: Volume
    rule: SuvRule | None
    lesions: tuple[Lesion, ...]
    prediction: Prediction
    saliency: Saliency | None
    model: ModelFacts
    cautions: tuple[Caution, ...]
    tracer: Tracer = UNKNOWN_TRACER
    references: tuple[ReferenceUptake, ...] = ()
    also_suv: tuple[SuvScale, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    values: tuple[TakenValue, ...] = ()

    @property
    def grid(self) -> Volume:
        """The volume on whose grid regions and saliency lie: SUV, without a PET the CT or iodine map."""
        return self.suv or self.ct

    @property
    def pet(self) -> Volume:
        """SUV of an analysis with a PET.  Raises LookupError where there is none."""
        if self.suv is None:
            raise LookupError("the analysis has no PET")
        return self.suv
