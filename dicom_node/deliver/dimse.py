"""Deliver to any archive by C-STORE (DICOM PS3.4 B), and ask it by C-FIND (PS3.4 C) where it answers that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dicom_node.config import DimseDestination
from dicom_node.deliver.errors import Undelivered
from inference.facts import Result

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
WARNINGS = {0xB000, 0xB006, 0xB007}  # stored, with a remark (PS3.4 Table B.2-1)
PENDING = {0xFF00, 0xFF01}


def store(results: Sequence[Result], destination: DimseDestination, calling_aet: str) -> tuple[int, ...]:
    """C-STORE each file, in the order given; the status of each, all of them Success or a warning.

    Raises Undelivered where there is no association, an object is not accepted, or the status is a failure.
    """
    from pydicom import dcmread

    files = [(result, dcmread(result.path)) for result in results]
    contexts = sorted({(str(d.SOPClassUID), str(d.file_meta.TransferSyntaxUID)) for _, d in files})
    statuses = []
    with _associated(destination, calling_aet, contexts) as association:
        for result, dataset in files:
            try:
                answer = association.send_c_store(dataset)
            except ValueError as error:  # no accepted context for this SOP class and transfer syntax
                raise Undelivered(f"{_named(destination)} does not take the {result.kind} object: {error}") from error
            status = answer.Status if "Status" in answer else None
            if status is None:
                raise Undelivered(f"{_named(destination)} gave no answer to the {result.kind} object.")
            if status != 0 and status not in WARNINGS:
                raise Undelivered(f"{_named(destination)} answered 0x{status:04X} to the {result.kind} object.")
            statuses.append(int(status))
    return tuple(statuses)


def find(results: Sequence[Result], destination: DimseDestination, calling_aet: str) -> bool | None:
    """Whether the archive lists every object; None where it does not answer C-FIND at the instance level.

    Raises Undelivered where there is no association.
    """
    with _associated(destination, calling_aet, [(STUDY_ROOT_FIND, "1.2.840.10008.1.2")]) as association:
        if not association.accepted_contexts:
            return None
        return all(_listed(association, result) for result in results)


def _listed(association: Any, result: Result) -> bool:
    from pydicom import Dataset

    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = result.study_instance_uid
    query.SeriesInstanceUID = result.series_instance_uid
    query.SOPInstanceUID = result.sop_instance_uid
    found = False
    for status, answer in association.send_c_find(query, STUDY_ROOT_FIND):
        if status and status.Status in PENDING and answer is not None:
            found = found or answer.get("SOPInstanceUID") == result.sop_instance_uid
    return found


@contextmanager
def _associated(destination: DimseDestination, calling_aet: str, contexts: Sequence[tuple[str, str]]) -> Iterator[Any]:
    from pynetdicom import AE

    entity = AE(ae_title=calling_aet)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = destination.timeout_s
    entity.connection_timeout = destination.timeout_s
    for sop_class, syntax in contexts:
        entity.add_requested_context(sop_class, syntax)
    association = entity.associate(destination.host, destination.port, ae_title=destination.ae_title)
    if not association.is_established and not _only_contexts_rejected(association):
        raise Undelivered(f"{_named(destination)} did not accept an association.")
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _only_contexts_rejected(association: Any) -> bool:
    """pynetdicom aborts an association that was accepted without a single presentation context."""
    return bool(association.rejected_contexts) and not association.is_rejected


def _named(destination: DimseDestination) -> str:
    return f"{destination.name} ({destination.ae_title} at {destination.host}:{destination.port})"
