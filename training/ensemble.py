"""A deep ensemble of image networks with values beside them: from prepared rows to a bundle (methods D5, D7, D8).

What recipes share; each recipe says which network, which channels and which values.  Lakshminarayanan et al. 2017:
members differ by their seed alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from inference.model.applicability import FeatureStatistics
from inference.model.bundle import save_bundle
from inference.model.inputs import InputSettings, settings_digest
from inference.model.network import NetworkSettings, restore
from inference.model.served import Range, Served
from inference.model.values import ValueSpec
from training.calibrate import Calibration, calibrate, feature_statistics, ranges
from training.fit import FitSettings, Learnt, answers, fit
from training.prepared import Parts, Prepared, Rows
from training.recipe import Conditions, Progress, Release
from training.values import encode_rows

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Trained members and what is known of them.  ``specs``: the values they take; ``look``: name of their input."""

    look: str
    network: NetworkSettings
    specs: tuple[ValueSpec, ...]
    members: tuple[Learnt, ...]
    calibration: Calibration
    statistics: FeatureStatistics | None
    ranges: Mapping[str, Range]

    def scores(self, data: Prepared, rows: Rows) -> npt.NDArray[np.float64]:
        """Mean logit of the members, not calibrated, (len(rows),)."""
        return _all_answers(self.members, self.network, data, self.look, rows, self.specs)[0]

    def predict_proba(self, data: Prepared, rows: Rows) -> npt.NDArray[np.float64]:
        """Calibrated probability, (len(rows),)."""
        return self.calibration.probability(self.scores(data, rows))

    def facts(self) -> dict[str, JsonValue]:
        """For the run's record."""
        return {
            **self.calibration.facts(),
            "members": [
                {"best_step": one.best_step, "steps": one.steps, "validation_auc": one.validation_auc}
                for one in self.members
            ],
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
    network: NetworkSettings,
    specs: Sequence[ValueSpec],
    how: FitSettings,
    members: int,
    weights: npt.NDArray[np.float32] | None = None,
) -> Ensemble:
    """Train ``members`` networks on ``parts.train``, each with a seed of its own, and calibrate on the validation rows.

    ``weights``: of each training row in the loss, None for all alike.  Each member has a folder of ``conditions`` for
    its checkpoints.  Raises as ``training.fit.fit``.
    """
    specs, learnt = tuple(specs), []
    rows = np.concatenate([parts.train, parts.validation])
    vectors = _vectors(data, rows, specs)
    for member in range(members):
        here = replace(
            conditions,
            seed=1000 * conditions.seed + member,
            folder=conditions.folder / f"member_{member}",
            tell=_of_all(conditions, member, members),
        )
        learnt.append(fit(data.inputs[look], vectors, data.labels, parts, network, how, here, weights=weights))
    scores, features = _all_answers(learnt, network, data, look, rows, specs)
    count = len(parts.train)
    return Ensemble(
        look=look,
        network=network,
        specs=specs,
        members=tuple(learnt),
        calibration=calibrate(scores[count:], data.labels[parts.validation]),
        statistics=feature_statistics(features[:count], data.labels[parts.train], features[count:]),
        ranges=ranges(data, parts.train),
    )


def _all_answers(
    members: Sequence[Learnt],
    network: NetworkSettings,
    data: Prepared,
    look: str,
    rows: Rows,
    specs: Sequence[ValueSpec],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Mean score (len(rows),) and all members' penultimate features side by side."""
    vectors = encode_rows(data, rows, specs) if specs else None
    found = [answers(restore(network, one.weights), data.inputs[look], rows, vectors) for one in members]
    scores = np.mean([score for score, _ in found], axis=0, dtype=float)
    return np.asarray(scores), np.concatenate([features for _, features in found], axis=1)


def _vectors(data: Prepared, rows: Rows, specs: Sequence[ValueSpec]) -> npt.NDArray[np.float32] | None:
    """(len(data), n), filled for ``rows`` only: no other row may refuse the training."""
    if not specs:
        return None
    encoded = encode_rows(data, rows, specs)
    vectors = np.zeros((len(data), encoded.shape[1]), np.float32)
    vectors[rows] = encoded
    return vectors


def _of_all(conditions: Conditions, member: int, members: int) -> Any:
    """Progress of one member as part of all."""
    return lambda one: conditions.tell(
        Progress(member * one.total + one.done, members * one.total, f"member {member + 1} of {members}")
    )
