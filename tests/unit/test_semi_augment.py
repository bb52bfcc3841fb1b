"""Augmentation of whole batches: geometry shared by all channels, nothing outside the region, all 48 orientations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inference.model.inputs import CanonicalRoi, FixedCrop
from training.semi_supervised.augment import Augment, Channels

MASKED = Augment(Channels.of(CanonicalRoi()))
WHOLE = Augment(Channels.of(FixedCrop(size=12)))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same_in_all(n: int, channels: int, size: int = 12) -> torch.Tensor:
    one = torch.rand(1, 1, size, size, size, generator=seeded(5)) + 0.2
    return one.expand(n, channels, size, size, size).clone()


@pytest.mark.parametrize("kind", ["weak", "strong"])
@pytest.mark.parametrize(("augment", "channels"), [(MASKED, 3), (WHOLE, 2)])
def test_the_same_seed_gives_the_same_view_and_another_another(augment: Augment, channels: int, kind: str) -> None:
    x = same_in_all(6, channels)
    view = getattr(augment, kind)
    assert torch.equal(view(x, seeded(1)), view(x, seeded(1)))
    assert not torch.equal(view(x, seeded(1)), view(x, seeded(2)))
    assert view(x, seeded(1)).shape == x.shape
    assert torch.isfinite(view(x, seeded(1))).all()


def test_channels_move_together_and_a_sample_does_not_move_like_the_next() -> None:
    found = MASKED.weak(same_in_all(40, 3), seeded())
    pet, ct = found[:, 0] / found[:, 0].amax((1, 2, 3), keepdim=True), found[:, 1]
    assert torch.allclose(pet, ct / ct.amax((1, 2, 3), keepdim=True), atol=1e-5)
    assert len({tuple(one.flatten()[:6].tolist()) for one in ct}) > 15


def test_every_orientation_of_the_cube_comes_and_only_those() -> None:
    x = torch.zeros(1500, 3, 4, 4, 4)
    x[:, 1] = torch.arange(64.0).view(4, 4, 4) + 1.0
    found = {tuple(one.flatten().int().tolist()) for one in MASKED.weak(x, seeded())[:, 1]}
    assert len(found) == 48
    assert all(sorted(one) == list(range(1, 65)) for one in found)


def test_nothing_appears_outside_the_region() -> None:
    x = same_in_all(20, 3)
    x[:, :, :3] = 0.0
    weak = MASKED.weak(x, seeded())
    assert torch.equal((weak != 0).sum((1, 2, 3, 4)), (x != 0).sum((1, 2, 3, 4)))
    ball = torch.zeros(20, 3, 12, 12, 12)
    ball[:, :, 4:8, 4:8, 4:8] = 1.0
    corner = MASKED.strong(ball, seeded())[:, :, :2, :2, :2]
    assert torch.count_nonzero(corner) == 0


def test_no_uptake_stays_no_uptake_in_a_fixed_crop() -> None:
    x = torch.full((8, 2, 12, 12, 12), -1.0)
    assert torch.allclose(WHOLE.weak(x, seeded())[:, 0], x[:, 0])


def test_strong_views_lose_a_modality_as_often_as_they_should() -> None:
    x = torch.rand(400, 3, 8, 8, 8, generator=seeded(3)) + 0.5
    found = MASKED._dropped(x, seeded(4))
    flat = (found.std((2, 3, 4)) < 1e-4).numpy()
    assert 0.08 < (flat[:, 1] | flat[:, 0]).mean() < 0.22
    assert not (flat[:, 1] & flat[:, 0]).any()
    assert np.array_equal(flat[:, 0], flat[:, 2])


def test_the_cut_cube_spares_the_hottest_voxel() -> None:
    x = torch.rand(200, 3, 8, 8, 8, generator=seeded(3)) + 0.5
    found = MASKED._cut(x, seeded(4))
    hottest = x[:, 0].flatten(1).argmax(1, keepdim=True)
    assert (found[:, 0].flatten(1).gather(1, hottest) > 0).all()
    assert 0.2 < (found == 0).any(1).flatten(1).any(1).float().mean() < 0.6
