"""Read our results back from an Orthanc, over its REST interface, as anybody else would find them."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np

from dicom_node.report import ResultSummary, summarise
from inference.facts import Refused

OUR_MODEL_NAME = "petct-node"
TIMEOUT_S = 60.0


def fetch_results(orthanc_url: str, study_instance_uid: str, folder: Path) -> tuple[ResultSummary, ...]:
    """Download every object of the study that petct-node made into ``folder``, and read each.

    A result is known by its Manufacturer's Model Name (0008,1090), not by its series' name.  Raises ``Refused``
    (archive-unreachable), and those of ``summarise`` where a file cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    query = {"StudyInstanceUID": study_instance_uid, "ManufacturerModelName": OUR_MODEL_NAME}
    paths = []
    try:
        with httpx.Client(base_url=orthanc_url, timeout=TIMEOUT_S) as client:
            found = client.post("/tools/find", json={"Level": "Instance", "Query": query}).raise_for_status().json()
            for identifier in found:
                path = folder / f"{identifier}.dcm"
                path.write_bytes(client.get(f"/instances/{identifier}/file").raise_for_status().content)
                paths.append(path)
    except httpx.HTTPError as error:
        raise Refused("archive-unreachable", f"Orthanc at {orthanc_url} does not answer: {error}.") from None
    named = []
    for summary in summarise(paths):
        path = folder / f"{summary.kind}.dcm"
        if path in named:  # of another run
            path = path.with_stem(f"{summary.kind}-{summary.sop_instance_uid}")
        named.append(Path(summary.path).rename(path))
    return summarise(named)


def write_png(capture: Path, png: Path) -> None:
    """The picture of a single-frame RGB Secondary Capture as PNG."""
    import pydicom
    from PIL import Image

    pixels = np.asarray(pydicom.dcmread(capture).pixel_array, np.uint8)
    Image.fromarray(pixels).save(png, format="PNG")
