"""The images of one row as volumes, by the same functions that serve: SUVbw, HU or mg/ml, and the lesion's region."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from inference.facts import BoolArray, Caution, Instance, Kind, Lesion, Refused, Region, Tracer, Volume
from inference.geometry.resample import resample
from inference.geometry.volume import Stack, stack
from inference.lesions.body import body_of
from inference.lesions.lesion import find_lesions
from inference.lesions.measure import measure, measure_without_pet
from inference.lesions.organs import organs_of
from inference.lesions.reference import reference_uptake
from inference.load import load_ct, load_iodine, load_pet
from inference.model.given import header_values
from inference.model.values import Value
from inference.reading.instance import read_instance, scan_folder
from inference.reading.iodine import why_no_hu
from inference.regions.region import given_lesions
from inference.suv.rule import suv_rule
from inference.suv.tracer import tracer_of
from training.cohort.study import IMAGES, Study
from training.cohort.volumes import as_hu, as_iodine, as_suv, is_volume_file, read_volume

ROLES_OF: dict[Kind, tuple[str, ...]] = {
    "PET/CT": ("pet", "ct", "region"),
    "CT": ("ct", "region"),
    "iodine map": ("iodine", "region"),
}
NO_LOSS = frozenset({"not-dicom", "media-directory"})  # files of a folder that are no image
ONE_SPACE = "the files of one row"  # in place of a Frame of Reference UID, which such files do not have
UNREADABLE = "cohort-image"


@dataclass(frozen=True, slots=True)
class Images:
    """What a model may look at in one row.

    ``suv``: SUVbw (g/ml), None without PET.  ``image``: CT (HU) or iodine map (mg/ml), on its own grid.  ``region``: on
    ``grid``; ``on_ct`` the same on the CT's where a person drew it.  ``source``: "RTSTRUCT", "SEG", "mask",
    "automatic" (a proposal, not confirmed), "" without region.  ``header``: ``age`` and ``sex`` as DICOM has them, None
    where it does not say; empty for volume files.  ``patient``: digest of the DICOM Patient ID, "" where there is none.
    """

    kind: Kind
    suv: Volume | None
    image: Volume
    region: Region | None
    on_ct: Region | None
    source: str
    cautions: tuple[Caution, ...]
    header: Mapping[str, Value | None] = field(default_factory=dict)
    patient: str = ""

    @property
    def grid(self) -> Volume:
        """The image on whose grid the region lies."""
        return self.suv if self.suv is not None else self.image

    def voxel_digests(self) -> tuple[str, ...]:
        """SHA-256 (hex) of each image's values; none of one that is the same everywhere."""
        volumes = [v for v in (self.suv, self.image) if v is not None and v.array.min() < v.array.max()]
        return tuple(hashlib.sha256(np.ascontiguousarray(v.array).tobytes()).hexdigest() for v in volumes)

    def lesion(self) -> Lesion | None:
        """The measured lesion, None without region.  Raises ``Refused`` as ``measure``."""
        if self.region is None:
            return None
        if self.suv is None:
            return measure_without_pet(1, self.region, self.source, self.image, self.kind)
        return measure(1, self.region, self.source, self.suv, self.image, self.on_ct)


@dataclass(frozen=True, slots=True)
class _Read:
    """One image: a volume, and its instances where it came from DICOM."""

    volume: Volume
    instances: tuple[Instance, ...]
    cautions: tuple[Caution, ...]


def load_images(study: Study, kind: Kind, region_names: Sequence[str], *, region_needed: bool = True) -> Images:
    """The images of a row for a model that looks at ``kind``.

    Raises ``Refused``: ``cohort-image`` naming the column; the codes of reading, SUV and regions.
    """
    image_role = "iodine" if kind == "iodine map" else "ct"
    image = _image(study, image_role)
    pet = _image(study, "pet") if kind == "PET/CT" else None
    if pet is not None:
        pet, image = _in_one_space(pet, image)
    cautions = [*(pet.cautions if pet else ()), *image.cautions]
    grid = pet or image
    region, on_ct, source, said = _region(study, grid, image, pet, region_names, needed=region_needed)
    return Images(
        kind=kind,
        suv=pet.volume if pet else None,
        image=image.volume,
        region=region,
        on_ct=on_ct,
        source=source,
        cautions=tuple(dict.fromkeys((*cautions, *said))),
        header=header_values(grid.instances) if grid.instances else {},
        patient=_patient(grid.instances),
    )


def content_digests(study: Study) -> dict[str, str]:
    """Role → SHA-256 (hex) over the bytes of all its files, whatever they are called; "" for an empty cell."""
    found = {}
    for role in IMAGES:
        path: Path | None = getattr(study, role)
        files = [] if path is None else [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
        lines = "\n".join(sorted(_file_digest(file) for file in files))
        found[role] = hashlib.sha256(lines.encode()).hexdigest() if files else ""
    return found


def _patient(instances: Sequence[Instance]) -> str:
    named = (
        [str(instances[0].get(key, "")).strip() for key in ("PatientID", "IssuerOfPatientID")] if instances else [""]
    )
    return hashlib.sha256("\n".join(named).encode()).hexdigest() if named[0] else ""


def _file_digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _image(study: Study, role: str) -> _Read:
    path: Path | None = getattr(study, role)
    if path is None:
        raise Refused(UNREADABLE, f"column {role}: it is empty, and the model looks at it.")
    if is_volume_file(path):
        volume = read_volume(path, "")
        if role == "pet":
            suv, cautions = as_suv(volume, path)
            return _Read(suv, (), cautions)
        return _Read(as_hu(volume) if role == "ct" else as_iodine(volume, path), (), ())
    made = stack(_one_series(path, "PT" if role == "pet" else "CT"))
    if role == "pet":
        rule = suv_rule(made.instances)
        return _Read(load_pet(made, rule), made.instances, (*made.cautions, *rule.cautions))
    return _Read(_hu_or_iodine(made, role), made.instances, made.cautions)


def _hu_or_iodine(made: Stack, role: str) -> Volume:
    if role == "iodine":
        return load_iodine(made)
    for instance in made.instances:
        if why := why_no_hu(instance):
            raise Refused(UNREADABLE, f"the values of the CT are no HU: {why}.")
    return load_ct(made)


def _one_series(path: Path, modality: str) -> list[Instance]:
    scan = scan_folder(path)
    lost = [(file, refused) for file, refused in scan.set_aside if refused.code not in NO_LOSS]
    if lost:
        file, refused = lost[0]
        raise Refused(
            UNREADABLE, f"{len(lost)} file(s) cannot be read, the first {file.name} ({refused.code}): {refused.reason}"
        )
    instances = [i for i in scan.instances if i.modality == modality]
    series = {i.series_instance_uid for i in instances}
    if len(series) != 1:
        found = ", ".join(sorted({i.modality for i in scan.instances})) or "no DICOM"
        raise Refused(
            UNREADABLE,
            f"{path.name} holds {len(series)} series of {modality} (found: {found}); name the folder of one series.",
        )
    return instances


def _in_one_space(pet: _Read, ct: _Read) -> tuple[_Read, _Read]:
    """PET and CT of one patient in one Frame of Reference; a file that names none lies in that of the other."""
    if pet.instances and ct.instances:
        _same_patient("PET and CT", [pet.instances[0], ct.instances[0]])
        if pet.volume.frame_of_reference_uid != ct.volume.frame_of_reference_uid:
            raise Refused(
                "frame-of-reference-differs",
                "PET and CT have different Frames of Reference; how they lie to each other is unknown.",
            )
        return pet, ct
    frame = pet.volume.frame_of_reference_uid or ct.volume.frame_of_reference_uid or ONE_SPACE
    return _in_frame(pet, frame), _in_frame(ct, frame)


def _same_patient(what: str, instances: Sequence[Instance]) -> None:
    patients = {str(i.get("PatientID", "")).strip() for i in instances} - {""}
    if len(patients) > 1:
        raise Refused(UNREADABLE, f"{what} carry different Patient IDs; two patients are never combined.")


def _in_frame(read: _Read, frame: str) -> _Read:
    volume = Volume(read.volume.array, read.volume.affine, frame)
    return _Read(volume, read.instances, read.cautions)


def _region(
    study: Study, grid: _Read, image: _Read, pet: _Read | None, names: Sequence[str], *, needed: bool
) -> tuple[Region | None, Region | None, str, tuple[Caution, ...]]:
    """Region on the grid, on the CT, its source, and what must be said."""
    if study.region is None:
        if not needed:
            return None, None, "", ()
        if pet is None:
            raise Refused(UNREADABLE, "column region: it is empty; without a PET the lesion must be given.")
        region, cautions = _proposed(pet, image.volume)
        return region, None, "automatic", cautions
    if is_volume_file(study.region):
        mask = read_volume(study.region, grid.volume.frame_of_reference_uid)
        drawn = Volume(mask.array != 0, mask.affine, mask.frame_of_reference_uid)
        region = Region.of(_on_grid(drawn, grid.volume))
        if not region.mask.any():
            raise Refused(UNREADABLE, "column region: the mask has no voxel in the image.")
        return region, None, "mask", ()
    instance = _one_object(study.region)
    _same_patient("the region and its image", [instance, *grid.instances[:1]])
    present = frozenset(i.sop_instance_uid for i in (*grid.instances, *image.instances))
    lesions, said = given_lesions(
        instance, grid.volume, present, image.volume if pet is not None else None, tuple(names)
    )
    first = lesions[0]
    return first.region, first.on_ct, first.source, (*said, *first.cautions)


def _on_grid(mask: Volume, grid: Volume) -> BoolArray:
    """A mask's voxels on the grid, the nearest; as it is where it lies there already."""
    if mask.array.shape == grid.array.shape and np.allclose(mask.affine, grid.affine, rtol=0.0, atol=1e-4):
        return mask.array
    return resample(mask, grid.affine, grid.array.shape, 0).astype(bool)


def _one_object(path: Path) -> Instance:
    if path.is_file():
        return read_instance(path)
    found = [i for i in scan_folder(path).instances if i.modality in ("RTSTRUCT", "SEG")]
    if len(found) != 1:
        raise Refused(UNREADABLE, f"column region: {len(found)} RTSTRUCT or SEG in the folder; name one file.")
    return found[0]


def _proposed(pet: _Read, ct: Volume) -> tuple[Region, tuple[Caution, ...]]:
    """The lesion that serving would propose."""
    body = body_of(ct)
    organs = organs_of(body) if body is not None else None
    tracer = tracer_of(pet.instances) if pet.instances else Tracer("", "")
    proposal = find_lesions(pet.volume, body, organs, tracer, reference_uptake(pet.volume, body, organs))
    if not proposal.regions:
        raise Refused(UNREADABLE, "column region: it is empty, and no lesion was found; give the region.")
    unsure = tuple(Caution("region-unsure", text) for text in proposal.unsure)
    return proposal.regions[0], (*proposal.cautions, *unsure)
