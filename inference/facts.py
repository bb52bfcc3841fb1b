"""The facts that cross from one step to the next: receive → assemble → infer → report.

Frozen dataclasses and nothing else.  Every array is indexed (slice, row, column); every affine is 4×4
and takes the homogeneous voxel index (slice, row, column, 1), at voxel centres, to the patient's LPS
coordinates in millimetres (DICOM PS3.3 C.7.6.2.1.1), in the Frame of Reference named beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
BoolArray = npt.NDArray[np.bool_]


class Refused(Exception):  # noqa: N818 - a refusal is an answer, not a fault of the program
    """We do not go on, and say why.

    ``code`` is a row of the refusal table (``dicom_node/errors.py``), stable for machines; ``reason`` is a plain
    sentence that names the thing, the rule and what to do, without patient data; ``facts`` are UIDs, expected
    and found values.
    """

    def __init__(self, code: str, reason: str, **facts: object) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
        self.facts = facts


@dataclass(frozen=True, slots=True)
class Caution:
    """A visible warning that travels into every result: a stable code and a plain sentence."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Instance:
    """One SOP instance as it lies on disk.

    ``attributes`` holds the header values that assembly, SUV and geometry need, keyed by DICOM keyword, as plain
    JSON types (str, int, float, list, nested dict for sequence items); an attribute that is absent is not a key,
    one that is empty is ``None``.  ``pixel_offset``/``pixel_length`` locate the value of an uncompressed
    little-endian Pixel Data in the file (bytes); for encoded data ``pixel_offset`` is -1.
    ``sha256`` is the hex digest of the file's data set as stored (from the end of the meta header on).
    ``pixel_path`` is the file that ``pixel_offset`` and ``pixel_length`` count in where it is another one than
    ``path``: frames decoded on arrival.  ``frame`` is the zero-based frame of a multi-frame object that this
    stands for, whose ``attributes`` are then those of the frame as a single-frame image would have them; else -1.
    """

    path: str
    sha256: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    modality: str
    pixel_offset: int
    pixel_length: int
    attributes: Mapping[str, Any]
    pixel_path: str = ""
    frame: int = -1

    def get(self, keyword: str, default: Any = None) -> Any:
        """The attribute's value; ``default`` where it is absent or empty."""
        value = self.attributes.get(keyword)
        return default if value is None else value


@dataclass(frozen=True, slots=True)
class Series:
    """The instances of one series chosen for the pair, sorted along the slice normal, and why it was chosen."""

    study_instance_uid: str
    series_instance_uid: str
    instances: tuple[Instance, ...]
    why: str


Kind = Literal["PET/CT", "CT", "iodine map"]
"""What is looked at: a PET with its CT, a CT alone, or an iodine map of a dual-energy CT alone."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What of a study is looked at, and, where one was sent, a human's region (RTSTRUCT or SEG) on it.

    ``kind``: "PET/CT" is a PET series with the CT series that belongs to it; the other kinds have no PET (``pet`` is
    None), and ``ct`` is then that CT or iodine map.
    ``story`` is the list of choices made and their reasons, in plain sentences, for people.
    """

    pet: Series | None
    ct: Series
    region: Instance | None
    cautions: tuple[Caution, ...] = ()
    story: tuple[str, ...] = ()
    kind: Kind = "PET/CT"

    @property
    def reference(self) -> Series:
        """The series on whose grid regions lie and results are shown: the PET, without one the CT or iodine map."""
        return self.pet or self.ct

    @property
    def series(self) -> tuple[Series, ...]:
        """The series of images, the reference first."""
        return (self.pet, self.ct) if self.pet else (self.ct,)

    @property
    def images(self) -> tuple[Instance, ...]:
        """All slices, those of the reference first."""
        return tuple(i for series in self.series for i in series.instances)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the content: SOP Instance UIDs and bytes of all instances, in any order of arrival."""
        instances = [*self.images, *([self.region] if self.region else [])]
        lines = sorted({f"{i.sop_instance_uid} {i.sha256}" for i in instances})  # frames of one object count once
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Volume:
    """A regular image volume.

    ``array``: (slice, row, column).  ``affine``: 4×4, (slice, row, column, 1) → LPS mm.
    """

    array: npt.NDArray[Any]
    affine: FloatArray
    frame_of_reference_uid: str

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distances between voxel centres along (slice, row index, column index), mm."""
        k, r, c = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(k), float(r), float(c)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000.0)

    def to_lps(self, index: npt.ArrayLike) -> FloatArray:
        """Voxel indices (…, 3) as (slice, row, column) → LPS mm (…, 3)."""
        lps_mm: FloatArray = np.asarray(index, float) @ self.affine[:3, :3].T + self.affine[:3, 3]
        return lps_mm

    def part_affine(self, start: npt.ArrayLike) -> FloatArray:
        """The affine of the part that begins at the voxel ``start`` (slice, row, column)."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_lps(start)
        return affine

    def to_index(self, lps_mm: npt.ArrayLike) -> FloatArray:
        """LPS mm (…, 3) → fractional voxel indices (slice, row, column) (…, 3)."""
        inverse = np.linalg.inv(self.affine)
        index: FloatArray = np.asarray(lps_mm, float) @ inverse[:3, :3].T + inverse[:3, 3]
        return index


@dataclass(frozen=True, slots=True)
class Region:
    """A set of voxels of a grid, kept as its box: ``mask`` (slice, row, column) lies at ``start`` in the full array."""

    start: tuple[int, int, int]
    mask: BoolArray

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Indexing of the full array that gives the box."""
        k, r, c = (slice(s, s + n) for s, n in zip(self.start, self.mask.shape, strict=True))
        return k, r, c

    def full(self, shape: tuple[int, ...]) -> BoolArray:
        """The region as a Boolean array of the whole grid."""
        out = np.zeros(shape, bool)
        out[self.slices] = self.mask
        return out

    def moved(self, by: tuple[int, int, int]) -> Region:
        """A region found inside a box that begins at ``by``, in the full grid."""
        k, r, c = (a + b for a, b in zip(self.start, by, strict=True))
        return Region((k, r, c), self.mask)

    @classmethod
    def of(cls, full: BoolArray) -> Region:
        """Crop a full-grid mask to its bounding box.  An empty mask gives a box of size 0 at the origin."""
        where = [np.flatnonzero(full.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
        if any(w.size == 0 for w in where):
            return cls((0, 0, 0), np.zeros((0, 0, 0), bool))
        box = tuple(slice(int(w[0]), int(w[-1]) + 1) for w in where)
        return cls((box[0].start, box[1].start, box[2].start), full[box].copy())


@dataclass(frozen=True, slots=True)
class Tracer:
    """What was injected.  ``name``: canonical lower-case name ("fdg", "psma-11", "dotatoc", …), "" where unknown.

    ``nuclide``: e.g. "F-18", "Ga-68", "" where unknown.  ``text``: how the header says it, for people, without patient
    data.
    """

    name: str
    nuclide: str
    text: str = ""


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


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept (DICOM PS3.3 8.8)."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Which model spoke.

    ``digest``: SHA-256 of the bundle's manifest.  ``backend``: e.g. "torch cpu"; ``precision``: "fp32".

    ``statement`` must stand in every SR and on every picture ("" where there is none).  ``demonstration``: trained on
    phantoms, delivered to loopback only.  ``status_code``, ``probability_code``: concepts of the model's own target.
    ``preprocessing_digest``: settings of ``inference.model.inputs``.  ``whole_body``: it looks at all of the images,
    and what it says belongs to the study and to no lesion.
    """

    name: str
    version: str
    digest: str
    backend: str
    precision: str
    target: str
    demonstration: bool
    statement: str
    status_code: Code
    probability_code: Code
    preprocessing_digest: str
    whole_body: bool = False


@dataclass(frozen=True, slots=True)
class Prediction:
    """Probability of the model's target, calibrated, with the ensemble's interval.

    ``status``: "reported", "indeterminate" (interval crosses the threshold), "withheld" (model does not apply), "none"
    (no lesion to look at).  ``probability``/``interval`` are None unless reported or indeterminate, 0..1; ``interval``
    is None too where the model has one member.
    ``applicability``: "inside", "outside" or "unknown", with ``applicability_reasons``.
    ``label``: True when the probability is at or above the bundle's threshold, None unless reported.
    """

    status: Literal["reported", "indeterminate", "withheld", "none"]
    probability: float | None
    interval: tuple[float, float] | None
    label: bool | None
    applicability: Literal["inside", "outside", "unknown"]
    applicability_reasons: tuple[str, ...] = ()
    member_probabilities: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Saliency:
    """Head-only Grad-CAM on the reference grid, scaled to 0..1 over its box; zero outside it.

    ``array``: float32 (slice, row, column), the box at ``start`` in the reference grid.  ``cell_mm``: edge of one cell
    of the network's last block: nothing finer than that may be read from it.  ``raw_max``: maximum before scaling.
    """

    start: tuple[int, int, int]
    array: npt.NDArray[np.float32]
    cell_mm: float
    raw_max: float


@dataclass(frozen=True, slots=True)
class TakenValue:
    """A clinical or laboratory value, or a measure of the lesion, that the model takes beside the images.

    ``name``, ``title``, ``unit`` (UCUM, "" for none) as ``inference.model.values.ValueSpec``.  ``value``: None where it
    was missing, and the model took its training's median instead.  ``source``: "table" (or file) of the site, "header"
    (DICOM), "measured".  Patient data: nothing of it goes into a log.
    """

    name: str
    title: str
    unit: str
    value: float | str | None
    source: str


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything the report needs; nothing in it is read again.

    ``suv``: PET as float32 SUVbw (g/ml), None without a PET, as ``rule`` is.  ``ct``: int16 HU on its own grid, whose
    slices are not the CT's images where those lay off a grid (``volume.Stack.regrid``; -1025 where no image reaches);
    of an iodine map float32 mg/ml.  ``lesions``: largest MTV (without a PET largest volume) first, but the one given to
    the model (index lesion) always first.  ``references``: liver and blood pool, where found.
    ``also_suv``: other kinds of SUV that were asked for, beside SUVbw.
    ``timings_s``: seconds per stage.  ``values``: what the model takes beside the images, in its order.
    """

    pair: Pair
    suv: Volume | None
    ct: Volume
    rule: SuvRule | None
    lesions: tuple[Lesion, ...]
    prediction: Prediction
    saliency: Saliency | None
    model: ModelFacts
    cautions: tuple[Caution, ...]
    tracer: Tracer = Tracer("", "")
    references: tuple[ReferenceUptake, ...] = ()
    also_suv: tuple[SuvScale, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    values: tuple[TakenValue, ...] = ()

    @property
    def grid(self) -> Volume:
        """The volume on whose grid regions and saliency lie: SUV, without a PET the CT or iodine map."""
        return self.suv or self.ct

    @property
    def pet(self) -> Volume:
        """SUV of an analysis with a PET.  Raises LookupError where there is none."""
        if self.suv is None:
            raise LookupError("the analysis has no PET")
        return self.suv


@dataclass(frozen=True, slots=True)
class Predecessor:
    """An SR of the result set that a run replaces, by its UIDs.

    ``kind``: "sr", the main report, or "sr_viewer".  For people: ``created``, ISO 8601, and ``model``, its name and
    version; "" where nobody wrote it down.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    kind: str = "sr"
    created: str = ""
    model: str = ""


OccasionKind = Literal[
    "content", "choice", "model", "software", "segmenter", "settings", "values", "unsuccessful", "asked"
]


@dataclass(frozen=True, slots=True)
class Occasion:
    """One reason why a run replaces another.

    ``kind``: "content" (more of the study has come), "choice" (other images or another region are chosen now), "model",
    "software", "segmenter", "settings", "values" (each another now), "unsuccessful" (the run before was refused or
    failed), "asked" (a person asked for it, in the words of ``text``; "" where they gave no reason).
    """

    kind: OccasionKind
    text: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the analysis, recorded once at its start so that a repeat writes the same bytes.

    ``started_at``: DICOM DT text with offset, e.g. "20260101120000.000000+0000".  ``device_uid`` is stable per
    installation; ``serial`` is the node's own; ``settings_digest`` covers the settings that change results.
    ``predecessors``: what this run replaces, none for a study's first; several where a refusal replaces the results
    of several models.  ``names_model``: several models look at this node's studies, so series descriptions name theirs.
    ``series_block``: times 100, what is added to every series number, so that each model has numbers of its own.
    ``language``: of texts for people, RFC 5646.  ``also``: kinds of objects to write beside the default set.
    ``occasions``: why the run replaces its predecessors; none where nobody wrote it down.
    """

    started_at: str
    device_uid: str
    serial: str
    node_version: str
    settings_digest: str
    predecessors: tuple[Predecessor, ...] = ()
    names_model: bool = False
    series_block: int = 0
    language: str = "en"
    also: tuple[str, ...] = ()
    occasions: tuple[Occasion, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """One finished DICOM file of a result set.

    ``kind``: seg, sr, sr_viewer, key_image, heatmap; optional: label_map, parametric_map, rtstruct, captures (one
    result for each of its files), mip, pdf, ko.
    """

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    path: Path
    sha256: str
