"""The resident model: from PET, CT and a region to a calibrated probability, its interval and a saliency map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from inference.facts import Caution, ModelFacts, Prediction, Refused, Region, Saliency, Volume
from inference.model.applicability import FeatureStatistics, Verdict, judge, out_of_range, quantities
from inference.model.bundle import Bundle, load_bundle
from inference.model.contract import NOBODY, Subject, breaches
from inference.model.explain import saliency_cautions, saliency_on_grid
from inference.model.inputs import WITHOUT_UPTAKE
from inference.model.look import needs_region, see
from inference.model.radiomics import TOO_THIN, radiomics
from inference.model.served import Served
from inference.model.values import Value, ValueSpec, encode, out_of_training_range, width
from inference.model.whole_body import WITHOUT_BODY

# No reason to lose the measures: only the probability is withheld.
WITHHELD_FOR = (WITHOUT_UPTAKE, WITHOUT_BODY, TOO_THIN, "value-missing", "value-not-usable")
NO_HEATMAP = Caution("no-heatmap", "There is no heatmap: this kind of model does not show where it looked.")
NETWORK_ALONE = Caution("heatmap-of-network", "The heatmap shows the network's part of the answer, not the features'.")
NO_VALUES: Mapping[str, Value | None] = {}
INTERVAL_SD = 1.96  # half width of the interval in standard deviations between members, on the logit


class Forward(Protocol):
    """One member's answer.  ``score``: logit of the label against no label, not yet calibrated."""

    score: float
    embedding: npt.NDArray[np.float32]

    def activation(self, label: int) -> npt.NDArray[np.float32] | None:
        """Grad-CAM of a class (0 or 1), (slice, row, column) in cells of the last stage; None where it has none."""


class Backend(Protocol):
    """What runs the members.  ``cell_voxels``: edge of one cell of the last stage in input voxels."""

    name: str
    precision: str
    cell_voxels: int

    def forward(
        self, array: npt.NDArray[np.float32], values: npt.NDArray[np.float32] | None = None
    ) -> Sequence[Forward]:
        """Each member's answer to an input (channel, slice, row, column) and the values as ``encode`` gives them."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the model says of one lesion or of the whole body.

    ``saliency``: None where the probability is withheld, or the model has no gradient.
    """

    prediction: Prediction
    saliency: Saliency | None
    cautions: tuple[Caution, ...]


class Model:
    """A bundle, loaded once and kept warm."""

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self._served = bundle.served
        self._backend = backend
        self._statistics = None if bundle.statistics is None else FeatureStatistics.of(bundle.statistics)
        self.facts = model_facts(bundle, backend)

    @classmethod
    def load(
        cls, path: Path, *, device: Literal["auto", "cpu", "cuda"] = "auto", threads: int = 0, warm: bool = False
    ) -> Model:
        """Check the bundle and build its networks (imports torch and MONAI).

        ``device`` "auto": CUDA where there is one.  ``threads``: of the CPU, 0 for all cores.  ``warm``: run once on
        nothing, so that the first lesion does not pay for it (a resident worker wants this, a single run does not).
        Raises ``Refused`` as ``inference.model.bundle.load_bundle`` does, and ``device-missing``.
        """
        bundle = load_bundle(path)
        from inference.model.torch_backend import TorchBackend

        backend = TorchBackend(bundle, device=device, threads=threads)
        if warm:
            shape = (len(bundle.served.input.channels), *bundle.served.input.shape)
            specs = bundle.served.values
            backend.forward(np.zeros(shape, np.float32), np.zeros(width(specs), np.float32) if specs else None)
        return cls(bundle, backend)

    @property
    def values(self) -> tuple[ValueSpec, ...]:
        """The clinical and laboratory values it takes, in order."""
        return self._served.values

    @property
    def needs_region(self) -> bool:
        """Does it look at one lesion?  Else it looks at the whole body."""
        return needs_region(self._served.input)

    def admits(self, subject: Subject) -> tuple[str, ...]:
        """Why the model must not look at the subject; none where it may."""
        return breaches(self._served, subject)

    def look(
        self,
        suv: Volume | None,
        ct: Volume,
        region: Region | None,
        subject: Subject = NOBODY,
        values: Mapping[str, Value | None] = NO_VALUES,
    ) -> Look:
        """Predict from ``suv`` (SUVbw, None for a model without PET), ``ct`` (HU, its own grid) and ``values``.

        ``region``: of the PET's grid (the CT's where there is no PET); a model that looks at the whole body takes none.
        Outside the input contract the network is not run.  That, a region without uptake, and a value that the model
        needs and does not get, are no reason to lose the measures: the probability is withheld.  Raises ``Refused`` as
        ``look.see`` does otherwise.
        """
        served = self._served
        if reasons := self.admits(subject):
            return _withheld(reasons)
        try:
            seen = see(suv, ct, region, served.input, values)
            encoded = encode(values, served.values)
            features = radiomics(seen) if served.radiomics else {}
        except Refused as refusal:
            if refusal.code not in WITHHELD_FOR:
                raise
            return _withheld((refusal.reason,))
        on = ct if suv is None else suv
        found, strange = quantities(seen, on), out_of_training_range(values, served.values)
        said = (*seen.cautions, *_filled(encoded.filled, served))
        if not served.demonstration and (reasons := (*out_of_range(found, served.ranges), *strange)):
            return _withheld(reasons, said)
        members = self._backend.forward(seen.array, encoded.vector if served.values else None)
        embedding = np.concatenate([member.embedding for member in members])
        verdict = _beside(judge(found, served.ranges, self._statistics, embedding), strange)
        scores = [member.score for member in members]
        if served.radiomics:
            scores = [served.radiomics.score(features, score) for score in scores]
        prediction = predict(scores, verdict, served)
        if prediction.probability is None:
            return Look(prediction, None, said)
        label = int(prediction.probability >= served.threshold)
        cells = [c for member in members if (c := member.activation(label)) is not None]
        if len(cells) < len(members) or (served.radiomics and served.radiomics.network_weight == 0.0):
            return Look(prediction, None, (*said, *_cautions(verdict), NO_HEATMAP))
        said = (*said, NETWORK_ALONE) if served.radiomics else said
        saliency = saliency_on_grid(np.stack(cells).mean(axis=0), seen, self._backend.cell_voxels, on)
        return Look(prediction, saliency, (*said, *_cautions(verdict), *saliency_cautions(saliency)))


def _beside(verdict: Verdict, strange: tuple[str, ...]) -> Verdict:
    """The verdict on images and features, and what is strange among the values."""
    return Verdict("outside", (*verdict.reasons, *strange)) if strange else verdict


def _filled(names: tuple[str, ...], served: Served) -> tuple[Caution, ...]:
    if not names:
        return ()
    titles = ", ".join(spec.title for spec in served.values if spec.name in names)
    return (Caution("value-filled", f"Not given, so the training's median stands in: {titles}."),)


def _withheld(reasons: tuple[str, ...], cautions: tuple[Caution, ...] = ()) -> Look:
    return Look(Prediction("withheld", None, None, None, "outside", reasons), None, cautions)


def predict(scores: Sequence[float], verdict: Verdict, served: Served) -> Prediction:
    """Pool the members' scores, calibrate (temperature, Guo et al. 2017), and decide what may be said.

    Probability: of the mean score.  Interval: ± 1.96 standard deviations between members, on the logit.  One member
    has no spread, so it has no interval, and is never indeterminate.
    """
    if verdict.state != "inside" and not served.demonstration:
        return Prediction("withheld", None, None, None, verdict.state, verdict.reasons)
    logits = np.asarray(scores, float) / served.temperature
    centre = float(logits.mean())
    probability, interval, crosses = _sigmoid(centre), None, False
    if len(logits) > 1:
        half_width = INTERVAL_SD * float(logits.std(ddof=1))
        low, high = _sigmoid(centre - half_width), _sigmoid(centre + half_width)
        interval, crosses = (low, high), low < served.threshold <= high
    return Prediction(
        status="indeterminate" if crosses else "reported",
        probability=probability,
        interval=interval,
        label=None if crosses else probability >= served.threshold,
        applicability=verdict.state,
        applicability_reasons=verdict.reasons,
        member_probabilities=tuple(_sigmoid(float(v)) for v in logits),
    )


def model_facts(bundle: Bundle, backend: Backend) -> ModelFacts:
    """Which model speaks, for the report."""
    served = bundle.served
    return ModelFacts(
        name=served.name,
        version=served.version,
        digest=bundle.digest,
        backend=backend.name,
        precision=backend.precision,
        target=served.target,
        demonstration=served.demonstration,
        statement=served.statement,
        status_code=served.status_code.code(),
        probability_code=served.probability_code.code(),
        preprocessing_digest=served.input_digest,
        whole_body=not needs_region(served.input),
    )


def _cautions(verdict: Verdict) -> tuple[Caution, ...]:
    """Only a demonstration comes here with a verdict other than "inside"."""
    if verdict.state == "inside":
        return ()
    if verdict.state == "unknown":
        return (Caution("applicability-unknown", "It is not known whether the model applies to this lesion."),)
    text = "The demonstration model prints a probability although this lesion is not like its training data."
    return (Caution("demonstration-does-not-apply", text),)


def _sigmoid(logit: float) -> float:
    return 0.5 * (1.0 + math.tanh(0.5 * logit))
