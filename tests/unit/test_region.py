"""Regions that people drew become exactly the voxels whose centre lies inside, and only lesions are taken."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.facts import Instance, Refused, Region, Volume
from inference.geometry.volume import stack
from inference.reading.instance import read_instance, scan_folder
from inference.regions import structures as structures_module
from inference.regions.region import given_lesions, given_regions, overlapping
from inference.regions.region_names import TUMOUR_NAMES, Label, labels_of, lesions_among, names_a_lesion
from tests.images import FRAME, UID, grid, square, structures
from tests.regions import Roi, as_mask, segment, segmentation, structure_set
from tests.unit.test_contour import moved

PET = grid((3, 12, 12), (3.0, 1.0, 1.0))


def refusal(instance: Instance, volume: Volume) -> str:
    with pytest.raises(Refused) as refused:
        given_regions(instance, volume)
    return refused.value.code


# ----------------------------------------------------------------------------------------------------------- RTSTRUCT


def test_contours_inside_contours_are_holes_and_islands(tmp_path: Path) -> None:
    sides = [(0.5, 10.5), (2.5, 8.5), (4.5, 6.5)]
    (found,) = given_regions(structures(tmp_path / "s.dcm", [square(3.0, *side) for side in sides]), PET)
    assert (found.name, found.source, found.cautions) == ("GTV", "RTSTRUCT", ())
    assert found.region.start == (1, 1, 1)
    assert found.region.mask.sum() == 100 - 36 + 4


def test_drawn_on_the_ct_it_is_placed_on_the_cts_own_grid_too(tmp_path: Path) -> None:
    pet, ct = grid((3, 6, 6), (3.0, 2.0, 2.0)), grid((3, 12, 12), (3.0, 1.0, 1.0))
    instance = structures(tmp_path / "s.dcm", [square(3.0, 2.5, 7.5)])
    (found,) = given_regions(instance, pet, ct=ct)
    assert (found.region.start, found.region.mask.shape) == ((1, 2, 2), (1, 2, 2))
    assert found.on_ct is not None
    assert (found.on_ct.start, found.on_ct.mask.shape, int(found.on_ct.mask.sum())) == ((1, 3, 3), (1, 5, 5), 25)


def test_placed_by_position_on_an_oblique_grid(tmp_path: Path) -> None:
    volume = grid((6, 20, 20), (3.0, 2.0, 2.0))
    oblique = moved(volume, 20.0)
    turn = oblique.affine @ np.linalg.inv(volume.affine)
    points = np.array(square(6.0, 4.5, 20.5)).reshape(-1, 3) @ turn[:3, :3].T + turn[:3, 3]
    straight = given_regions(structures(tmp_path / "a.dcm", [square(6.0, 4.5, 20.5)]), volume)[0]
    found = given_regions(structures(tmp_path / "b.dcm", [points.ravel().tolist()]), oblique)[0]
    assert found.region.start == straight.region.start
    assert np.array_equal(found.region.mask, straight.region.mask)


def test_axial_contours_on_a_tilted_pet_are_placed_point_by_point(tmp_path: Path) -> None:
    pet = moved(grid((20, 24, 24), (2.0, 2.0, 2.0)), 15.0)
    pet.affine[:3, 3] = 0.0
    """With a hole, which is a contour inside the other."""
    sides = [(10.1, 30.3), (16.1, 24.3)]
    instance = structures(tmp_path / "s.dcm", [square(z, *side) for z in (20.0, 23.0, 26.0) for side in sides])
    (found,) = given_regions(instance, pet)
    x, y, z = np.moveaxis(pet.to_lps(np.moveaxis(np.indices(pet.array.shape), 0, -1)), -1, 0)
    outer, hole = ((x > a) & (x < b) & (y > a) & (y < b) for a, b in sides)
    inside = outer & ~hole & (z > 18.5) & (z < 27.5)
    assert inside.sum() > 300
    assert (outer & hole & (z > 18.5) & (z < 27.5)).sum() > 50
    assert np.array_equal(found.region.full(pet.array.shape), inside)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("region-frame-of-reference-differs", {"frame": "1.9"}),
        ("region-frame-of-reference-differs", {"frame": ""}),
        ("region-outside-image", {"kind": "POINT"}),
    ],
)
def test_structures_that_cannot_be_placed(tmp_path: Path, code: str, told: dict[str, Any]) -> None:
    instance = structures(tmp_path / "s.dcm", [square(3.0, 0.5, 9.5)], **told)
    assert refusal(instance, PET) == code
    with pytest.raises(Refused, match=code):
        given_lesions(instance, PET)


def test_elsewhere_or_malformed(tmp_path: Path) -> None:
    assert refusal(structures(tmp_path / "a.dcm", [square(300.0, 0.5, 9.5)]), PET) == "region-outside-image"
    assert refusal(structures(tmp_path / "b.dcm", [square(3.0, 0.5, 9.5)[:-1]]), PET) == "contour-malformed"
    cut = structures(tmp_path / "c.dcm", [square(3.0, 0.5, 9.5)])
    (tmp_path / "c.dcm").write_bytes(b"no DICOM")
    assert refusal(cut, PET) == "region-unreadable"


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"1\\2\\x\\4\\5\\6\\7\\8\\9 ", "region-unreadable"), (b"1\\2\\3\\4\\5\\inf\\7\\8\\9 ", "contour-malformed")],
)
def test_contour_data_that_is_no_number(tmp_path: Path, data: bytes, code: str) -> None:
    path = tmp_path / "s.dcm"
    instance = structures(path, [[1, 2, 3, 4, 5, 6, 7, 8, 9]])
    written = b"1.0\\2.0\\3.0\\4.0\\5.0\\6.0\\7.0\\8.0\\9.0 "
    assert path.read_bytes().count(written) == 1
    path.write_bytes(path.read_bytes().replace(written, data.ljust(len(written))))
    assert refusal(instance, PET) == code


def test_a_structure_set_too_large_to_parse_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = structures(tmp_path / "a.dcm", [square(3.0, 0.5, 9.5)])
    monkeypatch.setattr(structures_module, "MOST_POINTS", 3)
    assert refusal(instance, PET) == "region-too-large"
    monkeypatch.setattr(structures_module, "MOST_BYTES", 100)
    assert refusal(instance, PET) == "region-too-large"


def test_references_to_absent_images_are_said(tmp_path: Path) -> None:
    instance = structures(tmp_path / "s.dcm", [square(3.0, 0.5, 9.5)], refers_to=UID + "99")
    (found,) = given_regions(instance, PET, present=(UID + "98",))
    assert [c.code for c in found.cautions] == ["region-references-absent"]
    (found,) = given_regions(instance, PET, present=(UID + "99",))
    assert found.cautions == ()


@pytest.mark.parametrize(
    ("side", "codes"),
    [
        (square(3.0, 0.5, 9.5), []),
        (square(3.0, -0.4, 11.4), []),  # to the outer edge of the outermost voxels
        (square(3.0, 0.5, 15.5), ["region-beyond-pet"]),
        (square(-3.0, 0.5, 9.5), ["region-beyond-pet"]),
    ],
)
def test_a_region_that_reaches_out_of_the_pet_says_so(tmp_path: Path, side: list[float], codes: list[str]) -> None:
    """What is measured is then a part of it: its volume is too small, and its maximum may lie elsewhere."""
    (found,) = given_regions(structures(tmp_path / "s.dcm", [square(3.0, 2.5, 5.5), side]), PET)
    assert [c.code for c in found.cautions] == codes


def test_points_and_open_lines_are_ignored_and_a_plane_left_out_is_said(tmp_path: Path) -> None:
    volume = grid((8, 12, 12), (3.0, 1.0, 1.0))
    planes = [square(z, 0.5, 9.5) for z in (3.0, 6.0, 12.0, 15.0)]
    contours = [*planes, [5.0, 5.0, 9.0], square(9.0, 0.5, 9.5)]
    kinds = ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "CLOSED_PLANAR", "CLOSED_PLANAR", "POINT", "OPEN_PLANAR"]
    instance = structure_set(tmp_path / "s.dcm", [Roi("GTV", contours, kinds=kinds)])
    (found,) = given_regions(instance, volume)
    assert np.flatnonzero(found.region.full(volume.array.shape).any(axis=(1, 2))).tolist() == [1, 2, 4, 5]
    assert [c.code for c in found.cautions] == ["contours-ignored", "contours-skipped"]


# ------------------------------------------------------------------------------------------------------ which are taken


def test_only_lesions_are_taken_each_as_one(tmp_path: Path) -> None:
    here, there = [square(3.0, 0.5, 4.5)], [square(3.0, 6.5, 9.5)]
    rois = [
        Roi("Liver", here, "ORGAN"),
        Roi("GTV_1", here, "GTV"),
        Roi("BODY", [square(3.0, 0.0, 11.0)], "EXTERNAL"),
        Roi("GTV_2", there, "GTV"),
        Roi("GTV organ", here, "AVOIDANCE"),
        Roi("GTV marker", [[1.0, 1.0, 3.0]], kinds=["POINT"]),
    ]
    found, cautions = given_lesions(structure_set(tmp_path / "s.dcm", rois), PET)
    assert [(g.name, g.kind, int(g.region.mask.sum())) for g in found] == [("GTV_1", "GTV", 16), ("GTV_2", "GTV", 9)]
    assert [c.code for c in cautions] == ["regions-set-aside"]
    assert cautions[0].text.startswith("3 region(s)")


def test_what_is_not_taken_is_said(tmp_path: Path) -> None:
    inside = [square(3.0, 0.5, 4.5)]
    rois = [
        Roi("GTV", inside),
        Roi("GTV auto", inside, algorithm="AUTOMATIC"),
        Roi("GTV elsewhere", inside, frame="1.9"),
        Roi("GTV far off", [square(90.0, 0.5, 4.5)]),
        Roi("GTV again", [square(3.0, 2.5, 6.5)]),
    ]
    found, cautions = given_lesions(structure_set(tmp_path / "s.dcm", rois), PET)
    assert [g.name for g in found] == ["GTV", "GTV again"]
    codes = ["region-automatic-left-out", "region-left-out", "region-without-voxel", "regions-overlap"]
    assert [c.code for c in cautions] == codes


def test_names_are_matched_by_the_rules_of_the_configuration(tmp_path: Path) -> None:
    inside = [square(3.0, 0.5, 4.5)]
    instance = structure_set(tmp_path / "s.dcm", [Roi(n, inside) for n in ("Herd 1", "Tumour", "PTV Herd")])
    assert [g.name for g in given_lesions(instance, PET)[0]] == ["Tumour"]
    assert [g.name for g in given_lesions(instance, PET, names=("^herd", "tumour"))[0]] == ["Herd 1"]


@pytest.mark.parametrize("algorithms", [["AUTOMATIC"], ["AUTOMATIC", "AUTOMATIC"]])
def test_a_structure_set_of_a_program_is_refused(tmp_path: Path, algorithms: list[str]) -> None:
    rois = [Roi("GTV", [square(3.0, 0.5, 4.5)], algorithm=a) for a in algorithms]
    with pytest.raises(Refused) as refused:
        given_lesions(structure_set(tmp_path / "s.dcm", rois), PET)
    assert refused.value.code == "segmentation-automatic"


TYPED = {"ORGAN", "EXTERNAL", "PTV"}


def label(number: int, name: str, kind: str = "") -> Label:
    return Label(number, name, kind, "other" if kind in TYPED else "")


@pytest.mark.parametrize(
    ("regions", "chosen", "said"),
    [
        ([("Ring 1", "")], ["Ring 1"], ["region-not-named-tumour"]),
        ([("GTV", "")], ["GTV"], []),
        ([("BODY", "EXTERNAL"), ("Liver", "ORGAN"), ("gtv_primary", "")], ["gtv_primary"], ["regions-set-aside"]),
        ([("BODY", "EXTERNAL"), ("contour", "")], ["contour"], ["regions-set-aside", "region-not-named-tumour"]),
        ([("Liver", ""), ("contour", "")], ["contour"], ["regions-set-aside", "region-not-named-tumour"]),
        ([("Liver", ""), ("Lesion 2", ""), ("Lesion 1", "")], ["Lesion 2", "Lesion 1"], ["regions-set-aside"]),
        ([("Liver lesion", ""), ("Liver", "")], ["Liver lesion"], ["regions-set-aside"]),
        ([("a", "GTV"), ("b", "")], ["a"], ["regions-set-aside"]),
        ([("PTV tumour 60Gy", ""), ("CTV_node", ""), ("tumour", "")], ["tumour"], ["regions-set-aside"]),
        ([("Node level II", ""), ("GTVp", ""), ("GTVn", "")], ["GTVp", "GTVn"], ["regions-set-aside"]),
        ([("body of pancreas mass", "GTV")], ["body of pancreas mass"], []),
        ([("GTV", "ORGAN"), ("tumour", "")], ["tumour"], ["regions-set-aside"]),
    ],
)
def test_which_regions_are_lesions(regions: list[tuple[str, str]], chosen: list[str], said: list[str]) -> None:
    found, cautions = lesions_among([label(n, *r) for n, r in enumerate(regions, 1)])
    assert [r.name for r in found] == chosen
    assert [c.code for c in cautions] == said


def test_a_coded_tumour_needs_no_name_that_is_known() -> None:
    coded, other = Label(1, "Herd", "Neubildung", "tumour"), Label(2, "Segment_2")
    assert lesions_among([other, coded])[0] == (coded,)


@pytest.mark.parametrize(
    "names", [[("A", ""), ("B", "")], [("Liver", "ORGAN")], [("Left_Kidney", "")], [("PTV60", "")], [("_Body", "")]]
)
def test_a_region_is_not_guessed(names: list[tuple[str, str]]) -> None:
    labels = [label(n, *told) for n, told in enumerate(names, 1)]
    with pytest.raises(Refused) as refused:
        lesions_among(labels)
    assert refused.value.code == "region-ambiguous"
    assert not names_a_lesion(labels)


@given(st.lists(st.text(max_size=12), min_size=1, max_size=5))
def test_any_names_give_lesions_or_a_reason(names: list[str]) -> None:
    labels = [Label(n, name) for n, name in enumerate(names, 1)]
    if not names_a_lesion(labels):
        with pytest.raises(Refused, match="region-ambiguous"):
            lesions_among(labels)
        return
    chosen, cautions = lesions_among(labels)
    assert chosen
    assert set(chosen) <= set(labels)
    if any(re.search("|".join(TUMOUR_NAMES), name, re.IGNORECASE) for name in names) and len(names) > len(chosen):
        assert "regions-set-aside" in [c.code for c in cautions]


def test_a_header_kept_as_json_reads_as_the_data_set_does(tmp_path: Path) -> None:
    """Assembly chooses between objects by what ``Instance.attributes`` keeps; reading then sees the data set."""
    import pydicom

    rois = [Roi("GTV", kind="GTV"), Roi("Liver", kind="ORGAN", algorithm="AUTOMATIC")]
    made = structure_set(tmp_path / "s.dcm", rois)
    volume = grid((4, 6, 6), (3.0, 2.0, 2.0))
    drawn = Volume(as_mask(volume.array.shape, np.s_[1:3, 2:4, 2:4]), volume.affine, FRAME)
    segmentation(tmp_path / "seg.dcm", drawn, [segment(1, "Lesion", "SEMIAUTOMATIC")])
    for instance in (made, read_instance(tmp_path / "seg.dcm")):
        labels = labels_of(pydicom.dcmread(instance.path, stop_before_pixels=True))
        assert labels_of(instance.attributes) == labels
        assert names_a_lesion(labels)


@pytest.mark.parametrize(
    ("start", "shared"), [((0, 0, 0), True), ((1, 1, 1), False), ((2, 0, 0), False), ((0, 1, 1), True)]
)
def test_regions_overlap_where_they_share_a_voxel(start: tuple[int, int, int], shared: bool) -> None:
    one = Region((0, 0, 0), np.ones((2, 2, 2), bool))
    one.mask[1, 1, 1] = False
    assert bool(overlapping([one, Region(start, np.ones((1, 1, 1), bool))])) == shared


@pytest.mark.data
@pytest.mark.parametrize("series", ["pet", "ct"])
def test_segmentations_by_their_own_geometry(shared_data: Path, tmp_path: Path, series: str) -> None:
    """On the grids of a real pair, drawn on its PET or on its CT."""
    case = shared_data / "geometry" / "order_scrambled"
    pet, own = (stack(scan_folder(case / s).instances) for s in ("pet", series))
    volume = Volume(np.zeros(pet.shape, np.float32), pet.affine, pet.frame_of_reference_uid)
    drawn = Volume(np.zeros(own.shape, bool), own.affine, own.frame_of_reference_uid)
    index = np.moveaxis(np.indices(own.shape), 0, -1)
    inside = np.linalg.norm(drawn.to_lps(index) - volume.to_lps([4, 4, 4]), axis=-1) < 9.0
    path = tmp_path / "seg.dcm"
    segmentation(path, Volume(inside.astype(np.uint8), own.affine, own.frame_of_reference_uid), [segment(1)])

    (found,) = given_regions(read_instance(path), volume, ct=drawn)

    nearest = np.rint(drawn.to_index(volume.to_lps(np.moveaxis(np.indices(pet.shape), 0, -1)))).astype(int)
    there = ((nearest >= 0) & (nearest < own.shape)).all(axis=-1)
    wanted = np.zeros(pet.shape, bool)
    wanted[there] = inside[tuple(nearest[there].T)]
    assert wanted.sum() > 10
    assert np.array_equal(found.region.full(pet.shape), wanted)
    assert found.cautions == ()
    assert found.on_ct is not None
    assert np.array_equal(found.on_ct.full(own.shape), inside)
