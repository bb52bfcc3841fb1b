"""Heads as ONNX: what was fitted in scikit-learn, in the form that the node runs (``inference.model.head``).

The chosen columns, the classifier (converted by skl2onnx), the logit of its clipped probability, and the fusion with
the values are one graph.  It holds coefficients, trees and scales.  The files of k nearest neighbours and of an RBF SVM
would hold training patients' feature vectors as well, so these two are not kept unless a setting asks for it
(``classifiers.STORES_PATIENTS``).  The same model gives the same bytes, but for k nearest neighbours, where skl2onnx
numbers its names through the life of the process.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from training.tabular.choice import ImageModel
from training.tabular.classifiers import LEAST_PROBABILITY
from training.tabular.fusion import Linear

OPSET, ML_OPSET, IR_VERSION = 18, 3, 8


def export_head(features: int, values: int, image: ImageModel | None, fusion: Linear | None) -> bytes:
    """One head that takes ``features`` pooled features and ``values`` numbers of values.

    ``image`` alone: the image model; with ``fusion``: both; ``fusion`` alone: values only, the features are ignored.
    Raises ``ValueError`` where neither is given.
    """
    from onnx import TensorProto, helper

    if image is None and fusion is None:
        raise ValueError("a head needs an image model or values")
    nodes: list[Any] = []
    constants: list[Any] = []
    score = _image_logit(image, nodes, constants) if image else ""
    if fusion is not None:
        score = _fused(score if fusion.image else "", fusion, nodes, constants)
    nodes.append(helper.make_node("Identity", [score], ["score"]))
    taken = {"features": features} | ({"values": values} if values else {})
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width]) for name, width in taken.items()],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])],
        constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    model = helper.make_model(graph, producer_name="petct-node", opset_imports=opsets, ir_version=IR_VERSION)
    return bytes(model.SerializeToString(deterministic=True))


def _image_logit(image: ImageModel, nodes: list[Any], constants: list[Any]) -> str:
    """Nodes from "features" to the logit (batch, 1) of the classifier's clipped probability; gives its name."""
    from onnx import helper, numpy_helper

    columns = np.array(image.selection.columns, np.int64)
    constants += [
        numpy_helper.from_array(columns, "chosen_columns"),
        numpy_helper.from_array(np.array([1], np.int64), "of_label"),
        numpy_helper.from_array(np.array(LEAST_PROBABILITY, np.float32), "least"),
        numpy_helper.from_array(np.array(1.0 - LEAST_PROBABILITY, np.float32), "most"),
        numpy_helper.from_array(np.array(1.0, np.float32), "one"),
    ]
    nodes.append(helper.make_node("Gather", ["features", "chosen_columns"], ["chosen"], axis=1))
    converted = _converted(image, len(columns))
    nodes += converted.node
    constants += converted.initializer
    probabilities = converted.output[1].name
    nodes += [
        helper.make_node("Gather", [probabilities, "of_label"], ["probability"], axis=1),
        helper.make_node("Clip", ["probability", "least", "most"], ["clipped"]),
        helper.make_node("Sub", ["one", "clipped"], ["other"]),
        helper.make_node("Div", ["clipped", "other"], ["odds"]),
        helper.make_node("Log", ["odds"], ["image_logit"]),
    ]
    return "image_logit"


def _converted(image: ImageModel, width: int) -> Any:
    """The classifier's graph, from "chosen" to its two outputs, label and probabilities (batch, 2)."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    with warnings.catch_warnings():
        # skl2onnx asks an SVC for an attribute that scikit-learn is about to drop
        warnings.filterwarnings("ignore", "Attribute `prob._` was deprecated", FutureWarning)
        model = to_onnx(
            image.fitted,
            initial_types=[("chosen", FloatTensorType([None, width]))],
            options={id(image.fitted): {"zipmap": False}},
            target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
        )
    return model.graph


def _fused(image_logit: str, fusion: Linear, nodes: list[Any], constants: list[Any]) -> str:
    from onnx import helper, numpy_helper

    weights = np.array(fusion.weights, np.float32)[:, None]
    constants += [
        numpy_helper.from_array(weights, "fusion_weights"),
        numpy_helper.from_array(np.array([fusion.intercept], np.float32), "fusion_intercept"),
    ]
    taken = "values"
    if image_logit:
        nodes.append(helper.make_node("Concat", [image_logit, "values"], ["fused"], axis=1))
        taken = "fused"
    nodes += [
        helper.make_node("MatMul", [taken, "fusion_weights"], ["weighted"]),
        helper.make_node("Add", ["weighted", "fusion_intercept"], ["fusion_logit"]),
    ]
    return "fusion_logit"
