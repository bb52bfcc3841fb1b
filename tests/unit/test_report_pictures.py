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
from dicom_node.report.pictures import colours, rle, views
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


TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of sRGB 0..255."""
    share = np.asarray(rgb, float) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = linear @ TO_XYZ.T / (0.95047, 1.0, 1.08883)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


HOT = np.array([np.clip((3 * n, 3 * n - 255, 3 * n - 510), 0, 255) for n in range(256)])  # the usual map of PET


@pytest.mark.parametrize(
    ("table", "even"), [(colours.INFERNO, True), (colours.COLD, True), (HOT, False)], ids=["uptake", "saliency", "hot"]
)
def test_equal_steps_of_a_value_look_equal(table: np.ndarray, even: bool) -> None:
    """Lightness climbs steadily: over any eighth of the map at most twice its mean climb."""
    climbs = np.diff(lab(table)[[*range(0, 256, 32), 255], 0])
    assert ((climbs > 0.3 * climbs.mean()).all() and climbs.max() < 2 * climbs.mean()) == even


@pytest.mark.parametrize("ground", [0, 75, 140, 200, 255])
def test_more_saliency_stands_out_more_on_every_grey(ground: int) -> None:
    values = np.linspace(0, 1, 11)
    seen = lab(colours.saliency_over(np.full((11, 3), ground, np.uint8), values))
    assert (np.diff(np.linalg.norm(seen - seen[0], axis=-1)) > 0).all()
    assert np.linalg.norm(seen[-1] - seen[0]) > 20
    assert np.array_equal(colours.saliency_over(np.full((1, 3), ground, np.uint8), np.zeros(1))[0], [ground] * 3)


def test_uptake_and_saliency_cannot_be_confused() -> None:
    """Whatever their values: two colours 10 apart (CIE 1976) are plainly two, 2.3 is what an eye just sees."""
    values = np.linspace(0.4, 1, 30)
    for ground in (60, 140):
        below = np.full((30, 3), ground, np.uint8)
        warm, cold = lab(colours.pet_over(below, values * 10)), lab(colours.saliency_over(below, values))
        assert np.linalg.norm(warm[:, None] - cold[None], axis=-1).min() > 10


def test_uptake_is_lighter_than_the_tissue_that_it_lies_in() -> None:
    """Else a lesion of moderate uptake would be a dark spot on a bright CT."""
    muscle = colours.grey(colours.scaled(np.full((1, 2), 55.0), -160, 240))
    lightness = lab(colours.pet_over(muscle, np.array([[0.7, 5.0]])))[0, :, 0]
    assert lightness[1] > lightness[0]


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
    frame = rle.frame([rle.packed(p) for p in planes])
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
        inside = views.in_region(Region.of(hot), grid.to_index(plane.points))
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


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
def test_the_front_view_is_cut_where_it_was_asked_to_be(turn: np.ndarray) -> None:
    grid = Volume(np.zeros((30, 36, 40), np.float32), affine_of((30, 36, 40), (4.0, 3.0, 3.0), turn), "1.2.3")
    view = views.FrontView.of(grid)
    slant_mm = view.slant_mm(grid)
    kept = view.columns(grid, (5.0 - slant_mm, 40.0 + slant_mm))
    whole = view.project_region(Region.of(ball(grid, (21.0, 0.0, 9.0), 8.0)), grid)
    assert whole[:, kept].sum() == whole.sum()
    assert kept.start * view.step_mm[1] > 20


@pytest.mark.parametrize(
    ("direction", "letters"),
    [
        ((1, 0, 0), "L"),
        ((-1, 0, 0), "R"),
        ((0, 1, 0), "P"),
        ((0, 0, 1), "H"),
        ((0.1, -0.9, 0.1), "A"),
        ((-0.6, 0, -0.8), "FR"),
    ],
)
def test_directions_have_their_letters(direction: tuple[float, float, float], letters: str) -> None:
    assert views.letters_of(direction) == letters


def test_rim_is_inside_the_mask_and_one_pixel_wide() -> None:
    mask = np.zeros((9, 9), bool)
    mask[2:7, 2:7] = True
    border = views.rim(mask)
    assert border.sum() == 16
    assert not (border & ~mask).any()
