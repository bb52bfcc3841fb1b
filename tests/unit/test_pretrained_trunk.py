"""Weights that a person brings find their place in every trunk, or are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from inference.facts import Refused
from inference.model.network import NetworkSettings, ResNet10, TwoBranch, restore
from inference.model.trunk import four_stages, last_stage
from training.networks.pretrained_trunk import begun_with, trunk_weights

WIDTHS = (4, 4, 6, 8)


@pytest.fixture
def brought(tmp_path: Path) -> Path:
    torch.manual_seed(9)
    tensors = {
        f"module.{n}": t.numpy() for n, t in four_stages(1, WIDTHS, (1, 2, 1, 1), "medicalnet").state_dict().items()
    }
    save_file({name: array for name, array in tensors.items() if ".fc." not in name}, tmp_path / "brought.safetensors")
    return tmp_path / "brought.safetensors"


@pytest.mark.parametrize("settings", [ResNet10(channels=2, widths=WIDTHS), TwoBranch(widths=WIDTHS)])
def test_every_trunk_begins_with_them_and_the_rest_with_the_seed(brought: Path, settings: NetworkSettings) -> None:
    trunk = trunk_weights(brought)
    weights = begun_with(settings, trunk, seed=1)
    torch.manual_seed(9)
    theirs = four_stages(1, WIDTHS, (1, 2, 1, 1), "medicalnet").eval()
    x = torch.rand(1, 1, 32, 32, 32)
    with torch.no_grad():
        expected = last_stage(theirs, x)
        found = restore(settings, weights).features(x.expand(-1, 2, -1, -1, -1))
    copies = found.shape[1] // expected.shape[1]
    assert torch.allclose(found, expected.repeat(1, copies, 1, 1, 1), atol=1e-5)
    other = begun_with(settings, trunk, seed=2)
    assert not np.array_equal(weights["fc.weight"], other["fc.weight"])


def test_what_does_not_fit_is_refused(brought: Path, tmp_path: Path) -> None:
    trunk = trunk_weights(brought)
    for wrong in (ResNet10(channels=2), ResNet10(channels=2, widths=WIDTHS, stem="small")):
        with pytest.raises(Refused, match="must be of ResNet-10") as refusal:
            begun_with(wrong, trunk, seed=1)
        assert refusal.value.code == "backbone-weights"
    (tmp_path / "pickle.pth").write_bytes(b"\x80\x04.")
    for file in (tmp_path / "pickle.pth", tmp_path / "nothing.safetensors"):
        with pytest.raises(Refused, match="pickles are never read"):
            trunk_weights(file)
