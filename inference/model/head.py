"""Heads: what turns a network's pooled features, and a subject's values, into the score.  ONNX, run by onnxruntime.

A head is data: standard operators only, nothing outside its file, bounded in size.  It takes ``features`` (batch, n)
and, where the bundle names values, ``values`` (batch, m), and gives ``score`` (batch, 1): the logit of the label, not
yet calibrated; all float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from inference.facts import Refused
from inference.model.onnx_file import operators

FloatVector = npt.NDArray[np.float32]

LARGEST_HEAD_BYTES = 16 * 1024**2
# Their answer is constant but for jumps, so it has no gradient that a heatmap could show.
STEPWISE = frozenset({"TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor", "TopK"})
STEP = 1e-2  # of the gradient's differences, in units of the feature where it is larger than 1


def check_head(content: bytes, name: str) -> frozenset[str]:
    """The operators of a head.  Raises ``Refused`` ``bundle-head`` before anything of it is loaded."""
    if len(content) > LARGEST_HEAD_BYTES:
        raise Refused("bundle-head", f"{name} is larger than {LARGEST_HEAD_BYTES >> 20} MiB; use a complete bundle.")
    try:
        return operators(content)
    except ValueError as fault:
        raise Refused("bundle-head", f"{name} cannot be used: {fault}; use a complete bundle.") from fault


class Head:
    """One ONNX file, ready to run on one thread of the CPU."""

    def __init__(self, content: bytes, *, features: int, values: int, name: str = "head") -> None:
        """``features``, ``values``: what it will be given.  Raises ``Refused`` ``bundle-head``."""
        self.differentiable = not check_head(content, name) & STEPWISE
        self._session = _session(content, name)
        expected = {"features": features} | ({"values": values} if values else {})
        found = {one.name: one.shape[-1] for one in self._session.get_inputs() if one.type == "tensor(float)"}
        outputs = [one.name for one in self._session.get_outputs()]
        if found != expected or len(found) < len(self._session.get_inputs()) or outputs != ["score"]:
            raise Refused(
                "bundle-head",
                f"{name} does not take what this bundle gives it ({features} features, {values} numbers of values); "
                "use a complete bundle.",
            )
        self._values = values

    def scores(self, features: FloatVector, values: FloatVector | None = None) -> FloatVector:
        """Scores (batch,) of features (batch, n) and values (batch, m).

        Raises ``Refused`` ``bundle-head`` where the head fails or gives no finite numbers.
        """
        given: dict[str, Any] = {"features": np.ascontiguousarray(features, np.float32)}
        if self._values:
            given["values"] = np.ascontiguousarray(values, np.float32)
        try:
            (scores,) = self._session.run(["score"], given)
        except Exception as fault:  # noqa: BLE001 - onnxruntime's exceptions share no base
            raise Refused("bundle-head", "A head of the bundle fails on this input; use a complete bundle.") from fault
        if scores.shape != (len(features), 1) or not np.isfinite(scores).all():
            raise Refused("bundle-head", "A head of the bundle gives no finite score; use a complete bundle.")
        return np.asarray(scores[:, 0], np.float32)

    def gradient(self, features: FloatVector, values: FloatVector | None = None) -> FloatVector | None:
        """∂ score / ∂ feature (n,) at features (n,), by central differences; None where there is none.

        For a head that is linear in the features that is the exact gradient but for rounding.
        """
        if not self.differentiable:
            return None
        step = STEP * np.maximum(np.abs(features), 1.0)
        shifted = np.concatenate([features + np.diag(step), features - np.diag(step)]).astype(np.float32)
        beside = None if values is None else np.repeat(values[None], len(shifted), axis=0)
        up, down = np.split(self.scores(shifted, beside).astype(float), 2)
        return np.asarray((up - down) / (2.0 * step), np.float32)


class HeadForward:
    """One head's answer, kept until the map of a class is asked for.

    ``cells``: the last stage's output (width, slice, row, column), whose mean is ``pooled``.  ``embedding``: the pooled
    features, or nothing where another head of the same network gives them already.
    """

    def __init__(self, head: Head, cells: FloatVector, pooled: FloatVector, values: FloatVector | None) -> None:
        self._head, self._cells, self._pooled, self._values = head, cells, pooled, values
        self.embedding = pooled
        self.score = float(head.scores(pooled[None], None if values is None else values[None])[0])

    def activation(self, label: int) -> FloatVector | None:
        """Grad-CAM of the class, (slice, row, column); None where the head has no gradient.

        The features are means over all cells, so that α_k is the head's gradient ÷ the number of cells.
        """
        gradient = self._head.gradient(self._pooled, self._values)
        if gradient is None:
            return None
        alpha = (gradient if label else -gradient) / self._cells[0].size
        return np.asarray(np.maximum(np.tensordot(alpha, self._cells, 1), 0.0), np.float32)


def _session(content: bytes, name: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.use_deterministic_compute = True
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as fault:  # noqa: BLE001 - onnxruntime's exceptions share no base
        raise Refused("bundle-head", f"{name} is no ONNX file that can be run; use a complete bundle.") from fault
