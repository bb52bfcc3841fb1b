"""Bounds on what is received and read."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.conformance.markdown import table
from dicom_node.commands import send
from dicom_node.config import Settings
from inference.geometry import regrid
from inference.reading import elements, keywords, part10, pixels, values
from inference.regions import seg, structures


def limits() -> str:
    """Bounds on what is received and read, before memory is taken."""
    receive = Settings().receive
    mebibyte = 1 << 20
    rows: list[Sequence[object]] = [
        ("Data set of one instance", f"{receive.max_instance_mb} MiB", "receive.max_instance_mb"),
        ("Free disk space kept", f"{receive.disk_reserve_mb} MiB", "receive.disk_reserve_mb"),
        ("File meta information", f"{part10.META_MOST // 1024} KiB", "fixed"),
        ("Deflated data set, inflated", f"{part10.INFLATED_MOST // mebibyte} MiB", "fixed"),
        ("Sequences inside sequences", elements.DEEPEST, "fixed"),
        ("Elements of a data set", f"{elements.MOST_ELEMENTS:,}", "fixed"),
        ("Header values kept of an instance", f"{values.MOST_BYTES // mebibyte} MiB", "fixed"),
        ("One header value", f"{values.LONGEST // 1024} KiB; longer ones are left out", "fixed"),
        ("Frames of an enhanced CT or PET", f"{keywords.MOST_FRAMES:,}", "fixed"),
        ("Voxels of a volume", f"{pixels.MOST_VOXELS:,}", "fixed"),
        ("Voxels of a segmentation", f"{seg.MOST_VOXELS:,}", "fixed"),
        ("RT Structure Set", f"{structures.MOST_BYTES // mebibyte} MiB, {structures.MOST_POINTS:,} points", "fixed"),
        ("Tilted gantry of a CT", f"{regrid.MOST_TILT_DEG:g}°", "fixed"),
        (
            "Gap between CT slices",
            f"{regrid.WIDEST_GAP_MM:g} mm and {regrid.WIDEST_GAP_SLICES:g} times the usual distance",
            "fixed",
        ),
        ("Proposed contexts of an association of ours", send.CONTEXTS_PER_ASSOCIATION, "fixed"),
    ]
    return table(("What", "At most", "Set by"), rows)
