"""What the images say of a lesion, and how stored values become SUV."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from inference.facts.images import Region
from inference.facts.refusal import Caution


@dataclass(frozen=True, slots=True)
class Tracer:
    """What was injected.  ``name``: canonical lower-case name ("fdg", "psma-11", "dotatoc", …), "" where unknown.

    ``nuclide``: e.g. "F-18", "Ga-68", "" where unknown.  ``text``: how the header says it, for people, without patient
    data.
    """

    name: str
    nuclide: str
    text: str = ""


UNKNOWN_TRACER = Tracer("", "")


@dataclass(frozen=True, slots=True)
class ReferenceUptake:
    """Uptake of a reference organ: PERCIST 1.0's 3 cm sphere in the right liver, or cylinder in the descending aorta.

    SUVbw (g/ml) mean and standard deviation over its voxels; ``centre_lps_mm`` of the volume of interest.
    """

    site: Literal["liver", "blood pool"]
    suv_mean: float
    suv_sd: float
    volume_ml: float
    centre_lps_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class SuvRule:
    """How stored values become SUVbw: SUVbw = stored × Rescale Slope of the slice × factor of the slice (g/ml).

    ``factors``: one per slice, in the order of the PET's instances.  ``rule``: the rule applied, as one line.
    ``inputs``: what went in (weight_kg, dose_bq, half_life_s, injection_time, decay_correction, units …).
    ``reference_time``: DICOM DT text, or "" where the data were already normalised.
    """

    suv_type: str
    factors: tuple[float, ...]
    rule: str
    inputs: Mapping[str, str | float]
    reference_time: str
    cautions: tuple[Caution, ...] = ()


@dataclass(frozen=True, slots=True)
class SuvScale:
    """Another SUV than SUVbw: its value is SUVbw × ``factor``.

    ``name``: as asked for, e.g. "lbm-janma"; ``suv_type``: DICOM's SUV Type (0054,1006), e.g. "LBMJANMA"; ``factor``:
    body measure ÷ weight, for BSA in cm²/g, else without unit; ``formula``: the body measure's, for people.
    """

    name: str
    suv_type: str
    factor: float
    formula: str


@dataclass(frozen=True, slots=True)
class Uptake:
    """What the PET says of one lesion; SUV is SUVbw (g/ml).

    ``suv_max``, ``suv_mean`` are of ``Lesion.region``; ``mtv_*`` and ``tlg`` of ``mtv``, the voxels of the region at or
    above ``mtv_threshold`` (SUVbw) connected to the maximum.  SUVpeak: largest mean over a 1 ml sphere.
    TLG = mtv_ml × mtv_suv_mean.  ``max_lps_mm``: centre of the voxel of SUVmax.
    """

    suv_max: float
    suv_mean: float
    suv_peak: float
    mtv: Region
    mtv_ml: float
    mtv_threshold: float
    mtv_suv_mean: float
    tlg: float
    max_lps_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Lesion:
    """One lesion with its measures on the reference grid: the PET's, without a PET that of the CT or iodine map.

    ``region`` is the lesion: for a given RTSTRUCT/SEG the voxels whose centre lies inside it, without thresholding; for
    an automatic one, the region grown.  ``volume_ml`` is of ``region``; ``mean_hu`` of the CT voxels whose centre lies
    inside the given RTSTRUCT/SEG, or in a voxel of the automatic region, None in an iodine map; ``mean_iodine`` (mg/ml)
    of the voxels of ``region`` in an iodine map, else None.
    ``source``: "RTSTRUCT", "SEG" or "automatic".  ``tracking_name``: "Lesion 1", … ``centroid_lps_mm``: of ``region``.
    ``uptake``: None where there is no PET.
    """

    number: int
    tracking_name: str
    source: str
    region: Region
    volume_ml: float
    mean_hu: float | None
    centroid_lps_mm: tuple[float, float, float]
    uptake: Uptake | None
    mean_iodine: float | None = None

    @property
    def on_pet(self) -> Uptake:
        """``uptake`` of a lesion that was measured on a PET.  Raises LookupError where there is none."""
        if self.uptake is None:
            raise LookupError(f"{self.tracking_name} has no uptake: there is no PET")
        return self.uptake

    @property
    def shown_lps_mm(self) -> tuple[float, float, float]:
        """The point that pictures go through: the voxel of SUVmax, without a PET the centroid."""
        return self.uptake.max_lps_mm if self.uptake else self.centroid_lps_mm
