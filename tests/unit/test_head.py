"""Heads: ONNX that a bundle brings, checked before it is loaded, and its gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from inference.facts import Refused
from inference.model.bundle import load_bundle, save_bundle
from inference.model.head import LARGEST_HEAD_BYTES, Head, HeadForward, check_head
from inference.model.inputs import CanonicalRoi, settings_digest
from inference.model.network import SliceResNet, build
from inference.model.onnx_file import operators
from inference.model.predict import Model
from inference.model.slices import AxialSlices
from tests.unit.test_bundle import reseal, served

FEATURES = 4
WEIGHTS = np.array([[1.0], [-2.0], [0.5], [0.0]], np.float32)


def model(
    nodes: list[Any],
    *,
    constants: list[Any] | None = None,
    domains: tuple[str, ...] = ("",),
    features: int = FEATURES,
    outputs: tuple[str, ...] = ("score",),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, features])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in outputs],
        [numpy_helper.from_array(WEIGHTS, "weights")] if constants is None else constants,
    )
    opsets = [helper.make_opsetid(domain, 18 if not domain else 1) for domain in domains]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def linear() -> bytes:
    return model([helper.make_node("MatMul", ["features", "weights"], ["score"])]).SerializeToString()


def refused(content: bytes, **changes: int) -> str:
    with pytest.raises(Refused) as refusal:
        Head(content, **({"features": FEATURES, "values": 0} | changes))
    assert refusal.value.code == "bundle-head"
    return refusal.value.reason


def test_a_head_gives_the_score_and_a_linear_one_its_exact_gradient() -> None:
    head = Head(linear(), features=FEATURES, values=0)
    features = np.array([[1, 1, 1, 1], [0.2, 5, -3, 8]], np.float32)
    assert head.scores(features) == pytest.approx((features @ WEIGHTS)[:, 0])
    assert head.gradient(features[1]) == pytest.approx(WEIGHTS[:, 0], abs=1e-3)


def test_grad_cam_of_a_linear_head_is_the_weighted_sum_of_the_maps() -> None:
    rng = np.random.default_rng(0)
    cells = rng.random((FEATURES, 3, 4, 4)).astype(np.float32)
    forward = HeadForward(Head(linear(), features=FEATURES, values=0), cells, cells.mean(axis=(1, 2, 3)), None)
    weighted = np.tensordot(WEIGHTS[:, 0], cells, 1) / 48
    for label, sign in ((1, 1.0), (0, -1.0)):
        assert forward.activation(label) == pytest.approx(np.maximum(sign * weighted, 0.0), abs=1e-4)


def test_operators_of_other_domains_are_refused() -> None:
    own = helper.make_node("Anything", ["features"], ["score"], domain="com.example")
    assert "com.example" in refused(model([own], domains=("", "com.example")).SerializeToString())
    microsoft = helper.make_node("FusedGemm", ["features", "weights"], ["score"], domain="com.microsoft")
    assert "com.microsoft" in refused(model([microsoft], domains=("",)).SerializeToString())


def test_a_file_beside_the_head_is_refused() -> None:
    outside = numpy_helper.from_array(WEIGHTS, "weights")
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="../../etc/passwd")
    nodes = [helper.make_node("MatMul", ["features", "weights"], ["score"])]
    assert "another file" in refused(model(nodes, constants=[outside]).SerializeToString())
    constant = helper.make_node("Constant", [], ["weights"], value=outside)
    assert "another file" in refused(model([constant, *nodes], constants=[]).SerializeToString())


def test_what_hides_in_graphs_within_is_found() -> None:
    def nested(depth: int) -> Any:
        inner = helper.make_node("Bad", ["features"], ["score"], domain="com.example")
        for _ in range(depth):
            graph = helper.make_graph([inner], "g", [], [helper.make_tensor_value_info("score", TensorProto.FLOAT, [])])
            inner = helper.make_node("If", ["features"], ["score"], then_branch=graph, else_branch=graph)
        return inner

    assert "com.example" in refused(model([nested(1)]).SerializeToString())
    assert "too deep" in refused(model([nested(6)]).SerializeToString())


def test_functions_and_other_inputs_and_outputs_are_refused() -> None:
    content = linear()
    with_function = onnx.load_from_string(content)
    with_function.functions.add(name="f", domain="")
    assert "functions" in refused(with_function.SerializeToString())
    assert "does not take" in refused(content, features=5)
    assert "does not take" in refused(content, values=2)
    two = model(
        [helper.make_node("MatMul", ["features", "weights"], [name]) for name in ("score", "other")],
        outputs=("score", "other"),
    )
    assert "does not take" in refused(two.SerializeToString())


def test_scores_that_are_no_numbers_are_refused() -> None:
    head = Head(
        model(
            [helper.make_node("MatMul", ["features", "weights"], ["x"]), helper.make_node("Log", ["x"], ["score"])]
        ).SerializeToString(),
        features=FEATURES,
        values=0,
    )
    with pytest.raises(Refused) as refusal:
        head.scores(np.full((1, FEATURES), -1.0, np.float32) * np.array([1, -1, 1, 1], np.float32))
    assert refusal.value.code == "bundle-head"


def test_a_large_file_is_refused_before_it_is_looked_at() -> None:
    with pytest.raises(Refused, match="larger"):
        check_head(bytes(LARGEST_HEAD_BYTES + 1), "head")


@given(cut=st.integers(0, 200), place=st.integers(0, 200), value=st.integers(0, 255))
def test_damaged_bytes_are_refused_or_read_never_a_crash(cut: int, place: int, value: int) -> None:
    content = bytearray(linear())
    content[place % len(content)] = value
    for damaged in (bytes(content), bytes(content[: cut % len(content)])):
        try:
            found = operators(damaged)
        except ValueError:
            continue
        assert all(isinstance(name, str) for name in found)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_read(content: bytes) -> None:
    try:
        operators(content)
    except ValueError:
        return


def test_the_reader_sees_what_the_onnx_package_sees() -> None:
    from skl2onnx import to_onnx
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(0)
    features, labels = rng.random((40, 3)).astype(np.float32), rng.integers(0, 2, 40)
    for learner in (GradientBoostingClassifier(n_estimators=3), KNeighborsClassifier(3)):
        converted = to_onnx(learner.fit(features, labels), features[:1], target_opset={"": 18, "ai.onnx.ml": 3})
        assert operators(converted.SerializeToString()) == all_operators(converted.graph)


def all_operators(graph: Any) -> set[str]:
    found = set()
    for node in graph.node:
        found.add(node.op_type)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found |= all_operators(attribute.g)
    return found


def bundle(folder: Path, heads: list[bytes], **changes: Any) -> Path:
    """A tiny bundle of slices with a head of its own."""
    network, look = SliceResNet(depth=18, width=4), AxialSlices(size=32)
    weights = {name: tensor.numpy() for name, tensor in build(network).state_dict().items()}
    fields: dict[str, Any] = {
        "input": look,
        "input_digest": settings_digest(look),
        "network": network.model_dump(mode="json"),
        "members": 1,
        "heads": len(heads),
        "images": "CT",
    }
    save_bundle(folder, served(**(fields | changes)), [weights], None, model_card="# tiny\n", heads=heads)
    return folder


def wide() -> bytes:
    weights = numpy_helper.from_array(np.ones((32, 1), np.float32), "weights")
    nodes = [helper.make_node("MatMul", ["features", "weights"], ["score"])]
    return model(nodes, constants=[weights], features=32).SerializeToString()


def test_a_bundle_brings_its_heads_and_two_give_an_interval(tmp_path: Path) -> None:
    loaded = load_bundle(bundle(tmp_path / "two", [wide(), wide()]))
    assert loaded.heads == (wide(), wide())
    forwards = Model.load(tmp_path / "two", threads=1)._backend.forward(np.full((3, 3, 32, 32), 0.3, np.float32))
    assert [len(one.embedding) for one in forwards] == [32, 0]  # the features are given once
    assert forwards[0].score == pytest.approx(float(forwards[0].embedding.sum()), rel=1e-4)


@pytest.mark.parametrize("fault", ["missing", "foreign", "not needed", "none", "other width"])
def test_a_bundle_with_a_wrong_head_is_refused(fault: str, tmp_path: Path) -> None:
    head = linear() if fault == "other width" else wide()
    changes: dict[str, Any] = {}
    if fault == "not needed":
        changes = {
            "input": CanonicalRoi(),
            "input_digest": settings_digest(CanonicalRoi()),
            "network": {"network": "roi-resnet"},
        }
    folder = bundle(tmp_path / "bundle", [] if fault == "none" else [head], **changes)
    if fault == "missing":
        (folder / "models" / "head_0.onnx").unlink()
        reseal(folder)
    if fault == "foreign":
        own = helper.make_node("Anything", ["features"], ["score"], domain="com.example")
        (folder / "models" / "head_0.onnx").write_bytes(model([own]).SerializeToString())
        reseal(folder)
    with pytest.raises(Refused) as refusal:
        Model.load(folder, threads=1)
    assert refusal.value.code == ("bundle-metadata" if fault in ("none", "not needed") else "bundle-head")
