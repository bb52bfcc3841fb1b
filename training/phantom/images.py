"""The images of a phantom subject, whatever its cohort: SUVbw and HU, HU alone, or an iodine map in mg/ml."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from inference.facts import Region, Volume
from training.phantom import sstr
from training.phantom.lesion import Matrix, PlantedLesion, Triple, paint_hounsfield
from training.phantom.scene import (
    BACKGROUND_SUV,
    CENTRES,
    CT_PIXEL_MM,
    FRAME_OF_REFERENCE,
    Centre,
    Scene,
    contour_region,
    grid,
    image_ct,
    image_pet,
    isocontour_region,
)
from training.phantom.settings import WHOLE_BODY_VOXEL_MM, PhantomSettings
from training.phantom.subjects import PhantomSubject

WALL_MG_ML = 0.8  # iodine in the tissue round the tumour
VESSEL_MG_ML = (4.0, 0.6)  # mean and standard deviation between subjects
IODINE_TEXTURE_MG_ML = 0.3
IODINE_NOISE_PER_HU = 0.02  # the map's noise follows the centre's CT noise: 0.24 to 0.5 mg/ml
AORTA_RADIUS_MM, AORTA_MARGIN_MM = 9.0, 12.0
MISREGISTRATION_MM = 20.0
AIR_HU = -1000.0


@dataclass(frozen=True, slots=True)
class Images:
    """``suv``: SUVbw, ``ct``: HU, ``iodine``: mg/ml (float32); None where the cohort has none.

    ``region``: of the lesion on the PET's grid, without PET on that of CT or iodine map; None for the whole body.
    """

    suv: Volume | None = None
    ct: Volume | None = None
    iodine: Volume | None = None
    region: Region | None = None

    @property
    def reference(self) -> Volume:
        """The volume on whose grid the region lies."""
        found = self.suv or self.ct or self.iodine
        if found is None:
            raise ValueError("a subject without images")
        return found

    @property
    def anatomy(self) -> Volume:
        """The CT or the iodine map."""
        found = self.ct or self.iodine
        if found is None:
            raise ValueError("a subject without CT or iodine map")
        return found


def iodine_mg_ml(score: float) -> float:
    """Mean iodine of the tumour for the hidden score (methods A4)."""
    return 1.8 + 0.5 * score


def render_subject(subject: PhantomSubject, settings: PhantomSettings) -> Images:
    """The images of one subject; the same call gives the same voxels."""
    rng = subject.stream(settings.seed)
    centre = CENTRES[subject.centre]
    shift = _direction(rng, MISREGISTRATION_MM if subject.outlier == "misregistered" else 0.0)
    if subject.scene is None:
        voxel_mm = WHOLE_BODY_VOXEL_MM[settings.size]
        suv, ct = sstr.image(subject.metastases, centre, voxel_mm, rng, shift_mm=shift)
        images = Images(suv, ct)
    elif settings.of.body == "iodine lesion":
        images = _iodine_map(subject, subject.scene, centre, settings.extent_mm, rng)
    else:
        images = _lesion(subject, subject.scene, centre, settings, shift, rng)
    if subject.kind == "noise":
        images = _only_noise(images, rng)
    return _spoilt(images, subject, rng)


def _lesion(
    subject: PhantomSubject,
    scene: Scene,
    centre: Centre,
    settings: PhantomSettings,
    shift_mm: Triple,
    rng: np.random.Generator,
) -> Images:
    lesions = (*scene.distractors, scene.lesion)
    background = scene.lesion.suv if subject.kind == "wrong-organ" else BACKGROUND_SUV
    suv = None
    if settings.of.images == "PET/CT":
        suv = image_pet(lesions, centre, settings.extent_mm, rng, background)
    moved = tuple(replace(one, centre_lps_mm=_add(one.centre_lps_mm, shift_mm)) for one in lesions)
    ct = image_ct(moved, scene.surroundings_hu, centre, settings.extent_mm, rng)
    if suv is not None and scene.region_rule == "isocontour":
        return Images(suv, ct, region=isocontour_region(scene.lesion, suv))
    return Images(suv, ct, region=contour_region(scene.lesion, scene.contour_scale, suv or ct))


def _iodine_map(
    subject: PhantomSubject, scene: Scene, centre: Centre, extent_mm: float, rng: np.random.Generator
) -> Images:
    """Tumour, vessels and aorta in tissue; the painter of CT numbers paints mg/ml here."""
    affine, shape = grid(extent_mm, centre.slice_mm, CT_PIXEL_MM)
    iodine = np.full(shape, WALL_MG_ML, np.float32)
    vessel = float(subject.values.get("aorta_iodine") or max(rng.normal(*VESSEL_MG_ML), 1.0))
    for one in scene.distractors:
        paint_hounsfield(iodine, affine, _with_iodine(one, vessel, 0.0), rng)
    mean = WALL_MG_ML if subject.kind == "wrong-organ" else iodine_mg_ml(subject.scores["iodine"])
    paint_hounsfield(iodine, affine, _with_iodine(scene.lesion, mean, IODINE_TEXTURE_MG_ML), rng)
    _paint_aorta(iodine, affine, 0.5 * extent_mm - AORTA_MARGIN_MM, vessel)
    iodine += IODINE_NOISE_PER_HU * centre.ct_noise_hu * rng.standard_normal(shape, np.float32)
    volume = Volume(iodine, affine, FRAME_OF_REFERENCE)
    return Images(iodine=volume, region=contour_region(scene.lesion, scene.contour_scale, volume))


def _with_iodine(lesion: PlantedLesion, mean: float, texture: float) -> PlantedLesion:
    return replace(lesion, hu=mean, texture_sd_hu=texture)


def _paint_aorta(iodine: npt.NDArray[np.float32], affine: Matrix, behind_mm: float, mg_ml: float) -> None:
    """A vertical vessel behind the tumour."""
    _, rows, columns = iodine.shape
    y = affine[1, 3] + affine[1, 1] * np.arange(rows)[:, None] - behind_mm
    x = affine[0, 3] + affine[0, 2] * np.arange(columns)[None, :]
    inside = np.clip(0.5 - (np.hypot(x, y) - AORTA_RADIUS_MM) / CT_PIXEL_MM, 0.0, 1.0).astype(np.float32)
    iodine += inside * (mg_ml - iodine)


def _only_noise(images: Images, rng: np.random.Generator) -> Images:
    """Nothing but noise in the range of each image; the region stays."""
    suv, ct, iodine = images.suv, images.ct, images.iodine
    if suv is not None:
        suv = replace(suv, array=rng.exponential(4.0, suv.array.shape).astype(np.float32))
    if ct is not None:
        ct = replace(ct, array=np.rint(rng.normal(0.0, 200.0, ct.array.shape)).astype(np.int16))
    if iodine is not None:
        iodine = replace(iodine, array=rng.normal(1.8, 1.5, iodine.array.shape).astype(np.float32))
    return replace(images, suv=suv, ct=ct, iodine=iodine)


def _spoilt(images: Images, subject: PhantomSubject, rng: np.random.Generator) -> Images:
    """The image outliers of methods A0; "misregistered" is done where the images are made."""
    match subject.outlier:
        case "wrong crop" if images.region is not None:
            return replace(images, region=_elsewhere(images.region, images.reference, rng))
        case "scaled" if images.suv is not None:
            return replace(images, suv=replace(images.suv, array=images.suv.array * np.float32(1000.0)))
        case "scaled" if images.iodine is not None:
            return replace(images, iodine=replace(images.iodine, array=images.iodine.array * np.float32(1000.0)))
        case "CT air" if images.ct is not None:
            air = np.full_like(images.ct.array, round(AIR_HU))
            return replace(images, ct=replace(images.ct, array=air))
    return images


def _elsewhere(region: Region, volume: Volume, rng: np.random.Generator) -> Region:
    """The region in a corner of the picture."""
    room = np.array(volume.array.shape) - region.mask.shape
    k, r, c = (int(n) for n in np.where(rng.random(3) < 0.5, 0, room))
    return Region((k, r, c), region.mask)


def _direction(rng: np.random.Generator, length_mm: float) -> Triple:
    way = rng.standard_normal(3)
    x, y, z = (float(v) for v in length_mm * way / np.linalg.norm(way))
    return x, y, z


def _add(a: Triple, b: Triple) -> Triple:
    x, y, z = (p + q for p, q in zip(a, b, strict=True))
    return x, y, z
