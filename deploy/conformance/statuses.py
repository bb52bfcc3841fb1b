"""What is answered, and what is done on an answer: tables of statuses."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.conformance.markdown import code, table
from dicom_node.commands import send
from dicom_node.config import Settings
from dicom_node.deliver import dimse, orthanc
from dicom_node.errors import NOT_UNDERSTOOD, OUT_OF_RESOURCES, ROWS, WRONG_CLASS
from dicom_node.sections import OrthancDestination

# reasons that a file may be refused for, but no C-STORE: they show of a folder, or the instance is set aside
OF_FILES = {
    "not-dicom",
    "no-preamble",
    "no-transfer-syntax",
    "media-directory",
    "pixel-data-missing",
    "pixel-data-short",
}
MEANINGS = {
    OUT_OF_RESOURCES: ("Failure", "Refused: Out of Resources"),
    WRONG_CLASS: ("Failure", "Error: Data Set does not match SOP Class"),
    NOT_UNDERSTOOD: ("Failure", "Error: Cannot Understand"),
}


def given() -> str:
    """PS3.2 table N.7-43: C-STORE statuses that we answer with, each with every condition."""
    rows: list[Sequence[object]] = [
        (
            "Success",
            "Success",
            code("0000"),
            "",
            "The instance lies on disk, synced, under its name; or the same bytes were here already. Or it cannot be "
            "used, though it can be identified: other content under a SOP Instance UID that is taken, pixel data short "
            "or absent, a fault further on in the data set. Then it is set aside with its reason, shown by "
            "`petct-node explain`.",
        )
    ]
    for status, (service, meaning) in MEANINGS.items():
        for row in ROWS.values():
            fault_of_ours = row.who == "developer" and row.code != "analysis-failed"  # one stands for all
            if row.dimse == status and not fault_of_ours and row.code not in OF_FILES:
                at_store = f"{row.concept.meaning}. {row.advice}"
                rows.append((service, meaning, code(f"{status:04X}"), code(row.code), at_store))
    return table(("Service status", "Further meaning", "Status", "Our reason", "Condition, and what to do"), rows)


def taken() -> str:
    """PS3.2 table N.7-42: what we do on each C-STORE status that a peer answers with."""
    warnings = ", ".join(code(f"{status:04X}") for status in sorted(dimse.WARNINGS))
    first, longest = Settings().deliver.retry_first_s, Settings().deliver.retry_longest_s
    final = ", ".join(code(_span(statuses)) for statuses in dimse.FINAL)
    again = f"Told as not delivered; tried again after {first:g} s, then twice as long each time up to {longest:g} s, "
    return table(
        ("Status", "Meaning", "Delivery of results", "`petct-node send`"),
        [
            (
                code("0000"),
                "Success",
                "The object counts as stored; then it is confirmed.",
                "Counted as sent.",
            ),
            (
                warnings,
                "Warning: stored with a remark",
                "As Success; the receipt tells the status.",
                "Counted as sent, and listed.",
            ),
            (
                "any other, and any failure",
                "Failure",
                again + "without end, what is lacking each time; the other objects go meanwhile. "
                f"An optional object to which the archive answers {final}, or of whose SOP class it accepts no context "
                "when it has taken all of the default set, is told as left out, and not sent again.",
                "Listed with the peer's words; not repeated. Exit code 4.",
            ),
            (
                "none",
                "No answer in time, or the association breaks",
                "As a failure.",
                f"A new association, and the file again, {send.TRIES_PER_FILE} tries in all.",
            ),
        ],
    )


def _span(statuses: range) -> str:
    return " to ".join(dict.fromkeys(f"{status:04X}" for status in (statuses[0], statuses[-1])))


def of_find() -> str:
    """What we do on each C-FIND status."""
    pending = ", ".join(code(f"{status:04X}") for status in sorted(dimse.PENDING))
    return table(
        ("Status", "Meaning", "What we do"),
        [
            (pending, "Pending, with an identifier", "Looked whether it names the object."),
            (
                code("0000"),
                "Success, complete",
                "Listed where an identifier named it; else the delivery is tried again.",
            ),
            ("any other", "Failure or cancelled", "Not confirmed: the delivery is tried again."),
            ("no context accepted", "The archive answers no such query", "The C-STORE statuses are the confirmation."),
        ],
    )


def of_rest() -> str:
    """The requests to Orthanc."""
    refused = ", ".join(map(str, sorted(orthanc.OF_THE_OBJECT)))
    by_default = OrthancDestination(name="orthanc", url="http://127.0.0.1:8042")
    return table(
        ("Request", "For", "Answers that count"),
        [
            ("`GET /system`", "whether it answers", "200"),
            (
                "`POST /instances`",
                "each object as a DICOM file, one a request",
                f"200: stored, or stored before. `FilteredOut`, and HTTP {refused}, are as a final failure of C-STORE",
            ),
            ("`POST /tools/lookup`", "where the object lies", "200 with an instance"),
            (
                "`GET /instances/{id}/file`",
                f"reading back, compared byte by byte; time-out {by_default.timeout_s:g} s a request",
                "200",
            ),
        ],
    )
