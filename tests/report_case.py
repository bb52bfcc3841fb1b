"""A PET/CT pair written as DICOM files and the analysis of it, made by hand: what the report's tests start from."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.identity import derived_uid
from inference.facts import (
    Analysis,
    Caution,
    Code,
    Instance,
    Kind,
    Lesion,
    ModelFacts,
    Pair,
    Prediction,
    Region,
    Run,
    Saliency,
    Series,
    SuvRule,
    TakenValue,
    Uptake,
    Volume,
)

CT_IMAGE, PET_IMAGE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.128"
PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "InstanceNumber", "PatientID")
STATEMENT = "demonstration model: trained on phantoms, says nothing about patients"
RUN = Run("20260301101500.250000+0100", "2.25.4711", "node-1", "0.1.0", "c" * 64)
MODEL = ModelFacts(
    name="demo",
    version="1.0",
    digest="0123456789abcdef" * 4,
    backend="torch cpu",
    precision="fp32",
    target="demonstration label",
    demonstration=True,
    statement=STATEMENT,
    status_code=Code("DEMO-PRED", "99PETCTNODE", "Predicted demonstration label"),
    probability_code=Code("DEMO-PROB", "99PETCTNODE", "Predicted probability of demonstration label"),
    preprocessing_digest="b" * 64,
)
REPORTED = Prediction("reported", 0.734, (0.593, 0.846), True, "outside", ("phantom model on a patient",))
INSIDE = replace(REPORTED, applicability="inside", applicability_reasons=())
WITHHELD = Prediction("withheld", None, None, None, "outside", ("slice spacing 9 mm",))
NO_LESION = Prediction("none", None, None, None, "unknown")
VALUES = (
    TakenValue("age", "Age", "a", 63.0, "header"),
    TakenValue("cga", "Chromogranin A", "ug/l", None, "table"),
    TakenValue("grade", "Grade", "", "G2", "table"),
)
PATIENT = {
    "PatientName": "Müller^Jörg",
    "PatientID": "P-1",
    "PatientBirthDate": "19600102",
    "PatientSex": "M",
    "StudyDate": "20260228",
    "StudyTime": "093000",
    "StudyID": "S1",
    "AccessionNumber": "A1",
    "ReferringPhysicianName": "",
    "BodyPartExamined": "CHEST",
}


def affine_of(size: tuple[int, int, int], spacing_mm: tuple[float, float, float], turn: np.ndarray) -> np.ndarray:
    """Affine (slice, row, column, 1) → LPS mm of a grid around the origin; columns of ``turn``: slice, row, column."""
    affine = np.eye(4)
    affine[:3, :3] = turn * np.asarray(spacing_mm)
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(size) - 1) / 2)
    return affine


AXIAL = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float)  # slices to the head, rows to the back, columns to the left
PRONE = np.array([[0, 0, -1], [0, -1, 0], [1, 0, 0]], float)
DESCENDING = np.array([[0, 0, -1], [0, 1, 0], [-1, 0, 0]], float)  # feet first: slice normal points to the feet


def oblique(degrees: float) -> np.ndarray:
    """AXIAL turned about the patient's y axis."""
    a = np.deg2rad(degrees)
    return np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]) @ AXIAL


SAGITTAL = np.array([[-1, 0, 0], [0, 0, 1], [0, -1, 0]], float)
CORONAL = np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]], float)
TURNS = {
    "axial": AXIAL,
    "feet-first": DESCENDING,
    "prone": PRONE,
    "oblique": oblique(12),
    "sagittal": SAGITTAL,
    "coronal": CORONAL,
}


def write_series(
    folder: Path, modality: str, volume: Volume, header: dict[str, object], *, numbered_down: bool = False
) -> Series:
    """One file a slice, with place and patient in its header and the array as stored values."""
    folder.mkdir(parents=True, exist_ok=True)
    series_uid = derived_uid("test series", modality, str(header))
    instances = []
    slices = volume.array.shape[0]
    for k in range(slices):
        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 100"
        ds.SOPClassUID = PET_IMAGE if modality == "PT" else CT_IMAGE
        ds.SOPInstanceUID = derived_uid("test instance", series_uid, str(k))
        ds.StudyInstanceUID, ds.SeriesInstanceUID = derived_uid("test study"), series_uid
        ds.Modality, ds.InstanceNumber = modality, slices - k if numbered_down else k + 1
        for keyword, value in header.items():
            setattr(ds, keyword, value)
        ds.FrameOfReferenceUID = volume.frame_of_reference_uid
        ds.Rows, ds.Columns = volume.array.shape[1:]
        ds.PixelSpacing = [float(step) for step in volume.spacing_mm[1:]]
        ds.SliceThickness = float(volume.spacing_mm[0])
        directions = volume.affine[:3, :3] / np.asarray(volume.spacing_mm)
        ds.ImageOrientationPatient = [round(float(v), 9) for v in (*directions[:, 2], *directions[:, 1])]
        ds.ImagePositionPatient = [round(float(v), 6) for v in volume.to_lps((k, 0, 0))]
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 1
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelData = np.round(volume.array[k]).astype("<i2").tobytes()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{k:04d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        attributes = {keyword: ds.get(keyword) for keyword in PLACE if keyword in ds}
        attributes = {k: list(map(float, v)) if k in PLACE[:3] else v for k, v in attributes.items()}
        instances.append(
            Instance(
                path=str(path),
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                sop_class_uid=ds.SOPClassUID,
                sop_instance_uid=ds.SOPInstanceUID,
                study_instance_uid=ds.StudyInstanceUID,
                series_instance_uid=series_uid,
                transfer_syntax_uid=str(ExplicitVRLittleEndian),
                modality=modality,
                pixel_offset=-1,
                pixel_length=0,
                attributes=attributes,
            )
        )
    return Series(instances[0].study_instance_uid, series_uid, tuple(instances), "the only one")


def ball(volume: Volume, centre: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    """Voxels of the grid of ``volume`` whose centre lies within ``radius_mm`` of the LPS point ``centre``."""
    index = np.stack(np.meshgrid(*map(np.arange, volume.array.shape), indexing="ij"), axis=-1)
    return ((volume.to_lps(index) - centre) ** 2).sum(axis=-1) <= radius_mm**2


def lesion_of(suv: Volume, region: np.ndarray, number: int, source: str, threshold_share: float = 0.41) -> Lesion:
    """Measures of the voxels ``region``; its MTV are those at or above the share of its maximum."""
    values = suv.array[region]
    threshold = float(values.max() * threshold_share)
    mtv = region & (suv.array >= threshold)
    inside = suv.array[mtv]
    at = np.argwhere(region)
    highest = at[values.argmax()]
    return Lesion(
        number=number,
        tracking_name=f"Lesion {number}",
        source=source,
        region=Region.of(region),
        volume_ml=float(region.sum() * suv.voxel_ml),
        mean_hu=41.5,
        centroid_lps_mm=tuple(suv.to_lps(at.mean(axis=0)).tolist()),
        uptake=Uptake(
            suv_max=float(values.max()),
            suv_mean=float(values.mean()),
            suv_peak=float(values.max() * 0.93),
            mtv=Region.of(mtv),
            mtv_ml=float(mtv.sum() * suv.voxel_ml),
            mtv_threshold=threshold,
            mtv_suv_mean=float(inside.mean()),
            tlg=float(inside.mean() * mtv.sum() * suv.voxel_ml),
            max_lps_mm=tuple(suv.to_lps(highest).tolist()),
        ),
    )


def make_analysis(
    folder: Path,
    *,
    size: tuple[int, int, int] = (24, 40, 44),
    spacing_mm: tuple[float, float, float] = (3.27, 4.0, 4.0),
    turn: np.ndarray = AXIAL,
    balls: tuple[tuple[tuple[float, float, float], float, float], ...] = (((30.0, -20.0, 12.0), 14.0, 8.0),),
    prediction: Prediction = REPORTED,
    header: dict[str, object] | None = None,
    numbered_down: bool = False,
    source: str = "automatic",
) -> Analysis:
    """A body of SUV 1 with ``balls`` (LPS centre, radius mm, SUV): a lesion each, its rim at half the SUV."""
    frame = derived_uid("test frame of reference")
    affine = affine_of(size, spacing_mm, turn)
    suv = Volume(np.zeros(size, np.float32), affine, frame)
    extent = np.asarray(size) * np.asarray(spacing_mm)
    index = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)
    away = suv.to_lps(index)
    body = (away[..., 0] / extent[2]) ** 2 + (away[..., 1] / extent[1]) ** 2 < 0.2
    array = np.where(body, 1.0, 0.02).astype(np.float32)
    regions = []
    for centre, radius_mm, value in balls:
        region = ball(suv, centre, radius_mm)
        array[region] = value * 0.3
        array[ball(suv, centre, radius_mm * 0.7)] = value
        regions.append(region)
    suv = replace(suv, array=array)
    ct_size = (size[0], size[1] * 2, size[2] * 2)
    ct = Volume(
        np.where(body.repeat(2, 1).repeat(2, 2), 40, -1000).astype(np.int16),
        affine_of(ct_size, (spacing_mm[0], spacing_mm[1] / 2, spacing_mm[2] / 2), turn),
        frame,
    )
    header = {**PATIENT, **(header or {})}
    pair = Pair(
        pet=write_series(
            folder / "pet", "PT", replace(suv, array=suv.array * 1000), header, numbered_down=numbered_down
        ),
        ct=write_series(folder / "ct", "CT", ct, header),
        region=None,
        cautions=(Caution("two-ct", "Two CT series lie in the study; the one that shares the PET's frame was taken."),),
    )
    lesions = tuple(lesion_of(suv, region, n, source) for n, region in enumerate(regions, start=1) if region.any())
    saliency = None
    if lesions and prediction.probability is not None:
        box = lesions[0].region
        heat = np.zeros(box.mask.shape, np.float32)
        heat[box.mask] = 0.4
        heat[tuple(n // 2 for n in box.mask.shape)] = 1.0
        saliency = Saliency(box.start, heat, 16.0, 0.031)
    return Analysis(
        pair=pair,
        suv=suv,
        ct=ct,
        rule=SuvRule(
            suv_type="BW",
            factors=(0.00024,) * size[0],
            rule="weight × 1000 / dose decayed from injection to series time",
            inputs={"weight_kg": 71.0, "dose_bq": 388777472.0, "injection_time": "103500.00"},
            reference_time="20260228093000",
        ),
        lesions=lesions,
        prediction=prediction,
        saliency=saliency,
        model=MODEL,
        cautions=(Caution("uptake-time", "Uptake time 45 min; the model was trained on 55 to 75 min."),),
    )


IODINE_SCALE = 100  # stored values of an iodine map, one mg/ml


def without_pet(
    folder: Path,
    kind: Kind,
    *,
    prediction: Prediction = INSIDE,
    saliency: bool = False,
    header: dict[str, object] | None = None,
) -> Analysis:
    """A CT alone (a body of 40 HU) or an iodine map (of 0.3 mg/ml) with one lesion that a person drew, and a verdict.

    The model takes three values beside the images, of which one is missing.
    """
    with_pet = make_analysis(folder, size=(20, 60, 64), spacing_mm=(5.0, 5.0, 5.0))
    made = with_pet.saliency
    assert made is not None
    grid, region = with_pet.pet, with_pet.lesions[0].region
    body = grid.array > 0.5
    iodine = kind == "iodine map"
    array = np.where(body, 0.3, 0.0).astype(np.float32) if iodine else np.where(body, 40, -1000).astype(np.int16)
    array[region.slices][region.mask] = 2.1 if iodine else 75
    image = replace(grid, array=array)
    stored = replace(image, array=array * IODINE_SCALE) if iodine else image
    series = write_series(folder / "alone", "CT", stored, {**PATIENT, **(header or {}), "SeriesDescription": kind})
    voxels = np.argwhere(region.full(array.shape))
    lesion = Lesion(
        number=1,
        tracking_name="Lesion 1",
        source="RTSTRUCT",
        region=region,
        volume_ml=float(region.mask.sum() * image.voxel_ml),
        mean_hu=None if iodine else 75.0,
        centroid_lps_mm=tuple(image.to_lps(voxels.mean(axis=0)).tolist()),
        uptake=None,
        mean_iodine=2.1 if iodine else None,
    )
    return Analysis(
        pair=Pair(pet=None, ct=series, region=None, kind=kind),
        suv=None,
        ct=image,
        rule=None,
        lesions=(lesion,),
        prediction=prediction,
        saliency=replace(made, start=region.start) if saliency else None,
        model=MODEL,
        cautions=(),
        values=VALUES,
    )


def real_analysis(pet: Path, ct: Path, region: Path | None, prediction: Prediction = REPORTED) -> Analysis:
    """A real pair through ``inference``, with a made prediction; without ``region`` no lesion."""
    from inference.geometry.volume import stack
    from inference.lesions.measure import measure
    from inference.load import load_ct, load_pet
    from inference.reading.instance import read_instance
    from inference.regions.region import given_regions
    from inference.suv.rule import suv_rule

    stacks = [stack([read_instance(path) for path in sorted(folder.glob("*.dcm"))]) for folder in (pet, ct)]
    series = [
        Series(s.instances[0].study_instance_uid, s.instances[0].series_instance_uid, s.instances, "") for s in stacks
    ]
    rule = suv_rule(stacks[0].instances)
    suv, hu = load_pet(stacks[0], rule), load_ct(stacks[1])
    given = read_instance(region) if region else None
    lesions = ()
    if given is not None:
        found = given_regions(given, suv)
        lesions = tuple(measure(n, r.region, r.source, suv, hu) for n, r in enumerate(found, start=1))
    saliency = None
    if lesions and prediction.probability is not None:
        box = Region.of(ball(suv, lesions[0].shown_lps_mm, 60.0))
        away = np.linalg.norm((np.indices(box.mask.shape).T - np.asarray(box.mask.shape) / 2) * suv.spacing_mm, axis=-1)
        saliency = Saliency(box.start, np.exp(-((away.T / 30.0) ** 2)).astype(np.float32), 16.0, 0.02)
    return Analysis(
        pair=Pair(series[0], series[1], given),
        suv=suv,
        ct=hu,
        rule=rule,
        lesions=lesions,
        prediction=prediction,
        saliency=saliency,
        model=MODEL,
        cautions=tuple(dict.fromkeys(c for s in stacks for c in s.cautions)),
    )
