"""PET and CT that were sent as two studies of one examination: only where the configuration allows it.

The same Frame of Reference says that patient and table were not moved apart between the two (PS3.3 C.7.4.1.1.1), so it
is one session; the same patient identity is asked for beside it, because makers are known to use a UID twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dicom_node.assemble.patient import who
from dicom_node.assemble.regions import RTSTRUCT, SEG
from dicom_node.assemble.series import CT_CLASSES, PET_CLASSES, ct_fault, is_localizer, is_ours
from inference.facts import Instance


def frames_without_ct(study: Iterable[Instance]) -> set[str]:
    """Frames of Reference in which the study has a PET and no CT: those for which a CT of another study may be used."""
    pets, cts = set(), set()
    for instance in study:
        if is_ours(instance):
            continue
        if instance.sop_class_uid in PET_CLASSES:
            pets.add(frame_of(instance))
        elif _is_ct(instance):
            cts.add(frame_of(instance))
    return pets - cts - {""}


def with_ct_of_other_studies(study: Sequence[Instance], others: Iterable[Instance]) -> list[Instance]:
    """The study, and from ``others`` the CTs, and regions of their studies, of the same patient in the PET's frame.

    Where the study has a CT of its own in that frame, or nothing fits, it is the study alone.
    """
    frames = frames_without_ct(study)
    patients = {who(i) for i in study if i.sop_class_uid in PET_CLASSES}
    if not frames or len(patients) != 1 or not next(iter(patients))[0]:
        return list(study)
    same = [i for i in others if who(i) in patients and not is_ours(i)]
    cts = [i for i in same if _is_ct(i) and frame_of(i) in frames]
    partners = {i.study_instance_uid for i in cts}
    regions = [i for i in same if i.sop_class_uid in (RTSTRUCT, SEG) and i.study_instance_uid in partners]
    return [*study, *cts, *regions]


def join_studies(instances: Sequence[Instance]) -> list[Instance]:
    """Of several studies the one that holds a PET, with the CT of another; nothing where that is not the case."""
    with_pet = {i.study_instance_uid for i in instances if i.sop_class_uid in PET_CLASSES and not is_ours(i)}
    if len(with_pet) != 1:
        return []
    own = [i for i in instances if i.study_instance_uid in with_pet]
    joined = with_ct_of_other_studies(own, [i for i in instances if i.study_instance_uid not in with_pet])
    return joined if len(joined) > len(own) else []


def frame_of(instance: Instance) -> str:
    """Frame of Reference UID, "" where it is missing."""
    return str(instance.get("FrameOfReferenceUID", "")).strip()


def _is_ct(instance: Instance) -> bool:
    return instance.sop_class_uid in CT_CLASSES and not is_localizer(instance) and ct_fault([instance]) is None
