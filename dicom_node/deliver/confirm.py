"""What counts as delivered: the archive's own word, object by object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from dicom_node.deliver.errors import Answer, Receipt, Undelivered
from dicom_node.sections import Destination, OrthancDestination, is_loopback
from inference.facts import Result

# The default set.  Images before documents: a viewer that opens the SR finds what it refers to.
ORDER = ("seg", "key_image", "heatmap", "sr", "sr_viewer")


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
    """Send the result set; what the answers to the sending itself say of each object.

    ``begin`` is called once the destination answers, right before the first object goes; what it raises ends the
    delivery.  Raises Undelivered where one of the default set was not taken, or any may be taken later.
    """
    ordered = in_order(results)
    if isinstance(destination, OrthancDestination):
        from dicom_node.deliver.orthanc import upload

        return _taken(ordered, upload(ordered, destination, begin), destination.name)
    from dicom_node.deliver.dimse import store

    answers = store(ordered, destination, calling_aet, begin)
    return _taken(ordered, answers, f"{destination.name} ({destination.ae_title})")


def _taken(results: Sequence[Result], answers: Sequence[Answer], name: str) -> tuple[Receipt, ...]:
    """The receipts, where nothing is lacking; ``answers``: one an object, fewer where the connection broke off."""
    answered = list(zip(results, answers, strict=False))
    receipts = tuple(Receipt(r.sop_instance_uid, r.kind, a.how) for r, a in answered if a.stored)
    refused = [(r, a) for r, a in answered if not a.stored]
    if len(answered) < len(results) or any(not a.final or r.kind in ORDER for r, a in refused):
        said = list(dict.fromkeys(f"the {r.kind} object: {a.how}" for r, a in refused))
        raise Undelivered(f"{name} did not take {'; '.join(said)}.", receipts)
    return receipts + tuple(Receipt(r.sop_instance_uid, r.kind, a.how, taken=False) for r, a in refused)


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
