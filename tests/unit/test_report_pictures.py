"""Drawing and packing: colours, outlines, cuts, RLE frames."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import RLELossless

from dicom_node.report.objects.sr_viewer import outline
from dicom_node.report.pictures import colours, heatmap, views
from dicom_node.report.pictures.lettering import font, wrapped
from inference.facts import Region, Volume
from tests.report_case import TURNS, affine_of, ball


def shoelace(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return abs(float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))) / 2


def test_inferno_is_matplotlibs() -> None:
    theirs = matplotlib.colormaps["inferno"](np.arange(256))[:, :3] * 255
    assert np.abs(colours.INFERNO - theirs).max() < 2.5


def test_suv_scale_ends_are_exact_and_beyond_them_is_the_end() -> None:
    values = np.array([-3.0, 0.0, 5.0, 10.0, 99.0, np.nan])
    assert colours.scaled(values, 0, 10).tolist() == [0, 0, 128, 255, 255, 0]


def test_saliency_zero_shows_the_image_below_and_one_is_half_of_it() -> None:
    below = np.full((1, 2, 3), 200, np.uint8)
    out = colours.saliency_over(below, np.array([[0.0, 1.0]]))
    assert out[0, 0].tolist() == [200, 200, 200]
    assert out[0, 1].tolist() == np.asarray(0.5 * 200 + 0.5 * colours.INFERNO[255] + 0.5, np.uint8).tolist()


def test_outline_of_one_pixel_is_around_its_centre_at_a_half() -> None:
    polygon = outline(np.ones((1, 1), bool))
    assert np.array_equal(polygon[0], polygon[-1])
    assert np.allclose(polygon[:-1].mean(axis=0), (0.5, 0.5))
    assert polygon.min() == 0.0
    assert polygon.max() == 1.0


@given(st.integers(0, 6), st.integers(0, 6), st.integers(1, 7), st.integers(1, 9))
def test_outline_of_a_rectangle_has_its_place_and_area(row: int, column: int, height: int, width: int) -> None:
    mask = np.zeros((16, 18), bool)
    mask[row : row + height, column : column + width] = True
    polygon = outline(mask)
    assert polygon.min(axis=0).tolist() == [column, row]
    assert polygon.max(axis=0).tolist() == [column + width, row + height]
    assert shoelace(polygon) == pytest.approx(height * width - 0.5)  # four corners cut by an eighth each


def test_outline_takes_the_larger_part_and_no_hole() -> None:
    mask = np.zeros((20, 20), bool)
    mask[1:3, 1:3] = True
    mask[6:16, 6:16] = True
    mask[9:12, 9:12] = False
    polygon = outline(mask)
    assert polygon.min() == 6
    assert shoelace(polygon) == pytest.approx(100 - 0.5)


@pytest.mark.filterwarnings("ignore:The number of bytes of compressed pixel data matches:UserWarning")  # by chance
@settings(max_examples=40)
@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 300)), elements=st.sampled_from([0, 1, 255]))
)
def test_rle_frame_decodes_to_its_pixels(plane: np.ndarray) -> None:
    planes = [plane, plane[::-1], 255 - plane]
    frame = heatmap._rle_frame([heatmap._packed(p) for p in planes])
    rows, columns = plane.shape
    decoded, _ = get_decoder(RLELossless).as_array(
        encapsulate([frame]),
        rows=rows,
        columns=columns,
        samples_per_pixel=3,
        bits_allocated=8,
        bits_stored=8,
        number_of_frames=1,
        pixel_representation=0,
        photometric_interpretation="RGB",
        planar_configuration=0,
        pixel_keyword="PixelData",
        raw=True,
    )
    assert np.array_equal(decoded, np.stack(planes, axis=-1))


@given(st.text(alphabet="ab W日≥ ", max_size=200), st.integers(40, 300))
def test_wrapping_loses_no_letter_and_fits(text: str, width: int) -> None:
    face = font(18, language="ja")
    lines = wrapped(text, face, width)
    assert "".join(lines).replace(" ", "") == "".join(text.split())
    assert all(face.getlength(line) <= width for line in lines)


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
def test_cuts_show_a_point_where_it_lies_in_the_patient(turn: np.ndarray) -> None:
    size, spacing_mm = (30, 36, 40), (4.0, 3.0, 3.0)
    grid = Volume(np.zeros(size, np.float32), affine_of(size, spacing_mm, turn), "1.2.3")
    point = (21.0, -12.0, 9.0)
    hot = ball(grid, point, 7.0)
    volume = Volume(hot.astype(np.float32), grid.affine, "1.2.3")
    for plane, horizontal, vertical in (
        (views.axial(point, (61, 61), 1.0), 0, 1),
        (views.coronal((0.0, point[1], 0.0), (61, 61), 1.0), point[0], -point[2]),
        (views.sagittal((point[0], 0.0, 0.0), (61, 61), 1.0), point[1], -point[2]),
    ):
        expected = (0.0, 0.0) if horizontal == 0 else (horizontal, vertical)
        seen = views.sample(volume, plane, 0.0) > 0.5
        rows, columns = np.nonzero(seen)
        assert np.abs(np.array([columns.mean() - 30, rows.mean() - 30]) - expected).max() < 2.0
        inside = views.inside(Region.of(hot), grid, plane)
        assert (inside & seen).sum() > 0.8 * seen.sum()


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
def test_projection_has_the_head_up_and_the_patients_right_on_the_left(turn: np.ndarray) -> None:
    size = (30, 36, 40)
    grid = Volume(np.zeros(size, np.float32), affine_of(size, (4.0, 3.0, 3.0), turn), "1.2.3")
    hot = ball(grid, (36.0, 0.0, 36.0), 8.0)  # left and towards the head
    view = views.FrontView.of(grid)
    flat = view.project(Volume(hot.astype(np.float32), grid.affine, "1.2.3"))
    rows, columns = np.nonzero(flat)
    assert rows.mean() < flat.shape[0] * 0.35
    assert columns.mean() > flat.shape[1] * 0.65
    assert np.array_equal(view.project_region(Region.of(hot), grid), flat > 0)


def test_rim_is_inside_the_mask_and_one_pixel_wide() -> None:
    mask = np.zeros((9, 9), bool)
    mask[2:7, 2:7] = True
    border = views.rim(mask)
    assert border.sum() == 16
    assert not (border & ~mask).any()
