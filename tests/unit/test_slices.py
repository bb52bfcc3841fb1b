"""Axial slices of one lesion: which, where, and what their channels hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import ndimage

from inference.facts import Refused, Region, Volume
from inference.model.applicability import quantities
from inference.model.explain import saliency_on_grid
from inference.model.inputs import settings_digest
from inference.model.look import needs_region, see
from inference.model.network import build, restore
from inference.model.slice_network import SliceResNet, from_torchvision
from inference.model.slices import AxialSlices, axial_slices
from inference.regions.region_names import TUMOUR_NAMES
from training.cohort.images import load_images
from training.cohort.study import Study

STEP, PIXEL = 3.0, 0.8


def image(array: np.ndarray, *, flipped: bool = False) -> Volume:
    """An axial volume; ``flipped``: head first in the array, and its rows towards the front."""
    affine = np.eye(4)
    affine[:3, :3] = [[0.0, 0.0, PIXEL], [0.0, PIXEL, 0.0], [STEP, 0.0, 0.0]]
    affine[:3, 3] = [-20.0, -30.0, 100.0]
    if not flipped:
        return Volume(array, affine, "1.2")
    ends = np.array([array.shape[0] - 1, array.shape[1] - 1, 0, 1.0])
    turned = affine @ np.diag([-1.0, -1.0, 1.0, 1.0])
    turned[:3, 3] = (affine @ ends)[:3]
    return Volume(np.ascontiguousarray(array[::-1, ::-1]), turned, "1.2")


def blob(areas: dict[int, int], shape: tuple[int, int, int] = (16, 48, 48)) -> np.ndarray:
    """A region of so many rows of ten voxels in each slice."""
    mask = np.zeros(shape, bool)
    for k, rows in areas.items():
        mask[k, 12 : 12 + rows, 15:25] = True
    return mask


def test_the_slices_of_largest_area_are_seen_and_nothing_between_them() -> None:
    mask = blob({3: 4, 4: 20, 5: 6, 9: 15, 10: 12, 11: 2})
    array = np.broadcast_to(10.0 * np.arange(16.0)[:, None, None], mask.shape).astype(np.float32)
    seen = axial_slices(image(array), Region.of(mask), AxialSlices(size=32, windows=((0.0, 200.0),) * 3))
    assert seen.planes_mm == tuple(100.0 + STEP * k for k in (4, 9, 10))
    assert seen.array.shape == (3, 3, 32, 32)
    assert np.allclose(seen.array[0].mean(axis=(1, 2)), [0.20, 0.45, 0.50], atol=1e-6)


def test_of_equal_slices_those_beside_the_largest_are_taken_and_few_are_shown_again() -> None:
    mask = blob({2: 5, 6: 5, 7: 9, 8: 5})
    seen = axial_slices(image(mask.astype(np.float32)), Region.of(mask), AxialSlices(size=32))
    assert seen.planes_mm == tuple(100.0 + STEP * k for k in (6, 7, 8))
    mask = blob({7: 9})
    seen = axial_slices(image(mask.astype(np.float32)), Region.of(mask), AxialSlices(size=32))
    assert seen.planes_mm == (100.0 + STEP * 7,) * 3


def test_the_square_holds_the_region_and_its_margin() -> None:
    mask = blob({5: 20, 6: 20, 7: 20})
    settings = AxialSlices(size=64, margin_mm=5.0, windows=((0.0, 1.0),) * 3)
    seen = axial_slices(image(mask.astype(np.float32)), Region.of(mask), settings)
    edge_mm = 64 * seen.grid[0, 2]
    assert edge_mm == pytest.approx(19 * PIXEL + PIXEL + 10.0)
    rows, columns = np.nonzero(seen.array[0, 1] > 0.5)
    pixel = seen.grid[0, 2]
    assert abs(rows.mean() - 31.5) < 1
    assert abs(columns.mean() - 31.5) < 1
    assert (rows.max() - rows.min() + 1) * pixel == pytest.approx(20 * PIXEL, abs=2 * pixel)
    assert (columns.max() - columns.min() + 1) * pixel == pytest.approx(10 * PIXEL, abs=2 * pixel)


@given(seed=st.integers(0, 2**16))
def test_the_order_of_slices_and_rows_in_the_file_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    array = rng.normal(0.0, 300.0, (12, 30, 30)).astype(np.float32)
    mask = np.zeros(array.shape, bool)
    mask[3:9, 8:20, 10:18] = rng.random((6, 12, 8)) < 0.6
    mask[5, 9, 11] = True
    plain, turned = image(array), image(array, flipped=True)
    a = axial_slices(plain, Region.of(mask), AxialSlices(size=32))
    b = axial_slices(turned, Region.of(np.ascontiguousarray(mask[::-1, ::-1])), AxialSlices(size=32))
    assert a.planes_mm == pytest.approx(b.planes_mm)
    assert np.allclose(a.array, b.array, atol=1e-5)
    assert a.region_ml == pytest.approx(b.region_ml)


def test_windows_become_0_and_1() -> None:
    array = np.full((8, 40, 40), -1000.0, np.float32)
    array[:, :, 20:] = 40.0
    mask = np.zeros(array.shape, bool)
    mask[2:5, 15:25, 15:25] = True
    seen = axial_slices(image(array), Region.of(mask), AxialSlices.of_ct(32))
    lung, soft = seen.array[0, 1], seen.array[1, 1]
    assert (lung.min(), soft.min()) == (0.0, 0.0)
    assert lung.max() == pytest.approx(1040 / 1400)
    assert soft.max() == pytest.approx(0.5)
    assert np.array_equal(seen.array[1], seen.array[2])


def test_an_iodine_map_may_be_divided_by_the_aorta() -> None:
    array = np.full((8, 40, 40), 2.0, np.float32)
    mask = np.zeros(array.shape, bool)
    mask[2:5, 15:25, 15:25] = True
    plain = see(None, image(array), Region.of(mask), AxialSlices.of_iodine(32))
    assert plain.array[0, 0, 16, 16] == pytest.approx(0.25)
    relative = AxialSlices.of_iodine(32, divide_by="aorta_iodine")
    seen = see(None, image(array), Region.of(mask), relative, {"aorta_iodine": 4.0})
    assert seen.array[0, 0, 16, 16] == pytest.approx(0.5)
    for values, code in (({}, "value-missing"), ({"aorta_iodine": 0.0}, "value-not-usable")):
        with pytest.raises(Refused) as refusal:
            see(None, image(array), Region.of(mask), relative, values)
        assert refusal.value.code == code


def test_what_an_input_contract_is_told() -> None:
    array = np.full((8, 40, 40), -7.0, np.float32)
    mask = np.zeros(array.shape, bool)
    mask[2:5, 15:25, 15:25] = True
    volume = image(array)
    seen = see(None, volume, Region.of(mask), AxialSlices(size=32))
    found = quantities(seen, volume)
    assert found == pytest.approx(
        {"region_ml": 300 * volume.voxel_ml, "image_slice_mm": STEP, "image_pixel_mm": PIXEL, "region_mean": -7.0}
    )
    assert needs_region(AxialSlices())


def test_bad_input_is_refused() -> None:
    array = np.zeros((8, 20, 20), np.float32)
    mask = np.zeros(array.shape, bool)
    with pytest.raises(Refused) as refusal:
        axial_slices(image(array), Region.of(mask), AxialSlices(size=32))
    assert refusal.value.code == "input-region-empty"
    mask[3:5, 5:9, 5:9] = True
    array[3, 6, 6] = np.nan
    with pytest.raises(Refused) as refusal:
        axial_slices(image(array), Region.of(mask), AxialSlices(size=32))
    assert refusal.value.code == "input-not-finite"
    with pytest.raises(ValidationError, match="windows"):
        AxialSlices(windows=((1.0, 0.0), (0.0, 1.0), (0.0, 1.0)))


def test_every_setting_is_part_of_the_digest() -> None:
    changed = [
        {"size": 32}, {"slices": 2}, {"margin_mm": 4.0}, {"images": "iodine map"}, {"divide_by": "x"},
        {"windows": ((0.0, 1.0),) * 3},
    ]  # fmt: skip
    digests = {settings_digest(AxialSlices(**one)) for one in changed}
    assert len(digests | {settings_digest(AxialSlices())}) == len(changed) + 1


def test_a_heatmap_shows_each_slices_own_map_and_nothing_between() -> None:
    mask = blob({3: 4, 4: 20, 9: 15, 10: 12})
    volume = image(mask.astype(np.float32))
    seen = axial_slices(volume, Region.of(mask), AxialSlices(size=32))
    cells = np.zeros((3, 4, 4), np.float32)
    cells[0, 1, 1], cells[2] = 2.0, 1.0
    saliency = saliency_on_grid(cells, seen, 8, volume)
    full = np.zeros(mask.shape, np.float32)
    k, r, c = (slice(s, s + n) for s, n in zip(saliency.start, saliency.array.shape, strict=True))
    full[k, r, c] = saliency.array
    assert np.flatnonzero(full.any(axis=(1, 2))).tolist() == [4, 10]
    assert saliency.raw_max == pytest.approx(2.0, rel=0.05)
    assert saliency.cell_mm == pytest.approx(8 * seen.grid[0, 2])
    hottest = np.array(np.unravel_index(full.argmax(), full.shape))
    wanted = (seen.grid @ [0.0, 8.0, 8.0, 1.0])[:3]
    wanted[2] = seen.planes_mm[0]
    assert np.abs(volume.to_lps(hottest) - wanted).max() <= PIXEL


# ResNet-50 and -18 with 1000 classes have 25,557,032 and 11,689,512 parameters (torchvision's documentation)
@pytest.mark.parametrize(("depth", "total"), [(50, 25_557_032), (18, 11_689_512)])
def test_the_architecture_is_torchvisions(depth: int, total: int) -> None:
    settings = SliceResNet(depth=depth)
    network = build(settings)
    classes = 1000 * settings.features + 1000
    assert sum(p.numel() for p in network.parameters()) + classes == total
    shapes = {n.removeprefix("resnet."): tuple(t.shape) for n, t in network.state_dict().items()}
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    last = "layer4.2.conv3.weight" if depth == 50 else "layer4.1.conv2.weight"
    assert shapes[last] == ((2048, 512, 1, 1) if depth == 50 else (512, 512, 3, 3))
    first = "layer1.0.downsample.0.weight" if depth == 50 else "layer2.0.downsample.0.weight"
    assert shapes[first] == ((256, 64, 1, 1) if depth == 50 else (128, 64, 1, 1))
    assert not any(name.startswith("fc.") for name in shapes)


def test_weights_of_torchvisions_names_fit_and_others_are_refused() -> None:
    settings = SliceResNet(depth=18, width=4)
    theirs = {n.removeprefix("resnet."): t.numpy() for n, t in build(settings).state_dict().items()}
    theirs |= {"fc.weight": np.zeros((1000, 32), np.float32), "fc.bias": np.zeros(1000, np.float32)}
    weights = from_torchvision(settings, {n: a for n, a in theirs.items() if not n.endswith("num_batches_tracked")})
    restored = restore(settings, weights)
    assert torch.equal(restored.state_dict()["resnet.conv1.weight"], torch.from_numpy(theirs["conv1.weight"]))
    for fault in ({"conv1.weight": np.zeros((4, 3, 3, 3), np.float32)}, {"bn1.bias": np.full(4, np.nan, np.float32)}):
        with pytest.raises(Refused) as refusal:
            from_torchvision(settings, theirs | fault)
        assert refusal.value.code == "backbone-weights"


@pytest.mark.parametrize(("stem", "cells"), [("small", 8), ("imagenet", 2)])
def test_features_are_of_each_slice_alone(stem: str, cells: int) -> None:
    torch.manual_seed(0)
    settings = SliceResNet(depth=18, width=4, stem=stem)
    network = build(settings).eval()
    x = torch.rand(2, 3, 3, 64, 64)
    with torch.no_grad():
        features = network.features(x)
        alone = network.features(x[1:, :, 2:])
        embedding = network.embedding(features)
    assert features.shape == (2, settings.features, 3, cells, cells)
    assert settings.cell_voxels == 64 // cells
    assert torch.allclose(features[1, :, 2], alone[0, :, 0], atol=1e-5)
    assert torch.allclose(embedding[0], features[0].mean(dim=(1, 2, 3)), atol=1e-6)


@pytest.mark.data
@pytest.mark.parametrize("number", [8, 10])
def test_a_patients_slices_are_those_that_a_plain_reading_gives(shared_data: Path, number: int) -> None:
    """Written again with scipy on the voxel grid: areas by slice, and the picture by bilinear sampling."""
    folder = shared_data / "cohort_sts" / f"STS_{number:03d}"
    row = Study.model_construct(row=2, patient="P", study="S", ct=folder / "ct", region=folder / "rtstruct.dcm")
    images = load_images(row, "CT", TUMOUR_NAMES)
    assert images.region is not None
    settings = AxialSlices(size=64)
    seen = see(None, images.image, images.region, settings)
    solid = ndimage.binary_fill_holes(images.region.full(images.image.array.shape))
    area = solid.sum(axis=(1, 2))
    chosen = np.array([images.image.to_index((0.0, 0.0, z))[0] for z in seen.planes_mm])
    assert np.allclose(chosen, np.rint(chosen), atol=1e-3)
    assert sorted(area[np.rint(chosen).astype(int)]) == sorted(np.sort(area)[-3:])

    low, high = settings.windows[1]
    for picture, z in zip(seen.array[1], seen.planes_mm, strict=True):
        rows, columns = np.mgrid[0:64, 0:64]
        points = np.stack([np.zeros((64, 64)), rows, columns], -1) @ seen.grid[:3, :3].T + seen.grid[:3, 3]
        points[..., 2] = z
        index = images.image.to_index(points.reshape(-1, 3)).T
        hu = ndimage.map_coordinates(images.image.array.astype(float), index, order=1, mode="nearest")
        expected = (np.clip(hu, low, high) - low) / (high - low)
        assert np.abs(picture.ravel() - expected).max() < 2e-3
