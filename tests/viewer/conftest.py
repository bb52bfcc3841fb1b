"""One look at everything: the pages of both viewers are opened once, the tests ask about what was seen."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from tests.viewer import stage as st
from tests.viewer.shot import Shot

IMAGE, ASK = {"text": "W:"}, {"text": "Yes"}
ACCEPTED = (ASK, {"click": "Yes"}, IMAGE, {"settle": True})
OF_THEIR_OWN = ("key_image", "heatmap", "captures", "mip")  # pictures, with no source image below


@dataclass(frozen=True)
class Seen:
    stage: st.Stage
    shots: dict[str, Shot]


@pytest.fixture(scope="session")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("viewer")
    stage = st.analysed(folder)
    named = os.environ.get("VIEWER_STUDY")
    study = Path(named) if named else folder / "study"
    with st.served(stage, sorted(study.rglob("*.dcm")), folder) as base:
        shots = st.look(base, [*_ohif_pages(stage), *_dwv_pages(stage)])
    _, image = stage.contour()
    for name, shot in shots.items():
        if name in ("dwv_seg", "dwv_sr_viewer"):
            shots[name] = replace(shot, projection=st.dwv_projection(image))
    return Seen(stage, shots)


def _ohif_pages(stage: st.Stage) -> list[st.Page]:
    uid = {kind: stage.dataset(kind).SeriesInstanceUID for kind in stage.results}
    patient = str(stage.dataset("sr").PatientID)
    lesion = {"to": stage.contour()[1].SOPInstanceUID}
    steps = {
        "sr_viewer": ({"text": "SUVmax"},),
        "heatmap": (IMAGE, {"settle": True}, {"photo": "heatmap_first"}, {"wheel": stage.hottest_frame()}),
        "seg": (*ACCEPTED, lesion),
        "label_map": (*ACCEPTED, lesion),
        "rtstruct": (*ACCEPTED, lesion),
        "parametric_map": (IMAGE, {"settle": True}, lesion),
        "pdf": (),
    }
    shown = [kind for kind in stage.results if kind != "sr"]  # of the main report OHIF makes an empty page
    if stage.dataset("seg").Rows * stage.dataset("seg").Columns % 8:
        shown.remove("seg")  # OHIF 3.13.2 would scramble it; even_frames sees to it that it shows nothing
    if "parametric_map" in shown and _ohif_cannot_cut(stage.dataset("parametric_map")):
        shown.remove("parametric_map")
    return [
        {"name": "study_list", "path": "/", "steps": [{"text": patient}, {"settle": True}]},
        st.ohif_page(stage, "pet", stage.pet_series, IMAGE),
        *(st.ohif_page(stage, kind, uid[kind], *steps.get(kind, (IMAGE,))) for kind in shown),
    ]


def _ohif_cannot_cut(parametric_map: Dataset) -> bool:
    """OHIF 3.13.2 counts pixels where it should count bytes, and then wants a multiple of four (docs/viewers.md)."""
    return bool(parametric_map.Rows * parametric_map.Columns % 4)


def _dwv_pages(stage: st.Stage) -> list[st.Page]:
    uid = {kind: stage.dataset(kind).SeriesInstanceUID for kind in stage.results}
    contour, _ = stage.contour()
    at = contour[:-1].mean(axis=0)
    over = [st.dwv_page(stage, f"dwv_{kind}", stage.pet_series, uid[kind], at=at) for kind in ("seg", "sr_viewer")]
    frames = {"heatmap": stage.hottest_frame()}
    alone = [
        st.dwv_page(stage, f"dwv_{kind}", uid[kind], frame=frames.get(kind, 0)) for kind in OF_THEIR_OWN if kind in uid
    ]
    return [*over, *alone]
