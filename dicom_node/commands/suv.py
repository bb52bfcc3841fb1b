"""`petct-node suv`: how one PET series becomes SUV, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference.facts import Caution, Instance, Refused, SuvScale

if TYPE_CHECKING:
    from inference.geometry.volume import Stack
    from inference.reading.instance import Scan

NO_LOSS = {"not-dicom", "media-directory"}  # files that are no image
BODY_WEIGHT = SuvScale("bw", "BW", 1.0, "body weight")


def suv_folder(
    folder: Path, *, mask: Path | None = None, series: str | None = None, suv_type: str = "bw"
) -> dict[str, Any]:
    """How the PET series of ``folder`` becomes SUV of a type, "bw" or a key of ``body_size.OFFERS``.

    The object of `suv --json`.  With ``mask`` (NIfTI, RTSTRUCT or SEG, placed by its own geometry) also min, median,
    mean and max of that SUV inside it (g/ml; BSA: cm²/ml), for which the series must make a volume.  Raises Refused
    where there is no one PET series, it has no SUV, or the type's body measure is not known.
    """
    from inference.load import load_pet
    from inference.reading.instance import reading_cautions, scan_folder
    from inference.suv.body_size import suv_scale
    from inference.suv.plausibility import plausibility_cautions
    from inference.suv.rule import suv_rule
    from inference.suv.tracer import tracer_of

    scan = scan_folder(folder)
    pet = _one_pet_series(scan.instances, series)
    instances, made, stack_cautions = _stacked(pet, needed=mask is not None)
    rule = suv_rule(instances)
    scale = BODY_WEIGHT if suv_type == "bw" else suv_scale(suv_type, instances)
    cautions = (
        *reading_cautions(instances),
        *stack_cautions,
        *rule.cautions,
        *plausibility_cautions(rule, tracer_of(instances), ()),
        *_left_out(scan),
    )
    answer: dict[str, Any] = {
        "suv_type": scale.suv_type,
        "series_instance_uid": pet[0].series_instance_uid,
        "factors": [factor * scale.factor for factor in rule.factors],
        "reference_time": rule.reference_time,
        "rules": rule.rule,
        "inputs": dict(rule.inputs),
        "scale": asdict(scale),
        "warnings": [asdict(c) for c in cautions],
    }
    if mask is not None and made is not None:
        from inference.regions.mask import read_mask

        volume = load_pet(made, rule)
        answer |= _statistics(volume.array[read_mask(mask, volume)] * scale.factor)
    return answer


def _stacked(
    pet: Sequence[Instance], *, needed: bool
) -> tuple[tuple[Instance, ...], Stack | None, tuple[Caution, ...]]:
    """The slices in their order; where they make no volume and none is ``needed``, as they come: factors need none."""
    from inference.geometry.volume import stack
    from inference.reading.frames import single_frames

    try:
        made = stack(pet)
    except Refused as refused:
        if needed:
            raise
        text = f"The factors are those of the slices, in no order; an analysis would be refused. {refused.reason}"
        return tuple(single_frames(pet)), None, (Caution("no-volume", text),)
    return made.instances, made, made.cautions


def _left_out(scan: Scan) -> list[Caution]:
    """One caution where DICOM files could not be read: a slice at the end of the stack leaves no gap."""
    codes = Counter(refused.code for _, refused in scan.set_aside if refused.code not in NO_LOSS)
    if not codes:
        return []
    counts = ", ".join(f"{code} {count}" for code, count in sorted(codes.items()))
    return [Caution("files-left-out", f"Files of the folder could not be read and are left out: {counts}.")]


def _one_pet_series(instances: Sequence[Instance], series: str | None) -> list[Instance]:
    pet = [i for i in instances if i.modality == "PT" and series in (None, i.series_instance_uid)]
    found = sorted({i.series_instance_uid for i in pet})
    if not found:
        raise Refused("no-pet", "the folder has no PET series" + (f" {series}" if series else ""))
    if len(found) > 1:
        listed = ", ".join(found)
        raise Refused("several-pet-series", f"the folder has {len(found)} PET series, choose with --series: {listed}")
    return pet


def _statistics(values: Any) -> dict[str, Any]:
    import numpy as np

    if values.size == 0:
        raise Refused("mask-empty", "no voxel centre of the PET lies inside the mask; check that it is of this study")
    return {
        "min": float(values.min()),
        "median": float(np.median(values)),
        "mean": float(values.mean(dtype=float)),
        "max": float(values.max()),
        "voxels": int(values.size),
    }
