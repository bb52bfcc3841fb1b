"""Segmentations of every kind on any grid: a voxel belongs when its centre lies in a voxel of the segment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydicom.sr.codedict import codes
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from inference.facts import Refused, Volume
from inference.reading.instance import read_instance
from inference.regions.region import GivenRegion, given_lesions, given_regions
from inference.regions.seg import LABEL_MAP, MOST_VOXELS
from tests.images import FRAME, grid
from tests.regions import as_mask, segment, segmentation
from tests.unit.test_contour import moved

GRIDS = {
    "axial": grid((5, 7, 6), (3.0, 2.0, 2.0)),
    "oblique": moved(grid((5, 7, 6), (3.0, 2.0, 1.5)), 33.0),
    "descending": moved(grid((5, 7, 6), (3.0, 2.0, 2.0)), 0.0, descending=True),
    "oblique and descending": moved(grid((5, 7, 6), (2.5, 1.0, 2.0)), -70.0, descending=True),
}


def on(volume: Volume, array: np.ndarray[Any, Any]) -> Volume:
    return Volume(array, volume.affine, volume.frame_of_reference_uid)


def two_masks(volume: Volume, *boxes: tuple[slice, ...]) -> np.ndarray[Any, Any]:
    return np.stack([as_mask(volume.array.shape, box) for box in boxes], axis=-1)


def read(path: Path, volume: Volume, **more: Any) -> tuple[GivenRegion, ...]:
    return given_regions(read_instance(path), volume, **more)


def edited(path: Path, **elements: Any) -> Path:
    """The same file with these elements changed, or with ``None`` removed."""
    ds = pydicom.dcmread(path)
    for keyword, value in elements.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    ds.save_as(path)
    return path


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
@pytest.mark.parametrize("place", GRIDS)
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_mask_comes_back(tmp_path: Path, kind: str, place: str, data: st.DataObject) -> None:
    """With slices that are empty and left out, pieces and holes."""
    volume = GRIDS[place]
    mask = data.draw(arrays.arrays(bool, volume.array.shape))
    empty = data.draw(st.lists(st.integers(0, 4), max_size=3))
    mask[empty] = False
    if not mask.any():
        return
    array = mask.astype(np.float32) if kind == "FRACTIONAL" else mask.astype(np.uint8)
    fraction = {"fractional_type": "PROBABILITY"} if kind == "FRACTIONAL" else {}
    segmentation(tmp_path / "seg.dcm", on(volume, array), [segment(1)], kind, **fraction)
    (found,) = read(tmp_path / "seg.dcm", volume)
    assert np.array_equal(found.region.full(volume.array.shape), mask)
    assert [c.code for c in found.cautions] == (["segmentation-fractional"] if kind == "FRACTIONAL" else [])
    assert (found.name, found.kind, found.source) == ("Tumour", "Neoplasm", "SEG")


@pytest.mark.parametrize("fractional_type", ["PROBABILITY", "OCCUPANCY"])
@pytest.mark.parametrize("most", [255, 100])
def test_half_of_the_largest_fraction_is_inside(tmp_path: Path, fractional_type: str, most: int) -> None:
    volume = GRIDS["axial"]
    array = np.zeros(volume.array.shape, np.float32)
    array[2, 3, :] = [0.0, 0.2, 0.49, 0.51, 0.8, 1.0]
    path = tmp_path / "seg.dcm"
    segmentation(
        path, on(volume, array), [segment(1)], "FRACTIONAL", fractional_type=fractional_type, max_fractional_value=most
    )
    (found,) = read(path, volume)
    assert np.argwhere(found.region.full(volume.array.shape)).tolist() == [[2, 3, 3], [2, 3, 4], [2, 3, 5]]
    (caution,) = found.cautions
    assert fractional_type in caution.text


def test_exactly_half_is_inside(tmp_path: Path) -> None:
    volume = GRIDS["axial"]
    array = np.zeros(volume.array.shape, np.float32)
    array[1, 1, 1:4] = [0.5, 0.49, 1.0]
    path = tmp_path / "seg.dcm"
    segmentation(
        path, on(volume, array), [segment(1)], "FRACTIONAL", fractional_type="OCCUPANCY", max_fractional_value=100
    )
    (found,) = read(path, volume)
    assert np.argwhere(found.region.full(volume.array.shape)).tolist() == [[1, 1, 1], [1, 1, 3]]


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_several_segments_are_told_apart(tmp_path: Path, kind: str) -> None:
    volume = GRIDS["oblique"]
    array = two_masks(volume, np.s_[1:3, 2:4, 2:4], np.s_[3:5, 5:6, 1:5])
    described = [segment(1, "Lesion 1"), segment(2, "Lesion 2")]
    segmentation(tmp_path / "seg.dcm", on(volume, array), described, kind)
    found, cautions = given_lesions(read_instance(tmp_path / "seg.dcm"), volume)
    assert [g.name for g in found] == ["Lesion 1", "Lesion 2"]
    for number, region in enumerate(found):
        assert np.array_equal(region.region.full(volume.array.shape), array[..., number] > 0)
    assert cautions == ()


def test_segments_that_overlap_are_both_whole_and_it_is_said(tmp_path: Path) -> None:
    volume = GRIDS["axial"]
    array = two_masks(volume, np.s_[1:3, 1:5, 1:5], np.s_[2:4, 3:6, 2:6])
    segmentation(tmp_path / "seg.dcm", on(volume, array), [segment(1, "GTV 1"), segment(2, "GTV 2")])
    found, cautions = given_lesions(read_instance(tmp_path / "seg.dcm"), volume)
    for number, region in enumerate(found):
        assert np.array_equal(region.region.full(volume.array.shape), array[..., number] > 0)
    assert [c.code for c in cautions] == ["regions-overlap"]


def test_what_a_program_drew_is_no_humans_region(tmp_path: Path) -> None:
    volume = GRIDS["axial"]
    array = two_masks(volume, np.s_[1:3, 1:3, 1:3], np.s_[1:3, 4:6, 4:6])
    path = tmp_path / "seg.dcm"
    segmentation(path, on(volume, array), [segment(1, "Tumour", "AUTOMATIC"), segment(2, "Tumour", "SEMIAUTOMATIC")])
    found, cautions = given_lesions(read_instance(path), volume)
    assert [np.argwhere(g.region.full(volume.array.shape))[0].tolist() for g in found] == [[1, 4, 4]]
    assert [c.code for c in cautions] == ["region-automatic-left-out"]
    both = [segment(n, "Tumour", "AUTOMATIC") for n in (1, 2)]
    segmentation(path, on(volume, array), both)
    with pytest.raises(Refused) as refused:
        given_lesions(read_instance(path), volume)
    assert refused.value.code == "segmentation-automatic"


def test_codes_say_what_names_do_not(tmp_path: Path) -> None:
    volume = GRIDS["axial"]
    array = two_masks(volume, np.s_[1:3, 1:3, 1:3], np.s_[1:3, 4:6, 4:6])
    node = {"category": codes.SCT.AnatomicalStructure, "type_": codes.SCT.LymphNode}
    lump = {"type_": codes.SCT.NeoplasmSecondary}
    segmentation(tmp_path / "seg.dcm", on(volume, array), [segment(1, "Segment_1", **node), segment(2, "B", **lump)])
    found, cautions = given_lesions(read_instance(tmp_path / "seg.dcm"), volume)
    assert [g.name for g in found] == ["B"]
    assert [c.code for c in cautions] == ["regions-set-aside"]


SYNTAXES = {
    "explicit": ("BINARY", ExplicitVRLittleEndian),
    "deflated": ("BINARY", DeflatedExplicitVRLittleEndian),
    "RLE": ("FRACTIONAL", RLELossless),
    "JPEG 2000": ("FRACTIONAL", JPEG2000Lossless),
    "JPEG-LS": ("FRACTIONAL", JPEGLSLossless),
    "label map, RLE": ("LABELMAP", RLELossless),
    "label map, JPEG-LS": ("LABELMAP", JPEGLSLossless),
    "label map, JPEG 2000": ("LABELMAP", JPEG2000Lossless),
}


@pytest.mark.parametrize(("kind", "syntax"), SYNTAXES.values(), ids=SYNTAXES)
def test_compressed_segmentations(tmp_path: Path, kind: str, syntax: str) -> None:
    volume = grid((4, 40, 48), (3.0, 2.0, 2.0))
    mask = as_mask(volume.array.shape, np.s_[1:3, 5:30, 7:35], np.s_[3, 33:35, 40:47])
    array = mask.astype(np.float32) if kind == "FRACTIONAL" else mask
    options = {"fractional_type": "PROBABILITY"} if kind == "FRACTIONAL" else {}
    by_highdicom = syntax not in (DeflatedExplicitVRLittleEndian, JPEG2000Lossless)
    written = syntax if by_highdicom else ExplicitVRLittleEndian
    path = tmp_path / "seg.dcm"
    segmentation(path, on(volume, array), [segment(1)], kind, transfer_syntax_uid=written, **options)
    if not by_highdicom:
        ds = pydicom.dcmread(path)
        if syntax == JPEG2000Lossless:
            frames = [imagecodecs.jpeg2k_encode(frame, reversible=True, codecformat="j2k") for frame in ds.pixel_array]
            ds.PixelData = pydicom.encaps.encapsulate(frames)
        ds.file_meta.TransferSyntaxUID = syntax
        ds.save_as(path)
    instance = read_instance(path)
    assert instance.transfer_syntax_uid == syntax
    (found,) = given_regions(instance, volume)
    assert np.array_equal(found.region.full(volume.array.shape), mask > 0)


def test_on_a_finer_grid_a_pet_voxel_belongs_when_its_centre_lies_in_a_voxel_of_the_segment(tmp_path: Path) -> None:
    pet = grid((6, 10, 10), (4.0, 4.0, 4.0))
    fine = moved(grid((30, 40, 44), (1.5, 1.0, 1.0)), 17.0)
    fine.affine[:3, 3] = [-3.0, 5.0, -1.0]
    index = np.stack(np.meshgrid(*map(np.arange, fine.array.shape), indexing="ij"), axis=-1)
    mask = np.linalg.norm(fine.to_lps(index) - [18.0, 20.0, 12.0], axis=-1) < 10.0
    segmentation(tmp_path / "seg.dcm", on(fine, mask.astype(np.uint8)), [segment(1)])
    (found,) = read(tmp_path / "seg.dcm", pet, ct=fine)
    centres = pet.to_lps(np.stack(np.meshgrid(*map(np.arange, pet.array.shape), indexing="ij"), axis=-1))
    nearest = np.rint(fine.to_index(centres)).astype(int)
    there = ((nearest >= 0) & (nearest < fine.array.shape)).all(axis=-1)
    wanted = np.zeros(pet.array.shape, bool)
    wanted[there] = mask[tuple(nearest[there].T)]
    assert wanted.sum() > 40
    assert np.array_equal(found.region.full(pet.array.shape), wanted)
    assert found.on_ct is not None
    assert np.array_equal(found.on_ct.full(fine.array.shape), mask)
    assert found.cautions == ()
    half = on(pet, pet.array[:3])
    assert [c.code for c in read(tmp_path / "seg.dcm", half)[0].cautions] == ["region-beyond-pet"]


def test_a_single_slice_is_as_thick_as_it_says(tmp_path: Path) -> None:
    pet = grid((12, 8, 8), (2.0, 2.0, 2.0))
    own = Volume(as_mask((1, 8, 8), np.s_[:, 2:5, 2:5]), moved(grid((1, 8, 8), (6.0, 2.0, 2.0)), 0.0).affine, FRAME)
    own.affine[:3, 3] = [0.0, 0.0, 10.4]
    path = tmp_path / "seg.dcm"
    segmentation(path, own, [segment(1)])
    ds = pydicom.dcmread(path)
    measures = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.pop("SpacingBetweenSlices", None) is not None
    measures.SliceThickness = 6.0
    ds.save_as(path)
    (found,) = read(path, pet)
    # 7.4 to 13.4 mm: the centres at 8, 10 and 12 mm
    assert np.flatnonzero(found.region.full(pet.array.shape).any(axis=(1, 2))).tolist() == [4, 5, 6]
    del measures.SliceThickness
    ds.save_as(path)
    with pytest.raises(Refused) as refused:
        read(path, pet)
    assert refused.value.code == "segmentation-geometry"


def test_missing_frames_are_empty_not_closed_up(tmp_path: Path) -> None:
    """Two slices in use, far apart, and no Spacing Between Slices that would say so: the others of the object do."""
    volume = grid((9, 6, 6), (3.0, 2.0, 2.0))
    mask = as_mask(volume.array.shape, np.s_[1, 2:4, 2:4], np.s_[7, 2:4, 2:4])
    other = as_mask(volume.array.shape, np.s_[:, 0, 0])
    path = tmp_path / "seg.dcm"
    segmentation(path, on(volume, np.stack([mask, other], axis=-1)), [segment(1), segment(2, "B")])
    ds = pydicom.dcmread(path)
    ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].pop("SpacingBetweenSlices", None)
    ds.save_as(path)
    found, _ = read(path, volume)
    assert np.array_equal(found.region.full(volume.array.shape), mask > 0)


def uneven(ds: pydicom.Dataset) -> None:
    ds.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient[2] += 1.1


def turned(ds: pydicom.Dataset) -> None:
    shared = ds.SharedFunctionalGroupsSequence[0]
    orientation = list(shared.PlaneOrientationSequence[0].ImageOrientationPatient)
    del shared.PlaneOrientationSequence
    for frame in ds.PerFrameFunctionalGroupsSequence:
        frame.PlaneOrientationSequence = [pydicom.Dataset()]
        frame.PlaneOrientationSequence[0].ImageOrientationPatient = orientation
    frame.PlaneOrientationSequence[0].ImageOrientationPatient = [0, 1, 0, 1, 0, 0]


def without_position(ds: pydicom.Dataset) -> None:
    del ds.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence


def of_a_slide(ds: pydicom.Dataset) -> None:
    ds.TotalPixelMatrixColumns = 100


def elsewhere(ds: pydicom.Dataset) -> None:
    ds.FrameOfReferenceUID = "1.9"


def of_another_kind(ds: pydicom.Dataset) -> None:
    ds.SegmentationType = "SURFACE"


def with_too_few_frames(ds: pydicom.Dataset) -> None:
    del ds.PerFrameFunctionalGroupsSequence[-1]


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (uneven, "segmentation-geometry"),
        (turned, "segmentation-geometry"),
        (without_position, "region-unreadable"),
        (with_too_few_frames, "region-unreadable"),
        (of_a_slide, "region-unsupported"),
        (elsewhere, "region-frame-of-reference-differs"),
        (of_another_kind, "segmentation-kind"),
    ],
)
def test_what_cannot_be_placed_is_refused(tmp_path: Path, spoil: Any, code: str) -> None:
    volume = GRIDS["axial"]
    path = tmp_path / "seg.dcm"
    segmentation(path, on(volume, as_mask(volume.array.shape, np.s_[1:4, 2:4, 2:4])), [segment(1)])
    ds = pydicom.dcmread(path)
    spoil(ds)
    ds.save_as(path)
    with pytest.raises(Refused) as refused:
        read(path, volume)
    assert refused.value.code == code


def test_more_voxels_than_memory_may_hold_are_refused_by_the_header(tmp_path: Path) -> None:
    """Compressed, so that the file is small and reading it reaches us."""
    volume = GRIDS["axial"]
    path = tmp_path / "seg.dcm"
    segmentation(path, on(volume, as_mask(volume.array.shape, np.s_[1:4, 2:4, 2:4])), [segment(1)])
    instance = read_instance(path)
    edited(path, Rows=32768, Columns=32768)
    assert MOST_VOXELS < 32768 * 32768
    with pytest.raises(Refused) as refused:
        given_regions(instance, volume)
    assert refused.value.code == "segmentation-too-large"


def test_frames_worlds_apart_take_no_memory(tmp_path: Path) -> None:
    """A segment's box is bounded too: two frames a kilometre apart at 0.1 mm."""
    volume = GRIDS["axial"]
    path = tmp_path / "seg.dcm"
    fine = Volume(as_mask((2, 64, 64), np.s_[:, 1:63, 1:63]), np.diag([0.1, 1.0, 1.0, 1.0])[[2, 1, 0, 3]], FRAME)
    segmentation(path, fine, [segment(1)])
    ds = pydicom.dcmread(path)
    ds.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient = [0, 0, 1e6]
    ds.save_as(path)
    with pytest.raises(Refused) as refused:
        read(path, volume)
    assert refused.value.code == "segmentation-too-large"


def test_a_label_map_has_a_class_of_its_own(tmp_path: Path) -> None:
    volume = GRIDS["axial"]
    segmentation(
        tmp_path / "seg.dcm", on(volume, as_mask(volume.array.shape, np.s_[1:4, 2:4, 2:4])), [segment(1)], "LABELMAP"
    )
    assert read_instance(tmp_path / "seg.dcm").sop_class_uid == LABEL_MAP
