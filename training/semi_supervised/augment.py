"""3D augmentation of whole batches on their device (methods B2): weak and strong; PET and CT share all geometry.

One gather or one ``grid_sample`` moves the whole batch; nothing loops over samples.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from inference.model.inputs import CanonicalRoi, FixedCrop
from inference.model.whole_body import WholeBody

TURN_DEGREES, SCALE = 20.0, 0.1
GAIN_WEAK, GAIN_STRONG, GAMMA = 0.1, (0.8, 1.25), (0.8, 1.2)
CT_OFFSET_HU, PET_NOISE, CT_NOISE_HU = 20.0, 0.05, 6.0
CUT_EDGE, CUT_SHARE, DROP_SHARE = 0.25, 0.5, 0.15
SHIFT_MM = 4.0


@dataclass(frozen=True, slots=True)
class Channels:
    """What the channels of a look mean.

    ``pet``, ``ct``: their indices.  ``pet_zero``: the value of no uptake.  ``ct_per_hu``: of a channel unit.
    ``masked``: zero outside the region, and it must stay so; then no direction is special, and nothing is shifted.
    ``shift``: voxels.  ``mirrored``: axes along which a mirror image is as likely (slice, row, column: 0, 1, 2).
    """

    pet: tuple[int, ...]
    ct: tuple[int, ...]
    pet_zero: float
    ct_per_hu: float
    masked: bool
    shift: int
    mirrored: tuple[int, ...] = (0, 1, 2)

    @classmethod
    def of(cls, look: CanonicalRoi | FixedCrop | WholeBody) -> Channels:
        if isinstance(look, CanonicalRoi):
            return cls((0, 2), (1,), 0.0, 1.0 / look.ct_width_hu, True, 0)
        low, high = look.ct_window_hu
        if isinstance(look, WholeBody):  # nobody lies head down, or has the spine in front
            return cls((0,), (1,), 0.0, 1.0 / (high - low), False, int(SHIFT_MM // look.spacing_mm), (2,))
        return cls((0,), (1,), -1.0, 2.0 / (high - low), False, int(SHIFT_MM // look.spacing_mm))


class Augment:
    """Weak and strong views.  ``generator`` lives on the device of the images."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    def weak(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Turned into one of the cube's 48 orientations (mirrored and shifted only, where directions matter), gain."""
        x = self._oriented(x, generator)
        return self._gain(x, 1.0 + GAIN_WEAK * (2.0 * _uniform(x, generator) - 1.0))

    def strong(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Weak geometry, then rotation, scale, gain, gamma, CT offset, noise, blur, a cut cube, a lost modality."""
        x = self._turned(self._oriented(x, generator), generator)
        low, high = math.log(GAIN_STRONG[0]), math.log(GAIN_STRONG[1])
        x = self._gain(x, torch.exp(low + (high - low) * _uniform(x, generator)), self._gamma(x, generator))
        x = self._spoilt(self._kept(_blurred(x, generator), x), generator)
        return self._dropped(self._cut(x, generator), generator)

    def _oriented(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if not self._channels.masked:
            return self._mirrored(x, generator)
        table = _orientations(x.shape[2], x.device)
        chosen = torch.randint(len(table), (len(x),), generator=generator, device=x.device)
        index = table[chosen][:, None].expand(-1, x.shape[1], -1)
        return x.flatten(2).gather(2, index).view_as(x)

    def _mirrored(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Mirrored and moved along one axis after another; where nothing moves in, the edge is repeated."""
        for axis, size in enumerate(x.shape[2:]):
            place = torch.arange(size, device=x.device).expand(len(x), -1)
            turned = torch.randint(2, (len(x), 1), generator=generator, device=x.device) > 0
            if axis in self._channels.mirrored:
                place = torch.where(turned, size - 1 - place, place)
            move = torch.randint(-1, 2, (len(x), 1), generator=generator, device=x.device) * self._channels.shift
            index = (place + move).clamp(0, size - 1)
            along = [len(x), *(size if a == axis + 1 else 1 for a in range(4))]
            x = x.gather(axis + 2, index.view(along).expand_as(x))
        return x

    def _turned(self, x: Tensor, generator: torch.Generator) -> Tensor:
        n = len(x)
        angles = math.radians(TURN_DEGREES) * (2.0 * torch.rand(n, 3, generator=generator, device=x.device) - 1.0)
        scale = 1.0 + SCALE * (2.0 * torch.rand(n, 1, 1, generator=generator, device=x.device) - 1.0)
        theta = torch.cat([_rotation(angles) / scale, torch.zeros(n, 3, 1, device=x.device)], dim=2)
        grid = nn.functional.affine_grid(theta, list(x.shape), align_corners=False)
        edge = "zeros" if self._channels.masked else "border"
        return nn.functional.grid_sample(x, grid, mode="bilinear", padding_mode=edge, align_corners=False)

    def _gain(self, x: Tensor, gain: Tensor, gamma: Tensor | None = None) -> Tensor:
        out = x.clone()
        for channel in self._channels.pet:
            uptake = (x[:, channel] - self._channels.pet_zero).clamp_min(0.0)
            if gamma is not None:
                uptake = uptake**gamma
            out[:, channel] = gain * uptake + self._channels.pet_zero
        return out

    def _gamma(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return GAMMA[0] + (GAMMA[1] - GAMMA[0]) * _uniform(x, generator)

    def _kept(self, changed: Tensor, x: Tensor) -> Tensor:
        """``changed``, but nothing outside the region."""
        return torch.where(x != 0.0, changed, x) if self._channels.masked else changed

    def _spoilt(self, x: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(x.shape, generator=generator, device=x.device)
        level = torch.full((x.shape[1],), PET_NOISE, device=x.device)
        level[list(self._channels.ct)] = CT_NOISE_HU * self._channels.ct_per_hu
        offset = torch.zeros(len(x), x.shape[1], 1, 1, 1, device=x.device)
        shift = CT_OFFSET_HU * self._channels.ct_per_hu * (2.0 * _uniform(x, generator) - 1.0)
        for channel in self._channels.ct:
            offset[:, channel] = shift
        spoilt = x + offset + level[:, None, None, None] * _uniform(x, generator)[:, None] * noise
        return self._kept(spoilt, x)

    def _cut(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """One cube set to nothing; a sample whose hottest voxel it would hide keeps all."""
        shape = torch.tensor(x.shape[2:], device=x.device)
        edge = torch.ceil(CUT_EDGE * shape * torch.rand(len(x), 1, generator=generator, device=x.device)).long()
        start = (torch.rand(len(x), 3, generator=generator, device=x.device) * (shape - edge + 1)).long()
        inside = torch.ones(len(x), 1, *x.shape[2:], dtype=torch.bool, device=x.device)
        for axis in range(3):
            place = torch.arange(x.shape[2 + axis], device=x.device)
            on = (place >= start[:, axis, None]) & (place < (start + edge)[:, axis, None])
            inside &= on.view(len(x), 1, *[-1 if a == axis else 1 for a in range(3)])
        hottest = x[:, self._channels.pet[0]].flatten(1).argmax(1, keepdim=True)
        kept = torch.rand(len(x), generator=generator, device=x.device) >= CUT_SHARE
        kept |= inside.flatten(1).gather(1, hottest)[:, 0]
        return torch.where(inside & ~kept[:, None, None, None, None], self._nothing(x), x)

    def _nothing(self, x: Tensor) -> Tensor:
        """The value of no uptake and of air, (1, channel, 1, 1, 1)."""
        empty = torch.zeros(1, x.shape[1], 1, 1, 1, device=x.device)
        if not self._channels.masked:
            empty += self._channels.pet_zero  # of both: the lower end of the CT window lies there as well
        return empty

    def _dropped(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Sometimes one modality becomes its own mean (inside the region, where there is one)."""
        support = (x != 0.0).float() if self._channels.masked else torch.ones_like(x)
        mean = (x * support).sum((2, 3, 4), keepdim=True) / support.sum((2, 3, 4), keepdim=True).clamp_min(1.0)
        lost = torch.rand(len(x), generator=generator, device=x.device) < DROP_SHARE
        pet = torch.rand(len(x), generator=generator, device=x.device) < 0.5
        gone = torch.zeros(len(x), x.shape[1], dtype=torch.bool, device=x.device)
        gone[:, list(self._channels.pet)] = (lost & pet)[:, None]
        gone[:, list(self._channels.ct)] = (lost & ~pet)[:, None]
        return torch.where(gone[:, :, None, None, None], mean * support, x)


def _uniform(x: Tensor, generator: torch.Generator) -> Tensor:
    """One number 0..1 a sample, (n, 1, 1, 1)."""
    return torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device)


@lru_cache(maxsize=4)
def _orientations(size: int, device: torch.device) -> Tensor:
    """Where each voxel of the 48 orientations of a cube comes from, (48, size³)."""
    index = torch.arange(size**3).view(size, size, size)
    flips = [axes for n in range(4) for axes in itertools.combinations(range(3), n)]
    turned = [index.permute(order).flip(axes).flatten() for order in itertools.permutations(range(3)) for axes in flips]
    return torch.stack(turned).to(device)


def _rotation(angles: Tensor) -> Tensor:
    """Rotation matrices (n, 3, 3) of three angles each, about the three axes in turn."""
    out = torch.eye(3, device=angles.device).expand(len(angles), 3, 3)
    for axis, (i, j) in enumerate(((1, 2), (0, 2), (0, 1))):
        turn = torch.eye(3, device=angles.device).repeat(len(angles), 1, 1)
        cos, sin = torch.cos(angles[:, axis]), torch.sin(angles[:, axis])
        turn[:, i, i], turn[:, j, j], turn[:, i, j], turn[:, j, i] = cos, cos, -sin, sin
        out = out @ turn
    return out


def _blurred(x: Tensor, generator: torch.Generator) -> Tensor:
    """A Gaussian of σ 0–1 voxel, another for each sample; half of the samples stay sharp."""
    n, c = x.shape[:2]
    sigma = (2.0 * torch.rand(n, generator=generator, device=x.device) - 1.0).clamp_min(1e-3)
    taps = torch.exp(-0.5 * (torch.arange(-2, 3, device=x.device) / sigma[:, None]) ** 2)
    taps = (taps / taps.sum(1, keepdim=True)).repeat_interleave(c, 0)
    out = x.reshape(1, n * c, *x.shape[2:])
    for axis in range(3):
        shape = [1, 1, 1]
        shape[axis] = 5
        padding = [2 if a == axis else 0 for a in range(3)]
        out = nn.functional.conv3d(out, taps.view(n * c, 1, *shape), padding=padding, groups=n * c)
    return out.view_as(x)
