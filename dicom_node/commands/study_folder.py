"""The one study in a folder, and its pair as the node would choose it."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.assemble import assemble, join_studies
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


def pair_of(instances: Sequence[Instance], scan: Scan, settings: Settings) -> Pair:
    """The pair of the study with these ``instances`` of the folder.  Raises ``Refused`` as ``assemble`` does."""
    rules = settings.assemble
    return assemble(
        instances,
        scan.set_aside,
        margin_mm=rules.margin_mm,
        two_studies=rules.two_studies,
        region_names=rules.region_names,
    )
