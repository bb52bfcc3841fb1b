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
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue
from threadpoolctl import threadpool_limits

from inference.model.applicability import OUTSIDE_PERCENTILE, FeatureStatistics, quantities
from inference.model.bundle import SCHEME, save_bundle
from inference.model.inputs import CanonicalRoi, network_input, settings_digest
from inference.model.served import Concept, Evaluation, Range, Served
from training.evaluate.discrimination import auc_with_interval, expected_calibration_error
from training.phantom.cohort import CohortSettings, Subject, bayes_auc, draw, render, write_truth

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
    """What a training run gave; ``inference.model.bundle.Evaluation`` explains the figures.

    ``near_optimum``: the held-out AUC lies within 0.05 of the Bayes AUC.
    """

    out: Path
    digest: str
    subjects: int
    auc: float
    auc_interval: Range
    bayes_auc: float
    score_auc: float
    member_aucs: tuple[float, ...]
    expected_calibration_error: float
    inside_fraction: float
    temperature: float

    @property
    def near_optimum(self) -> bool:
        return self.bayes_auc - self.auc <= NEAR_OPTIMUM


@dataclass(frozen=True, slots=True)
class _Member:
    """A trained member, and its answer to every subject: scores (subjects,) and features (subjects, n)."""

    weights: dict[str, Array]
    scores: Array
    features: Array
    network: dict[str, JsonValue]
    how: dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class _Result:
    """Calibration from the validation subjects, evaluation from the test subjects."""

    temperature: float
    conformal_quantile: float
    evaluation: Evaluation


def train_demo(
    out: Path,
    *,
    seed: int = 8,
    n_train: int = 3000,
    n_validation: int = 1000,
    n_test: int = 2000,
    steps: int = 400,
    members: int = 5,
    extent_mm: float = 128.0,
    truth: Path | None = None,
    progress: Progress = lambda _: None,
) -> DemoReport:
    """Render the cohort, train the members, calibrate, test on held-out subjects, and write the bundle to ``out``.

    ``truth``: where the cohort's latents go, if anywhere.  ``progress`` gets a line per stage.  The same arguments give
    the same digest on the same machine with the same package versions: every computation runs on one thread, two
    members at a time in processes of their own.
    """
    cohort = CohortSettings(n_train + n_validation + n_test, seed, extent_mm=extent_mm)
    look = CanonicalRoi()
    network = {"network": "roi-resnet", "channels": len(look.channels)}
    how = [{"steps": steps, "seed": 1000 * seed + member} for member in range(members)]
    subjects = draw(cohort)
    if truth is not None:
        write_truth(truth, cohort, subjects)
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool, tempfile.TemporaryDirectory() as folder:
        progress(f"rendering {cohort.subjects} phantoms")
        seen = list(pool.map(partial(_seen, cohort=cohort, look=look), subjects, chunksize=50))
        labels = np.array([subject.label for subject in subjects])
        file = Path(folder, "cohort.npz")
        np.savez(file, inputs=np.stack([array for array, _ in seen]), labels=labels)
        progress(f"training {members} members in {steps} steps each")
        trained = []
        for member in pool.map(partial(_member, file, n_train, network), how):
            trained.append(member)
            progress(f"member {len(trained)} of {members} is trained")

    parts = np.split(np.arange(cohort.subjects), [n_train, n_train + n_validation])
    scores = np.stack([member.scores for member in trained])
    ranges = _ranges([found for _, found in seen[:n_train]])
    inside, statistics = _statistics(np.concatenate([member.features for member in trained], axis=1), labels, parts)
    result = _result(scores, labels, np.array([subject.score for subject in subjects]), parts, cohort, inside)
    served = _served(look, trained[0].network, members, result, ranges)
    served = served.model_copy(
        update={
            "training": {
                "command": "petct-node train demo",
                "cohort": asdict(cohort),
                "subjects": {"train": n_train, "validation": n_validation, "test": n_test},
                "fit": [member.how for member in trained],
                "calibration": "temperature on the mean score of the validation subjects",
            }
        }
    )
    weights = [member.weights for member in trained]
    digest = save_bundle(out, served, weights, statistics.arrays(), model_card=_model_card(served, result.evaluation))
    member_aucs = tuple(auc_with_interval(labels[parts[2]], one[parts[2]]).value for one in scores)
    return DemoReport(
        out=out,
        digest=digest,
        member_aucs=member_aucs,
        temperature=result.temperature,
        **result.evaluation.model_dump(exclude={"data"}),
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


def _member(file: Path, n_train: int, network: dict[str, Any], how: dict[str, Any]) -> _Member:
    """Train one member on the first ``n_train`` subjects of the file and let it answer them all."""
    from inference.model.network import RoiResNet, restore
    from training.networks.supervised import FitSettings, answers, fit

    settings, fit_settings = RoiResNet.model_validate(network), FitSettings(**how)
    with np.load(file) as data:
        inputs, labels = data["inputs"], data["labels"]
    weights = fit(inputs[:n_train], labels[:n_train], settings, fit_settings)
    scores, features = answers(restore(settings, weights), inputs)
    return _Member(weights, scores, features, settings.model_dump(mode="json"), asdict(fit_settings))


def _statistics(
    features: Array, labels: Array, parts: list[npt.NDArray[np.int64]]
) -> tuple[npt.NDArray[np.bool_], FeatureStatistics]:
    """Applicability statistics, and which test subjects they call "inside"."""
    train, validation, test = parts
    with threadpool_limits(1):
        statistics = FeatureStatistics.fit(
            features[train], labels[train].astype(int), features[validation], reference_size=REFERENCE_SUBJECTS
        )
        inside = [max(statistics.percentiles(one)) <= OUTSIDE_PERCENTILE for one in features[test]]
    return np.array(inside), statistics


def _result(
    scores: Array,
    labels: Array,
    hidden: Array,
    parts: list[npt.NDArray[np.int64]],
    cohort: CohortSettings,
    inside: npt.NDArray[np.bool_],
) -> _Result:
    """``scores``: (members, subjects); the test subjects take no part in the calibration."""
    _, validation, test = parts
    pooled = scores.mean(axis=0)
    temperature = fit_temperature(pooled[validation], labels[validation])
    right = _sigmoid(np.where(labels, pooled, -pooled)[validation] / temperature)
    auc = auc_with_interval(labels[test], pooled[test])
    evaluation = Evaluation(
        subjects=len(test),
        data="phantoms held out from the same generator",
        auc=round(auc.value, 4),
        auc_interval=(round(auc.low, 4), round(auc.high, 4)),
        bayes_auc=round(bayes_auc(cohort), 4),
        score_auc=round(auc_with_interval(labels[test], hidden[test]).value, 4),
        expected_calibration_error=round(
            expected_calibration_error(labels[test], _sigmoid(pooled[test] / temperature)), 4
        ),
        inside_fraction=round(float(inside.mean()), 4),
    )
    return _Result(temperature, round(float(np.quantile(1.0 - right, 0.9, method="higher")), 6), evaluation)


def _ranges(found: list[dict[str, float]]) -> dict[str, Range]:
    """Lowest and highest value of each quantity in training: the input contract."""
    return {
        name: (round(min(one[name] for one in found), 4), round(max(one[name] for one in found), 4))
        for name in found[0]
    }


def _served(
    look: CanonicalRoi, network: dict[str, JsonValue], members: int, result: _Result, ranges: dict[str, Range]
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
        network=network,
        members=members,
        temperature=result.temperature,
        threshold=0.5,
        conformal_quantile=result.conformal_quantile,
        ranges=ranges,
        evaluation=result.evaluation,
    )


def _model_card(served: Served, result: Evaluation) -> str:
    low, high = result.auc_interval
    return f"""# {served.name} {served.version}: {served.target}

**{served.statement}.**

Intended use: {served.intended_use}

- What it sees: {", ".join(served.input.channels)}, one lesion brought to {served.input.shape[0]}³ voxels.
- What it is: {served.members} MONAI 3D ResNets (early fusion), temperature {served.temperature:.3f}, threshold
  {served.threshold} on the calibrated probability.
- Trained on: simulated lesions; the label is planted in the core of the uptake and the texture on CT.
- On {result.subjects} held-out phantoms: AUC {result.auc:.3f} ({low:.3f} to {high:.3f}); the best any reader can
  expect there is {result.bayes_auc:.3f}, and the hidden score itself reaches {result.score_auc:.3f} on them.
  Calibration error {result.expected_calibration_error:.3f}; {result.inside_fraction:.1%} count as "inside".
- It does not apply to patients. A lesion unlike its phantoms is reported as "outside"; a patient's lesion may still
  count as "inside", because the check compares measurements and features and cannot know who was scanned.
- Made by: `petct-node train demo`.
"""


def _sigmoid(scores: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-scores)))
