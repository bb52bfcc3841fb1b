"""The key image as a single-frame Secondary Capture (PS3.3 A.8.1)."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from dicom_node.report.evidence import Evidence
from dicom_node.report.objects.secondary_capture import SINGLE_FRAME, add_plain_image, capture
from dicom_node.report.pictures.colours import Pixels
from inference.facts import Instance

SERIES = (9020, "AI key image (research use only)")


def key_image_capture(pixels: Pixels, evidence: Evidence, sources: Sequence[Instance], what: str) -> Dataset:
    """``pixels`` (rows, columns, 3); ``what`` describes them, without patient data.

    Uncompressed: where a viewer or archive shows nothing else of ours, it shows this.
    """
    ds = capture(evidence, "key_image", SERIES, SINGLE_FRAME, what, sources)
    add_plain_image(ds, pixels)
    return ds
