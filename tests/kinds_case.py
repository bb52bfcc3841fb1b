"""Tiny bundles of every kind, with random weights, to try the serving of studies without PET and of values on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from inference.model.bundle import save_bundle
from inference.model.inputs import settings_digest
from inference.model.served import Concept, Served
from inference.model.slices import AxialSlices
from inference.model.values import ValueSpec, width
from inference.model.whole_body import WholeBody

CHROMOGRANIN = ValueSpec(name="cga", title="Chromogranin A", unit="ug/L", transform="log", median=120.0)
AGE = ValueSpec(name="age", title="Age", unit="a", median=60.0, mean=60.0, sd=10.0, source="header")
SEX = ValueSpec(name="sex", title="Sex", levels=("F", "M"), source="header")
NEEDED = ValueSpec(name="ggt", title="Gamma-GT", unit="U/L", median=40.0, missing="refused")
AORTA = ValueSpec(name="aorta_iodine", title="Iodine in the aorta", unit="mg/ml", median=4.0, missing="refused")


def _served(name: str, images: str, settings: Any, network: dict[str, Any], **changes: Any) -> Served:
    fields: dict[str, Any] = {
        "name": name,
        "version": "1",
        "target": "demonstration label",
        "statement": "random weights, says nothing",
        "demonstration": True,
        "intended_use": "tests",
        "tracer": "any",
        "body_part": "any",
        "region_rule": "a person's",
        "status_code": Concept(value="DEMO-PRED", scheme="99PETCTNODE", meaning="Predicted demonstration label"),
        "probability_code": Concept(value="DEMO-PROB", scheme="99PETCTNODE", meaning="Predicted probability"),
        "input": settings,
        "input_digest": settings_digest(settings),
        "network": network,
        "members": 1,
        "temperature": 1.0,
        "threshold": 0.5,
        "images": images,
    }
    return Served(**(fields | changes))


def _weights(settings: Any) -> dict[str, Any]:
    import torch

    from inference.model.network import build

    torch.manual_seed(0)
    return {name: np.array(t.numpy(), order="C") for name, t in build(settings).state_dict().items()}


def _head(features: int, values: int) -> bytes:
    """Score: a tenth of the sum of all features and values."""
    from onnx import TensorProto, helper, numpy_helper

    taken = {"features": features} | ({"values": values} if values else {})
    weights = numpy_helper.from_array(np.full((sum(taken.values()), 1), 0.1, np.float32), "weights")
    nodes = [
        helper.make_node("Concat", list(taken), ["all"], axis=1),
        helper.make_node("MatMul", ["all", "weights"], ["score"]),
    ]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, count]) for n, count in taken.items()]
    output = helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph(nodes, "head", inputs, [output], [weights])
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(content.SerializeToString())


def slice_bundle(folder: Path, images: str, values: tuple[ValueSpec, ...] = (), **changes: Any) -> Path:
    """Of a CT alone or an iodine map alone; relative to the aorta where that is among the values."""
    from inference.model.slice_network import SliceResNet

    network = SliceResNet(depth=18, width=4, stem="small")
    divide_by = AORTA.name if AORTA in values else ""
    look = AxialSlices.of_ct(32, 2) if images == "CT" else AxialSlices.of_iodine(32, 2, divide_by=divide_by)
    out = folder / ("ct-model" if images == "CT" else "iodine-model")
    told = _served(out.name, images, look, network.model_dump(mode="json"), values=values, heads=1, **changes)
    head = _head(network.features, width(values))
    save_bundle(out, told, [_weights(network)], None, model_card="# tiny\n", heads=[head])
    return out


def whole_body_bundle(folder: Path, values: tuple[ValueSpec, ...], **changes: Any) -> Path:
    """Of a whole PET/CT with values; for DOTATOC."""
    from inference.model.two_branch import TwoBranch

    sizes = {"widths": (4, 4, 4, 4), "image_width": 4, "value_width": 4, "stem": "small"}
    network = TwoBranch(values=width(values), **sizes)
    look = WholeBody(shape=(24, 16, 16), spacing_mm=20.0)
    told = {"tracers": ("dotatoc",), "values": values} | changes
    out = folder / "sstr-model"
    served = _served(out.name, "PET/CT", look, network.model_dump(mode="json"), **told)
    save_bundle(out, served, [_weights(network)], None, model_card="# tiny\n")
    return out


def served_for(images: str, **contract: Any) -> Served:
    """What a bundle says of itself, without a bundle: for routing."""
    look = AxialSlices.of_ct(32, 2)
    return _served("told", images, look, {"network": "slice-resnet"}, heads=1, **contract)
