"""The network's input where it looks at the whole body: PET and CT on one coarse grid, no lesion needed.

Default after methods A5 (ours, not published): 4 mm, 128 × 128 × 256 voxels, SUV 0–30 ÷ 30, CT −160..240 HU → 0..1.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from inference.facts import Caution, FloatArray, Refused, Volume
from inference.geometry.coarsen import coarsened
from inference.geometry.resample import resample
from inference.lesions.body import Body, body_of
from inference.lesions.measure import share_without_ct
from inference.model.seen import CT_AIR_HU, NetworkInput, inside_fraction, upright_grid

WITHOUT_BODY = "input-without-body"
LOST_FRACTION = 0.05  # of the body; more than this outside the grid is said aloud
LARGEST_VOXELS = 2**24


class WholeBody(BaseModel):
    """A box of fixed size in mm around the middle of the body that the PET shows.

    ``shape``: (slices, rows, columns) of ``spacing_mm``; slice → +S, row → +P, column → +L.
    Channels: PET as SUV clipped to 0..``suv_clip``, ÷ ``suv_clip``; CT clipped to ``ct_window_hu``, onto 0..1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    revision: ClassVar[int] = 1  # raise it whenever this module computes something else from the same settings

    preset: Literal["whole-body"] = "whole-body"
    shape: tuple[int, int, int] = (256, 128, 128)
    spacing_mm: float = Field(4.0, ge=1, le=20)
    suv_clip: float = Field(30.0, gt=0)
    ct_window_hu: tuple[float, float] = (-160.0, 240.0)

    @model_validator(mode="after")
    def _of_a_sensible_size(self) -> WholeBody:
        if min(self.shape) < 8 or np.prod(self.shape, dtype=float) > LARGEST_VOXELS:
            raise ValueError(f"shape: at least 8 voxels an edge, at most {LARGEST_VOXELS} in all")
        if self.ct_window_hu[0] >= self.ct_window_hu[1]:
            raise ValueError("ct_window_hu: the lower end must lie below the upper")
        return self

    @property
    def channels(self) -> tuple[str, ...]:
        """What the channels hold, in order."""
        return ("PET absolute", "CT")


def whole_body_input(suv: Volume, ct: Volume, settings: WholeBody) -> NetworkInput:
    """PET (SUVbw) and CT (HU), each on its own grid, as the network takes them.

    The box is centred on the part of the body (outlined on the CT) that lies within the PET's field of view.
    Raises ``Refused``: ``input-frame-of-reference``, ``input-without-body``, ``input-not-finite``.
    """
    if suv.frame_of_reference_uid != ct.frame_of_reference_uid:
        raise Refused(
            "input-frame-of-reference",
            "PET and CT have different Frames of Reference; register them before they are analysed together.",
        )
    body = body_of(ct)
    points_mm = _within_pet(body, suv) if body else np.empty((0, 3))
    if body is None or not len(points_mm):
        raise Refused(WITHOUT_BODY, "No body is seen on the axial CT within the PET's field of view; check the series.")
    centre = (points_mm.min(axis=0) + points_mm.max(axis=0)) / 2.0
    grid = upright_grid(centre, settings.spacing_mm, settings.shape)
    pet = _onto(suv, grid, settings.shape, 0.0)
    hu = _onto(ct, grid, settings.shape, CT_AIR_HU)
    if not (np.isfinite(pet).all() and np.isfinite(hu).all()):
        raise Refused("input-not-finite", "PET or CT holds values that are no numbers in the body; send it again.")
    lost = 1.0 - inside_fraction(points_mm, grid, settings.shape)
    return NetworkInput(
        array=_scaled(pet, hu, settings),
        grid=grid,
        region_ml=len(points_mm) * body.cell_ml,
        lost_fraction=lost,
        without_ct_fraction=share_without_ct(points_mm, ct),
        suv_max=float(pet.max()),
        cautions=_cropped(lost),
        of_body=True,
    )


def _onto(volume: Volume, grid: FloatArray, shape: tuple[int, int, int], fill: float) -> npt.NDArray[np.float32]:
    """Means of blocks where the grid is coarser, then linear between them: no small lesion is stepped over."""
    return np.asarray(resample(coarsened(volume, grid, shape), grid, shape, 1, fill), np.float32)


def _within_pet(body: Body, suv: Volume) -> FloatArray:
    """Centres (n, 3) of the body's cells that lie in a voxel of the PET, LPS mm."""
    points_mm = body.volume.to_lps(np.argwhere(body.volume.array))
    index = suv.to_index(points_mm)
    inside = ((index >= -0.5) & (index <= np.array(suv.array.shape) - 0.5)).all(axis=1)
    return np.asarray(points_mm[inside])


def _scaled(pet: npt.NDArray[np.float32], hu: npt.NDArray[np.float32], settings: WholeBody) -> npt.NDArray[np.float32]:
    low, high = settings.ct_window_hu
    uptake = np.clip(pet, 0.0, settings.suv_clip) / settings.suv_clip
    return np.asarray(np.stack([uptake, (np.clip(hu, low, high) - low) / (high - low)]), np.float32)


def _cropped(lost: float) -> tuple[Caution, ...]:
    text = f"{lost:.0%} of the body in the PET lies outside what the network saw."
    return (Caution("body-cropped", text),) if lost > LOST_FRACTION else ()
