"""Named networks: what they compute, and what does not fit them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.networks.nets.resnet import resnet18
from pydantic import ValidationError

from inference.facts import Refused
from inference.model.network import FusionNet, MonaiResNet18, RoiResNet, build, restore


def weights_of(network: FusionNet) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize(("strides", "cells"), [((1, 2, 1, 1), 8), ((1, 2, 2, 1), 4), ((2, 2, 2, 2), 1)])
def test_the_strides_set_the_cells_of_the_last_stage(strides: tuple[int, int, int, int], cells: int) -> None:
    if strides[0] == 2:
        with pytest.raises(ValueError, match="projection"):
            build(RoiResNet(strides=strides))
        return
    settings = RoiResNet(strides=strides)
    network = build(settings).eval()
    assert network.features(torch.zeros(1, 3, 16, 16, 16)).shape == (1, 64, cells, cells, cells)
    assert settings.cell_voxels == 16 // cells


def test_a_cell_is_centred_on_input_voxel_i_times_stride() -> None:
    """The receptive field of cell i, seen by the gradient, is symmetric around voxel i × stride."""
    network = build(RoiResNet()).double().eval().requires_grad_(False)
    x = torch.rand(1, 3, 32, 32, 32, dtype=torch.float64, requires_grad=True)
    features = network.features(x)
    (gradient,) = torch.autograd.grad(features[0, :, 7, 8, 8].sum(), x)
    touched = gradient.abs().sum(dim=(0, 1)).nonzero()
    middle = (touched.min(dim=0).values + touched.max(dim=0).values) / 2
    assert middle.tolist() == [14, 16, 16]


def test_resnet18_is_monais_with_the_same_weights() -> None:
    torch.manual_seed(0)
    theirs = resnet18(spatial_dims=3, n_input_channels=2, num_classes=2).eval()
    torch.manual_seed(0)
    ours = build(MonaiResNet18()).eval()
    x = torch.rand(1, 2, 32, 32, 32)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))
        assert ours.features(torch.zeros(1, 2, 96, 96, 96)).shape[2:] == (6, 6, 6)
    assert MonaiResNet18().cell_voxels == 16


def test_average_and_maximum_both_reach_the_head() -> None:
    network = build(RoiResNet()).eval()
    features = torch.rand(2, 64, 4, 4, 4)
    embedding = network.embedding(features)
    assert torch.equal(embedding[:, 64:], features.amax(dim=(2, 3, 4)))
    assert torch.allclose(embedding[:, :64], features.mean(dim=(2, 3, 4)))
    network(torch.rand(2, 3, 16, 16, 16)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_restore_gives_the_same_answers() -> None:
    torch.manual_seed(3)
    network = build(RoiResNet()).eval()
    again = restore(RoiResNet(), weights_of(network))
    x = torch.rand(2, 3, 16, 16, 16)
    with torch.no_grad():
        assert torch.equal(network(x), again(x))
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())


@pytest.mark.parametrize("fault", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit_are_refused(fault: str) -> None:
    weights = weights_of(build(RoiResNet()))
    if fault == "missing":
        weights.pop("resnet.fc.bias")
    if fault == "extra":
        weights["backdoor"] = np.zeros(3, np.float32)
    if fault == "shape":
        weights["resnet.fc.bias"] = np.zeros(3, np.float32)
    with pytest.raises(Refused) as refusal:
        restore(RoiResNet(), weights)
    assert refusal.value.code == "bundle-weights"


@pytest.mark.parametrize(
    "arguments", [{"widths": (8, 16)}, {"_target_": "os.system"}, {"pooling": "median"}, {"channels": 99}]
)
def test_arguments_are_checked(arguments: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RoiResNet.model_validate(arguments)
