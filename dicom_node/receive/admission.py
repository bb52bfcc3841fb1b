"""Who may send what to us: pure rules, no I/O."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from dicom_node.sections import Peer, is_loopback
from inference.facts import Refused

STORAGE_CLASSES: dict[str, str] = {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image",
    "1.2.840.10008.5.1.4.1.1.128": "Positron Emission Tomography Image",
    "1.2.840.10008.5.1.4.1.1.128.1": "Legacy Converted Enhanced PET Image",
    "1.2.840.10008.5.1.4.1.1.130": "Enhanced PET Image",
    "1.2.840.10008.5.1.4.1.1.66.4": "Segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation",
    "1.2.840.10008.5.1.4.1.1.481.3": "RT Structure Set",
}
"""The storage SOP classes we accept (DICOM PS3.4 B.5)."""

TRANSFER_SYNTAXES: tuple[str, ...] = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian, retired
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, first-order prediction
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.201",  # High-Throughput JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.202",  # High-Throughput JPEG 2000 Lossless with RPCL
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.203",  # High-Throughput JPEG 2000
)
"""Accepted for every class, the plainest first (DICOM PS3.5 annex A)."""

UID = re.compile(r"[0-9.]{1,64}")


def is_admitted(peers: Sequence[Peer], calling_ae_title: str, address: str) -> bool:
    """Whether this calling AE title may send from this IP address; without peers anyone on loopback may."""
    address = address.removeprefix("::ffff:")  # IPv4 on a socket that listens on both
    if not peers:
        return is_loopback(address)
    return any(
        peer.ae_title == calling_ae_title and (peer.address is None or _in_network(address, peer.address))
        for peer in peers
    )


def _in_network(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return address == network


def check_command(sop_class_uid: str, sop_instance_uid: str, context_class_uid: str) -> None:
    """The C-STORE command must name the class of its presentation context and a well-formed instance.

    Leading zeros in UID components break PS3.5 9.1 but occur in the field: taken as opaque text.
    Raises Refused: identity-mismatch, uid-invalid.
    """
    if sop_class_uid != context_class_uid:
        raise Refused(
            "identity-mismatch",
            "The C-STORE command names another SOP class than its presentation context. Send the instance under the "
            "class it belongs to.",
            expected=context_class_uid,
            found=sop_class_uid,
        )
    if not UID.fullmatch(sop_instance_uid):
        raise Refused(
            "uid-invalid",
            "The SOP Instance UID of the C-STORE command is not 1 to 64 digits and dots (DICOM PS3.5 9). The sending "
            "software must correct it.",
        )
