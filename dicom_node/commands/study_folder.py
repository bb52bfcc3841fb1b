"""The one study in a folder, and what of it is looked at, as the node would choose it."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.assemble import assemble, join_studies
from dicom_node.assemble.kinds import kinds_of
from dicom_node.assemble.routing import Router
from dicom_node.config import Settings
from inference.facts import Instance, Pair, Refused
from inference.reading.instance import Scan

IMAGE_MODALITIES = {"PT", "CT"}


def one_study(instances: Sequence[Instance], *, two_studies: bool) -> list[Instance]:
    """The study that holds PET or CT images; with ``two_studies`` the PET's, and a CT of another that belongs to it.

    Refused where there is none, or more than one.
    """
    if not instances:
        raise Refused("no-dicom", "no readable DICOM file in the folder; name the folder of one PET/CT study")
    studies = sorted({i.study_instance_uid for i in instances if i.modality in IMAGE_MODALITIES})
    if not studies:
        modalities = ", ".join(sorted({i.modality or "none" for i in instances}))
        raise Refused(
            "no-pet-ct", f"the folder has no PET or CT image (found modalities: {modalities})", modalities=modalities
        )
    if len(studies) > 1:
        if two_studies and (joined := join_studies(instances)):
            return joined
        raise Refused(
            "several-studies",
            f"the folder holds {len(studies)} studies with PET or CT images; name the folder of one study",
            studies=studies,
        )
    return [i for i in instances if i.study_instance_uid == studies[0]]


def pairs_of(instances: Sequence[Instance], scan: Scan, settings: Settings, router: Router) -> tuple[Pair, ...]:
    """What the study with these ``instances`` of the folder is looked at as, one pair for each kind.

    Raises ``Refused`` as ``assemble`` does, where it is none at all.
    """
    rules = settings.assemble
    found: list[Pair] = []
    refusals: list[Refused] = []
    for kind in kinds_of(instances, router.kinds, router.kinds_by_name):
        try:
            pair = assemble(
                instances,
                scan.set_aside,
                kind=kind,
                margin_mm=rules.margin_mm,
                two_studies=rules.two_studies,
                region_names=rules.region_names,
            )
        except Refused as refused:
            refusals.append(refused)
        else:
            found.append(pair)
    if not found:
        raise refusals[0]
    return tuple(found)
