"""What a radiologist's viewer makes of our results: OHIF in headless Chromium, on DICOMweb from a real Orthanc.

`make viewer-setup` installs OHIF and playwright-core.  The pictures lie in ``.cache/viewer/shots``, our files in
``.cache/viewer/results``: look at them.  ``VIEWER_STUDY`` may name a folder with a study of your own instead of the
phantom (`make test-viewer VIEWER_STUDY=FOLDER`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from PIL import Image

from dicom_node.commands.offline import analyse_folder
from dicom_node.config import Settings
from dicom_node.demo.orthanc_process import PrivateOrthanc
from training.phantom.study import write_phantom_study

pytestmark = [pytest.mark.peers, pytest.mark.slow, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
INSTALLED = HERE.parents[1] / ".cache" / "viewer"
SHOTS = INSTALLED / "shots"
RESULTS = INSTALLED / "results"
VIEWPORT = (slice(140, 780), slice(300, 1630))  # rows, columns of the picture that are the image, not the panels


@dataclass(frozen=True)
class Shot:
    """A page as it was seen: all its text, and the picture (row, column, RGB)."""

    text: str
    errors: list[str]
    pixels: npt.NDArray[np.uint8]

    @property
    def coloured(self) -> int:
        """Number of pixels in the image area that are clearly not grey."""
        area = self.pixels[VIEWPORT].astype(int)
        return int(((area.max(axis=2) - area.min(axis=2)) > 60).sum())

    @property
    def bright(self) -> int:
        """Number of pixels in the image area that are not black."""
        return int((self.pixels[VIEWPORT].max(axis=2) > 40).sum())


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shot]:
    """Every page once: study list, PET alone for comparison, and each of our five objects."""
    dist = INSTALLED / f"ohif-{json.loads((HERE / 'package.json').read_text())['config']['ohif']}"
    if not dist.is_dir():
        pytest.fail("OHIF is not installed: run `make viewer-setup`")
    folder = tmp_path_factory.mktemp("viewer")
    if named := os.environ.get("VIEWER_STUDY"):
        study = Path(named)
    else:
        study = folder / "study"
        write_phantom_study(study)
    shutil.rmtree(RESULTS, ignore_errors=True)
    answer = analyse_folder(study, RESULTS, Settings())
    assert answer["status"] == "done", answer["reason"]
    with PrivateOrthanc(folder / "orthanc") as orthanc:
        _upload(orthanc, [*study.rglob("*"), *RESULTS.glob("*.dcm")])
        with _server(orthanc.http_port, dist) as base:
            seen = _look(base, answer["results"], answer["pet"]["series_instance_uid"])
    return {page["name"]: _shot(page) for page in seen}


def _upload(orthanc: PrivateOrthanc, paths: list[Path]) -> None:
    with httpx.Client(base_url=orthanc.http_url, timeout=60.0) as client:
        for path in paths:
            if path.is_file() and path.read_bytes()[128:132] == b"DICM":
                client.post("/instances", content=path.read_bytes()).raise_for_status()


class _server:  # noqa: N801 - used as a with statement, like a function
    """serve.js on a port that the system chose."""

    def __init__(self, orthanc_port: int, dist: Path) -> None:
        self._command = ["node", str(HERE / "serve.js"), str(orthanc_port), str(dist)]

    def __enter__(self) -> str:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        return f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=10)


def _look(base: str, results: list[dict[str, Any]], pet_series: str) -> list[dict[str, Any]]:
    datasets = {r["kind"]: pydicom.dcmread(r["path"], stop_before_pixels=True) for r in results}
    study = datasets["sr"].StudyInstanceUID

    def page(name: str, series: str, *steps: dict[str, Any]) -> dict[str, Any]:
        path = f"/viewer?StudyInstanceUIDs={study}&initialSeriesInstanceUID={series}"
        return {"name": name, "path": path, "steps": [*steps, {"settle": True}]}

    uid = {kind: ds.SeriesInstanceUID for kind, ds in datasets.items()}
    image, ask = {"text": "W:"}, {"text": "Yes"}
    pages = [
        {"name": "study_list", "path": "/", "steps": [{"text": str(datasets["sr"].PatientID)}, {"settle": True}]},
        page("pet", pet_series, image),
        page("sr_viewer", uid["sr_viewer"], {"text": "Predicted probability"}),
        page("key_image", uid["key_image"], image),
        page("heatmap", uid["heatmap"], image, {"wheel": 20}),
    ]
    if _orthanc_cuts_frames(datasets["seg"]):
        pages.append(page("seg", uid["seg"], ask, {"click": "Yes"}, image))
    job = {"base": base, "out": str(SHOTS), "pages": pages}
    environment = {**os.environ, "NODE_PATH": str(INSTALLED / "node_modules")}
    ran = subprocess.run(
        ["node", str(HERE / "look.js")],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        env=environment,
        timeout=800,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return list(json.loads(ran.stdout))


def _orthanc_cuts_frames(seg: pydicom.Dataset) -> bool:
    """Orthanc 1.10 and its DICOMweb plugin give no frame of a one-bit image whose rows do not end on a whole byte."""
    return int(seg.Columns) % 8 == 0


def _shot(page: dict[str, Any]) -> Shot:
    assert not page["failed"], f"{page['name']}: {page['failed']}; the page said: {page['text'][:500]}"
    return Shot(page["text"], page["errors"], np.asarray(Image.open(SHOTS / f"{page['name']}.png").convert("RGB")))


def test_the_study_is_listed(shots: dict[str, Shot]) -> None:
    text = shots["study_list"].text  # that the patient is there was waited for
    assert "SEG" in text
    assert "SR" in text


def test_the_viewer_report_draws_its_contour_with_the_probability_first(shots: dict[str, Shot]) -> None:
    text = shots["sr_viewer"].text
    assert "Predicted probability" in text
    assert "SUVbw" in text
    assert not [error for error in shots["sr_viewer"].errors if "TypeError" in error]
    assert shots["sr_viewer"].coloured > shots["pet"].coloured + 100


def test_the_segmentation_lies_over_the_pet(shots: dict[str, Shot]) -> None:
    if "seg" not in shots:
        pytest.skip("Orthanc cannot serve this SEG's frames: Columns is no multiple of 8 (see conformance.md)")
    assert shots["seg"].bright > 10_000
    assert shots["seg"].coloured > shots["pet"].coloured + 100


def test_the_key_image_is_shown_in_colour(shots: dict[str, Shot]) -> None:
    assert shots["key_image"].bright > 20_000
    assert shots["key_image"].coloured > shots["pet"].coloured + 1_000


def test_the_heatmap_scrolls_and_is_in_colour(shots: dict[str, Shot]) -> None:
    assert shots["heatmap"].bright > 20_000
    assert shots["heatmap"].coloured > shots["pet"].coloured + 300
