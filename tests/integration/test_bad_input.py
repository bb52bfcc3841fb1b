"""Hostile and broken data sets, sent to a node beside a good study: each has its answer, and the good its result."""

from __future__ import annotations

import json
import struct
import threading
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import psutil
import pytest
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA

from dicom_node.commands.offline import analyse_folder
from dicom_node.config import Settings
from dicom_node.demo.node_process import NodeProcess
from dicom_node.demo.orthanc_process import PrivateOrthanc
from dicom_node.errors import ROWS
from dicom_node.index import Index
from dicom_node.ledger import Ledger
from tests.images import CT_IMAGE, PET_IMAGE
from tests.made_series import ct_image
from tests.node_run import KINDS, dicom_files, events, objects, send, wait_for
from training.phantom.study import write_phantom_study

NODE_SETTINGS = "[assemble]\nquiet_s = 3\ngive_up_s = 6\n"
EXPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
STORED, WRONG_CLASS, NOT_UNDERSTOOD = 0x0000, 0xA900, 0xC000
# bytes of any process that receives or coordinates: about 0.15 GB when idle; the bomb would inflate to 0.3 GB
MOST_MEMORY = 1 << 29
UID = "1.2.826.0.1.3680043.8.498.66."


@dataclass(frozen=True)
class Hostile:
    """One data set and what must become of it.

    ``status``: of its C-STORE.  ``aside``: the code with which it is set aside, "" where it is kept or not taken.
    """

    name: str
    status: int
    aside: str
    data: bytes | None
    study: str
    sop_instance: str
    sop_class: str = CT_IMAGE
    syntax: str = EXPLICIT


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """Explicit VR, little endian; ``length`` where it is a lie."""
    stated = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    long = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    return head + (struct.pack("<xxL", stated) if long else struct.pack("<H", stated)) + value


def nested(depth: int) -> bytes:
    value = b""
    for _ in range(depth):
        value = element(0x00091010, b"SQ", b"\xfe\xff\x00\xe0" + struct.pack("<L", len(value)) + value)
    return value


def bomb(data: bytes, mebibytes: int = 300) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = [packer.compress(bytes(1 << 20)) for _ in range(mebibytes)]
    return packer.compress(data) + b"".join(zeros) + packer.flush()


class Slice:
    """The bytes of a good CT slice of a study of its own, to be damaged."""

    def __init__(self, number: int) -> None:
        self.study = f"{UID}{number}"
        ds = ct_image(1, study=self.study, series=f"{self.study}.1", edge=8)
        buffer = BytesIO()
        ds.save_as(buffer, enforce_file_format=True)
        data = buffer.getvalue()
        self.sop_instance = str(ds.SOPInstanceUID)
        self.data = data[144 + int.from_bytes(data[140:144], "little") :]

    def with_(self, extra: bytes, before: bytes) -> bytes:
        """With ``extra`` in front of the element that begins with ``before``."""
        at = self.data.index(before)
        return self.data[:at] + extra + self.data[at:]


PATIENT, PIXEL_FORMAT = b"\x10\x00\x10\x00PN", b"\x28\x00\x02\x00US"  # before and behind what names the instance


def hostiles() -> list[Hostile]:
    item = b"\xfe\xff\x00\xe0\0\0\0\0"
    private = b"".join(element(0x00111000 + n % 0xE000, b"SH", b"") for n in range(100_000))
    endless = element(0x00091010, b"UN", b"", 0xFFFFFFF0)
    inside = {
        "nested 4,000 deep": (STORED, "nesting-too-deep", nested(4000)),
        "100,000 private elements": (STORED, "", private),
        "10,000 sequences": (STORED, "", element(0x00111010, b"SQ", item) * 10_000),
        "10,000 items where one is expected": (STORED, "", element(0x00540016, b"SQ", item * 10_000)),
        "400,000 items that would be kept": (STORED, "too-many-elements", element(0x00540016, b"SQ", item * 400_000)),
        "4 GiB claimed": (STORED, "unreadable-truncated", endless),
    }
    found = []
    for n, (name, (status, aside, extra)) in enumerate(inside.items()):
        good = Slice(n)
        found.append(Hostile(name, status, aside, good.with_(extra, PIXEL_FORMAT), good.study, good.sop_instance))
    unnamed = {"nested before it is named": nested(4000), "4 GiB claimed before it is named": endless}
    for n, (name, extra) in enumerate(unnamed.items(), 10):
        good = Slice(n)
        found.append(Hostile(name, NOT_UNDERSTOOD, "", good.with_(extra, PATIENT), good.study, good.sop_instance))
    good = Slice(20)
    where = (good.study, good.sop_instance)
    other = f"{good.study}.1.2"
    renamed = good.data.replace(good.sop_instance.encode(), other.encode())
    unsaid = element(0x00020003, b"UI", other.encode() + b"\0" * (len(other) % 2))
    placeless = Slice(22).data.replace(b"0\\0\\3.27", b"nan\\1\\1 ")
    path = b"../../../etc/passwd".ljust(len(good.study), b"x")
    return [
        *found,
        Hostile("cut short", STORED, "unreadable-truncated", Slice(21).data[:-40], Slice(21).study, f"{UID}21.1.1"),
        Hostile("position that is no number", STORED, "", placeless, f"{UID}22", f"{UID}22.1.1"),
        Hostile("a bomb", NOT_UNDERSTOOD, "", bomb(good.data), *where, syntax=DEFLATED),
        Hostile("called a PET, but a CT", WRONG_CLASS, "", good.data, *where, sop_class=PET_IMAGE),
        Hostile("named otherwise than the command", WRONG_CLASS, "", renamed, *where),
        Hostile("a meta header in it that unsays the command", NOT_UNDERSTOOD, "", unsaid + renamed, *where),
        Hostile("a UID that is a path", NOT_UNDERSTOOD, "", good.data.replace(good.study.encode(), path), *where),
        Hostile("no data set", NOT_UNDERSTOOD, "", None, *where),
        Hostile("no byte", NOT_UNDERSTOOD, "", b"", *where),
        Hostile("noise", NOT_UNDERSTOOD, "", bytes(range(256)) * 40, *where),
        Hostile("zeros", NOT_UNDERSTOOD, "", bytes(100_000), *where),
    ]  # fmt: skip


def store(port: int, one: Hostile) -> int:
    """C-STORE these bytes as they are, in an association of their own; the status of the answer, -1 where none came."""
    entity = AE("HOSTILE")
    entity.add_requested_context(one.sop_class, one.syntax)
    opened = entity.associate("127.0.0.1", port, ae_title="PETCTNODE")
    assert opened.is_established
    request = C_STORE()
    request.MessageID, request.Priority = 1, 0
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = one.sop_class, one.sop_instance
    request.DataSet = None if one.data is None else BytesIO(one.data)
    raw = opened.dul.socket.socket
    opened._reactor_checkpoint.clear()  # as pynetdicom's own send_c_store does: the answer is ours to take
    try:
        context = opened.accepted_contexts[0].context_id
        opened.dimse.send_msg(request, context)
        if one.data == b"":  # announced, but pynetdicom sends no fragment for it
            last = P_DATA()
            last.presentation_data_value_list = [[context, b"\x02"]]
            opened.dul.send_pdu(last)
        _, answer = opened.dimse.get_msg(block=True)
    finally:
        opened._reactor_checkpoint.set()
        opened.release()
        raw.close()
    return -1 if answer is None or answer.Status is None else int(answer.Status)


def processes(node: NodeProcess) -> dict[int, psutil.Process]:
    """The node's supervisor and all it started, but the analyst's children, which come and go."""
    supervisor = psutil.Process(int(str(node.state["pid"])))
    return {p.pid: p for p in (supervisor, *supervisor.children())}


@pytest.mark.peers
def test_hostile_data_sets_beside_a_good_study(node: NodeProcess, orthanc: PrivateOrthanc, tmp_path: Path) -> None:
    study = write_phantom_study(tmp_path, seed=11).study_instance_uid
    before = processes(node)
    hostile = hostiles()
    answers: dict[str, int] = {}

    def attack() -> None:
        for one in hostile:
            answers[one.name] = store(node.port, one)

    attacker = threading.Thread(target=attack)
    attacker.start()
    send(node.port, dicom_files(tmp_path), associations=2)
    attacker.join()
    assert answers == {one.name: one.status for one in hostile}

    wait_for(lambda: "confirmed" in events(node, study))
    ledger, index = Ledger(node.index_file), Index(node.index_file)
    try:
        (run,) = ledger.runs(study)
        assert run["state"] == "done"
        assert len(objects(orthanc.http_url, study)) == len(KINDS)
        taken = [one for one in hostile if one.status == STORED]
        wait_for(lambda: all(index.study_instances(o.study) or index.study_set_aside(o.study) for o in taken))
        assert {o.name: [r.code for _, r in index.study_set_aside(o.study)] for o in taken} == {
            o.name: [o.aside] if o.aside else [] for o in taken
        }
        for uid in (o.study for o in taken if not o.aside):  # their story ends too: there is no PET
            wait_for(lambda uid=uid: "refused" in events(node, uid), 40)
    finally:
        ledger.close()
        index.close()
    after = processes(node)
    assert after.keys() == before.keys(), "nothing died, nothing was started again"
    assert max(p.memory_info().rss for p in after.values()) < MOST_MEMORY
    assert "a fault of the program" not in node.log.read_text(), "every answer was meant"


GARBAGE = {
    "empty": b"",
    "text": b"this is no DICOM file at all, whatever its name says\n" * 50,
    "prefix": bytes(128) + b"DICM",
    "prefix and noise": bytes(128) + b"DICM" + bytes(range(256)) * 20,
    "zeros": bytes(100_000),
    "dicomdir": bytes(128) + b"DICM\x02\0\x02\0UI\x14\x001.2.840.10008.1.3.10",
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(500),
    "archive": b"PK\x03\x04" + bytes(500),
    "group 2 without end": bytes(128) + b"DICM" + b"\x02\0\x01\0OB\0\0\xf0\xff\xff\xff",
}  # fmt: skip


def test_a_folder_of_garbage_is_refused_with_a_reason(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name, data in GARBAGE.items():
        (folder / f"{name}.dcm").write_bytes(data)
    (folder / "pipe is no file").symlink_to("/nowhere")
    (folder / "in itself").symlink_to(folder)
    for one in hostiles():
        if one.data is not None:
            header = (
                bytes(128) + b"DICM" + element(0x00020010, b"UI", one.syntax.encode() + b"\0" * (len(one.syntax) % 2))
            )
            (folder / f"{one.name[:40]}.dcm").write_bytes(header + one.data)
    answer = analyse_folder(folder, out, Settings())
    assert answer["status"] == "refused"
    assert answer["reason_code"] in ROWS
    json.dumps(answer, allow_nan=False)
