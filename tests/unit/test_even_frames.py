"""The pixel data of a SEG is even in length where a frame is whole bytes, else odd; its segments are unchanged."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.report import write_results
from dicom_node.report.objects.even_frames import blank_frames
from tests.report_case import RUN, make_analysis


@given(
    rows=st.integers(1, 700),
    columns=st.integers(1, 700),
    filled=st.sets(st.tuples(st.integers(0, 2), st.integers(0, 30)), min_size=1),
)
def test_a_few_frames_that_are_not_there_yet_make_the_length_wanted(
    rows: int, columns: int, filled: set[tuple[int, int]]
) -> None:
    blank = blank_frames(filled, 3, (40, rows, columns))
    assert len(blank) == len(set(blank)) <= 15
    assert not filled & set(blank)
    assert all(index in range(3) and k in range(40) for index, k in blank)
    assert (rows * columns * (len(filled) + len(blank)) + 7) // 8 % 2 == (rows * columns % 8 != 0)
    if rows % 4 == columns % 4 == 0:
        assert not blank


def test_a_grid_without_room_gets_as_many_as_there_are() -> None:
    assert blank_frames({(0, 0), (0, 1), (0, 2)}, 1, (4, 1, 8)) == [(0, 3)]


@pytest.mark.parametrize(("rows", "columns"), [(43, 41), (40, 41), (42, 42), (44, 44)])
def test_a_seg_is_padded_only_where_frames_begin_within_a_byte_and_keeps_its_voxels(
    tmp_path: Path, rows: int, columns: int
) -> None:
    analysis = make_analysis(tmp_path / "study", size=(24, rows, columns))
    written = {result.kind: result.path for result in write_results(analysis, RUN, tmp_path / "results")}
    seg = hd.seg.segread(written["seg"])
    bytes_used = -(-rows * columns * seg.NumberOfFrames // 8)
    assert len(seg.PixelData) - bytes_used == (rows * columns % 8 != 0)
    (lesion,) = analysis.lesions
    voxels = seg.get_volume(combine_segments=False)
    assert [int(voxels.array[..., n].sum()) for n in range(2)] == [
        lesion.region.mask.sum(),
        lesion.on_pet.mtv.mask.sum(),
    ]
    empty = int((seg.pixel_array.reshape(seg.NumberOfFrames, -1).sum(axis=1) == 0).sum())
    assert empty == 0 if rows == columns == 44 else empty < 16
    planes = {(tuple(f.FrameContentSequence[0].DimensionIndexValues)) for f in seg.PerFrameFunctionalGroupsSequence}
    assert len(planes) == seg.NumberOfFrames


def test_a_lesion_in_the_first_pixel_is_kept(tmp_path: Path) -> None:
    corner = make_analysis(tmp_path / "study", size=(24, 43, 41))
    at = tuple(corner.suv.to_lps((12, 0, 0)).tolist())
    analysis = make_analysis(tmp_path / "again", size=(24, 43, 41), balls=((at, 9.0, 8.0),))
    assert analysis.lesions[0].region.full(analysis.suv.array.shape)[12, 0, 0]
    written = {result.kind: result.path for result in write_results(analysis, RUN, tmp_path / "results")}
    voxels = hd.seg.segread(written["seg"]).get_volume(combine_segments=False)
    assert int(voxels.array[..., 0].sum()) == int(np.count_nonzero(analysis.lesions[0].region.mask))


def test_a_seg_of_lesions_far_apart_says_how_far_the_slices_are(tmp_path: Path) -> None:
    balls = (((20.0, 0.0, -28.0), 6.0, 8.0), ((20.0, 0.0, 28.0), 6.0, 8.0))
    written = write_results(make_analysis(tmp_path / "study", balls=balls), RUN, tmp_path / "results")
    seg = hd.seg.segread(next(result.path for result in written if result.kind == "seg"))
    (measures,) = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert float(measures.SpacingBetweenSlices) == 3.27
