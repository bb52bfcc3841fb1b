"""A deep ensemble of image networks with values beside them: from prepared rows to a bundle (methods D5, D7, D8).

What recipes share; each recipe says which network, which channels and which values.  Lakshminarayanan et al. 2017:
members differ by their seed alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue
from safetensors.numpy import load_file, save_file

from inference.facts import Refused
from inference.model.applicability import FeatureStatistics
from inference.model.bundle import save_bundle
from inference.model.inputs import CanonicalRoi, FixedCrop, InputSettings, settings_digest
from inference.model.network import Network, NetworkSettings, restore
from inference.model.served import Range, Served
from inference.model.values import ValueSpec
from inference.model.whole_body import WholeBody
from training.networks.pretrained_trunk import begun_with, trunk_weights
from training.prepared import Parts, Prepared, Rows
from training.recipe import Conditions, Progress, Release
from training.release.calibrate import Calibration, calibrate, feature_statistics, ranges
from training.semi_supervised.augment import Channels
from training.semi_supervised.loop import fit
from training.semi_supervised.methods import method as method_named
from training.semi_supervised.problem import Problem, at_once
from training.semi_supervised.settings import LoopSettings
from training.tabular.values import encode_rows

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Member:
    """``weights`` of step ``chosen`` of ``steps``.  ``input_seconds``: of all ``seconds``, those for images."""

    weights: Mapping[str, Array]
    steps: int
    chosen: int
    seconds: float
    input_seconds: float


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Trained members and what is known of them.

    ``specs``: the values they take; ``look``: name of their input; ``device``: where they answer.
    """

    look: str
    network: NetworkSettings
    specs: tuple[ValueSpec, ...]
    members: tuple[Member, ...]
    calibration: Calibration
    statistics: FeatureStatistics | None
    ranges: Mapping[str, Range]
    device: str = "cpu"

    def scores(self, data: Prepared, rows: Rows) -> npt.NDArray[np.float64]:
        """Mean logit of the members, not calibrated, (len(rows),)."""
        return _all_answers(self.members, self.network, data, self.look, rows, self.specs, self.device)[0]

    def predict_proba(self, data: Prepared, rows: Rows) -> npt.NDArray[np.float64]:
        """Calibrated probability, (len(rows),)."""
        return self.calibration.probability(self.scores(data, rows))

    def facts(self) -> dict[str, JsonValue]:
        """For the run's record."""
        return {
            **self.calibration.facts(),
            "members": [{"step": one.chosen, "of_steps": one.steps} for one in self.members],
            "values": [spec.name for spec in self.specs],
        }

    def costs(self) -> dict[str, JsonValue]:
        """Seconds of all members' steps, and which share of them went into reading and augmenting batches."""
        seconds = sum(one.seconds for one in self.members)
        reading = sum(one.input_seconds for one in self.members)
        return {
            "training_seconds": round(seconds, 2),
            "seconds_per_step": round(seconds / max(1, sum(one.steps for one in self.members)), 4),
            "input_share": round(reading / max(seconds, 1e-9), 4),
        }

    def save(self, out: Path, look: InputSettings, release: Release, what: Mapping[str, Any], card: str) -> str:
        """Write the bundle; ``what``: fields of ``Served`` that the recipe knows (target, statement, codes …)."""
        served = Served(
            name=release.name,
            version=release.version,
            demonstration=release.demonstration,
            input=look,
            input_digest=settings_digest(look),
            network=self.network.model_dump(mode="json"),
            members=len(self.members),
            temperature=self.calibration.temperature,
            threshold=self.calibration.threshold,
            conformal_quantile=self.calibration.conformal_quantile,
            ranges=dict(self.ranges),
            evaluation=release.evaluation,
            training=dict(release.manifest),
            values=self.specs,
            **what,
        )
        weights = [one.weights for one in self.members]
        statistics = None if self.statistics is None else self.statistics.arrays()
        return save_bundle(out, served, weights, statistics, model_card=card)


def fit_ensemble(
    data: Prepared,
    parts: Parts,
    conditions: Conditions,
    *,
    look: str,
    seen: CanonicalRoi | FixedCrop | WholeBody,
    network: NetworkSettings,
    specs: Sequence[ValueSpec],
    loop: LoopSettings,
    members: int,
    weights: npt.NDArray[np.float32] | None = None,
    method: str = "supervised",
    targets: npt.NDArray[np.float32] | None = None,
    trunk: str = "",
) -> Ensemble:
    """Train ``members`` networks on ``parts.train``, each with a seed of its own, and calibrate on the validation rows.

    ``method``: of ``training.semi_supervised.methods``, which also learns from ``parts.unlabelled``; ``targets``: a
    teacher's probability for each row of the cohort, for the method that takes one.  ``trunk``: file of weights to
    begin with (``training.networks.pretrained_trunk``), "" for none.

    ``look``: name of the input, whose settings are ``seen``.  ``weights``: of each training row in the loss, None for
    all alike.  Each member has a folder of ``conditions``; one that is done is read from there.
    Raises ``Refused`` as ``training.semi_supervised.loop.fit``, ``training-one-class`` for the validation rows as well.
    """
    _both_classes(data, parts)
    specs, learnt = tuple(specs), []
    rows = np.concatenate([parts.train, parts.validation])
    problem = Problem(
        inputs=data.inputs[look],
        labels=data.labels,
        centres=data.centres,
        train=parts.train,
        validation=parts.validation,
        unlabelled=parts.unlabelled,
        targets=targets,
        values=_spread(data, rows, encode_rows(data, rows, specs)) if specs else None,
        weights=None if weights is None else _spread(data, parts.train, weights),
    )
    for number in range(members):
        folder = conditions.folder / f"member_{number}"
        here = replace(
            conditions,
            seed=1000 * conditions.seed + number,
            folder=folder,
            tell=_of_all(conditions, number, members),
        )
        member = _kept(folder)
        if member is None:
            initial = begun_with(network, trunk_weights(Path(trunk)), here.seed) if trunk else None
            found = fit(problem, method_named(method), network, loop, Channels.of(seen), here, initial)
            member = Member(found.weights, found.steps, found.chosen, found.seconds, found.input_seconds)
            _keep(folder, member)
        learnt.append(member)
    scores, features = _all_answers(learnt, network, data, look, rows, specs, conditions.device)
    count = len(parts.train)
    return Ensemble(
        look=look,
        network=network,
        specs=specs,
        members=tuple(learnt),
        calibration=calibrate(scores[count:], data.labels[parts.validation]),
        statistics=feature_statistics(features[:count], data.labels[parts.train], features[count:]),
        ranges=ranges(data, parts.train),
        device=conditions.device,
    )


def answers(
    network: Network, inputs: npt.NDArray[np.float32], rows: Rows, values: npt.NDArray[np.float32] | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Scores (len(rows),) and penultimate features (len(rows), n) of a network in evaluation mode, where it is.

    ``values``: (len(rows), n), in the order of ``rows``.  In full precision, as it is served.
    """
    torch.backends.cudnn.allow_tf32 = False
    device, size = next(network.parameters()).device, at_once(inputs)
    scores, embeddings = [], []
    with torch.no_grad():
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            features = network.features(torch.from_numpy(np.ascontiguousarray(inputs[rows[part]])).to(device))
            beside = None if values is None else torch.from_numpy(values[part]).to(device)
            logits = network.head(features, beside)
            scores.append((logits[:, 1] - logits[:, 0]).cpu().numpy())
            embeddings.append(network.embedding(features, beside).cpu().numpy())
    return np.concatenate(scores), np.concatenate(embeddings)


def _all_answers(
    members: Sequence[Member],
    network: NetworkSettings,
    data: Prepared,
    look: str,
    rows: Rows,
    specs: Sequence[ValueSpec],
    device: str,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Mean score (len(rows),) and all members' penultimate features side by side."""
    vectors = encode_rows(data, rows, specs) if specs else None
    networks = (restore(network, one.weights).to(device) for one in members)
    found = [answers(one, data.inputs[look], rows, vectors) for one in networks]
    scores = np.mean([score for score, _ in found], axis=0, dtype=float)
    return np.asarray(scores), np.concatenate([features for _, features in found], axis=1)


def _both_classes(data: Prepared, parts: Parts) -> None:
    for name, rows in (("training", parts.train), ("validation", parts.validation)):
        if set(np.unique(data.labels[rows]).tolist()) != {0, 1}:
            raise Refused(
                "training-one-class",
                f"The {len(rows)} {name} studies must be of both classes; label more studies, or use fewer folds.",
            )


def _spread(data: Prepared, rows: Rows, of_rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(len(data), …), 0 but for ``rows``: no other row takes part, nor may it refuse the training."""
    spread = np.zeros((len(data), *of_rows.shape[1:]), np.float32)
    spread[rows] = of_rows
    return spread


def _of_all(conditions: Conditions, member: int, members: int) -> Callable[[Progress], None]:
    """Progress of one member as part of all."""
    return lambda one: conditions.tell(
        Progress(member * one.total + one.done, members * one.total, f"member {member + 1} of {members}")
    )


def _keep(folder: Path, member: Member) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(member.weights), folder / "member.safetensors")
    about = {name: value for name, value in asdict(member).items() if name != "weights"}
    partial = folder / "member.json.partial"
    partial.write_text(json.dumps(about))
    partial.replace(folder / "member.json")


def _kept(folder: Path) -> Member | None:
    if not (folder / "member.json").is_file():
        return None
    return Member(load_file(folder / "member.safetensors"), **json.loads((folder / "member.json").read_text()))
