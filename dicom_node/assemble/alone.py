"""Which CT, or which iodine map, is looked at where a model needs no PET: the one that a person drew the lesion on."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.assemble.candidates import Group, nearest, usable_of
from dicom_node.assemble.ct_ranking import rank_alone, why_worse_alone
from dicom_node.assemble.regions import drawn_on
from dicom_node.assemble.series import Fault, ct_fault, frame_of_reference, iodine_fault
from dicom_node.assemble.story import Record
from inference.facts import Instance, Kind, Refused


def choose_alone(
    kind: Kind, candidates: Sequence[Group], regions: Sequence[Instance], record: Record
) -> tuple[Group, str]:
    """The series on which a person drew, else one in the space where one did, else the best by ``TABLE_ALONE``.

    Raises Refused: the reason of the nearest candidate; several-iodine-maps where nothing tells which of them is meant
    (their values depend on the phase of the contrast agent, so none is as good as another).
    """
    usable = usable_of(candidates, iodine_fault if kind == "iodine map" else ct_fault, record)
    placed = [group for group in usable if frame_of_reference(group)]
    for group in usable:
        if group not in placed:
            record.left_out(group, Fault("frame-of-reference-missing", "it has no single Frame of Reference UID"))
    if not placed:
        raise nearest(candidates, record) or Refused(
            "no-pet-ct", f"The study has no {kind} that can be analysed: send the axial images of one series."
        )
    frames, series = drawn_on(regions)
    best, why = placed, f"the only {kind}" if len(placed) == 1 else f"the best of {len(placed)} series"
    for told, fits in (
        ("that a person drew a region on", [g for g in placed if g[0].series_instance_uid in series]),
        ("in whose Frame of Reference a person drew a region", [g for g in placed if frame_of_reference(g) in frames]),
    ):
        if fits:
            best, why = fits, f"the {kind} {told}" if len(fits) == 1 else f"the best of {len(fits)} series {told}"
            break
    if len(best) > 1 and kind == "iodine map":
        raise Refused(
            "several-iodine-maps",
            f"The study has {len(best)} iodine maps, and nothing tells which of them is meant: their values depend on "
            "the phase of the contrast agent. Send one, or draw the region on the images of one.",
            series=[group[0].series_instance_uid for group in best],
        )
    chosen = min(best, key=rank_alone)
    for group in placed:
        if group is chosen:
            continue
        where = "a region was drawn on another series" if group not in best else why_worse_alone(group, chosen)
        record.left_out(group, Fault("another-ct", where))
    record.chosen(chosen, why)
    return chosen, why
