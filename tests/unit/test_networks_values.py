"""Networks that take values beside the images, and the one with a branch for PET and one for CT."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.networks.nets.resnet import resnet10
from monai.visualize import GradCAM
from pydantic import TypeAdapter, ValidationError

from inference.facts import Refused
from inference.model.explain import class_activation
from inference.model.network import NetworkSettings, ResNet10, TwoBranch, build, restore, values_taken

SMALL = {"widths": (4, 6, 8, 10), "stem": "small"}
CPC = ResNet10(channels=3, values=5, value_width=4, **SMALL)
PRRT = TwoBranch(values=5, value_width=4, image_width=6, **SMALL)
ALL = [CPC, PRRT, ResNet10(channels=2, **SMALL), TwoBranch(branches=("CT",), image_width=6, **SMALL)]


def seen(settings: NetworkSettings, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor | None]:
    x = torch.rand(batch, settings.channels, 16, 16, 16)
    return x, torch.rand(batch, values_taken(settings)) if values_taken(settings) else None


@pytest.mark.parametrize("settings", ALL, ids=lambda s: s.network)
def test_weights_go_out_and_come_back(settings: NetworkSettings) -> None:
    torch.manual_seed(0)
    network = build(settings).eval()
    again = restore(
        TypeAdapter[NetworkSettings](NetworkSettings).validate_python(settings.model_dump(mode="json")),
        {name: tensor.numpy() for name, tensor in network.state_dict().items()},
    )
    x, values = seen(settings)
    with torch.no_grad():
        assert torch.equal(network(x, values), again(x, values))
        features = network.features(x)
        assert network.embedding(features, values).shape == (2, network.embedding_width)
    with pytest.raises(Refused, match="do not fit"):
        restore(settings, {"fc.bias": np.zeros(2, np.float32)})


def test_the_trunk_is_monais_resnet10_but_for_the_strides() -> None:
    """Names and shapes are MONAI's, so that MedicalNet's weights find their place."""
    theirs = resnet10(spatial_dims=3, n_input_channels=1, conv1_t_stride=2, num_classes=2, bias_downsample=False)
    ours = build(ResNet10(channels=1)).resnet
    expected = {name: t.shape for name, t in theirs.state_dict().items() if not name.startswith("fc")}
    assert {name: t.shape for name, t in ours.state_dict().items()} == expected


def test_a_crop_of_64_has_eight_cells_an_edge() -> None:
    settings = ResNet10(channels=2, widths=(2, 2, 2, 2))
    assert build(settings).eval().features(torch.zeros(1, 2, 64, 64, 64)).shape[2:] == (8, 8, 8)
    assert settings.cell_voxels == 8
    assert TwoBranch(strides=(1, 2, 2, 1), **SMALL).cell_voxels == 4


@pytest.mark.parametrize("settings", [CPC, PRRT], ids=lambda s: s.network)
def test_images_and_values_both_count(settings: NetworkSettings) -> None:
    torch.manual_seed(1)
    network = build(settings).eval()
    x, values = seen(settings, 1)
    assert values is not None
    with torch.no_grad():
        first = network(x, values)
        assert not torch.allclose(first, network(x, values + 1.0))
        assert not torch.allclose(first, network(x * 0.5, values))


def test_only_the_channels_it_takes_are_looked_at() -> None:
    network = build(ResNet10(channels=3, takes=(0, 2), **SMALL)).eval()
    x = torch.rand(1, 3, 16, 16, 16)
    other = x.clone()
    other[:, 1] = 9.0
    with torch.no_grad():
        assert torch.equal(network(x), network(other))
    ct_only = build(TwoBranch(branches=("CT",), image_width=6, **SMALL)).eval()
    pair, swapped = x[:, :2], x[:, :2].clone()
    swapped[:, 0] = 9.0
    with torch.no_grad():
        assert torch.equal(ct_only(pair), ct_only(swapped))


def test_grad_cam_with_values_equals_monais() -> None:
    torch.manual_seed(5)
    network = build(CPC).eval()
    x, values = seen(CPC, 1)

    class Bound(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return network(image, values)

    with torch.no_grad():
        ours = class_activation(network, network.features(x), 1, values)
    found = GradCAM(Bound(), target_layers="network.resnet.layer4", postprocessing=lambda v: v)
    assert torch.allclose(ours, found.compute_map(x, class_idx=1)[0, 0].detach(), rtol=1e-4, atol=1e-7)


def test_grad_cam_of_two_branches_is_the_sum_of_both() -> None:
    torch.manual_seed(7)
    network = build(PRRT).eval()
    x, values = seen(PRRT, 1)
    features = network.features(x).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network.head(features, values)[0, 1], features)
    alpha = gradient.mean(dim=(2, 3, 4), keepdim=True)
    pet, ct = (alpha * features).chunk(2, dim=1)
    expected = (pet.sum(dim=1) + ct.sum(dim=1)).relu()[0]
    assert torch.allclose(class_activation(network, features, 1, values), expected, atol=1e-7)


def test_a_branch_is_left_out_in_training_only_and_never_all() -> None:
    network = build(TwoBranch(values=5, dropout=0.0, modality_dropout=0.9, **SMALL))
    features, values = network.eval().features(torch.rand(64, 2, 16, 16, 16)), torch.rand(64, 5)
    torch.manual_seed(0)
    with torch.no_grad():
        whole = network.embedding(features, values)
        assert torch.equal(whole, network.embedding(features, values))
        network.train()
        dropped = network.embedding(features, values)
    parts = [part.abs().sum(dim=1) for part in dropped.split([128, 128, 32], dim=1)]
    there = torch.stack(parts, dim=1) > 0
    assert there.any(dim=1).all()
    assert not there.all(dim=1).any() or there.float().mean() < 0.9


@pytest.mark.parametrize(
    "wrong",
    [
        {"network": "resnet10", "channels": 2, "takes": (2,)},
        {"network": "resnet10", "channels": 2, "takes": (0, 0)},
        {"network": "resnet10", "strides": (2, 1, 1, 1)},
        {"network": "two-branch", "branches": ()},
        {"network": "two-branch", "branches": ("PET", "PET")},
        {"network": "two-branch", "channels": 3},
        {"network": "resnet10", "values": 100_000},
    ],
)
def test_networks_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter[NetworkSettings](NetworkSettings).validate_python(wrong)
