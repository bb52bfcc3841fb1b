"""The model that ships: an ensemble trained on the phantom cohort of methods A0.

It exists so that every part of the road can be seen working.  It says nothing about patients, and its metadata, every
report and every picture say so.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from inference.applicability import OUTSIDE_PERCENTILE, FeatureStatistics, quantities
from inference.bundle import SCHEME, Concept, Evaluation, Range, Served, save_bundle
from inference.inputs import CanonicalRoi, network_input, settings_digest
from training.evaluate.discrimination import Auc, auc_with_interval, expected_calibration_error
from training.phantom.cohort import CohortSettings, Subject, bayes_auc, draw, render, write_truth

if TYPE_CHECKING:
    from inference.network import RoiResNet

TARGET = "demonstration label"
STATEMENT = "demonstration model: trained on phantoms, says nothing about patients"
INTENDED_USE = "To show and test the node. Research use only; never for a decision about a patient."
STATUS_CODE = Concept(value="DEMO-PRED", scheme=SCHEME, meaning="Predicted demonstration label")
PROBABILITY_CODE = Concept(value="DEMO-PROB", scheme=SCHEME, meaning="Predicted probability of demonstration label")
VERSION = "1.0.0"
PROCESSES = 2
REFERENCE_SUBJECTS = 500  # kept as neighbours for the applicability score
NEAR_OPTIMUM = 0.05  # the AUC must come this near to the best there is

Array = npt.NDArray[Any]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What a training run gave.  ``near_optimum``: the held-out AUC lies within 0.05 of the Bayes AUC."""

    out: Path
    digest: str
    auc: Auc
    bayes_auc: float
    score_auc: float
    member_aucs: tuple[float, ...]
    expected_calibration_error: float
    temperature: float
    inside_fraction: float

    @property
    def near_optimum(self) -> bool:
        return self.bayes_auc - self.auc.value <= NEAR_OPTIMUM


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of the cohort as the network sees it: inputs (subject, channel, …), labels and hidden scores."""

    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.bool_]
    hidden: npt.NDArray[np.float64]
    found: list[dict[str, float]]


def train_demo(
    out: Path,
    *,
    seed: int = 8,
    n_train: int = 3000,
    n_validation: int = 1000,
    n_test: int = 2000,
    steps: int = 500,
    members: int = 5,
    extent_mm: float = 128.0,
    progress: Progress = lambda _: None,
) -> DemoReport:
    """Render the cohort, train the members, calibrate, test on held-out subjects, and write the bundle to ``out``.

    The truth of the cohort goes beside it as ``<out>.truth.json``.  The same arguments give the same digest on the same
    machine with the same package versions.  ``progress`` gets a line per stage.
    """
    from inference.network import RoiResNet, restore
    from training.supervised import FitSettings, answers

    cohort = CohortSettings(n_train + n_validation + n_test, seed, extent_mm=extent_mm)
    subjects = draw(cohort)
    look = CanonicalRoi()
    network = RoiResNet(channels=len(look.channels))
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool, tempfile.TemporaryDirectory() as folder:
        progress(f"rendering {cohort.subjects} phantoms")
        whole = _render(subjects, cohort, look, pool)
        parts = np.split(np.arange(cohort.subjects), [n_train, n_train + n_validation])
        train, validation, test = (_part(whole, index) for index in parts)
        np.savez(Path(folder, "train.npz"), inputs=train.inputs, labels=train.labels)
        how = [FitSettings(steps, seed=1000 * seed + member) for member in range(members)]
        progress(f"training {members} members, {steps} steps of {how[0].batch} each")
        weights = []
        for member, fitted in enumerate(pool.map(partial(_fit, Path(folder, "train.npz"), network), how)):
            weights.append(fitted)
            progress(f"member {member + 1} of {members} is trained")

    ensemble = [restore(network, w) for w in weights]
    answered = [[answers(net, part.inputs) for net in ensemble] for part in (train, validation, test)]
    scores = [np.stack([score for score, _ in part]) for part in answered]
    features = [np.concatenate([embedding for _, embedding in part], axis=1) for part in answered]
    temperature = fit_temperature(scores[1].mean(axis=0), validation.labels)
    statistics = FeatureStatistics.fit(
        features[0], train.labels.astype(int), features[1], reference_size=REFERENCE_SUBJECTS
    )

    auc = auc_with_interval(test.labels, scores[2].mean(axis=0))
    probabilities = _sigmoid(scores[2].mean(axis=0) / temperature)
    inside = [max(statistics.percentiles(f)) <= OUTSIDE_PERCENTILE for f in features[2]]
    evaluation = Evaluation(
        subjects=n_test,
        data="phantoms held out from the same generator",
        auc=round(auc.value, 4),
        auc_interval=(round(auc.low, 4), round(auc.high, 4)),
        bayes_auc=round(bayes_auc(cohort), 4),
        score_auc=round(auc_with_interval(test.labels, test.hidden).value, 4),
        expected_calibration_error=round(expected_calibration_error(test.labels, probabilities), 4),
        inside_fraction=round(float(np.mean(inside)), 4),
    )
    served = _served(look, network, members, temperature, _ranges(train.found), evaluation)
    right = _sigmoid(np.where(validation.labels, 1, -1) * scores[1].mean(axis=0) / temperature)
    served = served.model_copy(
        update={
            "conformal_quantile": round(float(np.quantile(1.0 - right, 0.9, method="higher")), 6),
            "training": {
                "command": "petct-node train demo",
                "cohort": asdict(cohort),
                "subjects": {"train": n_train, "validation": n_validation, "test": n_test},
                "fit": [asdict(one) for one in how],
                "calibration": "temperature on the mean score of the validation subjects",
            },
        }
    )
    digest = save_bundle(out, served, weights, statistics.arrays(), model_card=_model_card(served, evaluation))
    write_truth(out.with_name(out.name + ".truth.json"), cohort, subjects)
    return DemoReport(
        out=out,
        digest=digest,
        auc=auc,
        bayes_auc=bayes_auc(cohort),
        score_auc=evaluation.score_auc,
        member_aucs=tuple(auc_with_interval(test.labels, score).value for score in scores[2]),
        expected_calibration_error=evaluation.expected_calibration_error,
        temperature=temperature,
        inside_fraction=evaluation.inside_fraction,
    )


def fit_temperature(scores: Array, labels: Array) -> float:
    """The temperature that makes σ(score ÷ T) most likely (Guo et al. 2017), on validation subjects only."""
    from scipy.optimize import minimize_scalar

    signed = np.where(labels, scores, -scores).astype(float)
    found = minimize_scalar(lambda log_t: np.logaddexp(0.0, -signed * math.exp(-log_t)).mean(), bounds=(-3.0, 3.0))
    return math.exp(round(float(found.x), 6))


def _seen(subject: Subject, cohort: CohortSettings, look: CanonicalRoi) -> tuple[Array, dict[str, float]]:
    phantom = render(subject, cohort)
    seen = network_input(phantom.suv, phantom.ct, phantom.region, look)
    return seen.array, quantities(seen, phantom.suv)


def _render(subjects: list[Subject], cohort: CohortSettings, look: CanonicalRoi, pool: ProcessPoolExecutor) -> _Part:
    seen = list(pool.map(partial(_seen, cohort=cohort, look=look), subjects, chunksize=50))
    return _Part(
        np.stack([array for array, _ in seen]),
        np.array([s.label for s in subjects]),
        np.array([s.score for s in subjects]),
        [found for _, found in seen],
    )


def _part(whole: _Part, index: npt.NDArray[np.int64]) -> _Part:
    return _Part(whole.inputs[index], whole.labels[index], whole.hidden[index], [whole.found[i] for i in index])


def _fit(file: Path, network: RoiResNet, how: Any) -> dict[str, Array]:
    from training.supervised import fit

    with np.load(file) as data:
        return fit(data["inputs"], data["labels"], network, how)


def _ranges(found: list[dict[str, float]]) -> dict[str, Range]:
    """Lowest and highest value of each quantity in training: the input contract."""
    return {
        name: (round(min(one[name] for one in found), 4), round(max(one[name] for one in found), 4))
        for name in found[0]
    }


def _served(
    look: CanonicalRoi,
    network: RoiResNet,
    members: int,
    temperature: float,
    ranges: dict[str, Range],
    evaluation: Evaluation,
) -> Served:
    return Served(
        name="demo",
        version=VERSION,
        target=TARGET,
        statement=STATEMENT,
        demonstration=True,
        intended_use=INTENDED_USE,
        tracer="none (simulated uptake)",
        body_part="any (simulated lesion)",
        region_rule="contour of the lesion, or its 41 % isocontour",
        status_code=STATUS_CODE,
        probability_code=PROBABILITY_CODE,
        input=look,
        input_digest=settings_digest(look),
        network=network.model_dump(mode="json"),
        members=members,
        temperature=temperature,
        threshold=0.5,
        ranges=ranges,
        evaluation=evaluation,
    )


def _model_card(served: Served, result: Evaluation) -> str:
    low, high = result.auc_interval
    return f"""# {served.name} {served.version}: {served.target}

**{served.statement}.**

Intended use: {served.intended_use}

- What it sees: {", ".join(served.input.channels)}, one lesion brought to {served.input.size}³ voxels.
- What it is: {served.members} MONAI 3D ResNets (early fusion), temperature {served.temperature:.3f}, threshold
  {served.threshold} on the calibrated probability.
- Trained on: simulated lesions; the label is planted in the core of the uptake and the texture on CT.
- On {result.subjects} held-out phantoms: AUC {result.auc:.3f} ({low:.3f} to {high:.3f}); the best any reader can
  expect there is {result.bayes_auc:.3f}, and the hidden score itself reaches {result.score_auc:.3f} on them.
  Calibration error {result.expected_calibration_error:.3f}; {result.inside_fraction:.1%} count as "inside".
- Where it does not apply: to every patient. Lesions unlike its phantoms are reported as "outside".
- Made by: `petct-node train demo`.
"""


def _sigmoid(scores: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-scores)))
