"""What of a study is looked at (a PET and its CT, a CT or an iodine map alone), checked before a pixel is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from dicom_node.assemble.patient import refuse_two_patients
from dicom_node.assemble.regions import regions_left_out
from dicom_node.assemble.selection import Selection, select
from dicom_node.assemble.series import extent_mm, is_ours, normal
from dicom_node.assemble.story import tell
from inference.facts import Caution, FloatArray, Instance, Kind, Pair, Refused, Series
from inference.geometry.volume import Stack, stack
from inference.reading.instance import reading_cautions
from inference.regions.region_names import TUMOUR_NAMES

MARGIN_MM = 20.0
# A CT may end a slice or two before the PET; where less of the PET than this has a CT, it is another examination's.
LEAST_COVERED = 0.9
NAMED_PLACES = 16  # of missing slices, in a sentence
SetAside = Sequence[tuple[Path | str, Refused]]
NOT_OF_THE_STUDY = {"not-dicom", "media-directory"}  # what lies in a folder beside the images: ignored


def assemble(
    instances: Iterable[Instance],
    set_aside: SetAside = (),
    *,
    kind: Kind = "PET/CT",
    margin_mm: float = MARGIN_MM,
    two_studies: bool = False,
    region_names: Sequence[str] = TUMOUR_NAMES,
) -> Pair:
    """The pair of a study, from its instances in any order and what was set aside while reading them.

    ``kind``: of another than "PET/CT" it is the CT or iodine map alone, on the grid of its own images.
    ``two_studies``: the CT may be of another study, whose instances are among them then (``two_studies.py``).
    ``region_names``: which names say lesion, where several region objects are there (``regions.choose_region``).

    PET and CT slices ascend along the PET's normal.  The CT holds only slices within the PET's extent plus
    ``margin_mm``, so that a late CT slice beyond changes neither pair nor digest.

    Raises Refused, with the fact ``choices`` (the story so far) where one was told: no PET or no CT that may be used,
    patients or Frames of Reference that differ, no overlap, a series that is incomplete or no regular volume.
    """
    instances = [i for i in instances if not is_ours(i)]
    try:
        selection = select(instances, region_names, kind)
    except Refused as refused:
        raise _unreadable(instances, set_aside, refused) from None
    try:
        if kind != "PET/CT":
            return _alone(kind, instances, selection, set_aside)
        return _pair(instances, selection, set_aside, margin_mm, two_studies)
    except Refused as refused:
        refused.facts.setdefault("choices", selection.choices)
        raise


def _pair(
    instances: Sequence[Instance], selection: Selection, set_aside: SetAside, margin_mm: float, two_studies: bool
) -> Pair:
    study_cautions = _several_studies(selection, two_studies)
    refuse_two_patients(instances)
    _refuse_set_aside(selection, set_aside)
    pet = _stacked(selection.pet, "PET")
    count_cautions = _count(pet)
    along = _Along(pet)
    near = [i for i in selection.ct if along.within(i, margin_mm)]
    if not near:
        raise _no_overlap()
    ct = _stacked(near, "CT")
    cautions = [*selection.cautions, *study_cautions, *pet.cautions, *ct.cautions, *count_cautions, *_coverage(pet, ct)]
    region = selection.region
    cautions += _unread_regions(instances, set_aside)
    cautions += reading_cautions([*pet.instances, *ct.instances, *([region] if region else [])])
    return Pair(
        pet=_series(pet, selection.pet_why),
        ct=_series(ct, selection.ct_why),
        region=region,
        cautions=tuple(dict.fromkeys(cautions)),
        story=tell(selection.choices),
    )


def _alone(kind: Kind, instances: Sequence[Instance], selection: Selection, set_aside: SetAside) -> Pair:
    refuse_two_patients(instances)
    _refuse_set_aside(selection, set_aside)
    ct = _stacked(selection.ct, kind, may_regrid=False)
    region = selection.region
    cautions = [*selection.cautions, *ct.cautions, *_unread_regions(instances, set_aside)]
    cautions += reading_cautions([*ct.instances, *([region] if region else [])])
    return Pair(
        pet=None,
        ct=_series(ct, selection.ct_why),
        region=region,
        cautions=tuple(dict.fromkeys(cautions)),
        story=tell(selection.choices),
        kind=kind,
    )


def _stacked(images: Sequence[Instance], modality: str, *, may_regrid: bool = True) -> Stack:
    """The slices in their order.  A refusal says which of the two volumes it is about, and where slices are missing."""
    try:
        return stack(images, may_regrid=may_regrid)
    except Refused as refused:
        places = [f"{mm:g}" for mm in refused.facts.get("missing_along_normal_mm", ())][:NAMED_PLACES]  # type: ignore[attr-defined]
        where = f" Missing are the positions {', '.join(places)} mm along the slices' normal." if places else ""
        raise Refused(refused.code, f"{modality}: {refused.reason}{where}", **refused.facts) from None


def _series(images: Stack, why: str) -> Series:
    first = images.instances[0]
    return Series(first.study_instance_uid, first.series_instance_uid, images.instances, why)


# ------------------------------------------------------------------------------------------------------------ identity


def _several_studies(selection: Selection, allowed: bool) -> list[Caution]:
    studies = sorted({i.study_instance_uid for i in (*selection.pet, *selection.ct)})
    if len(studies) == 1:
        return []
    if not allowed:
        raise Refused(
            "several-studies",
            "PET and CT belong to different studies: only images of one study are combined. "
            "Analyse one study at a time, or allow it for one patient and Frame of Reference with "
            "assemble.two_studies = true.",
            studies=studies,
        )
    text = "The CT is of another study than the PET, of the same patient and Frame of Reference."
    return [Caution("ct-of-another-study", text)]


# -------------------------------------------------------------------------------------------------------- completeness


def _refuse_set_aside(selection: Selection, set_aside: SetAside) -> None:
    """An instance of the chosen series that could not be read means that the series is incomplete."""
    present = {i.sop_instance_uid for i in (*selection.pet, *selection.ct)}
    chosen = {i.series_instance_uid for i in (*selection.pet, *selection.ct)}
    modalities = ("PT", "CT") if selection.pet else ("CT",)
    for _, refused in set_aside:
        if _harmless(refused, present):
            continue
        series = refused.facts.get("series_instance_uid")
        if series in chosen or (series is None and refused.facts.get("modality", "CT") in modalities):
            raise _incomplete(refused)


def _unread_regions(instances: Sequence[Instance], set_aside: SetAside) -> tuple[Caution, ...]:
    present = {i.sop_instance_uid for i in instances}
    lost = [r for _, r in set_aside if r.facts.get("modality") in ("RTSTRUCT", "SEG") and not _harmless(r, present)]
    return regions_left_out(len(lost), "which could not be read")


def _harmless(refused: Refused, present: set[str]) -> bool:
    """Not of the study, or sent again in good order since."""
    again = refused.code != "sop-instance-conflict" and refused.facts.get("sop_instance_uid") in present
    return refused.code in NOT_OF_THE_STUDY or again


def _incomplete(refused: Refused) -> Refused:
    return Refused(
        refused.code,
        f"An instance of the study could not be used, so the study is incomplete. {refused.reason}",
        **refused.facts,
    )


def _unreadable(instances: Sequence[Instance], set_aside: SetAside, otherwise: Refused) -> Refused:
    """Where PET or CT is missing, an unreadable file is the better reason."""
    present = {i.sop_instance_uid for i in instances}
    if otherwise.code in ("no-pet", "no-ct", "no-pet-ct"):
        for _, refused in set_aside:
            if refused.code not in NOT_OF_THE_STUDY and not _harmless(refused, present):
                refused.facts.setdefault("choices", otherwise.facts.get("choices", ()))
                return _incomplete(refused)
    return otherwise


def _count(pet: Stack) -> list[Caution]:
    """Number of Slices (0054,0081) counts the slice positions of the PET volume (PS3.3 C.8.9.1)."""
    stated = number_of_slices(pet.instances)
    found = len(pet.instances)
    if stated is not None and found < stated:
        raise Refused(
            "pet-incomplete",
            f"The PET states {stated} slices (Number of Slices), but {found} are here: send the whole series.",
            expected=stated,
            found=found,
        )
    if stated is not None and found > stated:
        text = f"The PET states {stated} slices (Number of Slices), but {found} even positions are here; all were used."
        return [Caution("pet-more-than-stated", text)]
    return []


def number_of_slices(instances: Iterable[Instance]) -> int | None:
    """What the slices state; None where it is absent, or they do not agree on it."""
    stated = {i.get("NumberOfSlices") for i in instances}
    one = stated.pop() if len(stated) == 1 else None
    return int(one) if isinstance(one, int | str) and str(one).isdigit() and int(one) > 0 else None


# ------------------------------------------------------------------------------------------------------------ geometry


class _Along:
    """Heights along the PET's normal, mm."""

    def __init__(self, pet: Stack) -> None:
        direction = normal(pet.instances[0])
        low_high = extent_mm(pet.instances, direction)
        if direction is None or low_high is None:  # stack() has read both
            raise AssertionError("a stack without geometry")
        half = pet.spacing_mm[0] / 2
        self.normal, self.low, self.high = direction, low_high[0] - half, low_high[1] + half

    def within(self, instance: Instance, margin_mm: float) -> bool:
        """Whether some of this slice lies within the PET's extent plus the margin; True where its place is unknown."""
        corners = _corners(instance)
        if corners is None:
            return True  # stack() refuses what has no position
        heights = corners @ self.normal
        return self.low - margin_mm <= float(heights.max()) and float(heights.min()) <= self.high + margin_mm


def _corners(instance: Instance) -> FloatArray | None:
    try:
        position = np.array(instance.get("ImagePositionPatient"), float).reshape(3)
        row, column = np.array(instance.get("ImageOrientationPatient"), float).reshape(2, 3)
        between_rows, between_columns = np.array(instance.get("PixelSpacing"), float).reshape(2)
        rows, columns = float(instance.get("Rows")), float(instance.get("Columns"))
    except (TypeError, ValueError):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        across, down = row * between_columns * (columns - 1), column * between_rows * (rows - 1)
        corners: FloatArray = position + np.array([0 * across, across, down, across + down])
    return corners if np.isfinite(corners).all() else None


def _coverage(pet: Stack, ct: Stack) -> list[Caution]:
    """How much of the PET's slices has a CT: refused without overlap, or with too little along the slices."""
    covered = _covered(pet, ct)
    slices = pet.shape[0]
    missing = slices * (1 - covered)
    percent = round(100 * covered)
    if covered < LEAST_COVERED:
        raise Refused(
            "ct-does-not-cover-pet",
            f"The CT covers only {percent} % of the PET's slices; {round(missing)} of "
            f"{slices} have none: where there is no CT, nothing can be said. "
            "Send the whole CT.",
            covered_percent=percent,
        )
    if missing > 0.5:  # half a slice at the ends is the difference of two grids, not of two ranges
        text = f"The CT covers {percent} % of the PET's slices; at the ends there is no CT."
        return [Caution("ct-shorter-than-pet", text)]
    return []


def _covered(pet: Stack, ct: Stack) -> float:
    """The part of the PET's extent along its slices, 0 to 1, where the CT has slices too.

    Points in tenths of a slice, 5 × 5 over the CT's field of view, so that a CT tilted against the PET counts as far as
    it reaches.  Raises ``Refused`` (no-overlap).
    """
    low, high = _box(ct, pet)
    low, high = np.maximum(low, -0.5), np.minimum(high, np.array(pet.shape) - 0.5)
    if (high <= low).any():
        raise _no_overlap()
    along = (np.arange(10 * pet.shape[0]) + 0.5) / 10 - 0.5
    within = [low[axis] + (high[axis] - low[axis]) * (np.arange(5) + 0.5) / 5 for axis in (1, 2)]
    points = np.stack([*np.meshgrid(along, *within, indexing="ij"), np.ones((len(along), 5, 5))], axis=-1)
    index = points @ (np.linalg.inv(ct.affine) @ pet.affine).T[:, :3]
    reached = (index > -0.5) & (index < np.array(ct.shape) - 0.5)
    seen = reached[..., 1:].all(axis=-1)
    both = seen & reached[..., 0]
    if not both.any():
        raise _no_overlap()
    shares = both.sum(axis=(1, 2)) / np.maximum(seen.sum(axis=(1, 2)), 1)
    return float(shares.mean())


def _box(ct: Stack, pet: Stack) -> tuple[FloatArray, FloatArray]:
    """The CT's bounding box in PET voxel indices (slice, row, column), to the outer edges of its voxels."""
    ends = [(-0.5, n - 0.5) for n in ct.shape]
    corners = np.array([[*corner, 1.0] for corner in product(*ends)])
    index = corners @ (np.linalg.inv(pet.affine) @ ct.affine).T
    return index[:, :3].min(axis=0), index[:, :3].max(axis=0)


def _no_overlap() -> Refused:
    return Refused(
        "no-overlap",
        "PET and CT do not overlap in space although they share a Frame of Reference: "
        "they are not of the same part of the body. Send the CT that belongs to the PET.",
    )
