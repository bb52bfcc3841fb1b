"""Faults to plant into the headers of a good study (../shared/data/geometry/baseline), one at a time."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

Change = Callable[[Dataset, int], None]  # of a slice's data set, and the number of the slice
STEP_MM = 3.27
NEXT_DAY, YEARS_LATER = "20060410", "20120409"


def put(keyword: str, value: Any) -> Change:
    """The value in every slice; None empties, ``...`` removes."""

    def change(ds: Dataset, _: int) -> None:
        set_value(ds, keyword, value)

    return change


def injection(keyword: str, value: Any) -> Change:
    def change(ds: Dataset, _: int) -> None:
        for item in ds.get("RadiopharmaceuticalInformationSequence") or []:
            set_value(item, keyword, value)

    return change


def scaled(keyword: str, factor: float, index: int | None = None) -> Change:
    """A number, or one of several, times a factor."""

    def change(ds: Dataset, _: int) -> None:
        if keyword not in ds:
            return
        if index is None:
            set_value(ds, keyword, f"{float(ds[keyword].value) * factor:.10g}")
        else:
            ds[keyword].value = [float(v) * (factor if n == index else 1) for n, v in enumerate(ds[keyword].value)]

    return change


def moved(by_mm: float, axis: int) -> Change:
    def change(ds: Dataset, _: int) -> None:
        ds.ImagePositionPatient[axis] = float(ds.ImagePositionPatient[axis]) + by_mm

    return change


def only(number: int, change: Change) -> Change:
    """The change in one slice alone."""
    return lambda ds, n: change(ds, n) if n == number else None


def set_value(ds: Dataset, keyword: str, value: Any) -> None:
    if value is ...:
        if keyword in ds:
            del ds[keyword]
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom says what is wrong with it; that is the point
            _write(ds, keyword, value)


def _write(ds: Dataset, keyword: str, value: Any) -> None:
    """As text, so that it stands in the file as it is."""
    text = isinstance(value, str) and dictionary_VR(keyword) in ("DS", "IS")
    if text or (isinstance(value, list) and value and isinstance(value[0], str) and dictionary_VR(keyword) == "DS"):
        ds.add(DataElement(tag_for_keyword(keyword), "LO", value))  # type: ignore[arg-type]
    else:
        setattr(ds, keyword, value)


def both(*changes: Change) -> Change:
    """Several changes at once, where one alone would not be what happens."""

    def change(ds: Dataset, n: int) -> None:
        for one in changes:
            one(ds, n)

    return change


def undated(*changes: Change) -> Change:
    """As where the scanner writes the injection's time of day alone."""
    return both(injection("RadiopharmaceuticalStartDateTime", ...), *changes)


def planted(source: Path, target: Path, where: str, change: Change) -> Path:
    """A copy of the study with the change in one of its series, "pet" or "ct", or in "both"."""
    for name in ("pet", "ct"):
        (target / name).mkdir(parents=True)
        for n, path in enumerate(sorted((source / name).glob("*.dcm"))):
            if where not in (name, "both"):
                shutil.copy(path, target / name)
                continue
            ds = pydicom.dcmread(path)
            change(ds, n)
            if "SOPClassUID" in ds and "SOPInstanceUID" in ds:
                ds.save_as(target / name / path.name)
            else:
                ds.save_as(target / name / path.name, enforce_file_format=False)
    return target


def _ten_minutes(ds: Dataset, _: int) -> None:
    for item in ds.RadiopharmaceuticalInformationSequence:
        item.RadiopharmaceuticalStartTime, item.RadiopharmaceuticalStartDateTime = "114500", "20060409114500"


def _other_dose(item: Dataset) -> Dataset:
    other = Dataset()
    other.update(item)
    other.RadionuclideTotalDose = "100000000"
    return other


def _name_nuclide(ds: Dataset, code: str) -> None:
    for item in ds.RadiopharmaceuticalInformationSequence:
        for nuclide in item.get("RadionuclideCodeSequence") or []:
            nuclide.CodeValue = code


def _swap(ds: Dataset, n: int) -> None:
    """Slices 2 and 3 exchange their places, and nothing else."""
    if n in (2, 3):
        moved(STEP_MM if n == 2 else -STEP_MM, 2)(ds, n)


PET_FAULTS: Mapping[str, Change] = {
    # weight
    "weight in grams": put("PatientWeight", "64000"),
    "weight zero": put("PatientWeight", "0"),
    "weight empty": put("PatientWeight", None),
    "weight absent": put("PatientWeight", ...),
    "weight negative": put("PatientWeight", "-64"),
    "weight with a comma": put("PatientWeight", "64,0"),
    "weight in pounds times ten": put("PatientWeight", "1410"),
    "weight of 6.4": put("PatientWeight", "6.4"),
    "weight of 640": put("PatientWeight", "640"),
    "weight and height swapped": both(put("PatientWeight", "1.54"), put("PatientSize", "64")),
    "weight differs in one slice": only(3, put("PatientWeight", "74")),
    "weight absent in one slice": only(3, put("PatientWeight", ...)),
    # dose
    "dose zero": injection("RadionuclideTotalDose", "0"),
    "dose empty": injection("RadionuclideTotalDose", None),
    "dose negative": injection("RadionuclideTotalDose", "-370000000"),
    "dose times 1000": injection("RadionuclideTotalDose", "4.2e11"),
    "dose in kBq": injection("RadionuclideTotalDose", "420000"),
    "dose in mCi": injection("RadionuclideTotalDose", "11.4"),
    "dose in GBq": injection("RadionuclideTotalDose", "0.42"),
    "dose times ten": injection("RadionuclideTotalDose", "4.2e9"),
    "dose no number": injection("RadionuclideTotalDose", "n/a"),
    "dose differs in one slice": only(2, injection("RadionuclideTotalDose", "500000000")),
    "no injection": put("RadiopharmaceuticalInformationSequence", ...),
    "injection empty": put("RadiopharmaceuticalInformationSequence", []),
    "injection twice": lambda ds, _: ds.RadiopharmaceuticalInformationSequence.append(
        _other_dose(ds.RadiopharmaceuticalInformationSequence[0])
    ),
    # half-life
    "half-life in minutes": injection("RadionuclideHalfLife", "109.77"),
    "half-life in hours": injection("RadionuclideHalfLife", "1.83"),
    "half-life of C-11": injection("RadionuclideHalfLife", "1221.8"),
    "half-life in milliseconds": injection("RadionuclideHalfLife", "6586200"),
    "half-life zero": injection("RadionuclideHalfLife", "0"),
    "half-life empty": injection("RadionuclideHalfLife", None),
    "nuclide of Ga-68": lambda ds, _: _name_nuclide(ds, "C-131A3"),
    # times
    "injection time empty": injection("RadiopharmaceuticalStartTime", None),
    "injection time malformed": injection("RadiopharmaceuticalStartTime", "1O5500"),
    "injection after the scan": injection("RadiopharmaceuticalStartTime", "235000"),
    "injection twelve hours early": injection("RadiopharmaceuticalStartTime", "000500"),
    "injection at the scan": injection("RadiopharmaceuticalStartTime", "125214"),
    "undated injection after the scan": undated(injection("RadiopharmaceuticalStartTime", "235000")),
    "undated injection twelve hours early": undated(injection("RadiopharmaceuticalStartTime", "000500")),
    "undated injection at the scan": undated(injection("RadiopharmaceuticalStartTime", "125214")),
    "undated injection without a time": undated(injection("RadiopharmaceuticalStartTime", None)),
    "undated injection, years between the dates": undated(put("SeriesDate", YEARS_LATER)),
    "injection date-time of another day": injection("RadiopharmaceuticalStartDateTime", NEXT_DAY + "115500"),
    "injection date-time of another year": injection("RadiopharmaceuticalStartDateTime", YEARS_LATER + "115500"),
    "series time an hour late": put("SeriesTime", "135214"),
    "series time an hour early": put("SeriesTime", "115214"),
    "series time midnight": put("SeriesTime", "000000"),
    "series time empty": put("SeriesTime", None),
    "series time malformed": put("SeriesTime", "12:5x"),
    "series date of the next day": put("SeriesDate", NEXT_DAY),
    "series date of years later": put("SeriesDate", YEARS_LATER),
    "series date empty": put("SeriesDate", None),
    "acquisition time an hour late": put("AcquisitionTime", "135214"),
    "acquisition time an hour early": put("AcquisitionTime", "115214"),
    "acquisition time empty": put("AcquisitionTime", None),
    "acquisition date of the next day": put("AcquisitionDate", NEXT_DAY),
    "acquisition date of years later": put("AcquisitionDate", YEARS_LATER),
    "series time differs in one slice": only(1, put("SeriesTime", "115214")),
    "frame reference time a day": put("FrameReferenceTime", "86400000"),
    "frame duration zero": put("ActualFrameDuration", "0"),
    "frame duration a day": put("ActualFrameDuration", "86400000"),
    # what the values mean
    "units empty": put("Units", None),
    "units CNTS": put("Units", "CNTS"),
    "units GML": put("Units", "GML"),
    "units CM2ML": put("Units", "CM2ML"),
    "units CPS": put("Units", "CPS"),
    "units nonsense": put("Units", "KBQCC"),
    "units differ in one slice": only(4, put("Units", "GML")),
    "SUV type of lean body mass": put("SUVType", "LBM"),
    "decay correction none": put("DecayCorrection", "NONE"),
    "decay correction to the injection": put("DecayCorrection", "ADMIN"),
    "decay correction empty": put("DecayCorrection", None),
    "decay correction differs in one slice": only(5, put("DecayCorrection", "ADMIN")),
    "no attenuation correction": put("CorrectedImage", ["DECY", "NORM"]),
    "no attenuation correction in one slice": only(0, put("CorrectedImage", ["DECY", "NORM"])),
    "nothing corrected": put("CorrectedImage", None),
    "no normalisation": put("CorrectedImage", ["DECY", "ATTN"]),
    "no decay in the list": put("CorrectedImage", ["ATTN", "NORM"]),
    # stored values
    "slope zero": put("RescaleSlope", "0"),
    "slope negative": put("RescaleSlope", "-0.36"),
    "slope empty": put("RescaleSlope", None),
    "slope absent in one slice": only(2, put("RescaleSlope", ...)),
    "slope no number": put("RescaleSlope", "1,5"),
    "slope of one slice times 1000": only(4, scaled("RescaleSlope", 1000)),
    "slope of all slices a thousandth": scaled("RescaleSlope", 0.001),
    "slope of all slices times 1000": scaled("RescaleSlope", 1000),
    "intercept": put("RescaleIntercept", "100"),
    "intercept of one slice": only(1, put("RescaleIntercept", "-1024")),
    "intercept absent": put("RescaleIntercept", ...),
    "intercept no number": put("RescaleIntercept", "x"),
    "signed turned unsigned": put("PixelRepresentation", 0),
    "bits stored 12 of 16": both(put("BitsStored", 12), put("HighBit", 11)),
    "high bit": put("HighBit", 7),
    "padding value 0": lambda ds, _: ds.add_new("PixelPaddingValue", "SS", 0),
    # place
    "position of one slice off by 1 mm along": only(3, moved(1.0, 2)),
    "position of one slice off by 50 mm along": only(3, moved(50.0, 2)),
    "position of one slice off by 4 mm across": only(3, moved(4.0, 0)),
    "position of the last slice off by a slice": only(7, moved(-STEP_MM, 2)),
    "positions absent": put("ImagePositionPatient", ...),
    "position no number in one slice": only(2, put("ImagePositionPatient", ["nan", "1", "2"])),
    "position of two numbers": only(2, put("ImagePositionPatient", ["1", "2"])),
    "positions all the same": put("ImagePositionPatient", [25.39062, 37.10937, -262.8701]),
    "positions of two slices swapped": _swap,
    "PET 300 mm off along": moved(300.0, 2),
    "PET 1 m off across": moved(1000.0, 0),
    "orientation of one slice": only(2, put("ImageOrientationPatient", [0, 1, 0, -1, 0, 0])),
    "orientation not perpendicular": put("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
    "orientation not of unit length": put("ImageOrientationPatient", [2, 0, 0, 0, 2, 0]),
    "orientation zero": put("ImageOrientationPatient", [0, 0, 0, 0, 0, 0]),
    "orientation absent": put("ImageOrientationPatient", ...),
    "orientation sagittal": put("ImageOrientationPatient", [0, 1, 0, 0, 0, -1]),
    "spacing of one slice": only(2, put("PixelSpacing", [4.1, 4.1])),
    "spacing zero": put("PixelSpacing", [0, 0]),
    "spacing negative": put("PixelSpacing", [-3.9, 3.9]),
    "spacing of one number": put("PixelSpacing", [3.90625]),
    "spacing in metres": put("PixelSpacing", [0.00390625, 0.00390625]),
    "spacing absent": put("PixelSpacing", ...),
    "rows and columns swapped in part": only(2, put("Rows", 8)),
    "another slice thickness": put("SliceThickness", "5"),
    "frame of reference absent": put("FrameOfReferenceUID", ...),
    "frame of reference of another": put("FrameOfReferenceUID", "1.2.3.4"),
    "frame of reference of one slice": only(2, put("FrameOfReferenceUID", "1.2.3.4")),
    "number of slices 9": put("NumberOfSlices", 9),
    "number of slices 7": put("NumberOfSlices", 7),
    "number of slices 0": put("NumberOfSlices", 0),
    # identity
    "another patient's ID": put("PatientID", "SOMEBODY"),
    "another patient's ID in one slice": only(2, put("PatientID", "SOMEBODY")),
    "another patient's name": put("PatientName", "Else^Somebody"),
    "another birth date": put("PatientBirthDate", "19010101"),
    "no patient's ID": put("PatientID", None),
    "another study": put("StudyInstanceUID", "1.2.3.5"),
    "one slice of another series": only(2, put("SeriesInstanceUID", "1.2.3.6")),
    # kind
    "image type MIP": put("ImageType", ["DERIVED", "SECONDARY", "MIP"]),
    "image type derived": put("ImageType", ["DERIVED", "SECONDARY"]),
    "series type dynamic": put("SeriesType", ["DYNAMIC", "IMAGE"]),
    "series type gated": put("SeriesType", ["GATED", "IMAGE"]),
    "series type reprojection": put("SeriesType", ["STATIC", "REPROJECTION"]),
    "series type of one slice": only(2, put("SeriesType", ["DYNAMIC", "IMAGE"])),
    "series type absent": put("SeriesType", ...),
    "modality CT": put("Modality", "CT"),
    "photometric RGB": both(put("SamplesPerPixel", 3), put("PhotometricInterpretation", "RGB")),
}  # fmt: skip
CT_FAULTS: Mapping[str, Change] = {
    "intercept 0": put("RescaleIntercept", "0"),
    "intercept empty": put("RescaleIntercept", None),
    "slope zero": put("RescaleSlope", "0"),
    "slope no number": put("RescaleSlope", "one"),
    "rescale type": put("RescaleType", "OD"),
    "signed turned unsigned": put("PixelRepresentation", 0),
    "position of one slice off by 1 mm along": only(3, moved(1.0, 2)),
    "position of one slice off by 4 mm across": only(3, moved(4.0, 0)),
    "position of the last slice off by a slice": only(7, moved(-STEP_MM, 2)),
    "positions all the same": put("ImagePositionPatient", [0, 0, 0]),
    "positions of two slices swapped": _swap,
    "CT 300 mm off along": moved(300.0, 2),
    "orientation of one slice": only(2, put("ImageOrientationPatient", [0, 1, 0, -1, 0, 0])),
    "spacing of one slice": only(2, put("PixelSpacing", [4.1, 4.1])),
    "spacing of one slice, one way": only(2, scaled("PixelSpacing", 1.01, 0)),
    "frame of reference of another": put("FrameOfReferenceUID", "1.2.3.4"),
    "another patient's ID": put("PatientID", "SOMEBODY"),
    "another study": put("StudyInstanceUID", "1.2.3.5"),
    "image type localizer": put("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    "image type of one slice localizer": only(3, put("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"])),
    "gantry tilt stated": put("GantryDetectorTilt", "15"),
    "modality PT": put("Modality", "PT"),
}
# Values that another study could have as well: no reader can know.  Each changes the result and nothing is said.
UNSEEN: Mapping[str, Change] = {
    "another plausible weight": put("PatientWeight", "74"),
    "a tenth of the dose, which total-body scanners use": injection("RadionuclideTotalDose", "4.7e7"),
    "another plausible dose": injection("RadionuclideTotalDose", "5e8"),
    "dated injection ten minutes off": _ten_minutes,
    "half-life 1 % off": injection("RadionuclideHalfLife", "6652"),
    "slope 10 % off in all slices": scaled("RescaleSlope", 1.1),
    "slope of one slice 10 % off": only(3, scaled("RescaleSlope", 1.1)),
    "PET 5 mm off": moved(5.0, 0),
    "spacing 10 % off in all slices": put("PixelSpacing", [4.296875, 4.296875]),
}
CT_UNSEEN: Mapping[str, Change] = {
    "intercept 24 HU off": put("RescaleIntercept", "-24"),
}
