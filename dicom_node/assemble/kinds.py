"""What a study is for: PET with CT, a CT alone, an iodine map alone; as the bundles that look here ask for it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from dicom_node.assemble.series import CT_CLASSES, PET_CLASSES, is_iodine, is_localizer, is_ours
from inference.facts import Instance, Kind

ORDER: tuple[Kind, ...] = ("PET/CT", "iodine map", "CT")  # what is told first
ONLY_PET_CT: tuple[Kind, ...] = ("PET/CT",)


def kinds_of(
    instances: Sequence[Instance], wanted: Collection[Kind], by_name: Collection[Kind] = ()
) -> tuple[Kind, ...]:
    """Which of the kinds ``wanted`` the study is to be looked at as; at least one, so that a refusal says why not.

    A study with a PET is a PET/CT: its CT was as a rule taken for the PET (low dose, free breathing), which is not what
    models for CT alone learnt from.  So it is looked at alone only where somebody says so: ``by_name``, kinds of
    bundles that a rule, the command or a configuration with one bundle names.
    """
    there = _there(instances)
    if "PET/CT" in there:
        kinds = [kind for kind in ORDER if kind in wanted and (kind == "PET/CT" or (kind in by_name and kind in there))]
        return tuple(kinds) or ONLY_PET_CT
    kinds = [kind for kind in ORDER if kind in wanted and kind in there]
    return tuple(kinds) or tuple(kind for kind in ORDER if kind in wanted)[:1] or ONLY_PET_CT


def _there(instances: Sequence[Instance]) -> set[Kind]:
    found: set[Kind] = set()
    for instance in instances:
        if is_ours(instance):
            continue
        if instance.sop_class_uid in PET_CLASSES:
            found.add("PET/CT")
        elif is_iodine(instance):
            found.add("iodine map")
        elif instance.sop_class_uid in CT_CLASSES and not is_localizer(instance):
            found.add("CT")
    return found
