"""Which PET, CT or iodine map and which human's region of a study are used; every other series with its reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dicom_node.assemble.alone import choose_alone
from dicom_node.assemble.candidates import nearest, usable_of
from dicom_node.assemble.ct_ranking import rank, why_worse
from dicom_node.assemble.regions import REGION_CLASSES, choose_region
from dicom_node.assemble.series import (
    CT_CLASSES,
    PET_CLASSES,
    Fault,
    ct_fault,
    extent_mm,
    frame_of_reference,
    is_iodine,
    is_localizer,
    is_original,
    is_ours,
    normal,
    pet_fault,
    series_number,
    slices_of,
    values,
)
from dicom_node.assemble.story import Choice, Record
from inference.facts import Caution, Instance, Kind, Refused
from inference.regions.region_names import TUMOUR_NAMES

ANOTHER_PLANE_COS = 0.7  # a CT whose slices lie more than 45° off the PET's is a reformatted view of another plane
SAME_EXTENT_MM = (
    10.0  # two reconstructions of one PET may differ by a slice or two at the ends, bed positions by far more
)


@dataclass(frozen=True, slots=True)
class Selection:
    """PET (none for the kinds without) and CT or iodine map (instances in no order), region, and the choices made."""

    pet: tuple[Instance, ...]
    ct: tuple[Instance, ...]
    region: Instance | None
    pet_why: str
    ct_why: str
    choices: tuple[Choice, ...]
    cautions: tuple[Caution, ...] = ()


def select(
    instances: Iterable[Instance], region_names: Sequence[str] = TUMOUR_NAMES, kind: Kind = "PET/CT"
) -> Selection:
    """Choose the PET, the CT that shares its Frame of Reference, and a human's region drawn in it (``choose_region``).

    ``kind``: of another than "PET/CT" the CT or the iodine map alone, and a human's region drawn on it.
    Raises Refused where there is no usable PET or CT, naming the reason of the nearest candidate; its fact ``choices``
    holds all choices.
    """
    record = Record()
    pets, cts, maps, regions = _sort_out(instances, record)
    if kind != "PET/CT":
        return _select_alone(kind, pets, cts, maps, regions, region_names, record)
    for group in maps:
        record.left_out(group, NO_CT_OF_A_PET)
    try:
        pet, pet_why = _choose_pet(pets, record)
        ct, ct_why = _choose_ct(cts, pet, record, maps)
    except Refused as refused:
        refused.facts["choices"] = tuple(record.choices)
        raise
    region = choose_region(regions, frame_of_reference(pet), record, region_names)
    return Selection(pet, ct, region, pet_why, ct_why, tuple(record.choices), tuple(record.cautions))


_Group = tuple[Instance, ...]
NO_CT_OF_A_PET = Fault("ct-not-hu", "it is an iodine map")


def _select_alone(
    kind: Kind,
    pets: Sequence[_Group],
    cts: Sequence[_Group],
    maps: Sequence[_Group],
    regions: Sequence[Instance],
    region_names: Sequence[str],
    record: Record,
) -> Selection:
    wanted, others = (maps, cts) if kind == "iodine map" else (cts, maps)
    for group in (*pets, *others):
        record.left_out(group, Fault("of-another-kind", f"the model is for {kind} alone"))
    try:
        chosen, why = choose_alone(kind, wanted, regions, record)
    except Refused as refused:
        refused.facts["choices"] = tuple(record.choices)
        raise
    region = choose_region(regions, frame_of_reference(chosen), record, region_names, kind)
    return Selection((), chosen, region, "", why, tuple(record.choices), tuple(record.cautions))


def _sort_out(
    instances: Iterable[Instance], record: Record
) -> tuple[list[_Group], list[_Group], list[_Group], list[Instance]]:
    """PET series, CT series, iodine maps, region objects; all else is left out, our own objects first of all."""
    groups: dict[tuple[str, str], list[Instance]] = defaultdict(list)
    for instance in instances:
        groups[instance.series_instance_uid, instance.sop_class_uid].append(instance)
    pets: list[_Group] = []
    cts: list[_Group] = []
    maps: list[_Group] = []
    regions: list[Instance] = []
    for (_, sop_class), members in sorted(groups.items()):
        group = tuple(members)
        if any(map(is_ours, group)):
            record.left_out(group, Fault("own-object", "this node wrote it"))
        elif sop_class in PET_CLASSES:
            pets.append(slices_of(group))
        elif sop_class in CT_CLASSES:
            for slices in _without_localizers(slices_of(group), record):
                of_iodine = tuple(i for i in slices if is_iodine(i))
                others = tuple(i for i in slices if not is_iodine(i))
                maps += [of_iodine] if of_iodine else []
                cts += [others] if others else []
        elif sop_class in REGION_CLASSES:
            regions.extend(group)
        else:
            record.left_out(group, Fault("not-pet-or-ct", "neither PET nor CT nor a region"))
    return pets, cts, maps, regions


def _without_localizers(group: _Group, record: Record) -> list[_Group]:
    scouts = tuple(i for i in group if is_localizer(i))
    if scouts:
        record.left_out(scouts, Fault("localizer", "its Image Type says LOCALIZER"))
    slices = tuple(i for i in group if not is_localizer(i))
    return [slices] if slices else []


# ---------------------------------------------------------------------------------------------------------------- PET


def _choose_pet(pets: Sequence[_Group], record: Record) -> tuple[_Group, str]:
    usable = usable_of(pets, pet_fault, record)
    if not usable:
        raise nearest(pets, record) or Refused(
            "no-pet", "The study has no PET series that can be analysed: send the attenuation-corrected, static PET."
        )
    best = _best_rank(usable, record)
    why = "the attenuation-corrected, static PET" if len(pets) == 1 else "the best of several PET series"
    if is_original(best[0][0]):
        why += ", original"
    chosen = best[0] if len(best) == 1 else _one_of_equals(best, record)
    record.chosen(chosen, why)
    return chosen, why


def _is_bqml(group: _Group) -> bool:
    return (*values(group[0], "Units"), "")[0].strip().upper() == "BQML"


_PREFERENCES: tuple[tuple[str, str, Callable[[_Group], bool]], ...] = (
    ("derived", "derived images, and an original PET is there", lambda group: is_original(group[0])),
    ("already-normalised", "not in Bq/ml, and a PET in Bq/ml is there", _is_bqml),
)


def _best_rank(usable: list[_Group], record: Record) -> list[_Group]:
    """Original before derived; activity concentration as measured before values somebody has normalised already."""
    for code, reason, better in _PREFERENCES:
        best = [g for g in usable if better(g)]
        if best and len(best) < len(usable):
            for group in usable:
                if group not in best:
                    record.left_out(group, Fault(code, reason))
            usable = best
    return usable


def _one_of_equals(equals: list[_Group], record: Record) -> _Group:
    """The longest of several equally good PET series.

    One that the longest does not cover is a part of the body of its own (a bed position): refused, half a body is
    never taken for the whole.
    """
    along = normal(equals[0][0])
    reach = {id(g): extent_mm(g, along) for g in equals}
    known = [g for g in equals if reach[id(g)] is not None]
    ordered = sorted(known or equals, key=lambda g: (-_length(reach[id(g)]), series_number(g) or 0, _uid(g)))
    chosen, low_high = ordered[0], reach[id(ordered[0])]
    for other in equals:
        if other is chosen:
            continue
        span = reach[id(other)]
        if low_high is None or span is None or frame_of_reference(other) != frame_of_reference(chosen):
            continue
        if span[0] < low_high[0] - SAME_EXTENT_MM or span[1] > low_high[1] + SAME_EXTENT_MM:
            raise Refused(
                "pet-in-several-series",
                f"The PET is spread over {len(equals)} series that cover different parts of the body: "
                "joining bed positions is not supported; send one series of the whole range.",
                series=[_uid(g) for g in equals],
            )
    for other in equals:
        if other is not chosen:
            record.left_out(other, Fault("another-pet", "as good as the chosen one, but shorter or a later series"))
    record.cautions.append(
        Caution(
            "several-pet-series",
            f"{len(equals)} PET series of the study were equally suitable; series "
            f"{series_number(chosen)} was analysed: its values may differ from another reconstruction's.",
        )
    )
    return chosen


# ----------------------------------------------------------------------------------------------------------------- CT


def _choose_ct(cts: Sequence[_Group], pet: _Group, record: Record, maps: Sequence[_Group]) -> tuple[_Group, str]:
    frame = frame_of_reference(pet)
    if not frame:
        raise Refused(
            "frame-of-reference-missing",
            "The PET has no single Frame of Reference UID, so its place relative to the CT is unknown: "
            "send the series as the scanner made it.",
            series=_uid(pet),
        )
    usable = usable_of(cts, ct_fault, record)
    there = [g for g in usable if frame_of_reference(g) == frame]
    for group in usable:
        if group not in there:
            record.left_out(group, Fault("frame-of-reference-differs", "its Frame of Reference is not the PET's"))
    parallel = [g for g in there if not _another_plane(g, pet)]
    for group in there:
        if group not in parallel:
            record.left_out(group, Fault("another-plane", "its slices lie in another plane than the PET's"))
    if not parallel:
        raise nearest([*cts, *maps], record) or Refused(
            "no-ct", "The study has no CT series that belongs to the PET: send the CT of the same examination."
        )
    chosen = min(parallel, key=lambda g: rank(g, pet))
    why = "the CT in the PET's Frame of Reference"
    if len(parallel) > 1:
        why = f"the best of {len(parallel)} CTs in the PET's Frame of Reference"
    for group in parallel:
        if group is not chosen:
            record.left_out(group, Fault("another-ct", why_worse(group, chosen, pet)))
    record.chosen(chosen, why)
    return chosen, why


def _another_plane(ct: _Group, pet: _Group) -> bool:
    ours, theirs = normal(pet[0]), normal(ct[0])
    return ours is not None and theirs is not None and abs(float(ours @ theirs)) < ANOTHER_PLANE_COS


def _length(span: tuple[float, float] | None) -> float:
    return 0.0 if span is None else span[1] - span[0]


def _uid(group: _Group) -> str:
    return group[0].series_instance_uid
