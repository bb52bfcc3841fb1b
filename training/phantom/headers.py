"""The headers of the phantom's images: what a PET/CT scanner writes, with an obviously synthetic patient.

PET as in PS3.3 A.21 (whole body in bed positions, BQML, decay corrected to the start of the series), CT as in A.3.
Every UID and time is derived from the seed, so that the same seed gives the same bytes.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage
from pydicom.valuerep import format_number_as_ds

from training.phantom.solids import Grid

BED_SLICES = 45
BED_S = 120
CT_INTERCEPT = -1024


Coded = tuple[str, str, str]  # value, scheme, meaning


@dataclass(frozen=True, slots=True)
class Agent:
    """A radiopharmaceutical: its text, codes of nuclide (CID 4020) and agent (CID 4021), and its decay."""

    text: str
    agent: Coded
    nuclide: Coded
    half_life_s: float
    positron_fraction: float


FDG = Agent(
    "FDG -- fluorodeoxyglucose",
    ("35321007", "SCT", "Fluorodeoxyglucose F^18^"),
    ("77004003", "SCT", "^18^Fluorine"),
    half_life_s=6586.2,
    positron_fraction=0.967,
)
DOTATOC = Agent(
    "68Ga-DOTATOC",
    ("C2713594", "UMLS", "Edotreotide Ga^68^"),
    ("35337001", "SCT", "^68^Gallium"),
    half_life_s=4062.6,
    positron_fraction=0.889,
)


def derived_uid(*parts: object) -> UID:
    """A UID of the form ``2.25.`` + UUID version 8, from the SHA-256 of the parts (PS3.5 B.2)."""
    digest = hashlib.sha256("|".join(map(str, ("petct phantom", *parts))).encode()).digest()
    number = int.from_bytes(digest[:16], "big")
    number = (number & ~(0xF << 76)) | (0x8 << 76)
    number = (number & ~(0x3 << 62)) | (0x2 << 62)
    return UID(f"2.25.{number}")


@dataclass(frozen=True, slots=True)
class Examination:
    """One patient on one day.  ``injected_at``/``pet_at``/``ct_at``: start of injection and of the two series.

    ``content``: text that names what is pictured; with the seed it makes the UIDs.  ``description``: of the study.
    """

    seed: int
    content: str
    sex: str
    age_years: int
    height_m: float
    weight_kg: float
    dose_bq: float
    injected_at: datetime
    ct_at: datetime
    pet_at: datetime
    agent: Agent = FDG
    description: str = "PET/CT FDG whole body (synthetic phantom)"
    body_part: str = "WHOLEBODY"

    @classmethod
    def draw(cls, seed: int, content: str, rng: np.random.Generator) -> Examination:
        """A plausible adult, 3.5 to 4.5 MBq/kg FDG, 57 to 66 minutes of uptake."""
        sex = str(rng.choice(["M", "F"]))
        weight_kg = round(float(np.clip(rng.normal(75.0, 8.0), 55.0, 95.0)), 1)
        height_m = round(float(np.clip(rng.normal(1.76 if sex == "M" else 1.66, 0.06), 1.50, 1.95)), 2)
        dose_bq = float(round(weight_kg * float(rng.uniform(3.5, 4.5))) * 1_000_000)
        day = datetime(2026, 1, 5, 8, 0, 0, tzinfo=UTC) + timedelta(days=seed % 300, minutes=int(rng.integers(0, 300)))
        pet_at = day + timedelta(minutes=int(rng.integers(57, 67)), seconds=int(rng.integers(0, 60)))
        ct_at = pet_at - timedelta(seconds=70)
        age_years = int(rng.integers(45, 80))
        return cls(seed, content, sex, age_years, height_m, weight_kg, dose_bq, day, ct_at, pet_at)

    @property
    def bqml_per_suv(self) -> float:
        """Bq/ml that SUVbw 1 has at the start of the PET series: decayed dose / body mass in g."""
        elapsed_s = (self.pet_at - self.injected_at).total_seconds()
        remaining = math.exp(-math.log(2.0) * elapsed_s / self.agent.half_life_s)
        return self.dose_bq * remaining / (self.weight_kg * 1000.0)

    def uid(self, *parts: object) -> UID:
        """A UID of this examination."""
        return derived_uid(self.seed, self.content, *parts)


def ct_image(exam: Examination, grid: Grid, index: int, stored: npt.NDArray[np.uint16]) -> FileDataset:
    """One CT slice; ``stored`` (row, column) = HU + 1024."""
    ds = _image(exam, "CT", CTImageStorage, grid, index, stored)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SeriesDescription = "CT AC LOW DOSE (PHANTOM)"
    ds.PatientPosition = "HFS"
    ds.AcquisitionNumber = 1
    ds.BitsStored, ds.HighBit = 12, 11
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = CT_INTERCEPT, 1, "HU"
    ds.ScanOptions, ds.KVP, ds.ConvolutionKernel, ds.FilterType = "HELICAL MODE", 120, "STANDARD", "BODY FILTER"
    ds.XRayTubeCurrent, ds.ExposureTime, ds.Exposure = 60, 500, 30
    ds.DataCollectionDiameter = 500
    ds.ReconstructionDiameter = decimal(grid.spacing_mm[2] * grid.shape[2])
    ds.GantryDetectorTilt, ds.TableHeight, ds.RotationDirection = 0, 160, "CW"
    ds.WindowCenter, ds.WindowWidth = 40, 400
    return ds


def pet_image(exam: Examination, grid: Grid, index: int, stored: npt.NDArray[np.uint16], slope: float) -> FileDataset:
    """One PET slice; ``stored`` (row, column) × ``slope`` = Bq/ml at the start of the series."""
    ds = _image(exam, "PT", PositronEmissionTomographyImageStorage, grid, index, stored)
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.SeriesDescription = "PET WB AC (PHANTOM)"
    ds.PatientOrientationCodeSequence = [code_item("102538003", "SCT", "recumbent")]
    ds.PatientOrientationCodeSequence[0].PatientOrientationModifierCodeSequence = [
        code_item("40199007", "SCT", "supine")
    ]
    ds.PatientGantryRelationshipCodeSequence = [code_item("102540008", "SCT", "headfirst")]
    ds.BitsStored, ds.HighBit = 16, 15
    ds.RescaleIntercept, ds.RescaleSlope = 0, decimal(slope)
    ds.SeriesType, ds.Units, ds.CountsSource = ["WHOLE BODY", "IMAGE"], "BQML", "EMISSION"
    ds.NumberOfSlices, ds.ImageIndex = grid.shape[0], ds.InstanceNumber
    ds.CorrectedImage = ["DECY", "ATTN", "SCAT", "DTIM", "RANSNG", "DCAL", "SLSENS", "NORM"]
    ds.DecayCorrection, ds.RandomsCorrectionMethod = "START", "SING"
    ds.AttenuationCorrectionMethod, ds.ScatterCorrectionMethod = "CTAC-SG", "Model Based"
    ds.ReconstructionMethod, ds.ConvolutionKernel = "OSEM 2i 24s", "Gaussian 5 mm"
    ds.CollimatorType = "NONE"
    ds.ReconstructionDiameter = decimal(grid.spacing_mm[2] * grid.shape[2])
    ds.WindowCenter, ds.WindowWidth = decimal(exam.bqml_per_suv * 4.0), decimal(exam.bqml_per_suv * 8.0)
    _bed_times(ds, exam, index)
    ds.RadiopharmaceuticalInformationSequence = [_injection(exam)]
    return ds


def _bed_times(ds: Dataset, exam: Examination, index: int) -> None:
    """When this slice was measured: beds from the thighs upwards.  Frame Reference Time is when the activity had
    its mean value over the frame, from the start of the series (PS3.3 C.8.9.4)."""
    bed_start_s = (index // BED_SLICES) * BED_S
    rate = math.log(2.0) / exam.agent.half_life_s
    mean_s = math.log(rate * BED_S / (1.0 - math.exp(-rate * BED_S))) / rate
    begin = exam.pet_at + timedelta(seconds=bed_start_s)
    ds.AcquisitionDate, ds.AcquisitionTime = date_of(begin), time_of(begin)
    ds.ActualFrameDuration = BED_S * 1000
    ds.FrameReferenceTime = decimal((bed_start_s + mean_s) * 1000.0)
    ds.DecayFactor = decimal(math.exp(rate * (bed_start_s + mean_s)))


def _injection(exam: Examination) -> Dataset:
    item, agent = Dataset(), exam.agent
    item.Radiopharmaceutical = agent.text
    item.RadiopharmaceuticalRoute = "Intravenous"
    item.RadiopharmaceuticalStartTime = time_of(exam.injected_at)
    item.RadiopharmaceuticalStartDateTime = date_of(exam.injected_at) + time_of(exam.injected_at)
    item.RadionuclideTotalDose = decimal(exam.dose_bq)
    item.RadionuclideHalfLife = decimal(agent.half_life_s)
    item.RadionuclidePositronFraction = decimal(agent.positron_fraction)
    item.RadionuclideCodeSequence = [code_item(*agent.nuclide)]
    item.RadiopharmaceuticalCodeSequence = [code_item(*agent.agent)]
    item.AdministrationRouteCodeSequence = [code_item("47625008", "SCT", "Intravenous route")]
    return item


def _image(
    exam: Examination, modality: str, sop_class: UID, grid: Grid, index: int, stored: npt.NDArray[np.uint16]
) -> FileDataset:
    """What CT and PET have in common.  Instance Number 1 is the topmost slice, as scanners count."""
    number = grid.shape[0] - index
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = exam.uid(modality, index)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = derived_uid("implementation")
    meta.ImplementationVersionName = "PETCT_PHANTOM_1"
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    ds.Modality, ds.InstanceNumber = modality, number
    ds.SeriesInstanceUID, ds.SeriesNumber = exam.uid(modality, "series"), 2 if modality == "CT" else 3
    patient_and_study(ds, exam)
    begin = exam.ct_at if modality == "CT" else exam.pet_at
    ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = ds.InstanceCreationDate = date_of(begin)
    ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = ds.InstanceCreationTime = time_of(begin)
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = exam.uid("frame of reference"), ""
    ds.ImagePositionPatient = [decimal(float(axis)) for axis in (grid.x_mm[0], grid.y_mm[0], grid.z_mm[index])]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    slice_mm, row_mm, column_mm = grid.spacing_mm
    ds.PixelSpacing = [decimal(row_mm), decimal(column_mm)]
    ds.SliceThickness, ds.SpacingBetweenSlices = decimal(slice_mm), decimal(slice_mm)
    ds.SliceLocation = decimal(float(grid.z_mm[index]))
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.PixelRepresentation = 16, 0
    ds.PixelData = np.ascontiguousarray(stored, "<u2").tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def patient_and_study(ds: Dataset, exam: Examination) -> None:
    ds.PatientName = f"PHANTOM^SYNTHETIC {exam.seed:06d}"
    ds.PatientID = f"PHANTOM-{exam.seed:06d}"
    ds.PatientBirthDate = f"{exam.injected_at.year - exam.age_years - 1}0701"
    ds.PatientSex, ds.PatientAge = exam.sex, f"{exam.age_years:03d}Y"
    ds.PatientSize, ds.PatientWeight = decimal(exam.height_m), decimal(exam.weight_kg)
    ds.PatientComments = "Synthetic phantom, no real patient"
    ds.StudyInstanceUID = exam.uid("study")
    ds.StudyDate, ds.StudyTime = date_of(exam.ct_at), time_of(exam.ct_at)
    ds.StudyID, ds.AccessionNumber = f"{exam.seed:06d}", f"PH{exam.seed:06d}"
    ds.StudyDescription = exam.description
    ds.ReferringPhysicianName = ""
    ds.BodyPartExamined = exam.body_part
    ds.Manufacturer, ds.ManufacturerModelName = "SYNTHETIC", "Phantom PET/CT"
    ds.DeviceSerialNumber, ds.SoftwareVersions = "0001", "1.0"
    ds.InstitutionName, ds.StationName = "Synthetic Hospital", "PHANTOM1"


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def decimal(value: float) -> str:
    """A Decimal String: at most 16 characters (PS3.5 6.2), as near as they allow."""
    return str(format_number_as_ds(value))


def date_of(at: datetime) -> str:
    return at.strftime("%Y%m%d")


def time_of(at: datetime) -> str:
    return at.strftime("%H%M%S.000000")
