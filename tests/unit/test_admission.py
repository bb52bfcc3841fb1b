"""Who may send what."""

from __future__ import annotations

import pytest
from pydicom.uid import UID
from pynetdicom import sop_class

from dicom_node.receive.admission import STORAGE_CLASSES, TRANSFER_SYNTAXES, check_command, is_admitted
from dicom_node.sections import Peer
from inference.facts import Refused

CT = "1.2.840.10008.5.1.4.1.1.2"
PET = "1.2.840.10008.5.1.4.1.1.128"
PEERS = (Peer(ae_title="SCANNER", address="10.1.2.0/24"), Peer(ae_title="PACS", address=None))


@pytest.mark.parametrize(
    ("title", "address", "admitted"),
    [
        ("SCANNER", "10.1.2.77", True),
        ("SCANNER", "::ffff:10.1.2.77", True),
        ("SCANNER", "10.1.3.77", False),
        ("SCANNER", "127.0.0.1", False),
        ("PACS", "192.168.7.7", True),
        ("pacs", "192.168.7.7", False),
        ("OTHER", "10.1.2.77", False),
    ],
)
def test_named_peers(title: str, address: str, admitted: bool) -> None:
    assert is_admitted(PEERS, title, address) is admitted


@pytest.mark.parametrize(
    ("address", "admitted"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.1.2.3", False),
        ("10.1.2.3", False),
    ],
)
def test_without_peers_only_loopback(address: str, admitted: bool) -> None:
    assert is_admitted((), "ANYONE", address) is admitted


def test_accepted_classes_and_syntaxes_are_what_they_are_called() -> None:
    for uid, name in STORAGE_CLASSES.items():
        assert getattr(sop_class, f"{name} Storage".replace(" ", "")) == uid
    assert all(UID(uid).is_transfer_syntax and not UID(uid).is_private for uid in TRANSFER_SYNTAXES)
    assert len(set(TRANSFER_SYNTAXES)) == len(TRANSFER_SYNTAXES)


def test_command_must_name_the_class_of_its_context() -> None:
    check_command(CT, "1.2.3", CT)
    check_command(CT, "1.02.003", CT)
    with pytest.raises(Refused, match="identity-mismatch"):
        check_command(CT, "1.2.3", PET)


@pytest.mark.parametrize("uid", ["", "1.2.x", "../1", "1" * 65, "1.2.3\n"])
def test_uid_must_be_digits_and_dots(uid: str) -> None:
    with pytest.raises(Refused, match="uid-invalid"):
        check_command(CT, uid, CT)
