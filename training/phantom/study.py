"""Write a whole PET/CT study of the phantom as DICOM, with a file that tells what was planted.

``CT/`` and ``PET/`` hold one file a slice, ``truth.json`` the lesions, the hidden scores, the label and the Bayes AUC
of the label model (methods A0).  The same seed and preset give the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from training.phantom.body import Uptake, organs
from training.phantom.cohort import CohortSettings, bayes_auc, draw
from training.phantom.headers import CT_INTERCEPT, Examination, ct_image, pet_image
from training.phantom.lesion import (
    PlantedLesion,
    acquire_pet,
    correlated_noise,
    ellipsoid_radius,
    lesion_box,
    lesion_of_score,
    paint_hounsfield,
    paint_uptake,
)
from training.phantom.physiology import STANDARD, Physiology
from training.phantom.sites import Site, plant
from training.phantom.solids import Grid, Organ, Triple, paint

FloatArray = npt.NDArray[np.float32]
PresetName = Literal["small", "whole-body"]
Progress = Callable[[int, int], None]

SLICE_MM = 3.27
PET_PIXEL_MM = 814.0 / 200.0
PSF_FWHM_MM = 6.0
CT_NOISE_HU = 14.0
CT_GRAIN_PIXELS = 0.7  # of the noise; a soft kernel correlates neighbours
CT_FIELD_MM = 500.0
FINE = 3  # lesions are painted on a grid so many times finer along each axis, then averaged


@dataclass(frozen=True, slots=True)
class Preset:
    """Which part of the body, and the matrices."""

    slices: int
    first_z_mm: float
    ct_size: int
    pet_size: int

    def grid(self, size: int, pixel_mm: float) -> Grid:
        """Both series have the same slice positions."""
        z_mm = np.round(self.first_z_mm + SLICE_MM * np.arange(self.slices), 6)
        return Grid.axial(size, pixel_mm, z_mm)


PRESETS: dict[PresetName, Preset] = {
    "small": Preset(90, 402.0, 256, 128),
    "whole-body": Preset(300, 0.0, 512, 200),
}


# Of "small", which has chest and upper abdomen only; the whole body's are ``training.phantom.sites.PLACES``.
SMALL_SITES = (
    Site("right upper lobe", (-70.0, -2.0, 648.0), (3.0, 3.0, 3.0), (15.2, 17.6)),
    Site("left lower lobe", (88.0, 26.0, 520.0), (3.0, 3.0, 3.0), (10.45, 12.1)),
    Site("right paratracheal node", (-21.0, 4.0, 622.0), (3.0, 3.0, 3.0), (8.55, 9.9)),
)


@dataclass(frozen=True, slots=True)
class LesionTruth:
    """A planted lesion.  ``suv``: before core and blur; ``suv_max``: largest SUVbw in it as written."""

    site: str
    centre_lps_mm: Triple
    radius_mm: float
    volume_ml: float
    suv: float
    suv_max: float
    core_fraction: float
    hu: float
    texture_sd_hu: float


@dataclass(frozen=True, slots=True)
class Truth:
    """What ``truth.json`` holds.  ``score``: the hidden s, the same in PET and CT; ``label``: y of methods A0.

    ``label_model``: settings of the label model of ``training.phantom.cohort``, ``bayes_auc`` its optimum.
    """

    seed: int
    preset: str
    score: float
    label: bool
    label_model: dict[str, float]
    bayes_auc: float
    patient_id: str
    study_instance_uid: str
    ct_series_instance_uid: str
    pet_series_instance_uid: str
    bqml_per_suv: float
    psf_fwhm_mm: float
    uptake: dict[str, float]
    physiology: dict[str, Any]
    lesions: tuple[LesionTruth, ...]


def write_phantom_study(
    out: Path,
    *,
    seed: int = 0,
    preset: PresetName = "small",
    lesions: Sequence[PlantedLesion] | None = None,
    progress: Progress | None = None,
) -> Truth:
    """Write ``out/CT``, ``out/PET`` and ``out/truth.json``; ``progress`` is told (files written, files in all).

    ``lesions``: those to plant, in LPS mm; without them the preset's own, all with the subject's hidden score.
    "small" is chest and upper abdomen in 90 slices (seconds), always of the same build and physiology; "whole-body" is
    thigh to vertex in 300, and patients differ (``training.phantom.physiology``, ``sites``).
    """
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r} is not one of {', '.join(PRESETS)}")
    rng = np.random.default_rng([seed, PRESETS[preset].slices])
    # other content must have other UIDs
    exam = Examination.draw(seed, f"{preset} {lesions}", rng)
    physiology = Physiology.draw(rng) if preset == "whole-body" else STANDARD
    uptake = Uptake.draw_widely(physiology, rng) if preset == "whole-body" else Uptake.draw(rng)
    model = CohortSettings(subjects=1, seed=seed)
    hidden = draw(model)[0]
    score = hidden.score
    width = math.sqrt(exam.weight_kg / 75.0)
    names: Sequence[str] = [f"lesion {n + 1}" for n in range(len(lesions or ()))]
    if lesions is None and preset == "whole-body":
        planted = plant(score, (width, width, physiology.height), uptake.liver, rng)
        names, lesions = [p.site.name for p in planted], [p.lesion for p in planted]
    elif lesions is None:
        names, lesions = [s.name for s in SMALL_SITES], [_plant(site, score, width, rng) for site in SMALL_SITES]
    body = tuple(organs(uptake, rng, physiology))
    subject = _Subject(exam, PRESETS[preset], body, width, physiology.height, tuple(lesions))
    total = 2 * subject.preset.slices
    for index in _write_ct(out / "CT", subject, rng):
        _tell(progress, index + 1, total)
    suv, grid = _image_pet(subject, rng)
    for index in _write_pet(out / "PET", subject, suv, grid):
        _tell(progress, total // 2 + index + 1, total)
    truth = Truth(
        seed,
        preset,
        score,
        hidden.label,
        asdict(model),
        bayes_auc(model),
        f"PHANTOM-{seed:06d}",
        exam.uid("study"),
        exam.uid("CT", "series"),
        exam.uid("PT", "series"),
        exam.bqml_per_suv,
        PSF_FWHM_MM,
        asdict(uptake),
        asdict(physiology),
        tuple(_lesion_truth(name, lesion, suv, grid) for name, lesion in zip(names, lesions, strict=True)),
    )
    (out / "truth.json").write_text(json.dumps(asdict(truth), indent=1) + "\n")
    return truth


def _plant(site: Site, score: float, width: float, rng: np.random.Generator) -> PlantedLesion:
    """A lesion at the site of this patient, moved and stretched a little."""
    moved = np.multiply(site.spread_mm, rng.uniform(-1.0, 1.0, 3))
    x, y, z = (float(c + d) for c, d in zip(site.centre_mm, moved, strict=True))
    a, b, c = (float(axis) for axis in rng.uniform(0.85, 1.15, 3))
    suv = float(np.clip(np.exp(rng.normal(math.log(9.0), 0.3)), 6.0, 15.0))
    radius_mm = float(rng.uniform(*site.radius_mm))
    centre = (x * width, y * width, z)
    return lesion_of_score(score, centre, radius_mm, suv, hu=site.hu, shape=(a, b, c))


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress:
        progress(done, total)


@dataclass(frozen=True, slots=True)
class _Subject:
    """What both series picture.  ``width``, ``height``: how much larger the patient is than the figure of ``body``."""

    exam: Examination
    preset: Preset
    body: tuple[Organ, ...]
    width: float
    height: float
    lesions: tuple[PlantedLesion, ...]

    def paint(self, grid: Grid) -> tuple[FloatArray, FloatArray]:
        """HU and SUVbw of the whole grid, (slice, row, column), without lesions."""
        figure = Grid(grid.x_mm / self.width, grid.y_mm / self.width, grid.z_mm / self.height)
        hu, suv = np.empty(grid.shape, np.float32), np.empty(grid.shape, np.float32)
        for index in range(grid.shape[0]):
            hu[index], suv[index] = paint(self.body, figure, index)
        return hu, suv


def _write_ct(out: Path, subject: _Subject, rng: np.random.Generator) -> Iterator[int]:
    """Yields the index of each slice written."""
    out.mkdir(parents=True, exist_ok=True)
    grid = subject.preset.grid(subject.preset.ct_size, CT_FIELD_MM / subject.preset.ct_size)
    hu, _ = subject.paint(grid)
    for lesion in subject.lesions:
        paint_hounsfield(hu, grid.affine, lesion, rng)
    outside = np.hypot(grid.x_mm[None, :], grid.y_mm[:, None]) > CT_FIELD_MM / 2.0
    grain = np.array([CT_GRAIN_PIXELS, CT_GRAIN_PIXELS])
    for index in range(grid.shape[0]):
        noisy = hu[index] + CT_NOISE_HU * correlated_noise(grid.shape[1:], grain, rng)
        noisy[outside] = CT_INTERCEPT
        stored = np.clip(np.rint(noisy - CT_INTERCEPT), 0, 4095).astype(np.uint16)
        image = ct_image(subject.exam, grid, index, stored)
        image.save_as(out / f"CT{image.InstanceNumber:04d}.dcm", enforce_file_format=True)
        yield index


def _image_pet(subject: _Subject, rng: np.random.Generator) -> tuple[FloatArray, Grid]:
    """SUVbw as the scanner sees it, (slice, row, column), and its grid."""
    grid = subject.preset.grid(subject.preset.pet_size, PET_PIXEL_MM)
    _, activity = subject.paint(grid)
    for lesion in subject.lesions:
        _paint_uptake_finely(activity, grid, lesion)
    return acquire_pet(activity, grid.spacing_mm, PSF_FWHM_MM, rng), grid


def _write_pet(out: Path, subject: _Subject, suv: FloatArray, grid: Grid) -> Iterator[int]:
    """Yields the index of each slice written; each has its own slope, and ``suv`` becomes what the file holds."""
    out.mkdir(parents=True, exist_ok=True)
    for index in range(grid.shape[0]):
        bqml = suv[index].astype(np.float64) * subject.exam.bqml_per_suv
        slope = float(f"{max(bqml.max(), 1.0) / 32767.0:.8g}")
        stored = np.rint(bqml / slope).astype(np.uint16)
        image = pet_image(subject.exam, grid, index, stored, slope)
        image.save_as(out / f"PT{image.InstanceNumber:04d}.dcm", enforce_file_format=True)
        suv[index] = stored * (slope / subject.exam.bqml_per_suv)
        yield index


def _paint_uptake_finely(activity: FloatArray, grid: Grid, lesion: PlantedLesion) -> None:
    """Paint on a grid finer than PET pixels, so that a voxel on the edge holds its true share."""
    box = lesion_box(lesion, grid.affine, activity.shape, margin_mm=8.0)
    fine = activity[box]
    for axis in range(3):
        fine = np.repeat(fine, FINE, axis)
    affine = grid.affine
    start = np.array([part.start for part in box], float) - 0.5 + 0.5 / FINE
    affine[:3, 3] += affine[:3, :3] @ start
    affine[:3, :3] /= FINE
    paint_uptake(fine, affine, lesion)
    k, r, c = activity[box].shape
    activity[box] = fine.reshape(k, FINE, r, FINE, c, FINE).mean(axis=(1, 3, 5))


def _lesion_truth(name: str, lesion: PlantedLesion, suv: FloatArray, grid: Grid) -> LesionTruth:
    box = lesion_box(lesion, grid.affine, suv.shape, margin_mm=4.0)
    inside = ellipsoid_radius(lesion, grid.affine, box) <= 1.0
    return LesionTruth(
        name,
        lesion.centre_lps_mm,
        lesion.radius_mm,
        lesion.volume_ml,
        lesion.suv,
        float(suv[box][inside].max()) if inside.any() else 0.0,
        lesion.core_fraction,
        lesion.hu,
        lesion.texture_sd_hu,
    )
