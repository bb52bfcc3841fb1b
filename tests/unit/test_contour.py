"""Contours become the voxels whose centre lies inside: in planes, between planes, and on grids tilted to them."""

from __future__ import annotations

from collections.abc import Callable

import contourpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matplotlib.path import Path as Outline

from inference.facts import FloatArray, Refused, Volume
from inference.regions import contour
from inference.regions.contour import Planes, filled, planes_skipped, voxels_inside
from tests.images import FRAME, grid, square


def moved(volume: Volume, degrees: float, *, descending: bool = False) -> Volume:
    """The grid turned about x and shifted; ``descending``: its slices run the other way."""
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[:3, :3] = [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = [11.0, -5.0, 40.0]
    affine = turn @ volume.affine
    if descending:
        affine[:3, 3] += affine[:3, 0] * (volume.array.shape[0] - 1)
        affine[:3, 0] *= -1
    return Volume(volume.array, affine, FRAME)


def in_lps(flat: list[float]) -> FloatArray:
    return np.array(flat).reshape(-1, 3)


def circle(z: float, radius: float, centre: float = 20.0, *, points: int = 720) -> FloatArray:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.column_stack([centre + radius * np.cos(angle), centre + radius * np.sin(angle), np.full(points, z)])


@settings(deadline=None)
@given(
    points=st.lists(st.tuples(st.floats(-5, 25), st.floats(-5, 25)), min_size=3, max_size=12),
    shift=st.floats(0.001, 0.4),
)
def test_filling_agrees_with_counting_crossings_point_by_point(points: list[tuple[float, float]], shift: float) -> None:
    polygon = np.array(points) + shift * 0.123456789
    found = filled([polygon], (20, 22))
    end = np.roll(polygon, -1, axis=0)
    for row in range(20):
        for column in range(22):
            crossed = 0
            for (r1, c1), (r2, c2) in zip(polygon, end, strict=True):
                if (r1 <= row) != (r2 <= row):
                    crossed += c1 + (row - r1) / (r2 - r1) * (c2 - c1) <= column
            assert found[row, column] == crossed % 2


def test_a_round_contour_agrees_with_matplotlib() -> None:
    angle = np.linspace(0, 2 * np.pi, 97)[:-1]
    polygon = np.column_stack([20.3 + 13.7 * np.sin(angle), 21.1 + 11.2 * np.cos(angle)])
    index = np.stack(np.meshgrid(np.arange(40), np.arange(44), indexing="ij"), -1).reshape(-1, 2)
    assert np.array_equal(filled([polygon], (40, 44)).reshape(-1), Outline(polygon).contains_points(index))


def test_a_contour_of_very_many_points_is_filled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    polygon = rng.uniform(0, 30, (500, 2))
    at_once = filled([polygon], (30, 30))
    monkeypatch.setattr(contour, "CHUNK", 200)
    assert np.array_equal(filled([polygon], (30, 30)), at_once)


@settings(deadline=None, max_examples=60)
@given(
    mask=arrays.arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))),
    degrees=st.sampled_from([0.0, 20.0, -75.0]),
    descending=st.booleans(),
)
def test_the_outlines_of_any_mask_give_the_mask_again(
    mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], degrees: float, descending: bool
) -> None:
    """Whatever its holes, islands and pieces: every outline is one more closed contour of its plane."""
    volume = moved(grid(mask.shape, (3.0, 2.0, 1.5)), degrees, descending=descending)  # type: ignore[arg-type]
    contours = []
    for k, plane in enumerate(mask):
        for line in contourpy.contour_generator(z=np.pad(plane, 1).astype(float)).lines(0.5):
            index = np.column_stack([np.full(len(line), k), line[:, 1] - 1, line[:, 0] - 1])
            contours.append(volume.to_lps(index[:-1]))
    if not contours:
        return
    found = voxels_inside(contours, volume).full(mask.shape)
    drawn = mask.any(axis=(1, 2))
    assert np.array_equal(found[drawn], mask[drawn])


@pytest.mark.parametrize("degrees", [0.0, 30.0])
def test_a_keyhole_is_a_hole(degrees: float) -> None:
    """One contour that runs round the outside, through a channel, round the hole and back."""
    outer, hole = [(1, 1), (1, 11), (11, 11), (11, 1)], [(4, 4), (8, 4), (8, 8), (4, 8)]
    path = [*outer, outer[0], hole[0], *hole[1:], hole[0]]
    keyhole = np.array([(x - 0.5, y - 0.5, 3.0) for x, y in path])
    volume = grid((3, 14, 14), (3.0, 1.0, 1.0))
    turned = moved(volume, degrees)
    points = keyhole / volume.spacing_mm[::-1] @ turned.affine[:3, [2, 1, 0]].T + turned.affine[:3, 3]
    found = voxels_inside([keyhole], volume)
    assert found.mask.sum() == 100 - 16
    assert voxels_inside([points], turned).mask.sum() == 100 - 16


def sides(contours: list[FloatArray], volume: Volume) -> list[int]:
    """Square root of the number of voxels in each slice."""
    counts = voxels_inside(contours, volume).full(volume.array.shape).sum(axis=(1, 2))
    return [int(np.sqrt(n)) for n in counts]


def test_slices_between_planes_are_interpolated_and_the_last_plane_reaches_half_a_spacing_farther() -> None:
    """Planes every 3 mm from z = 6 to 12; PET slices every 2 mm: those from 4.5 to 13.5 mm belong."""
    contours = [in_lps(square(z, 9.5 - z / 2, 10.5 + z / 2)) for z in (6.0, 9.0, 12.0)]
    assert sides(contours, grid((10, 22, 22), (2.0, 1.0, 1.0))) == [0, 0, 0, 7, 9, 11, 13, 0, 0, 0]


@pytest.mark.parametrize("turned", [0.0, 25.0])
def test_between_two_circles_lies_the_circle_of_the_radius_between(turned: float) -> None:
    """Shape-based interpolation of a cone is the cone, on the slices' own grid and on one tilted to the contours."""
    volume = moved(grid((24, 45, 45), (1.5, 1.0, 1.0)), 0.0)
    if turned:
        volume = Volume(volume.array, moved(volume, turned).affine, FRAME)
        volume.affine[:3, 3] += np.array([20.0, 20.0, 12.0]) - volume.to_lps([12, 22, 22])
    else:
        volume.affine[:3, 3] = 0.0
    heights = np.arange(0.0, 25.0, 4.0)
    found = voxels_inside([circle(z, 5.0 + z / 2) for z in heights], volume).full(volume.array.shape)
    index = np.stack(np.meshgrid(*map(np.arange, volume.array.shape), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(volume.to_lps(index), -1, 0)
    within = 5.0 + z / 2 - np.hypot(x - 20.0, y - 20.0)
    clear = (z >= 0) & (z <= 24) & (np.abs(within) > 0.1)
    assert (within[clear] > 0).sum() > 2000
    assert np.array_equal(found[clear], within[clear] > 0)
    assert not found[(z < -2.01) | (z > 26.01)].any()


def test_a_keyholes_channel_does_not_bend_what_lies_between() -> None:
    """The same ring drawn as two contours and as one with a channel; between planes both give the same voxels."""
    volume = grid((5, 45, 45), (2.0, 1.0, 1.0))

    def ring(z: float, radius: float) -> tuple[list[FloatArray], FloatArray]:
        outer, inner = circle(z, radius, points=90), circle(z, radius / 2, points=90)
        keyhole = np.concatenate([outer, outer[:1], inner, inner[:1]])
        return [outer, inner], keyhole

    low, high = ring(0.0, 10.0), ring(6.0, 18.0)
    apart = voxels_inside([*low[0], *high[0]], volume)
    joined = voxels_inside([low[1], high[1]], volume)
    assert apart.mask.sum() > 1000
    assert np.array_equal(apart.full(volume.array.shape), joined.full(volume.array.shape))


def test_drawn_in_sagittal_planes_it_is_the_same_box() -> None:
    volume = grid((8, 14, 14), (3.0, 1.5, 1.5))
    axial = [in_lps(square(z, 2.6, 12.4)) for z in (6.0, 9.0, 12.0)]
    # the box reaches half a spacing beyond the outermost planes
    sagittal = [
        np.array([(x, 2.6, 4.6), (x, 12.4, 4.6), (x, 12.4, 13.4), (x, 2.6, 13.4)]) for x in np.arange(3.1, 12.5, 1.0)
    ]
    found = [voxels_inside(c, volume).full(volume.array.shape) for c in (axial, sagittal)]
    assert found[0].sum() == 3 * 7 * 7
    assert np.array_equal(*found)


def test_two_bodies_of_one_region_stay_apart() -> None:
    """Nothing is filled in where planes were left out; two lone planes far apart are not one long body."""
    volume = grid((30, 12, 12), (2.0, 1.0, 1.0))
    contours = [in_lps(square(z, 0.5, 9.5)) for z in (4.0, 6.0, 8.0, 40.0, 42.0)]
    assert np.flatnonzero(sides(contours, volume)).tolist() == [2, 3, 4, 20, 21]
    assert not planes_skipped(contours, volume)
    lone = [in_lps(square(z, 0.5, 9.5)) for z in (4.0, 50.0)]
    assert np.flatnonzero(sides(lone, volume)).tolist() == [0, 1, 2, 3, 4, 23, 24, 25, 26, 27]  # 10 mm at most: ± 5 mm


@pytest.mark.parametrize(
    ("heights", "skipped"),
    [([2.0, 4.0, 8.0, 10.0], True), ([2.0, 4.0, 6.0, 8.0], False), ([2.0, 6.0, 10.0], False), ([6.0], False)],
)
def test_a_plane_left_out_between_others_is_noticed(heights: list[float], skipped: bool) -> None:
    volume = grid((10, 12, 12), (2.0, 1.0, 1.0))
    assert planes_skipped([in_lps(square(z, 0.5, 9.5)) for z in heights], volume) == skipped


def test_one_odd_contour_between_the_planes_changes_nothing_elsewhere() -> None:
    volume = grid((12, 12, 12), (1.5, 1.0, 1.0))
    regular = [in_lps(square(z, 0.5, 9.5)) for z in np.arange(2.0, 15.0, 2.0)]
    odd = in_lps(square(8.3, 0.5, 9.5))
    assert np.array_equal(voxels_inside([*regular, odd], volume).mask, voxels_inside(regular, volume).mask)


@settings(deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=12), st.lists(st.floats(-80, 80), min_size=1, max_size=20))
def test_planes_round_a_height_hold_it_between_them(drawn: list[float], heights: list[float]) -> None:
    contours = [np.array([[z, 0.0, 0.0], [z, 0.0, 5.0], [z, 5.0, 5.0]]) for z in drawn]
    planes = Planes.of(contours, 0.05, 10.0, 1.0)
    lower, upper, share = planes.around(np.array(heights))
    for height, low, high, part in zip(heights, lower, upper, share, strict=True):
        if low < 0:
            assert np.abs(planes.heights - height).min() > planes.spacing / 2
        elif low == high:
            assert abs(planes.heights[low] - height) <= planes.spacing / 2 + 1e-5
        else:
            assert planes.heights[low] * (1 - part) + planes.heights[high] * part == pytest.approx(height)
            assert 0 < part < 1


def bent(points: FloatArray) -> list[FloatArray]:
    return [points + np.array([[0, 0, 0], [0, 0, 3.0], [0, 0, 0], [0, 0, 3.0]])]


def flat(points: FloatArray) -> list[FloatArray]:
    return [points[:1] + np.outer([1, 2, 3], [1.0, 1.0, 1.0])]


def crossed(points: FloatArray) -> list[FloatArray]:
    return [points, points[:, [2, 1, 0]]]


@pytest.mark.parametrize(
    ("spoilt", "code"),
    [
        (bent, "contours-not-in-plane"),
        (crossed, "contours-not-in-plane"),
        (flat, "contour-malformed"),
    ],
)
def test_contours_without_one_plane_are_refused(spoilt: Callable[[FloatArray], list[FloatArray]], code: str) -> None:
    with pytest.raises(Refused) as refused:
        voxels_inside(spoilt(in_lps(square(3.0, 0.5, 9.5))), grid((5, 12, 12), (3.0, 1.0, 1.0)))
    assert refused.value.code == code


def test_outlines_of_too_many_edges_are_refused_between_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = grid((5, 45, 45), (2.0, 1.0, 1.0))
    monkeypatch.setattr(contour, "MOST_PAIRS", 10_000)
    with pytest.raises(Refused, match="region-too-large"):
        voxels_inside([circle(0.0, 5.0), circle(6.0, 15.0)], volume)
