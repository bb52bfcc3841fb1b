"""One look at everything: the pages of both viewers are opened once, the tests ask about what was seen."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.viewer import stage as st
from tests.viewer.shot import Shot

IMAGE, ASK = {"text": "W:"}, {"text": "Yes"}
ACCEPTED = (ASK, {"click": "Yes"}, IMAGE)
OPTIONAL_STEPS = {  # kind → what to do with OHIF's page; those that are not here are images
    "label_map": ACCEPTED,
    "rtstruct": ACCEPTED,
    "parametric_map": (IMAGE,),
    "pdf": ({"settle": True},),
    "ko": (IMAGE,),
}
IN_DWV = ("key_image", "heatmap", "mip", "captures")  # images of their own, without a source below


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
    pages = [
        {"name": "study_list", "path": "/", "steps": [{"text": patient}, {"settle": True}]},
        st.ohif_page(stage, "pet", stage.pet_series, IMAGE),
        st.ohif_page(stage, "sr_viewer", uid["sr_viewer"], {"text": "Predicted probability"}),
        st.ohif_page(stage, "key_image", uid["key_image"], IMAGE),
        st.ohif_page(
            stage, "heatmap", uid["heatmap"], IMAGE, {"settle": True}, {"photo": "heatmap_first"}, {"wheel": 20}
        ),
        st.ohif_page(stage, "seg", uid["seg"], *ACCEPTED),
    ]
    optional = sorted(set(uid) - {"sr", "sr_viewer", "key_image", "heatmap", "seg"})
    return pages + [st.ohif_page(stage, kind, uid[kind], *OPTIONAL_STEPS.get(kind, (IMAGE,))) for kind in optional]


def _dwv_pages(stage: st.Stage) -> list[st.Page]:
    uid = {kind: stage.dataset(kind).SeriesInstanceUID for kind in stage.results}
    contour, _ = stage.contour()
    at = contour[:-1].mean(axis=0)
    over = [st.dwv_page(stage, f"dwv_{kind}", stage.pet_series, uid[kind], at=at) for kind in ("seg", "sr_viewer")]
    alone = [st.dwv_page(stage, f"dwv_{kind}", uid[kind]) for kind in IN_DWV if kind in uid]
    return [*over, *alone, st.dwv_page(stage, "dwv_heatmap_later", uid["heatmap"], frame=20)]
