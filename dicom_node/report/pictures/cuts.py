"""The planes of the key image, and the pictures on them: CT, PET on CT, saliency on CT, the PET from the front.

Without a PET: the CT, or the iodine map in grey and in colours, and saliency on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dicom_node.report.pictures import colours, overlay, views
from dicom_node.report.pictures.colours import Pixels
from dicom_node.report.words import verdict
from inference.facts import Analysis, BoolArray, FloatArray, Lesion

BODY_HU, BODY_SUV, AROUND_BODY_MM = -400.0, 0.5, 12.0  # what is denser, or warmer, is patient
FLATTEST = 0.58  # height of the axial picture to its width
FINE_MM = 2.0  # pixels of a projection as small as this have thicker outlines
ENLARGED_MM, AROUND_LESION = 70.0, 2.5  # edge of the enlarged picture: at least this, and so many times the lesion's


@dataclass(frozen=True, slots=True)
class Window:
    """Hounsfield units shown from black to white, and how a radiologist calls it."""

    low: float
    high: float
    name: str


SOFT_TISSUE = Window(-160.0, 240.0, "W 400 L 40")
LUNG = Window(-1350.0, 150.0, "W 1500 L −600")
AIRY_HU = -300.0  # a lesion of less is mostly air


@dataclass(frozen=True, slots=True)
class Cuts:
    """``centre`` (LPS mm): where the three planes cross, the index lesion's maximum; without one the PET's middle."""

    analysis: Analysis
    lesions: tuple[Lesion, ...]
    centre: tuple[float, float, float]
    window: Window

    @classmethod
    def of(cls, analysis: Analysis) -> Cuts:
        lesions = verdict.shown_lesions(analysis.lesions)
        hu = analysis.lesions[0].mean_hu if analysis.lesions else None
        airy = hu is not None and hu < AIRY_HU
        x, y, z = np.mean(views.extent(analysis.grid), axis=0)
        centre = analysis.lesions[0].shown_lps_mm if analysis.lesions else (float(x), float(y), float(z))
        return cls(analysis, lesions, centre, LUNG if airy else SOFT_TISSUE)

    def body_plane(self, edge: int) -> views.Plane:
        """The axial plane around the body on it (what is denser than air on the CT).

        ``edge`` pixels wide and at most as high, as much of that as the body fills.
        """
        ct = self.analysis.ct
        low, high = views.extent(ct)
        middle, z = (low + high) / 2, self.centre[2]
        widest_mm = float((high - low)[:2].max())
        whole = views.axial((float(middle[0]), float(middle[1]), z), (edge, edge), widest_mm / edge)
        if self.is_iodine:
            return whole  # it has no body's edge: what takes up no iodine is as dark as air
        body = whole.points[views.sample(ct, whole, -1024.0) > BODY_HU]
        if body.size == 0:
            return whole
        first, last = body.min(axis=0), body.max(axis=0)
        (x, y, _), (wide_mm, high_mm, _) = (first + last) / 2, last - first + 2 * AROUND_BODY_MM
        field_mm = min(float(max(wide_mm, high_mm)), widest_mm)
        rows = min(max(round(edge * float(high_mm) / field_mm), round(edge * FLATTEST)), edge)
        return views.axial((float(x), float(y), z), (rows, edge), field_mm / edge)

    def enlarged_plane(self, size: tuple[int, int]) -> views.Plane | None:
        """The axial plane close to the index lesion; None where the lesion is as large as the body nearly.

        ``size``: rows and columns of the picture.
        """
        if not self.lesions:
            return None
        grid, region = self.analysis.grid, self.lesions[0].region
        size_mm = max(n * mm for n, mm in zip(region.mask.shape, grid.spacing_mm, strict=True))
        field_mm = max(ENLARGED_MM, AROUND_LESION * size_mm)
        low, high = views.extent(self.analysis.ct)
        return views.axial(self.centre, size, field_mm / min(size)) if field_mm < (high - low)[:2].max() / 2 else None

    @property
    def is_iodine(self) -> bool:
        """An iodine map stands for the CT: mg/ml and no HU."""
        return self.analysis.pair.kind == "iodine map"

    def ct(self, plane: views.Plane) -> Pixels:
        """In its window; an iodine map in grey."""
        if self.is_iodine:
            return colours.grey(colours.scaled(self._iodine(plane), *colours.IODINE_RANGE))
        hu = views.sample(self.analysis.ct, plane, -1024.0)
        return colours.grey(colours.scaled(hu, self.window.low, self.window.high))

    def fused(self, plane: views.Plane, ct: Pixels) -> Pixels:
        """PET on CT; an iodine map in the PET's colours; a CT as it is."""
        if self.is_iodine:
            iodine: Pixels = colours.INFERNO[colours.scaled(self._iodine(plane), *colours.IODINE_RANGE)]
            return iodine
        if self.analysis.pair.pet is None:
            return ct
        return colours.pet_over(ct, views.sample(self.analysis.pet, plane, 0.0))

    def _iodine(self, plane: views.Plane) -> FloatArray:
        return views.sample(self.analysis.ct, plane, 0.0)

    def pet(self, plane: views.Plane) -> Pixels:
        """The PET alone, as a reader of PET knows it: dark is hot."""
        return colours.grey(255 - colours.scaled(views.sample(self.analysis.pet, plane, 0.0), *colours.SUV_RANGE))

    def salient(self, plane: views.Plane, ct: Pixels) -> Pixels | None:
        """The saliency on CT; None where it is absent or withheld."""
        saliency = verdict.shown_saliency(self.analysis)
        if saliency is None:
            return None
        return colours.saliency_over(ct, views.sample(views.saliency_volume(saliency, self.analysis.grid), plane, 0.0))

    def marked(
        self,
        pixels: Pixels,
        plane: views.Plane,
        *,
        width: int,
        avoid: Sequence[overlay.Box] | None = None,
        light: bool = False,
    ) -> Pixels:
        """A copy with the lesions outlined and the lines of the other two planes.

        Several lesions are numbered too, off the boxes to ``avoid``; not without these.
        """
        voxels = np.round(self.analysis.grid.to_index(plane.points)).astype(np.int32)
        masks = (views.in_region(lesion.region, voxels) for lesion in self.lesions)
        found = overlay.marks(self.lesions, masks, light=light)
        pixels = pixels.copy()
        if self.lesions:
            overlay.plane_lines(pixels, plane.pixel(self.centre), overlay.GAP_MM / plane.step_mm, light=light)
        overlay.outline(pixels, found, width)
        return (
            pixels
            if avoid is None or len(self.lesions) < 2
            else overlay.numbered(pixels, found, avoid=avoid, light=light)
        )

    def projection(self, step_mm: float, across_mm: tuple[float, float]) -> Pixels:
        """The PET from the front, ``step_mm`` a pixel, between two values of x (LPS mm); lesions marked."""
        suv = self.analysis.pet
        view = views.FrontView.of(suv)
        crop = view.columns(suv, across_mm)
        levels = 255 - colours.scaled(view.project(suv)[:, crop], *colours.SUV_RANGE)
        height, width = (max(1, round(n * mm / step_mm)) for n, mm in zip(levels.shape, view.step_mm, strict=True))
        pixels = np.array(Image.fromarray(colours.grey(levels)).resize((width, height), Image.Resampling.BILINEAR))

        def resized(lesion: Lesion) -> BoolArray:
            flat = np.ascontiguousarray(view.project_region(lesion.region, suv)[:, crop])
            return np.asarray(Image.fromarray(flat).resize((width, height), Image.Resampling.NEAREST))

        found = overlay.marks(self.lesions, map(resized, self.lesions), light=True)
        overlay.outline(pixels, found, 2 if step_mm < FINE_MM else 1)
        return overlay.numbered(pixels, found, light=True)


def body_box(analysis: Analysis) -> tuple[FloatArray, FloatArray]:
    """Smallest and largest LPS coordinates of the patient on the PET, its lesions and a margin; all of z.

    The whole PET where nothing is warm.  Without a PET on the CT, by what is denser than air; all of an iodine map.
    """
    suv = analysis.grid
    low, high = views.extent(suv)
    least_value = BODY_SUV if analysis.pair.pet else BODY_HU if analysis.pair.kind == "CT" else np.inf
    warm = np.argwhere(suv.array[::2, ::3, ::3] >= least_value) * (2, 3, 3)
    if not warm.size:
        return low, high
    boxes = [lesion.region for lesion in verdict.shown_lesions(analysis.lesions)]
    corners = [corner for box in boxes for corner in (box.start, np.add(box.start, box.mask.shape))]
    points = suv.to_lps(np.concatenate([warm, *(np.atleast_2d(corner) for corner in corners)]))
    least = np.maximum(points.min(axis=0) - AROUND_BODY_MM, low)
    most = np.minimum(points.max(axis=0) + AROUND_BODY_MM, high)
    least[2], most[2] = low[2], high[2]
    return least, most


def common_box(analysis: Analysis, body: tuple[FloatArray, FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Middle and size (x, y, z; LPS mm) of what CT and ``body`` have in common."""
    low, high = views.extent(analysis.ct)
    least, most = np.maximum(low, body[0]), np.minimum(high, body[1])
    return (least + most) / 2, np.maximum(most - least, 1.0)
