"""The network's input of one lesion, shared by training and serving; the settings' digest lies in the bundle.

``inference.model.look`` is the way in for all presets.  Both presets here put PET and CT of one lesion onto a common
cube whose edges run along the patient axes: slice towards the head (+S), row towards the back (+P), column towards the
left (+L).  Resampling is linear (order 3 makes negative SUV) and happens on the cube only.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Annotated, Literal, assert_never

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from inference.facts import BoolArray, Caution, FloatArray, Refused, Region, Volume
from inference.geometry.resample import resample
from inference.lesions.measure import share_without_ct
from inference.model.seen import CT_AIR_HU, NetworkInput, inside_fraction, upright_grid
from inference.model.slices import AxialSlices
from inference.model.whole_body import WholeBody

REVISION = 1  # raise it whenever this module computes something else from the same settings (its two presets)
WITHOUT_UPTAKE = "input-region-without-uptake"
LOST_FRACTION = 0.05  # of the region; more than this outside the cube is said aloud


class CanonicalRoi(BaseModel):
    """The region brought to one size (methods A0): its volume-equivalent radius is ``radius_voxels`` of the cube.

    Channels: PET ÷ its ``percentile`` in the region; CT as (HU − ``ct_centre_hu``) ÷ ``ct_width_hu`` clipped to
    ±``ct_clip``; PET as SUV ÷ ``suv_scale`` clipped to 0..``suv_clip``, which keeps the absolute uptake that the first
    one drops.  All are 0 outside the region (closed cavities of the region count as inside).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["canonical-roi"] = "canonical-roi"
    size: int = Field(16, ge=8, le=128)
    radius_voxels: float = Field(6.5, gt=1)
    percentile: float = Field(90.0, gt=0, le=100)
    ct_centre_hu: float = 40.0
    ct_width_hu: float = Field(60.0, gt=0)
    ct_clip: float = Field(2.0, gt=0)
    suv_scale: float = Field(10.0, gt=0)
    suv_clip: float = Field(20.0, gt=0)

    @property
    def channels(self) -> tuple[str, ...]:
        """What the channels hold, in order."""
        return ("PET relative to the region", "CT", "PET absolute")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        return (self.size, self.size, self.size)


class FixedCrop(BaseModel):
    """A cube of fixed size in mm around the region's centroid (methods D1), absolute scale, not masked.

    Channels: PET as SUV clipped to 0..``suv_clip``, ÷ ``suv_scale`` − 1; CT clipped to ``ct_window_hu``, onto −1..1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["fixed-crop"] = "fixed-crop"
    size: int = Field(64, ge=8, le=160)
    spacing_mm: float = Field(2.0, gt=0)
    suv_scale: float = Field(10.0, gt=0)
    suv_clip: float = Field(20.0, gt=0)
    ct_window_hu: tuple[float, float] = (-1000.0, 400.0)

    @property
    def channels(self) -> tuple[str, ...]:
        """What the channels hold, in order."""
        return ("PET absolute", "CT")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        return (self.size, self.size, self.size)


InputSettings = Annotated[CanonicalRoi | FixedCrop | WholeBody | AxialSlices, Field(discriminator="preset")]


def settings_digest(settings: InputSettings) -> str:
    """SHA-256 (hex) over the settings and their module's revision; a bundle that states another one is refused."""
    revision = REVISION if isinstance(settings, CanonicalRoi | FixedCrop) else settings.revision
    canonical = json.dumps({"revision": revision, **settings.model_dump(mode="json")}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def network_input(suv: Volume, ct: Volume, region: Region, settings: CanonicalRoi | FixedCrop) -> NetworkInput:
    """PET (SUVbw) and CT (HU) of one region of the PET grid, as the network takes them.

    Raises ``Refused``: ``input-frame-of-reference``, ``input-region-empty``, ``input-region-without-uptake``,
    ``input-not-finite``.
    """
    if suv.frame_of_reference_uid != ct.frame_of_reference_uid:
        raise Refused(
            "input-frame-of-reference",
            "PET and CT have different Frames of Reference; register them before they are analysed together.",
        )
    mask = _solid(region.mask)
    if not mask.any():
        raise Refused("input-region-empty", "The region contains no voxel of the PET; give a region that does.")
    region_index = np.argwhere(mask) + region.start
    points_mm = suv.to_lps(region_index)
    region_ml = mask.sum() * suv.voxel_ml
    shape = settings.shape
    grid = upright_grid(points_mm.mean(axis=0), _spacing_mm(region_ml, settings), shape)

    pet = np.asarray(resample(suv, grid, shape, 1, 0.0), np.float32)
    hu = np.asarray(resample(ct, grid, shape, 1, CT_AIR_HU), np.float32)
    if not (np.isfinite(pet).all() and np.isfinite(hu).all()):
        raise Refused(
            "input-not-finite", "PET or CT holds values that are no numbers around the region; send it again."
        )
    inside = None
    match settings:
        case CanonicalRoi():
            inside = _resampled_mask(suv, region, mask, grid, shape)
            array = _canonical(pet, hu, inside, settings)
        case FixedCrop():
            array = _absolute(pet, hu, settings)
        case _:
            assert_never(settings)

    lost = 1.0 - inside_fraction(points_mm, grid, shape)
    without_ct = share_without_ct(points_mm, ct)
    suv_max = float(suv.array[tuple(region_index.T)].max())
    return NetworkInput(array, grid, region_ml, lost, without_ct, suv_max, _cropped(lost), inside)


def _solid(mask: BoolArray) -> BoolArray:
    """The mask with its closed cavities: a threshold leaves a cold core out, a reader's contour keeps it in."""
    return np.asarray(ndimage.binary_fill_holes(mask), bool)


def _spacing_mm(region_ml: float, settings: CanonicalRoi | FixedCrop) -> float:
    if isinstance(settings, FixedCrop):
        return settings.spacing_mm
    radius_mm = math.cbrt(3.0 * region_ml * 1000.0 / (4.0 * math.pi))
    return radius_mm / settings.radius_voxels


def _resampled_mask(
    suv: Volume, region: Region, mask: BoolArray, grid: FloatArray, shape: tuple[int, int, int]
) -> npt.NDArray[np.float32]:
    """The mask on the cube, 0..1; a rim of zeros lets it fall off over one PET voxel on every side."""
    affine = suv.affine.copy()
    affine[:3, 3] = suv.to_lps(np.array(region.start) - 1)
    box = Volume(np.pad(mask, 1).astype(np.float32), affine, suv.frame_of_reference_uid)
    return np.asarray(resample(box, grid, shape, 1, 0.0), np.float32)


def _canonical(
    pet: npt.NDArray[np.float32],
    hu: npt.NDArray[np.float32],
    inside: npt.NDArray[np.float32],
    settings: CanonicalRoi,
) -> npt.NDArray[np.float32]:
    region = inside > 0.5
    reference = float(np.percentile(pet[region], settings.percentile)) if region.any() else 0.0
    if not reference > 0.0:
        raise Refused(
            WITHOUT_UPTAKE,
            "The PET is zero in most of the region, so uptake relative to it has no meaning; check the region.",
        )
    relative = pet / reference
    tissue = np.clip((hu - settings.ct_centre_hu) / settings.ct_width_hu, -settings.ct_clip, settings.ct_clip)
    absolute = np.clip(pet, 0.0, settings.suv_clip) / settings.suv_scale
    return np.asarray(np.stack([relative, tissue, absolute]) * inside, np.float32)


def _absolute(
    pet: npt.NDArray[np.float32], hu: npt.NDArray[np.float32], settings: FixedCrop
) -> npt.NDArray[np.float32]:
    low, high = settings.ct_window_hu
    tissue = 2.0 * (np.clip(hu, low, high) - low) / (high - low) - 1.0
    return np.asarray(np.stack([np.clip(pet, 0.0, settings.suv_clip) / settings.suv_scale - 1.0, tissue]), np.float32)


def _cropped(lost: float) -> tuple[Caution, ...]:
    text = f"{lost:.0%} of the lesion lies outside what the network saw."
    return (Caution("region-cropped", text),) if lost > LOST_FRACTION else ()
