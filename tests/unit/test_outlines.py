"""Outlines of masks: the voxels come back by every fill rule, holes by keyhole."""

from __future__ import annotations

import hypothesis.extra.numpy as nps
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path

from dicom_node.report.objects.rtstruct import contours
from dicom_node.report.outlines import outlines
from inference.facts import Region, Volume
from inference.regions.contour import filled, voxels_inside
from tests.report_case import TURNS, affine_of

MASKS = nps.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.booleans(), fill=st.nothing())


def area(polygon: np.ndarray) -> float:
    row, column = polygon.T
    return abs(float(np.sum(row * np.roll(column, -1) - np.roll(row, -1) * column))) / 2


def winding(polygon: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """How often the polygon goes round each pixel centre."""
    centres = np.indices(shape).reshape(2, -1).T
    one, other = polygon[None] - centres[:, None], np.roll(polygon, -1, axis=0)[None] - centres[:, None]
    turned = np.arctan2(one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0], (one * other).sum(axis=-1))
    return np.rint(turned.sum(axis=1) / (2 * np.pi)).astype(int).reshape(shape)


@settings(deadline=None)
@given(MASKS)
def test_the_mask_comes_back_by_the_even_odd_rule_by_winding_and_as_a_union(mask: np.ndarray) -> None:
    found = outlines(mask)
    assert (filled(found, mask.shape) == mask).all()
    windings = [winding(polygon, mask.shape) != 0 for polygon in found]
    assert (np.any([np.zeros(mask.shape, bool), *windings], axis=0) == mask).all()
    assert sum(windings, np.zeros(mask.shape, int)).max(initial=0) <= 1  # polygons do not overlap


@settings(deadline=None)
@given(MASKS)
def test_no_edge_comes_near_a_centre(mask: np.ndarray) -> None:
    centres = np.indices(mask.shape).reshape(2, -1).T
    for polygon in outlines(mask):
        start, along = polygon[None], (np.roll(polygon, -1, axis=0) - polygon)[None]
        share = ((centres[:, None] - start) * along).sum(axis=-1) / (along**2).sum(axis=-1)
        away = centres[:, None] - start - share.clip(0, 1)[..., None] * along
        assert np.hypot(away[..., 0], away[..., 1]).min() > 0.35


def test_half_a_pixel_is_cut_off_a_polygon_and_given_back_by_a_hole() -> None:
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    assert [area(polygon) for polygon in outlines(np.ones((1, 1), bool))] == [0.5]
    assert [area(polygon) for polygon in outlines(np.ones((3, 3), bool))] == [8.5]
    assert [area(polygon) for polygon in outlines(ring)] == [8.0]
    assert outlines(np.zeros((2, 2), bool)) == []


def test_a_straight_border_has_no_points_between_its_corners() -> None:
    (polygon,) = outlines(np.ones((30, 40), bool))
    assert len(polygon) == 8


def test_another_reader_of_polygons_finds_the_same() -> None:
    """Matplotlib's, with several holes, holes in parts inside holes, and a hole at the border's corner."""
    mask = np.ones((20, 24), bool)
    for rows, columns, value in ((3, 3, 0), (8, 8, 0), (9, 9, 1), (15, 4, 0)):
        mask[rows : rows + 8 - 3 * value, columns : columns + 5 - 2 * value] = bool(value)
    mask[5, 18] = mask[6, 19] = mask[1, 1] = False
    centres = np.indices(mask.shape).reshape(2, -1).T
    inside = np.zeros(mask.shape, int)
    for polygon in outlines(mask):
        inside += Path(polygon).contains_points(centres).reshape(mask.shape)
    assert (inside == mask).all()


@settings(deadline=None)
@given(
    nps.arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 7)), elements=st.booleans()),
    st.sampled_from(sorted(TURNS)),
    st.tuples(*[st.floats(0.7, 6.0)] * 3),
)
def test_our_own_reader_gives_the_region_back_on_any_grid(mask: np.ndarray, turn: str, spacing_mm: tuple) -> None:
    mask[:, 0, 0] = True  # on every slice: what lies between two contours two slices apart, a reader fills in
    grid = Volume(np.zeros((9, 10, 11)), affine_of((9, 10, 11), spacing_mm, TURNS[turn]), "1.2.3")
    region = Region((2, 1, 3), mask)
    points = [np.round(points, 4) for _, points in contours(region, grid)]
    assert (voxels_inside(points, grid).full(grid.array.shape) == region.full(grid.array.shape)).all()
