"""A classifier of clinical or laboratory values alone, calibrated: what models with images are compared with."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from inference.model.values import ValueSpec
from training.prepared import Parts, Prepared, Rows
from training.release.calibrate import Calibration, calibrate
from training.tabular.values import encode_rows


class ValueModel:
    """A scikit-learn classifier of the encoded values: a linear one by its decision, a forest by its trees' votes."""

    def __init__(self, classifier: Any, specs: tuple[ValueSpec, ...], calibration: Calibration) -> None:
        self._classifier, self._specs, self._calibration = classifier, specs, calibration

    @classmethod
    def fit(
        cls,
        classifier: Any,
        data: Prepared,
        parts: Parts,
        specs: tuple[ValueSpec, ...],
        weights: npt.NDArray[np.float32] | None = None,
    ) -> Self:
        """Fit ``classifier`` on the training rows, ``weights`` of them, and calibrate it on the validation rows."""
        classifier.fit(encode_rows(data, parts.train, specs), data.labels[parts.train], sample_weight=weights)
        scores = _scores(classifier, encode_rows(data, parts.validation, specs))
        return cls(classifier, specs, calibrate(scores, data.labels[parts.validation]))

    def predict_proba(self, data: Prepared, rows: Rows) -> npt.NDArray[np.float64]:
        """Calibrated probability, (len(rows),)."""
        return self._calibration.probability(_scores(self._classifier, encode_rows(data, rows, self._specs)))

    def facts(self) -> dict[str, JsonValue]:
        """For the run's record."""
        return {**self._calibration.facts(), "values": [spec.name for spec in self._specs]}


def _scores(classifier: Any, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """A logit; of votes with half a vote added to each side, so that it is finite."""
    if hasattr(classifier, "decision_function"):
        return np.asarray(classifier.decision_function(vectors), np.float64)
    trees = len(classifier.estimators_)
    share = (classifier.predict_proba(vectors)[:, 1] * trees + 0.5) / (trees + 1.0)
    return np.asarray(np.log(share / (1.0 - share)), np.float64)
