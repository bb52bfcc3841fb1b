"""Head-only Grad-CAM: the same map as MONAI's, in the right place of the PET."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.visualize import GradCAM

from inference.facts import Region, Saliency, Volume
from inference.model.explain import class_activation, saliency_cautions, saliency_on_grid
from inference.model.inputs import CanonicalRoi, NetworkInput, network_input
from inference.model.network import FusionNet, MonaiResNet18, RoiResNet, build


def oblique(angle: float = 0.3) -> np.ndarray:
    """A PET grid turned about the head–foot axis, slices from head to foot."""
    affine = np.eye(4)
    affine[:3, :3] = [[0, 4 * np.sin(angle), 4 * np.cos(angle)], [0, 4 * np.cos(angle), -4 * np.sin(angle)], [-3, 0, 0]]
    affine[:3, 3] = [-90.0, -60.0, 80.0]
    return affine


def pass_through() -> FusionNet:
    """A network whose last stage is the first input channel, sampled at stride 2; the logit is its mean."""
    network = build(RoiResNet(pooling="average")).eval()
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            tensor.zero_()
            if "downsample.1" in name and name.endswith("weight"):
                tensor.fill_(1.0)
        net = network.resnet
        net.conv1.weight[0, 0, 1, 1, 1] = 1.0
        net.bn1.weight.fill_(1.0)
        for stage in (net.layer2, net.layer3, net.layer4):
            stage[0].downsample[0].weight[0, 0, 0, 0, 0] = 1.0
        net.fc.weight[1, 0] = 1.0
    return network


@pytest.mark.parametrize("pooling", ["average", "average+max"])
@pytest.mark.parametrize("label", [0, 1])
def test_equals_monais_grad_cam(pooling: str, label: int) -> None:
    torch.manual_seed(5)
    network = build(RoiResNet(pooling=pooling)).eval()
    x = torch.rand(1, 3, 16, 16, 16)
    with torch.no_grad():
        ours = class_activation(network, network.features(x), label)
    theirs = GradCAM(network, target_layers="resnet.layer4", postprocessing=lambda v: v).compute_map(x, class_idx=label)
    assert theirs.max() > 0
    assert torch.allclose(ours, theirs[0, 0].detach(), rtol=1e-4, atol=1e-7)


def test_equals_monais_grad_cam_on_resnet18() -> None:
    torch.manual_seed(1)
    network = build(MonaiResNet18()).eval()
    x = torch.rand(1, 2, 48, 48, 48)
    with torch.no_grad():
        ours = class_activation(network, network.features(x), 1)
    theirs = GradCAM(network, target_layers="resnet.layer4", postprocessing=lambda v: v).compute_map(x, class_idx=1)
    assert torch.allclose(ours, theirs[0, 0].detach(), rtol=1e-4, atol=1e-7)


def test_no_gradient_reaches_the_weights() -> None:
    network = build(RoiResNet()).eval().requires_grad_(False)
    with torch.no_grad():
        cells = class_activation(network, network.features(torch.rand(1, 3, 16, 16, 16)), 1)
    assert not cells.requires_grad
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("hot_lps_mm", [(0.0, 0.0, 20.0), (12.0, -8.0, 26.0), (-10.0, 14.0, 8.0)])
def test_a_known_hot_spot_is_found_where_it_lies(hot_lps_mm: tuple[float, float, float]) -> None:
    suv = Volume(np.zeros((50, 45, 45), np.float32), oblique(), "2.25.1")
    lps = suv.to_lps(np.indices(suv.array.shape).reshape(3, -1).T)
    region = (np.linalg.norm(lps - [0.0, 0.0, 20.0], axis=1) < 26.0).reshape(suv.array.shape)
    away = np.linalg.norm(lps - hot_lps_mm, axis=1).reshape(suv.array.shape)
    suv.array[:] = 1.0 + 9.0 * np.exp(-((away / 7.0) ** 2))
    ct = Volume(np.full(suv.array.shape, 40, np.int16), suv.affine, "2.25.1")
    seen = network_input(suv, ct, Region.of(region), CanonicalRoi())
    network = pass_through()
    with torch.no_grad():
        cells = class_activation(network, network.features(torch.from_numpy(seen.array)[None]), 1).numpy()
    saliency = saliency_on_grid(cells, seen, 2, suv)

    hottest = np.unravel_index(saliency.array.argmax(), saliency.array.shape)
    found_mm = suv.to_lps(np.add(hottest, saliency.start))
    assert np.linalg.norm(found_mm - np.array(hot_lps_mm)) < 0.75 * saliency.cell_mm
    assert saliency.array.max() == 1.0
    assert saliency.array.min() >= 0.0
    assert saliency.raw_max > 0.0
    stop = np.add(saliency.start, saliency.array.shape)
    assert (stop <= suv.array.shape).all()


def cube(spacing_mm: float, size: int = 16) -> NetworkInput:
    grid = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    return NetworkInput(np.zeros((1, size, size, size), np.float32), grid, 1.0, 0.0, 0.0, 1.0)


def test_cells_lie_at_stride_steps_and_the_box_is_the_cube() -> None:
    suv = Volume(np.zeros((40, 40, 40), np.float32), np.eye(4), "2.25.1")
    cells = np.zeros((8, 8, 8), np.float32)
    cells[3, 4, 5] = 2.0
    saliency = saliency_on_grid(cells, cube(1.0), 2, suv)
    assert saliency.start == (0, 0, 0)
    assert saliency.array.shape == (16, 16, 16)
    assert np.unravel_index(saliency.array.argmax(), (16, 16, 16)) == (6, 8, 10)
    assert saliency.array[6, 8, 11] == pytest.approx(0.5)
    assert saliency.raw_max == 2.0
    assert saliency.cell_mm == 2.0


def test_a_map_without_sensitivity_stays_zero() -> None:
    suv = Volume(np.zeros((40, 40, 40), np.float32), np.eye(4), "2.25.1")
    saliency = saliency_on_grid(np.zeros((8, 8, 8), np.float32), cube(1.0), 2, suv)
    assert saliency.raw_max == 0.0
    assert not saliency.array.any()


@pytest.mark.parametrize(("cell_mm", "codes"), [(16.0, []), (16.1, ["saliency-coarse"])])
def test_coarse_cells_are_said_aloud(cell_mm: float, codes: list[str]) -> None:
    saliency = Saliency((0, 0, 0), np.zeros((2, 2, 2), np.float32), cell_mm, 1.0)
    assert [caution.code for caution in saliency_cautions(saliency)] == codes
