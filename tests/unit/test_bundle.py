"""Bundles: written in one step, read only when every byte is what the manifest says."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.facts import Refused
from inference.model.bundle import (
    MANIFEST,
    METADATA,
    find_bundle,
    load_bundle,
    save_bundle,
)
from inference.model.inputs import CanonicalRoi, settings_digest
from inference.model.served import Concept, Served

WEIGHTS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(4, np.int64)}


def served(**changes: Any) -> Served:
    fields: dict[str, Any] = {
        "name": "tiny",
        "version": "1",
        "target": "demonstration label",
        "statement": "says nothing",
        "demonstration": True,
        "intended_use": "tests",
        "tracer": "any",
        "body_part": "any",
        "region_rule": "any",
        "status_code": Concept(value="DEMO-PRED", scheme="99PETCTNODE", meaning="Predicted demonstration label"),
        "probability_code": Concept(value="DEMO-PROB", scheme="99PETCTNODE", meaning="Predicted probability"),
        "input": CanonicalRoi(),
        "input_digest": settings_digest(CanonicalRoi()),
        "network": {"network": "roi-resnet"},
        "members": 2,
        "temperature": 1.5,
        "threshold": 0.5,
    }
    return Served(**(fields | changes))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    save_bundle(tmp_path / "tiny", served(), [WEIGHTS, WEIGHTS], {"s": np.ones(2, np.float32)}, model_card="# tiny\n")
    return tmp_path / "tiny"


def reseal(bundle: Path) -> None:
    """Write a manifest that fits the files, as an author of a bad bundle would."""
    files = {
        f.relative_to(bundle).as_posix(): {
            "sha256": hashlib.sha256(f.read_bytes()).hexdigest(),
            "bytes": f.stat().st_size,
        }
        for f in bundle.rglob("*")
        if f.is_file() and f.name != MANIFEST
    }
    (bundle / MANIFEST).write_text(json.dumps({"files": files}))


def refused(bundle: Path) -> str:
    with pytest.raises(Refused) as refusal:
        load_bundle(bundle)
    return refusal.value.code


def test_what_is_written_is_read(tiny: Path) -> None:
    bundle = load_bundle(tiny)
    assert bundle.served == served()
    assert bundle.digest == hashlib.sha256((tiny / MANIFEST).read_bytes()).hexdigest()
    for member in bundle.members:
        assert {k: v.tolist() for k, v in member.items()} == {k: v.tolist() for k, v in WEIGHTS.items()}
    assert bundle.statistics is not None
    metadata = json.loads((tiny / METADATA).read_text())
    assert {"version", "monai_version", "pytorch_version", "numpy_version", "network_data_format"} <= metadata.keys()
    assert metadata["network_data_format"]["inputs"]["image"]["num_channels"] == 3


def test_the_same_content_is_the_same_digest_and_replaces_the_old(tiny: Path) -> None:
    before = {f.relative_to(tiny): f.read_bytes() for f in tiny.rglob("*") if f.is_file()}
    digest = save_bundle(tiny, served(), [WEIGHTS, WEIGHTS], {"s": np.ones(2, np.float32)}, model_card="# tiny\n")
    assert digest == load_bundle(tiny).digest
    assert before == {f.relative_to(tiny): f.read_bytes() for f in tiny.rglob("*") if f.is_file()}
    assert [f.name for f in tiny.parent.iterdir()] == ["tiny"]


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("ten years")
    with pytest.raises(Refused) as refusal:
        save_bundle(tmp_path, served(), [WEIGHTS], None, model_card="")
    assert refusal.value.code == "bundle-out"
    assert (tmp_path / "thesis.doc").read_text() == "ten years"


@pytest.mark.parametrize("name", ["configs/metadata.json", "docs/README.md", "models/member_1.safetensors"])
@pytest.mark.parametrize("fault", ["one bit", "shorter", "gone", "a link"])
def test_any_altered_file_is_refused(tiny: Path, name: str, fault: str) -> None:
    file = tiny / name
    content = bytearray(file.read_bytes())
    if fault == "one bit":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    if fault == "shorter":
        file.write_bytes(content[:-1])
    if fault == "gone":
        file.unlink()
    if fault == "a link":
        elsewhere = tiny.parent / "elsewhere"
        file.rename(elsewhere)
        file.symlink_to(elsewhere)
    assert refused(tiny) == "bundle-altered"


def test_a_file_that_is_not_listed_is_refused(tiny: Path) -> None:
    (tiny / "models" / "hook.py").write_text("import os")
    assert refused(tiny) == "bundle-altered"


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was executed",))


def test_a_pickle_is_never_opened(tiny: Path) -> None:
    (tiny / "models" / "member_0.safetensors").write_bytes(pickle.dumps(Bomb()))
    reseal(tiny)
    assert refused(tiny) == "bundle-weights"


@pytest.mark.parametrize(
    "weights", [{"a": np.array([np.nan], np.float32)}, {"a": np.array([np.inf], np.float32)}, {"a": np.ones(2)}]
)
def test_only_finite_float32_weights(tmp_path: Path, weights: dict[str, np.ndarray]) -> None:
    save_bundle(tmp_path / "b", served(members=1), [weights], None, model_card="")
    assert refused(tmp_path / "b") == "bundle-weights"


def test_a_missing_member_is_refused(tmp_path: Path) -> None:
    save_bundle(tmp_path / "b", served(members=3), [WEIGHTS, WEIGHTS], None, model_card="")
    assert refused(tmp_path / "b") == "bundle-weights"


def test_other_preprocessing_is_refused(tmp_path: Path) -> None:
    other = served(input_digest=settings_digest(CanonicalRoi(size=24)))
    save_bundle(tmp_path / "b", other, [WEIGHTS, WEIGHTS], None, model_card="")
    assert refused(tmp_path / "b") == "bundle-preprocessing"


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": -1},
        {"threshold": 1.0},
        {"members": 10**9},
        {"name": "../../etc"},
        {"surprise": 1},
        {"input": {"preset": "$eval"}},
    ],
)
def test_metadata_out_of_bounds_is_refused(tiny: Path, change: dict[str, Any]) -> None:
    metadata = json.loads((tiny / METADATA).read_text())
    metadata["petct_node"] |= change
    (tiny / METADATA).write_text(json.dumps(metadata))
    reseal(tiny)
    assert refused(tiny) == "bundle-metadata"


@pytest.mark.parametrize("content", ["", "[]", '{"petct_node": 3}', "\x00"])
def test_metadata_that_is_none_is_refused(tiny: Path, content: str) -> None:
    (tiny / METADATA).write_text(content)
    reseal(tiny)
    assert refused(tiny) == "bundle-metadata"


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../secret", "models/../../secret", "models/sub/file", "configs/.hidden"]
)
def test_a_manifest_cannot_point_elsewhere(tiny: Path, name: str) -> None:
    manifest = json.loads((tiny / MANIFEST).read_text())
    manifest["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    (tiny / MANIFEST).write_text(json.dumps(manifest))
    assert refused(tiny) == "bundle-manifest"


def test_sizes_are_compared_before_memory_is_taken(tiny: Path) -> None:
    manifest = json.loads((tiny / MANIFEST).read_text())
    manifest["files"]["models/member_0.safetensors"]["bytes"] = 2**40
    (tiny / MANIFEST).write_text(json.dumps(manifest))
    assert refused(tiny) == "bundle-too-large"
    with (tiny / MANIFEST).open("wb") as huge:
        huge.truncate(2**40)
    assert refused(tiny) == "bundle-too-large"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.integers(0, 10**6), value=st.integers(0, 255), file=st.integers(0, 3))
def test_no_damage_ends_in_a_traceback(tiny: Path, where: int, value: int, file: int) -> None:
    """Even when the manifest was rewritten to fit the damage."""
    work = tiny.parent / "work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(tiny, work)
    damaged = sorted(f for f in work.rglob("*") if f.is_file())[file]
    content = bytearray(damaged.read_bytes())
    content[where % len(content)] = value
    damaged.write_bytes(content)
    if damaged.name != MANIFEST:
        reseal(work)
    outcome = None
    try:
        load_bundle(work)
    except Refused as refusal:
        outcome = refusal.code
    assert outcome is None or outcome.startswith("bundle-")


def test_find_prefers_the_search_folders_then_the_shipped_then_a_path(tiny: Path, tmp_path: Path) -> None:
    assert find_bundle("tiny", search=[tmp_path]) == tiny
    assert find_bundle(str(tiny)) == tiny
    shipped = find_bundle("demo")
    assert shipped.parent.name == "bundles"
    (tmp_path / "mine").mkdir()
    shutil.copytree(tiny, tmp_path / "mine" / "demo")
    assert find_bundle("demo", search=[tmp_path / "mine"]) == tmp_path / "mine" / "demo"
    with pytest.raises(Refused) as refusal:
        find_bundle("nothing-here", search=[tmp_path])
    assert refusal.value.code == "bundle-not-found"
    with pytest.raises(Refused):
        load_bundle(tmp_path)
