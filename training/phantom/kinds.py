"""Small DICOM studies of the other kinds: CT alone, iodine map with its CT, SSTR PET/CT; for tests of the whole road.

Each writes one folder a series (``CT``, ``IODINE``, ``PET``, ``REGION``) and ``truth.json``; the same seed gives the
same bytes, but for a SEG, whose library writes the time of day.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset

from training.phantom import sstr
from training.phantom.body import Uptake, organs
from training.phantom.headers import CT_INTERCEPT, DOTATOC, Examination, ct_image, pet_image
from training.phantom.images import IODINE_TEXTURE_MG_ML, VESSEL_MG_ML, iodine_mg_ml
from training.phantom.lesion import (
    FloatArray,
    PlantedLesion,
    Triple,
    correlated_noise,
    lesion_of_score,
    paint_hounsfield,
)
from training.phantom.reader import RegionKind, write_region
from training.phantom.scene import CENTRES
from training.phantom.solids import Grid, Organ, paint
from training.phantom.spectral import iodine_image

CT_NOISE_HU, IODINE_NOISE_MG_ML = 12.0, 0.3
CHEST_TUMOUR: Triple = (-70.0, -2.0, 648.0)
STOMACH_TUMOUR: Triple = (66.0, -22.0, 428.0)
# Iodine (mg/ml) of organs in the venous phase; what is not named has none.  A sketch, good for testing.
IODINE_OF = {
    "aorta": VESSEL_MG_ML[0], "inferior vena cava": 3.6, "heart": 3.8, "liver": 2.1, "spleen": 2.3, "kidney": 4.5,
    "stomach": 0.8, "bowel": 0.9, "colon": 0.9, "muscle": 0.4, "vertebral body": 0.6,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StudyTruth:
    """``truth.json``.  ``series``: folder → Series Instance UID.  ``lesions``: what was planted, LPS mm.

    ``scores``: source → hidden score.  ``iodine_mg_ml``: mean of the tumour, None without an iodine map.
    """

    kind: str
    seed: int
    patient_id: str
    accession_number: str
    study_instance_uid: str
    frame_of_reference_uid: str
    series: Mapping[str, str]
    scores: Mapping[str, float]
    lesions: tuple[PlantedLesion, ...]
    bqml_per_suv: float | None = None
    iodine_mg_ml: float | None = None


def write_ct_study(
    out: Path, *, seed: int = 0, region: RegionKind | None = "RTSTRUCT", score: float | None = None
) -> StudyTruth:
    """A CT of the upper chest with a tumour in the right lung, no PET: 40 slices of 2.5 mm, 96 × 96 of 2 mm.

    ``region``: what the reader's contour is written as, None for no region.  ``score``: shown as texture, drawn from
    N(0, 1.24) without one.
    """
    rng = np.random.default_rng([seed, 101])
    exam = _examination(100_000 + seed, f"CT {region} {score}", "CT chest (synthetic phantom)", "CHEST", rng)
    shown = float(rng.normal(0.0, 1.24)) if score is None else score
    lesion = _tumour(CHEST_TUMOUR, shown, rng)
    grid = _box(lesion.centre_lps_mm, 96, 2.0, 40, 2.5)
    hu, _ = _painted(organs(Uptake.draw(rng), rng), grid)
    paint_hounsfield(hu, grid.affine, lesion, rng)
    hu += CT_NOISE_HU * correlated_noise(hu.shape, np.array([0.0, 0.7, 0.7]), rng)
    images = _write_ct(out / "CT", exam, grid, hu, "CT CHEST (PHANTOM)")
    return _finish(out, "CT", exam, {"CT": images}, {"ct": shown}, (lesion,), grid, region)


def write_iodine_study(
    out: Path, *, seed: int = 0, region: RegionKind | None = "SEG", score: float | None = None
) -> StudyTruth:
    """A CT of the upper abdomen in the venous phase and its iodine map (mg/ml), on one grid, with a gastric tumour.

    32 slices of 3 mm, 96 × 96 of 2.5 mm.  ``training.phantom.spectral`` tells how the map says what it is.  ``region``
    is drawn on the map.  ``score``: shown as the tumour's iodine.
    """
    rng = np.random.default_rng([seed, 102])
    exam = _examination(
        200_000 + seed, f"iodine {region} {score}", "CT abdomen dual energy (synthetic phantom)", "ABDOMEN", rng
    )
    shown = float(rng.normal(0.0, 1.2)) if score is None else score
    mean = iodine_mg_ml(shown)
    lesion = replace(_tumour(STOMACH_TUMOUR, 0.0, rng), hu=40.0 + 25.0 * mean)
    grid = _box(lesion.centre_lps_mm, 96, 2.5, 32, 3.0)
    body = [replace(organ, suv=IODINE_OF.get(organ.name, 0.0)) for organ in organs(Uptake.draw(rng), rng)]
    hu, iodine = _painted(body, grid)
    hu += 25.0 * iodine * (hu > -200.0)  # about what iodine adds at 120 kV
    paint_hounsfield(hu, grid.affine, lesion, rng)
    paint_hounsfield(iodine, grid.affine, replace(lesion, hu=mean, texture_sd_hu=IODINE_TEXTURE_MG_ML), rng)
    hu += CT_NOISE_HU * correlated_noise(hu.shape, np.array([0.0, 0.7, 0.7]), rng)
    iodine += IODINE_NOISE_MG_ML * correlated_noise(iodine.shape, np.array([0.0, 0.7, 0.7]), rng)
    usual = _write_ct(out / "CT", exam, grid, hu, "CT ABDOMEN VENOUS (PHANTOM)")
    images = [iodine_image(exam, grid, index, iodine[index]) for index in range(grid.shape[0])]
    _save(out / "IODINE", images)
    series = {"IODINE": images, "CT": usual}
    return _finish(out, "iodine map", exam, series, {"iodine": shown}, (lesion,), grid, region, iodine_mg_ml=mean)


def write_sstr_study(
    out: Path,
    *,
    seed: int = 0,
    voxel_mm: float = 8.0,
    scores: Mapping[str, float] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> StudyTruth:
    """A Ga-68 DOTATOC PET/CT of the trunk with metastases (``training.phantom.sstr``), coarse.

    ``scores``: "pet" and "ct", drawn as methods A5 without them.
    """
    rng = np.random.default_rng([seed, 103])
    exam = _examination(
        300_000 + seed, f"SSTR {voxel_mm} {scores}", "PET/CT DOTATOC (synthetic phantom)", "WHOLEBODY", rng
    )
    exam = replace(exam, agent=DOTATOC, dose_bq=float(round(rng.uniform(120.0, 180.0))) * 1e6)
    burden = float(rng.normal(0.0, 3.0))
    shown = dict(scores or {"pet": burden + float(rng.normal()), "ct": burden})
    lesions = sstr.draw_metastases(shown["pet"], shown["ct"], rng)
    suv, ct = sstr.image(lesions, CENTRES[0], voxel_mm, rng)
    grid = sstr.grid(voxel_mm)
    total = 2 * grid.shape[0]
    images = _write_ct(out / "CT", exam, grid, ct.array.astype(np.float32), "CT AC LOW DOSE (PHANTOM)")
    progress(len(images), total)
    pet = [_pet(exam, grid, index, suv.array[index]) for index in range(grid.shape[0])]
    _save(out / "PET", pet)
    progress(total, total)
    series = {"PET": pet, "CT": images}
    return _finish(out, "PET/CT", exam, series, shown, lesions, grid, None, bqml_per_suv=exam.bqml_per_suv)


def _examination(seed: int, content: str, description: str, body_part: str, rng: np.random.Generator) -> Examination:
    """Seeds differ between the kinds, so that no two studies belong to one patient."""
    exam = Examination.draw(seed, content, rng)
    return replace(exam, description=description, body_part=body_part, ct_at=exam.pet_at - timedelta(seconds=70))


def _tumour(centre_mm: Triple, score: float, rng: np.random.Generator) -> PlantedLesion:
    x, y, z = (float(v) for v in np.add(centre_mm, rng.uniform(-3.0, 3.0, 3)))
    a, b, c = (float(v) for v in np.exp(rng.normal(0.0, 0.1, 3)))
    return lesion_of_score(score, (x, y, z), float(rng.uniform(12.0, 18.0)), suv=8.0, shape=(a, b, c))


def _box(centre_mm: Triple, size: int, pixel_mm: float, slices: int, slice_mm: float) -> Grid:
    """A grid round the tumour: a small field of view, as a targeted reconstruction has."""
    x, y, z = (round(float(v)) for v in centre_mm)
    across = np.asarray((np.arange(size) - (size - 1) / 2.0) * pixel_mm, np.float64)
    along = np.round(z + (np.arange(slices) - (slices - 1) / 2.0) * slice_mm, 3)
    return Grid(np.asarray(x + across), np.asarray(y + across), along)


def _painted(body: Sequence[Organ], grid: Grid) -> tuple[FloatArray, FloatArray]:
    """The two pictures of the organs, (slice, row, column)."""
    first, second = np.empty(grid.shape, np.float32), np.empty(grid.shape, np.float32)
    for index in range(grid.shape[0]):
        first[index], second[index] = paint(body, grid, index)
    return first, second


def _write_ct(out: Path, exam: Examination, grid: Grid, hu: FloatArray, description: str) -> list[FileDataset]:
    stored = np.clip(np.rint(hu - CT_INTERCEPT), 0, 4095).astype(np.uint16)
    images = [ct_image(exam, grid, index, stored[index]) for index in range(grid.shape[0])]
    for image in images:
        image.SeriesDescription = description
    _save(out, images)
    return images


def _pet(exam: Examination, grid: Grid, index: int, suv: npt.NDArray[np.float32]) -> FileDataset:
    bqml = suv.astype(np.float64) * exam.bqml_per_suv
    slope = float(f"{max(bqml.max(), 1.0) / 32767.0:.8g}")
    image = pet_image(exam, grid, index, np.rint(bqml / slope).astype(np.uint16), slope)
    image.SeriesDescription = "PET DOTATOC AC (PHANTOM)"
    return image


def _save(out: Path, images: Sequence[FileDataset]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for image in images:
        image.save_as(out / f"{image.InstanceNumber:04d}.dcm", enforce_file_format=True)


def _finish(
    out: Path,
    kind: str,
    exam: Examination,
    series: Mapping[str, Sequence[FileDataset]],
    scores: Mapping[str, float],
    lesions: tuple[PlantedLesion, ...],
    grid: Grid,
    region: RegionKind | None,
    *,
    bqml_per_suv: float | None = None,
    iodine_mg_ml: float | None = None,
) -> StudyTruth:
    """Region of the first lesion on the first series, and the truth."""
    first = next(iter(series.values()))
    if region is not None:
        write_region(out / "REGION" / f"{region}.dcm", region, exam, lesions[0], grid, first)
    truth = StudyTruth(
        kind,
        exam.seed,
        f"PHANTOM-{exam.seed:06d}",
        str(first[0].AccessionNumber),
        exam.uid("study"),
        exam.uid("frame of reference"),
        {name: str(images[0].SeriesInstanceUID) for name, images in series.items()},
        dict(scores),
        lesions,
        bqml_per_suv,
        iodine_mg_ml,
    )
    (out / "truth.json").write_text(json.dumps(asdict(truth), indent=1) + "\n")
    return truth
