"""Deliver to any archive by C-STORE (DICOM PS3.4 B), and ask it by C-FIND (PS3.4 C) where it answers that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dicom_node.deliver.errors import Answer, Undelivered
from dicom_node.sections import DimseDestination
from inference.facts import Refused, Result

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
PLAIN = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")  # Explicit and Implicit VR Little Endian
WARNINGS = {0xB000, 0xB006, 0xB007}  # stored, with a remark (PS3.4 Table B.2-1)
# Refused for what the object is (PS3.4 table B.2-1, PS3.7 C.5.6), so that it would be again
FINAL = (range(0x0122, 0x0123), range(0xA900, 0xAA00), range(0xC000, 0xD000))
PENDING = {0xFF00, 0xFF01}


def store(
    results: Sequence[Result], destination: DimseDestination, calling_aet: str, begin: Callable[[], None]
) -> tuple[Answer, ...]:
    """C-STORE each file, in the order given; the answer to each, up to where the association broke off.

    ``begin`` is called when the association stands.  Raises Undelivered where there is none.
    """
    from pydicom import dcmread

    files = [(result, dcmread(result.path)) for result in results]
    contexts = {(str(d.SOPClassUID), str(d.file_meta.TransferSyntaxUID)) for _, d in files}
    try:
        with _associated(destination, calling_aet, offers(contexts)) as association:
            begin()
            return tuple(_answers(association, [dataset for _, dataset in files]))
    except Refused as refused:
        if refused.code == "nothing-accepted":
            kinds = ", ".join(dict.fromkeys(result.kind for result in results))
            raise Undelivered(f"{_named(destination)} accepts none of the object types offered ({kinds}).") from refused
        raise Undelivered(f"Destination {destination.name}: {refused.reason}") from refused


def offers(written: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """What to propose for objects of these SOP classes and transfer syntaxes, each in a context of its own.

    Uncompressed as well, as PS3.5 10.1 asks for: there are archives that take no RLE.
    """
    return sorted({(sop_class, syntax) for sop_class, own in written for syntax in (own, *PLAIN)})


def _answers(association: Any, datasets: Sequence[Any]) -> Iterator[Answer]:
    accepted = {(str(cx.abstract_syntax), str(cx.transfer_syntax[0])) for cx in association.accepted_contexts}
    for dataset in datasets:
        sop_class, own = str(dataset.SOPClassUID), dataset.file_meta.TransferSyntaxUID
        if own.is_compressed and (sop_class, own) not in accepted and any((sop_class, p) in accepted for p in PLAIN):
            dataset.decompress(generate_instance_uid=False)  # the same object in another encoding
        try:
            answer = association.send_c_store(dataset)
        except ValueError:
            yield Answer(False, f"it accepts no {dataset.SOPClassUID.name}", final=True)
            continue
        except RuntimeError as error:
            yield Answer(False, f"the association broke off ({error})")
            return
        if "Status" not in answer:
            yield Answer(False, "no answer")
            return
        stored = answer.Status == 0 or answer.Status in WARNINGS
        final = not stored and any(answer.Status in statuses for statuses in FINAL)
        yield Answer(stored, f"C-STORE status 0x{answer.Status:04X}", final)


def find(results: Sequence[Result], destination: DimseDestination, calling_aet: str) -> bool | None:
    """Whether the archive lists every object; None where it does not answer C-FIND at the instance level.

    Raises Undelivered where there is no association.
    """
    try:
        with _associated(destination, calling_aet, [(STUDY_ROOT_FIND, "1.2.840.10008.1.2")]) as association:
            return all(_listed(association, result) for result in results)
    except Refused as refused:
        if refused.code == "nothing-accepted":
            return None
        raise Undelivered(f"Destination {destination.name}: {refused.reason}") from refused
    except RuntimeError as error:  # the association broke off
        raise Undelivered(f"{_named(destination)} did not answer C-FIND: {error}") from error


def _listed(association: Any, result: Result) -> bool:
    from pydicom import Dataset

    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = result.study_instance_uid
    query.SeriesInstanceUID = result.series_instance_uid
    query.SOPInstanceUID = result.sop_instance_uid
    found = finished = False
    for status, answer in association.send_c_find(query, STUDY_ROOT_FIND):
        if status and status.Status in PENDING and answer is not None:
            found = found or answer.get("SOPInstanceUID") == result.sop_instance_uid
        finished = bool(status) and status.Status == 0
    if not finished:
        raise RuntimeError("it did not finish its answer")
    return found


@contextmanager
def _associated(destination: DimseDestination, calling_aet: str, offers: Sequence[tuple[str, str]]) -> Iterator[Any]:
    from dicom_node.deliver.association import Peer

    peer = Peer(
        destination.host,
        destination.port,
        calling_aet,
        destination.ae_title,
        retry_for_s=0.0,  # the workflow repeats
        negotiation_timeout_s=destination.timeout_s,
        dimse_timeout_s=destination.timeout_s,
    )
    association = peer.associate(offers)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _named(destination: DimseDestination) -> str:
    return f"{destination.name} ({destination.ae_title} at {destination.host}:{destination.port})"
