"""Open an association as SCU (PS3.8), and say in words why one could not be opened."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from typing import Any

import pynetdicom
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification
from tenacity import (
    RetryError,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_delay,
    stop_when_event_set,
    wait_exponential,
)

from dicom_node.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from inference.facts import Refused

DIMSE_TIMEOUT_S = 60.0
NEGOTIATION_TIMEOUT_S = 20.0


class _TryAgain(Exception):  # noqa: N818 - not an error: a reason to knock again
    """The peer cannot be spoken to now, but may be soon."""


class Peer:
    """Where to send: opens associations, and knows why one could not be opened.

    ``given_up``: whoever sets it ends the retries of every thread at once.
    """

    def __init__(
        self,
        host: str,
        port: int,
        calling_aet: str,
        called_aet: str,
        retry_for_s: float,
        *,
        negotiation_timeout_s: float = NEGOTIATION_TIMEOUT_S,
        dimse_timeout_s: float = DIMSE_TIMEOUT_S,
    ) -> None:
        self.host, self.port = host, port
        self.calling_aet, self.called_aet = calling_aet, called_aet
        self.retry_for_s = retry_for_s
        self.given_up = threading.Event()
        self.negotiation_timeout_s, self.dimse_timeout_s = negotiation_timeout_s, dimse_timeout_s

    def associate(self, offers: Sequence[tuple[str, str]]) -> Any:
        """An established association that proposes each offer in a context of its own; retries while nobody answers.

        Raises ``Refused``: peer-unreachable, association-rejected.
        """
        again = Retrying(
            stop=stop_after_delay(self.retry_for_s) | stop_when_event_set(self.given_up),
            sleep=sleep_using_event(self.given_up),
            wait=wait_exponential(multiplier=0.1, max=2.0),
            retry=retry_if_exception_type(_TryAgain),
        )
        try:
            return again(self._associate_once, offers)
        except RetryError as error:
            raise Refused(
                "peer-unreachable",
                f"No association with {self.called_aet} at {self.host}:{self.port} within {self.retry_for_s:.0f} s: "
                f"{error.last_attempt.exception()}. Check that the receiver runs and that host and port are right.",
            ) from None

    def entity(self) -> Any:
        """What we negotiate as requestor; one implementation has one class UID, in every role (PS3.7 D.3.3.2)."""
        entity = pynetdicom.AE(self.calling_aet)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION
        entity.acse_timeout = entity.connection_timeout = self.negotiation_timeout_s
        entity.dimse_timeout = entity.network_timeout = self.dimse_timeout_s
        return entity

    def _associate_once(self, offers: Sequence[tuple[str, str]]) -> Any:
        self._knock()
        association = self.entity().associate(
            self.host,
            self.port,
            contexts=[build_context(UID(sop_class), UID(syntax)) for sop_class, syntax in offers],
            ae_title=self.called_aet,
            evt_handlers=[(evt.EVT_CONN_OPEN, _send_at_once)],
        )
        if association.is_established:
            return association
        if association.is_rejected:
            answer = association.acceptor.primitive
            reason = f"{answer.result_str}, {answer.source_str}: {answer.reason_str}"
            if answer.result == 2:  # rejected-transient, PS3.8 9.3.4
                raise _TryAgain(reason)
            raise Refused(
                "association-rejected",
                f"{self.host}:{self.port} rejected the association ({reason}). Check the AE titles "
                f"(calling {self.calling_aet}, called {self.called_aet}) and that the peer knows this sender.",
            )
        answer = association.acceptor.primitive
        if answer is not None and answer.result == 0:  # accepted, but none of our contexts: pynetdicom aborts then
            raise Refused(
                "nothing-accepted",
                f"{self.called_aet} at {self.host}:{self.port} accepts none of the {len(offers)} object types offered.",
            )
        raise _TryAgain("the peer closed the connection during negotiation (a TLS port, or not a DICOM port?)")

    def _knock(self) -> None:
        """See first that somebody listens: pynetdicom hides the reason, and leaks the socket, where nobody does."""
        try:
            socket.create_connection((self.host, self.port), self.negotiation_timeout_s).close()
        except OSError as error:
            raise _TryAgain(error.strerror or str(error)) from None


def _send_at_once(event: Any) -> None:
    """No waiting for more: command and data set are two small writes, and Nagle's delay costs 40 ms a file."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def echo(host: str, port: int, *, calling_aet: str = "PETCTSEND", called_aet: str = "PETCTNODE") -> bool:
    """Whether the peer answers a C-ECHO (PS3.4 Annex A) with Success, now; never raises for a peer that does not."""
    try:
        association = Peer(host, port, calling_aet, called_aet, 0.0).associate([(Verification, ImplicitVRLittleEndian)])
    except Refused:
        return False
    try:
        answer = association.send_c_echo()
        return "Status" in answer and answer.Status == 0x0000
    except RuntimeError:
        return False
    finally:
        if association.is_established:
            association.release()
