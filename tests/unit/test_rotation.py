"""The rotating projection: left is left from every side, whatever the direction of the stack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from dicom_node.report.pictures import rotation, views
from dicom_node.report.pictures.cuts import body_box
from dicom_node.report.pictures.rotation import Rotation
from inference.facts import Analysis
from tests.report_case import NO_LESION, TURNS, make_analysis

POINT = np.array((34.0, -20.0, 22.0))  # left, in front, towards the head


def made(folder: Path, **more: object) -> Analysis:
    ball = (tuple(POINT.tolist()), 9.0, 9.0)
    return make_analysis(folder, **{"size": (40, 40, 40), "spacing_mm": (4.0, 4.0, 4.0), "balls": (ball,), **more})  # type: ignore[arg-type]


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
def test_an_object_is_where_it_lies_from_every_side(tmp_path: Path, turn: np.ndarray) -> None:
    analysis = made(tmp_path, turn=turn)
    turning = Rotation.of(analysis)
    head_mm = float(body_box(analysis)[1][2])
    for degrees in (0, 40, 90, 180, 270):
        right = np.array((np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees)), 0))
        seen = rotation._greatest(turning.levels, turning._lines((right[0], right[1]))).T
        row, column = ndimage.center_of_mass(seen > 180)
        across_mm = (column - (seen.shape[1] - 1) / 2) * turning.step_mm
        axis = np.array((*turning.axis_mm, 0))
        assert abs(across_mm - (POINT - axis) @ right) < turning.step_mm, degrees
        assert abs(row * turning.step_mm - (head_mm - POINT[2])) < turning.step_mm, degrees


@pytest.mark.parametrize(
    "turn", [TURNS["axial"], TURNS["oblique"], TURNS["feet-first"]], ids=["axial", "oblique", "down"]
)
def test_the_outline_lies_round_the_object(tmp_path: Path, turn: np.ndarray) -> None:
    turning = Rotation.of(made(tmp_path, turn=turn))
    for degrees in (0.0, 70.0, 200.0):
        lines = turning._lines(rotation._right(degrees))
        (mask,) = turning._masks(lines)
        hot = rotation._greatest(turning.levels, lines).T.repeat(turning.zoom, 0).repeat(turning.zoom, 1) > 130
        assert (mask & hot).sum() > 0.9 * hot.sum()
        assert mask.sum() < 4 * hot.sum()
        assert (turning.view(degrees) == (200, 0, 0)).all(axis=-1).any()


def test_the_letters_turn_with_the_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turning = Rotation.of(made(tmp_path))
    asked: list[str] = []
    letters = views.letters_of
    monkeypatch.setattr(views, "letters_of", lambda direction: asked.append(letters(direction)) or letters(direction))
    for degrees in (0, 90, 180, 270):
        turning.view(degrees)
    assert asked == ["R", "L", "A", "P", "L", "R", "P", "A"]  # left and right of the picture


def test_frames_are_few_enough_and_alike_in_size(tmp_path: Path) -> None:
    analysis = made(tmp_path)
    for one in (analysis, replace(analysis, lesions=(), prediction=NO_LESION, saliency=None)):
        turning = Rotation.of(one)
        frames = [np.asarray(turning.view(degrees)) for degrees in rotation.angles()]
        assert len(frames) == rotation.VIEWS < 90  # OHIF takes 90 for a video
        assert {frame.shape for frame in frames} == {(turning.tall, turning.shape[1], 3)}
        assert len({frame.tobytes() for frame in frames}) == len(frames)


def test_a_fine_and_large_pet_is_laid_out_coarser(tmp_path: Path) -> None:
    analysis = make_analysis(
        tmp_path, size=(8, 300, 300), spacing_mm=(4.0, 1.5, 1.5), balls=(((40.0, 0.0, 0.0), 9.0, 9.0),)
    )
    turning = Rotation.of(analysis)
    assert turning.wide <= rotation.MOST_WIDE + 2
    assert turning.levels.nbytes < 2_000_000
