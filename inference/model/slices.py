"""The network's input where it looks at a lesion slice by slice: CT or an iodine map, no PET (methods A2, A4).

The axial slices with the largest area of the region, each a square of the region's extent and a margin, brought to one
size.  Nothing is interpolated between the slices of an axial series.  Published are CT, a tumour region and ResNet-50;
number of slices, windows, margin and size are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy import ndimage

from inference.facts import FloatArray, Refused, Region, Volume
from inference.geometry.resample import resample
from inference.model.seen import CT_AIR_HU, NetworkInput
from inference.model.values import Value

Window = tuple[float, float]


class AxialSlices(BaseModel):
    """Square axial slices of one lesion.

    ``slices``: the k of largest area, in the order of their height, feet first; a region on fewer slices shows its
    largest one again.  ``size``: edge of a slice in pixels.  ``margin_mm`` around the region, in the slice.
    ``windows``: one for each channel; its ends become 0 and 1, what lies beyond is clipped.  ``images``: "CT" (HU) or
    "iodine map" (mg/ml).  ``divide_by``: a value (``inference.model.values``) that divides the image before the
    windows, e.g. the aorta's iodine (normalised iodine concentration); "" for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    revision: ClassVar[int] = 1  # raise it whenever this module computes something else from the same settings

    preset: Literal["axial-slices"] = "axial-slices"
    images: Literal["CT", "iodine map"] = "CT"
    slices: int = Field(3, ge=1, le=32)
    size: int = Field(224, ge=32, le=512)
    margin_mm: float = Field(5.0, ge=0, le=50)
    windows: tuple[Window, Window, Window] = ((-1000.0, 400.0), (-160.0, 240.0), (-160.0, 240.0))
    divide_by: str = Field("", pattern=r"^([a-z][a-z0-9_]{0,31})?$")

    @model_validator(mode="after")
    def _ends_in_order(self) -> AxialSlices:
        if any(low >= high for low, high in self.windows):
            raise ValueError("windows: the lower end must lie below the upper")
        return self

    @classmethod
    def of_ct(cls, size: int = 224, slices: int = 3) -> AxialSlices:
        """Lung window, and the mediastinal one twice, as a network for colour pictures takes three channels."""
        return cls(size=size, slices=slices)

    @classmethod
    def of_iodine(cls, size: int = 224, slices: int = 3, *, divide_by: str = "") -> AxialSlices:
        """0 to 8 mg/ml three times; relative to ``divide_by`` 0 to 1."""
        window = (0.0, 1.0) if divide_by else (0.0, 8.0)
        return cls(images="iodine map", size=size, slices=slices, windows=(window,) * 3, divide_by=divide_by)

    @property
    def channels(self) -> tuple[str, ...]:
        """What the channels hold, in order."""
        what, unit = ("CT", "HU") if self.images == "CT" else ("iodine", "mg/ml")
        unit = f"relative to {self.divide_by}" if self.divide_by else unit
        return tuple(f"{what} {low:g} to {high:g} {unit}" for low, high in self.windows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        return (self.slices, self.size, self.size)


def axial_slices(
    image: Volume, region: Region, settings: AxialSlices, values: Mapping[str, Value | None] | None = None
) -> NetworkInput:
    """CT (HU) or iodine map (mg/ml) of one region of the image's own grid, as the network takes it.

    ``array``: (3, slices, size, size).  ``grid``: row → +P, column → +L, in the first slice's plane; ``planes_mm``:
    height (LPS z) of each slice, which need not be neighbours.
    Raises ``Refused``: ``input-region-empty``, ``input-not-finite``, ``value-missing`` (``divide_by`` is not given),
    ``value-not-usable`` (it is not above 0).
    """
    mask = np.asarray(ndimage.binary_fill_holes(region.mask), bool)
    if not mask.any():
        raise Refused("input-region-empty", "The region contains no voxel of the image; give a region that does.")
    points_mm = image.to_lps(np.argwhere(mask) + region.start)
    planes_mm, step_mm = _largest(points_mm, image, settings.slices)
    grid = _square(points_mm, image, settings)
    grid[2, 0] = step_mm
    outside = CT_AIR_HU if settings.images == "CT" else 0.0
    pictures = np.empty(settings.shape, np.float32)
    for i, height_mm in enumerate(planes_mm):
        grid[2, 3] = height_mm
        pictures[i] = resample(image, grid, (1, settings.size, settings.size), 1, outside)[0]
    grid[2, 3] = planes_mm[0]
    inside = image.array[region.slices][mask]
    if not (np.isfinite(pictures).all() and np.isfinite(inside).all()):
        raise Refused("input-not-finite", "The image holds values that are no numbers near the region; send it again.")
    divisor = _divisor(settings, values or {})
    return NetworkInput(
        array=_windowed(pictures / np.float32(divisor), settings),
        grid=grid,
        region_ml=float(mask.sum() * image.voxel_ml),
        lost_fraction=0.0,
        without_ct_fraction=0.0,
        suv_max=None,
        planes_mm=planes_mm,
        region_mean=float(inside.mean(dtype=float)),
    )


def _largest(points_mm: FloatArray, image: Volume, count: int) -> tuple[tuple[float, ...], float]:
    """Heights (LPS z) of the planes with most of the region, ascending, and the distance of neighbouring planes.

    On an axial image the planes are its slices; on an oblique one they lie as far apart as its slices, in height.
    """
    step_mm = float(np.abs(image.affine[2, :3]).max())
    lowest = float(points_mm[:, 2].min())
    area = np.bincount(np.rint((points_mm[:, 2] - lowest) / step_mm).astype(np.int64))
    away = np.abs(np.arange(len(area)) - int(area.argmax()))
    by_area = np.lexsort((away, -area))  # of equal ones those next to the largest
    by_area = by_area[area[by_area] > 0][:count]
    chosen = sorted([*by_area, *[by_area[0]] * (count - len(by_area))])
    return tuple(lowest + step_mm * float(plane) for plane in chosen), step_mm


def _square(points_mm: FloatArray, image: Volume, settings: AxialSlices) -> FloatArray:
    """Affine of a slice: a square around the region's extent in x and y, and the margin; height and step unset."""
    low, high = points_mm[:, :2].min(axis=0), points_mm[:, :2].max(axis=0)
    pixel_mm = max(image.spacing_mm[1:])
    edge_mm = float((high - low).max()) + pixel_mm + 2.0 * settings.margin_mm
    step_mm = edge_mm / settings.size
    affine = np.eye(4)
    affine[:3, :3] = [[0.0, 0.0, step_mm], [0.0, step_mm, 0.0], [1.0, 0.0, 0.0]]
    affine[:2, 3] = (low + high) / 2.0 - step_mm * (settings.size - 1) / 2.0
    return affine


def _divisor(settings: AxialSlices, values: Mapping[str, Value | None]) -> float:
    if not settings.divide_by:
        return 1.0
    value = values.get(settings.divide_by)
    if value is None:
        raise Refused("value-missing", f"The model divides the image by '{settings.divide_by}', and it is not given.")
    if isinstance(value, str) or not np.isfinite(value) or value <= 0:
        raise Refused("value-not-usable", f"'{settings.divide_by}' must be a number above 0; correct it at its source.")
    return float(value)


def _windowed(pictures: npt.NDArray[np.float32], settings: AxialSlices) -> npt.NDArray[np.float32]:
    channels = [(np.clip(pictures, low, high) - low) / (high - low) for low, high in settings.windows]
    return np.asarray(np.stack(channels), np.float32)
