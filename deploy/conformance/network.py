"""What is spoken on the wire: tables of services, contexts, statuses, limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from pydicom.uid import UID
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from deploy.conformance.attributes import kinds
from deploy.conformance.iods import extends, name_of, sop_class_of
from deploy.conformance.markdown import code, table
from deploy.conformance.specimens import specimens
from dicom_node import NODE_VERSION
from dicom_node.config import Settings
from dicom_node.deliver import dimse
from dicom_node.deliver.association import Peer
from dicom_node.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from dicom_node.receive import scp
from dicom_node.receive.admission import STORAGE_CLASSES, TRANSFER_SYNTAXES
from dicom_node.report import codes
from dicom_node.sections import DimseDestination
from dicom_node.workflow import DELIVERIES_AT_ONCE

RECEIVED, SENT, MESSAGES = "R", "S", "M"  # sets of transfer syntaxes
IMPLICIT = "1.2.840.10008.1.2"


def product() -> str:
    """What the statement is of."""
    return table(
        ("", ""),
        [
            ("Product", "petct-node"),
            ("Version", NODE_VERSION),
            ("Manufacturer (0008,0070) in its objects", codes.MANUFACTURER),
            ("Implementation Class UID", code(IMPLEMENTATION_CLASS_UID)),
            ("Implementation Version Name", code(IMPLEMENTATION_VERSION)),
            ("Intended use", f"{codes.RESEARCH_USE_ONLY}; not a medical device"),
        ],
    )


def sop_classes() -> str:
    """PS3.2 table N.1-1: storage SOP classes, how they are transferred, and what for."""
    created = {sop_class_of(kind) for kind in kinds()}
    return table(
        ("SOP class", "UID", "Transfer syntaxes", "As SCP", "As SCU", "Created", "Processed"),
        [
            (
                name_of(uid),
                code(uid),
                ", ".join([RECEIVED] * (uid in STORAGE_CLASSES) + [SENT] * (uid in created)),
                "yes" if uid in STORAGE_CLASSES else "",
                "yes" if uid in created else "",
                _how_created(uid) if uid in created else "",
                "yes" if uid in STORAGE_CLASSES else "",
            )
            for uid in sorted({*STORAGE_CLASSES, *created}, key=_by_number)
        ],
    )


def _by_number(uid: str) -> list[int]:
    return [int(part) for part in uid.split(".")]


def _how_created(uid: str) -> str:
    """Standard, or Standard Extended (PS3.2 7.3) where an attribute is added that its IOD does not have."""
    return "SE" if any(extends(kind) for kind in kinds() if sop_class_of(kind) == uid) else "S"


def transfer_syntaxes() -> str:
    """PS3.2 table N.1-2."""
    sent = {syntax for _, syntax in dimse.offers(contexts_sent())}
    every = [*TRANSFER_SYNTAXES, *sorted(sent - set(TRANSFER_SYNTAXES))]
    return table(
        ("Transfer syntax", "UID", "Sets"),
        [
            (
                name_of(uid),
                code(uid),
                ", ".join(
                    [RECEIVED] * (uid in TRANSFER_SYNTAXES) + [SENT] * (uid in sent) + [MESSAGES] * (uid == IMPLICIT)
                ),
            )
            for uid in every
        ],
    )


@cache
def contexts_sent() -> tuple[tuple[str, str], ...]:
    """(SOP Class UID, Transfer Syntax UID) of every object really written."""
    return tuple(
        sorted(
            {
                (str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID))
                for specimen in specimens()
                for found in specimen.objects.values()
                for ds in found
            }
        )
    )


def services() -> str:
    """The DIMSE services, by role."""
    return table(
        ("Service", "SOP class", "SCU", "SCP", "Used for"),
        [
            (
                "Verification",
                code(Verification),
                "yes",
                "yes",
                "`petct-node doctor` and the demo ask; senders may ask us",
            ),
            ("Storage", "as above", "yes", "yes", "images and regions in; results out"),
            (
                "Query, study root, FIND",
                code(StudyRootQueryRetrieveInformationModelFind),
                "yes",
                "no",
                "whether an archive lists the results just sent, at the IMAGE level",
            ),
        ],
    )


def acceptor() -> str:
    """Association parameters as SCP (PS3.2 table N.7-2)."""
    settings = Settings()
    entity, receive = scp.application_entity(settings), settings.receive
    return table(
        ("Parameter", "Value", "Set by"),
        [
            *_common(entity),
            ("Maximum PDU length we receive", f"{entity.maximum_pdu_size} bytes", "fixed"),
            ("Associations at once", f"{entity.maximum_associations} for each process", "receive.max_associations"),
            ("Processes that accept", receive.processes, "receive.processes"),
            ("Connections that wait to be accepted", scp.BACKLOG, "fixed"),
            ("Time to negotiate", f"{entity.acse_timeout:g} s", "receive.acse_timeout_s"),
            ("Silence after which we abort", f"{entity.dimse_timeout:g} s", "receive.idle_timeout_s"),
            ("Time to finish a C-STORE when the node stops", f"{scp.DRAIN_S:g} s", "fixed"),
            ("Outstanding operations", "1 (no asynchronous operations window)", "fixed"),
            ("Called AE title", f"must be ours, {code(receive.ae_title)} by default", "receive.ae_title"),
            (
                "Calling AE title and address",
                "of the list of peers; without one anyone on loopback",
                "receive.peers",
            ),
        ],
    )


def initiator() -> str:
    """Association parameters as SCU."""
    by_default = DimseDestination(name="archive", host="archive", port=104, ae_title="ARCHIVE")
    entity = Peer("archive", 104, "PETCTNODE", "ARCHIVE", 0.0).entity()
    return table(
        ("Parameter", "Value", "Set by"),
        [
            *_common(entity),
            (
                "Maximum PDU length we receive",
                f"{entity.maximum_pdu_size} bytes",
                "fixed",
            ),
            (
                "Associations at once",
                f"{DELIVERIES_AT_ONCE} a destination; `petct-node send`: as asked",
                "--associations",
            ),
            ("Calling AE title", "ours; of `petct-node send` PETCTSEND", "receive.ae_title, --calling"),
            ("Time to connect and negotiate, delivery", f"{by_default.timeout_s:g} s", "timeout_s of the destination"),
            ("Time for each answer, delivery", f"{by_default.timeout_s:g} s", "timeout_s of the destination"),
            (
                "The same, `petct-node send`",
                f"{entity.acse_timeout:g} s and {entity.dimse_timeout:g} s",
                "fixed",
            ),
            ("Outstanding operations", "1", "fixed"),
        ],
    )


def _common(entity: object) -> Iterator[tuple[object, ...]]:
    yield "Application context", code("1.2.840.10008.3.1.1.1"), "fixed"
    yield "Implementation Class UID", code(getattr(entity, "implementation_class_uid", "")), "fixed"
    yield "Implementation Version Name", code(getattr(entity, "implementation_version_name", "")), "fixed"


# of pynetdicom (PS3.8 table 9-21): result, source, reason
REJECTED_CALLED_AE, REJECTED_LIMIT = (1, 1, 7), (2, 3, 2)


def rejections() -> str:
    """A-ASSOCIATE-RJ that we answer with (PS3.8 9.3.4)."""
    results, sources = {1: "permanent", 2: "transient"}, {1: "service user", 3: "service provider (presentation)"}
    conditions = (
        (scp.REJECTED_CALLING_AE, "calling AE title not recognised", "No peer of the list has this title and address."),
        (REJECTED_CALLED_AE, "called AE title not recognised", "The called AE title is not ours."),
        (REJECTED_LIMIT, "local limit exceeded", "As many associations are open as are allowed; try again."),
    )
    return table(
        ("Result", "Source", "Reason", "When"),
        [
            (f"{result} {results[result]}", f"{source} {sources[source]}", f"{reason} {meaning}", when)
            for (result, source, reason), meaning, when in conditions
        ],
    )


def contexts_accepted() -> str:
    """Presentation contexts as SCP."""
    return table(
        ("Abstract syntax", "UID", "Transfer syntaxes", "Role"),
        [
            (
                name_of(str(context.abstract_syntax)),
                code(context.abstract_syntax),
                _named(context.transfer_syntax),
                "SCP",
            )
            for context in scp.application_entity(Settings()).supported_contexts
        ],
    )


def _named(syntaxes: Sequence[str]) -> str:
    if set(map(str, syntaxes)) == set(TRANSFER_SYNTAXES):
        return f"set {RECEIVED}"
    return ", ".join(UID(str(syntax)).name for syntax in syntaxes)


def contexts_proposed() -> str:
    """Presentation contexts as SCU of a delivery: one for each pair, with this one transfer syntax."""
    return table(
        ("Abstract syntax", "UID", "Transfer syntax", "Role"),
        [
            *(
                (name_of(uid), code(uid), f"{UID(syntax).name} {code(syntax)}", "SCU")
                for uid, syntax in dimse.offers(contexts_sent())
            ),
            *(
                (name_of(uid), code(uid), f"{UID(IMPLICIT).name} {code(IMPLICIT)}", "SCU")
                for uid in (dimse.STUDY_ROOT_FIND, str(Verification))
            ),
        ],
    )
