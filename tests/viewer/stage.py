"""What the viewers are shown: a study and all its results in a real Orthanc, and the pages to look at."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import highdicom as hd
import httpx
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from dicom_node.commands.offline import analyse_folder
from dicom_node.config import Settings
from dicom_node.demo.orthanc_process import PrivateOrthanc
from dicom_node.report import write
from tests.viewer.shot import DWV_VIEW, FloatArray, Shot
from training.phantom.study import write_phantom_study

HERE = Path(__file__).parent
INSTALLED = HERE.parents[1] / ".cache" / "viewer"
SHOTS = INSTALLED / "shots"
RESULTS = INSTALLED / "results"

Page = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """A study with its results, each kind's files, and the source headers by SOP Instance UID."""

    study_instance_uid: str
    pet_series: str
    results: dict[str, list[Path]]
    headers: dict[str, Dataset]

    def dataset(self, kind: str) -> Dataset:
        return pydicom.dcmread(self.results[kind][0])

    def contour(self) -> tuple[FloatArray, Dataset]:
        """The first contour of the SR for viewers, (points, 3) LPS mm, and the header of its image."""
        group = hd.sr.srread(self.results["sr_viewer"][0]).content.get_planar_roi_measurement_groups()[0]
        image = self.headers[group.roi.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID]
        to_lps = hd.spatial.ImageToReferenceTransformer(
            image_position=image.ImagePositionPatient,
            image_orientation=image.ImageOrientationPatient,
            pixel_spacing=image.PixelSpacing,
        )
        return np.asarray(to_lps(group.roi.value)), image

    def segments(self, kind: str = "seg") -> hd.Volume:
        """Where any segment is, on the PET grid (slices between the outermost lesions)."""
        volume: hd.Volume = hd.seg.segread(self.results[kind][0]).get_volume(combine_segments=False)
        return volume.with_array(volume.array.any(axis=-1))

    def hottest_frame(self) -> int:
        """The heatmap's frame (from 0) with the most colour."""
        frames = self.picture("heatmap").astype(int)
        return int((frames.max(axis=3) - frames.min(axis=3)).sum(axis=(1, 2)).argmax())

    def slice_of(self, image: Dataset, volume: hd.Volume) -> int:
        """The slice of ``volume`` that ``image`` is."""
        index = volume.map_reference_to_indices(np.array([image.ImagePositionPatient], float))
        return int(index[0, 0].round())

    def picture(self, kind: str) -> npt.NDArray[np.uint8]:
        """The pixels of the kind's first object: (row, column, RGB), or (frame, row, column, RGB)."""
        return np.asarray(self.dataset(kind).pixel_array)

    def image_shown(self, shot: Shot) -> Dataset:
        """Header of the source image that OHIF showed."""
        (header,) = [ds for uid, ds in self.headers.items() if f"/instances/{uid}/" in shot.image]
        return header


def analysed(folder: Path) -> Stage:
    """The phantom, or the study that ``VIEWER_STUDY`` names, analysed with every optional object."""
    if named := os.environ.get("VIEWER_STUDY"):
        study = Path(named)
    else:
        study = folder / "study"
        write_phantom_study(study)
    shutil.rmtree(RESULTS, ignore_errors=True)
    answer = analyse_folder(study, RESULTS, Settings.model_validate({"report": {"also": sorted(write.OPTIONAL)}}))
    assert answer["status"] == "done", answer["reason"]
    results: dict[str, list[Path]] = {}
    for result in answer["results"]:
        results.setdefault(result["kind"], []).append(Path(result["path"]))
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(study.rglob("*.dcm"))]
    pet = answer["pet"]["series_instance_uid"]
    return Stage(headers[0].StudyInstanceUID, pet, results, {ds.SOPInstanceUID: ds for ds in headers})


@contextmanager
def served(stage: Stage, study_files: list[Path], folder: Path) -> Iterator[str]:
    """The study and its results in an Orthanc, behind serve.js; gives the address for the browser."""
    dist = INSTALLED / f"ohif-{json.loads((HERE / 'package.json').read_text())['config']['ohif']}"
    if not dist.is_dir():
        pytest.fail("OHIF is not installed: run `make viewer-setup`")
    with PrivateOrthanc(folder / "orthanc") as orthanc:
        with httpx.Client(base_url=orthanc.http_url, timeout=60.0) as client:
            for path in (*study_files, *(path for paths in stage.results.values() for path in paths)):
                client.post("/instances", content=path.read_bytes()).raise_for_status()
        command = ["node", str(HERE / "serve.js"), str(orthanc.http_port), str(dist), str(INSTALLED / "node_modules")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                yield f"http://127.0.0.1:{int(server.stdout.readline())}"
            finally:
                server.terminate()


def look(base: str, pages: list[Page]) -> dict[str, Shot]:
    """Every page once, in one browser."""
    ran = subprocess.run(
        ["node", str(HERE / "look.js")],
        input=json.dumps({"base": base, "out": str(SHOTS), "pages": pages}),
        capture_output=True,
        text=True,
        env={**os.environ, "NODE_PATH": str(INSTALLED / "node_modules")},
        timeout=1200,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return {page["name"]: _shot(page) for page in json.loads(ran.stdout)}


def _shot(page: Page) -> Shot:
    pixels = np.asarray(Image.open(SHOTS / f"{page['name']}.png").convert("RGB"))
    errors = [*page["errors"], *([f"failed: {page['failed']}"] if page["failed"] else [])]
    if page["place"] is None:
        return Shot(page["text"], errors, pixels, page["seconds"])
    at = np.array(page["place"]["at"], float)
    projection = np.column_stack([*(at[1:] - at[0]), at[0]])
    return Shot(page["text"], errors, pixels, page["seconds"], page["place"]["image"], projection)


def ohif_page(stage: Stage, name: str, series: str, *steps: Page) -> Page:
    path = f"/viewer?StudyInstanceUIDs={stage.study_instance_uid}&initialSeriesInstanceUID={series}"
    return {"name": name, "path": path, "steps": [*steps, {"settle": True}]}


def dwv_page(stage: Stage, name: str, *series: str, at: FloatArray | None = None, frame: int = 0) -> Page:
    """``series`` over each other, at the LPS point ``at`` (mm), or the frame of the first."""
    path = f"/dwv.html?study={stage.study_instance_uid}&series={quote(','.join(series))}&frame={frame}"
    if at is not None:
        path += "&at=" + ",".join(f"{mm:.3f}" for mm in at)
    return {"name": name, "path": path, "steps": [{"text": "shown:"}, {"settle": True}]}


def dwv_projection(image: Dataset) -> FloatArray:
    """(2, 4): LPS mm and 1 → x, y on dwv's page, which fits the whole image into the middle of its view."""
    row, column = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    down, right = (float(step) for step in image.PixelSpacing)
    size = np.array([image.Columns * right, image.Rows * down])
    view = np.array([DWV_VIEW[1].stop, DWV_VIEW[0].stop])
    scale = (view / size).min()
    margin = (view - size * scale) / 2
    axes = np.stack([row, column]) * scale
    corner = np.array(image.ImagePositionPatient, float) - row * right / 2 - column * down / 2
    return np.column_stack([axes, margin - axes @ corner])
