"""The DICOM Storage SCP (PS3.4 annex B): receiver processes that share one listening socket.

Each process accepts on the socket its parent bound before any thread started.  A C-STORE is answered with Success only
when the spool has it durably; the index is written behind.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import socketserver
import threading
import time
import uuid
import weakref
from dataclasses import dataclass
from typing import Any

import pynetdicom
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association as Connection
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification
from pynetdicom.transport import AssociationServer

from dicom_node.config import Settings
from dicom_node.errors import row
from dicom_node.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from dicom_node.index import Arrival, Association, Fault, Index
from dicom_node.receive.admission import STORAGE_CLASSES, TRANSFER_SYNTAXES, check_command, is_admitted
from dicom_node.receive.arrivals import ArrivalWriter, recover_until_done
from dicom_node.receive.spool import Meta, Spool
from inference.facts import Refused

LOGGER = logging.getLogger(__name__)
BACKLOG = 128  # pynetdicom's own 5 turns away a scanner that opens many associations at once
LARGEST_PDU = 131072  # bytes, what DCMTK sends at most: fewer turns of the receiving loop
DRAIN_S = 20.0  # a C-STORE under way may take so long after SIGTERM
POLL_S = 0.25
REJECTED_CALLING_AE = (0x01, 0x01, 0x03)  # permanent, service user, calling AE title not recognised (PS3.8 9.3.4)
MEBIBYTE = 1 << 20


def open_socket(settings: Settings) -> socket.socket:
    """Bind the listening socket, in the parent, before any thread starts.

    Raises Refused (port-in-use) where the address cannot be bound.
    """
    host, port = settings.receive.host, settings.receive.port
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise Refused(
            "port-in-use",
            f"Cannot listen on {host}:{port}: {error.strerror or error}. Stop what uses the port, or set receive.host "
            "and receive.port to others.",
        ) from None
    listening.listen(BACKLOG)
    listening.setblocking(False)  # every process wakes for a connection, one gets it
    return listening


def serve_receivers(settings: Settings, sock: socket.socket, process_number: int) -> None:
    """Receive until SIGTERM, SIGINT or the parent's end; blocks, in the main thread of a process of its own.

    Then stop accepting, let each C-STORE under way be answered, write the index and return.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    parent = os.getppid()
    receiver = Receiver(settings, sock, process_number)
    receiver.start()
    while not stop.wait(POLL_S) and os.getppid() == parent:
        pass
    receiver.drain()


@dataclass(slots=True)
class _Link:
    """What we keep of one association.

    ``busy``: a message is arriving or not answered yet.  ``stored``: answered with Success.
    """

    association: Association
    busy: bool = False
    bytes_of_message: int = 0
    stored: int = 0
    ended: bool = False


class Receiver:
    """One receiver process."""

    def __init__(self, settings: Settings, sock: socket.socket, process_number: int) -> None:
        receive = settings.receive
        pynetdicom._config.LOG_HANDLER_LEVEL = "none"  # its handlers format every PDU, patient data included
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # a traceback for each peer that hangs up
        self._peers = receive.peers
        self._process = process_number
        self._most_bytes = receive.max_instance_mb * MEBIBYTE
        self._links: weakref.WeakKeyDictionary[Any, _Link] = weakref.WeakKeyDictionary()
        self._index = Index(settings.index_file)
        self._index.close_associations(process_number)
        self._spool = Spool(
            settings.spool_dir, reserve_bytes=receive.disk_reserve_mb * MEBIBYTE, most_bytes=self._most_bytes
        )
        self._arrivals = ArrivalWriter(self._spool, self._index)
        self._draining = threading.Event()
        self._server = application_entity(settings).make_server(
            sock.getsockname(),
            ae_title=receive.ae_title,
            evt_handlers=[
                (evt.EVT_REQUESTED, self._on_requested),
                (evt.EVT_C_STORE, self._on_store),
                (evt.EVT_PDU_RECV, self._on_pdu_received),
                (evt.EVT_PDU_SENT, self._on_pdu_sent),
                (evt.EVT_CONN_CLOSE, self._on_end),
                (evt.EVT_RELEASED, self._on_end),
                (evt.EVT_ABORTED, self._on_end),
            ],
            server_class=_SharedSocketServer,
            listening=sock,
            idle_timeout_s=receive.idle_timeout_s,
        )

    def start(self) -> None:
        """Accept associations, in threads; and look through the spool for what an earlier end left unwritten."""
        threading.Thread(target=self._server.serve_forever, args=(POLL_S,), name="accept", daemon=True).start()
        threading.Thread(target=self._recover, name="recover", daemon=True).start()
        LOGGER.info("receiver %d listens on port %d", self._process, self._server.server_address[1])

    def drain(self) -> None:
        """Stop accepting; end each association once its present message is answered; write the index."""
        self._draining.set()
        self._server.shutdown()
        deadline = time.monotonic() + DRAIN_S
        while connections := self._server.active_associations:
            for connection in connections:
                link = self._links.get(connection)
                if link is None or not link.busy or time.monotonic() > deadline:
                    connection.abort()
            time.sleep(0.01)
        self._server.server_close()
        self._arrivals.close()
        self._index.close()
        LOGGER.info("receiver %d has stopped", self._process)

    def _recover(self) -> None:
        if found := recover_until_done(self._spool, self._index, self._draining):
            LOGGER.info("%d instances of the spool were missing in the index", found)

    def _on_requested(self, event: evt.Event) -> None:
        connection: Connection = event.assoc
        title = str(connection.requestor.primitive.calling_ae_title).strip()
        address = connection.requestor.address
        if not is_admitted(self._peers, title, address):
            LOGGER.warning("%s at %s may not send here: name it in [[receive.peers]]", title, address)
            connection.acse.send_reject(*REJECTED_CALLING_AE)
            connection.kill()  # returns when the answer is sent: pynetdicom would close the connection under it
            return
        association = Association(uuid.uuid4().hex, self._process, title, address, time.time())
        self._links[connection] = _Link(association)

    def _on_store(self, event: evt.Event) -> int:
        """Answer one C-STORE: its DIMSE status."""
        try:
            return self._store(event)
        except Exception:  # an answer in any case: the sender must not take silence for success
            LOGGER.exception("a fault of the program while storing an instance")
            return row("analysis-failed").dimse

    def _store(self, event: evt.Event) -> int:
        link = self._links[event.assoc]
        request, context = event.request, event.context
        sop_instance_uid = str(request.AffectedSOPInstanceUID or "")
        try:
            check_command(str(request.AffectedSOPClassUID or ""), sop_instance_uid, str(context.abstract_syntax))
            if request.DataSet is None:
                raise Refused("no-data-set", "The C-STORE request carries no data set. Send the instance again.")
            meta = Meta(str(context.abstract_syntax), sop_instance_uid, str(context.transfer_syntax))
            stored = self._spool.store(meta, [event.encoded_dataset(include_meta=False)])
        except Refused as refused:
            self._tell(link, refused)
            self._arrivals.put(Fault(refused, time.time()))
            return row(refused.code).dimse
        link.stored += 1
        if stored.set_aside is not None:
            self._tell(link, stored.set_aside.refused)
            self._arrivals.put(Fault(stored.set_aside.refused, time.time(), stored.set_aside.path))
        elif stored.instance is not None:
            self._arrivals.put(Arrival(stored.instance, time.time(), link.association))
            if link.ended:  # it broke off while we stored: its end, told before, must not be undone by this row
                self._arrivals.put(link.association.id)
        return 0x0000

    def _tell(self, link: _Link, refused: Refused) -> None:
        sender = link.association
        LOGGER.warning("from %s at %s: %s (%s)", sender.calling_ae_title, sender.address, refused.reason, refused.code)

    def _on_pdu_received(self, event: evt.Event) -> None:
        link = self._links.get(event.assoc)
        if link is None or not isinstance(event.pdu, P_DATA_TF):
            return
        link.busy = True
        link.bytes_of_message += event.pdu.pdu_length
        if link.bytes_of_message > self._most_bytes + MEBIBYTE:
            LOGGER.warning("%s sends more than receive.max_instance_mb: aborted", link.association.calling_ae_title)
            event.assoc.abort()

    def _on_pdu_sent(self, event: evt.Event) -> None:
        link = self._links.get(event.assoc)
        if link is not None and isinstance(event.pdu, P_DATA_TF):
            link.busy = False
            link.bytes_of_message = 0

    def _on_end(self, event: evt.Event) -> None:
        link = self._links.get(event.assoc)
        if link is None or link.ended:
            return
        link.ended = True
        sender = link.association
        how = "released" if event.event is evt.EVT_RELEASED else "broken off"
        LOGGER.info("%s at %s: %d stored, %s", sender.calling_ae_title, sender.address, link.stored, how)
        if link.stored:
            self._arrivals.put(sender.id)


def application_entity(settings: Settings) -> ApplicationEntity:
    """What we negotiate as acceptor of an association: contexts, sizes, limits and times (PS3.8, PS3.7 annex D)."""
    receive = settings.receive
    entity = ApplicationEntity(receive.ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION
    entity.require_called_aet = True
    entity.maximum_associations = receive.max_associations
    entity.maximum_pdu_size = LARGEST_PDU
    entity.acse_timeout = receive.acse_timeout_s
    entity.dimse_timeout = receive.idle_timeout_s
    entity.network_timeout = receive.idle_timeout_s
    entity.supported_contexts = [
        build_context(Verification),
        *(build_context(uid, list(TRANSFER_SYNTAXES)) for uid in STORAGE_CLASSES),
    ]
    return entity


class _SharedSocketServer(AssociationServer):  # type: ignore[misc]
    """Accepts on a socket that other processes accept on too."""

    def __init__(self, *args: Any, listening: socket.socket, idle_timeout_s: float, **kwargs: Any) -> None:
        self._listening = listening
        self._idle_timeout_s = idle_timeout_s
        super().__init__(*args, **kwargs)

    def server_bind(self) -> None:
        """Take the given socket in place of the one just made."""
        vars(self)["socket"].close()
        self.socket = self._listening
        self.server_address = self._listening.getsockname()

    def server_activate(self) -> None:
        """It listens already."""

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept; OSError where another process was faster."""
        connection, address = self._listening.accept()
        connection.settimeout(self._idle_timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, address

    def shutdown(self) -> None:
        """Leave ``serve_forever``; the socket stays open for the others."""
        socketserver.BaseServer.shutdown(self)

    def server_close(self) -> None:
        """Close our copy of the socket; pynetdicom would shut it down for all processes."""
        self._listening.close()
