"""What counts as delivered: the archive's own word, object by object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from dicom_node.deliver.errors import Undelivered
from dicom_node.sections import Destination, OrthancDestination, is_loopback
from inference.facts import Result

# Images before documents: a viewer that opens the SR finds what it refers to.
ORDER = ("seg", "key_image", "heatmap", "sr", "sr_viewer")


@dataclass(frozen=True, slots=True)
class Receipt:
    """The archive has this object.

    ``how`` says by what we know it; ``same`` is False where it holds, and keeps, another object under the same UID.
    """

    sop_instance_uid: str
    kind: str
    how: str
    same: bool = True


def why_withheld(destination: Destination, *, demonstration: bool) -> str:
    """Why this result set does not go to this destination; "" where it may."""
    host = urlsplit(destination.url).hostname if isinstance(destination, OrthancDestination) else destination.host
    if demonstration and not destination.allow_demonstration and not is_loopback(host or ""):
        return (
            "results of a demonstration model go to loopback destinations only; "
            "allow_demonstration = true in the destination lets them go further"
        )
    return ""


def deliver(
    results: Sequence[Result], destination: Destination, calling_aet: str, begin: Callable[[], None] = lambda: None
) -> tuple[Receipt, ...]:
    """Send the result set; what the answers to the sending itself confirm (C-STORE statuses).

    ``begin`` is called once the destination answers, right before the first object goes; what it raises ends the
    delivery.  Raises Undelivered.
    """
    ordered = in_order(results)
    if isinstance(destination, OrthancDestination):
        from dicom_node.deliver.orthanc import upload

        upload(ordered, destination, begin)
        return ()
    from dicom_node.deliver.dimse import store

    statuses = store(ordered, destination, calling_aet, begin)
    return tuple(
        Receipt(r.sop_instance_uid, r.kind, f"C-STORE status 0x{status:04X}")
        for r, status in zip(ordered, statuses, strict=True)
    )


def confirm(
    results: Sequence[Result], destination: Destination, calling_aet: str, by_status: bool
) -> tuple[Receipt, ...]:
    """Ask the archive for every object.

    ``by_status``: every object has a receipt of its C-STORE, which is enough where the archive does not answer C-FIND.
    Raises Undelivered where it does not answer, or lacks one.
    """
    ordered = in_order(results)
    if isinstance(destination, OrthancDestination):
        from dicom_node.deliver.orthanc import read_back

        return tuple(
            Receipt(r.sop_instance_uid, r.kind, "read back, same bytes" if same else "read back, other bytes", same)
            for r, same in zip(ordered, read_back(ordered, destination), strict=True)
        )
    from dicom_node.deliver.dimse import find

    listed = find(ordered, destination, calling_aet)
    if listed:
        return tuple(Receipt(r.sop_instance_uid, r.kind, "listed by C-FIND") for r in ordered)
    if listed is None and by_status:
        return ()
    raise Undelivered(f"{destination.name} does not list all objects of the result set.")


def in_order(results: Sequence[Result]) -> list[Result]:
    """Images first; a kind that is not known here last."""
    return sorted(results, key=lambda r: ORDER.index(r.kind) if r.kind in ORDER else len(ORDER))
