"""Contours and segmentations become exactly the voxels whose centre lies inside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from inference.contour import filled
from inference.facts import Instance, Refused, Region, Volume
from inference.instance import read_instance, scan_folder
from inference.region import GivenRegion, given_lesions, given_regions
from inference.region_names import Label, lesions_among
from inference.volume import stack
from tests.images import FRAME, UID, grid, square, structures


def refusal(instance: Instance, volume: Volume) -> str:
    with pytest.raises(Refused) as refused:
        given_regions(instance, volume)
    return refused.value.code


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


def test_a_contour_inside_another_is_a_hole(tmp_path: Path) -> None:
    volume = grid((3, 12, 12), (3.0, 1.0, 1.0))
    instance = structures(tmp_path / "s.dcm", [square(3.0, 0.5, 9.5), square(3.0, 3.5, 6.5)])
    (found,) = given_regions(instance, volume)
    assert (found.name, found.source, found.cautions) == ("GTV", "RTSTRUCT", ())
    assert found.region.start == (1, 1, 1)
    assert found.region.mask.sum() == 81 - 9
    assert not found.region.mask[0, 3:6, 3:6].any()


def test_slices_between_contour_planes_take_the_nearest_within_half_their_distance(tmp_path: Path) -> None:
    """CT planes every 3 mm from z = 6 to 12; PET slices every 2 mm: those from 4.5 to 13.5 mm belong."""
    volume = grid((10, 12, 12), (2.0, 1.0, 1.0))
    instance = structures(tmp_path / "s.dcm", [square(z, 0.5, 3.5 + z / 3) for z in (6.0, 9.0, 12.0)])
    (found,) = given_regions(instance, volume)
    full = found.region.full(volume.array.shape)
    assert np.flatnonzero(full.any(axis=(1, 2))).tolist() == [3, 4, 5, 6]
    sides = np.sqrt(full.sum(axis=(1, 2)))[3:7]
    assert sides.tolist() == [5, 6, 6, 7]  # z = 6 → plane 6; 8 → 9; 10 → 9; 12 → 12


def test_drawn_on_the_ct_it_is_placed_on_the_cts_own_grid_too(tmp_path: Path) -> None:
    pet, ct = grid((3, 6, 6), (3.0, 2.0, 2.0)), grid((3, 12, 12), (3.0, 1.0, 1.0))
    instance = structures(tmp_path / "s.dcm", [square(3.0, 2.5, 7.5)])
    (found,) = given_regions(instance, pet, ct=ct)
    assert (found.region.start, found.region.mask.shape) == ((1, 2, 2), (1, 2, 2))
    assert found.on_ct is not None
    assert (found.on_ct.start, found.on_ct.mask.shape, int(found.on_ct.mask.sum())) == ((1, 3, 3), (1, 5, 5), 25)


def test_a_ct_tilted_to_the_contours_leaves_the_pets_voxels_to_say(tmp_path: Path) -> None:
    volume = grid((3, 12, 12), (3.0, 1.0, 1.0))
    turn = np.eye(4)
    turn[:3, :3] = [[1, 0, 0], [0, np.cos(0.4), -np.sin(0.4)], [0, np.sin(0.4), np.cos(0.4)]]
    tilted = Volume(volume.array, turn @ volume.affine, FRAME)
    (found,) = given_regions(structures(tmp_path / "s.dcm", [square(3.0, 0.5, 9.5)]), volume, ct=tilted)
    assert found.on_ct is None
    assert found.region.mask.sum() == 81


def test_placed_by_position_on_an_oblique_grid(tmp_path: Path) -> None:
    volume = grid((6, 20, 20), (3.0, 2.0, 2.0))
    angle = np.radians(20.0)
    turn = np.eye(4)
    turn[:3, :3] = [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = [11.0, -5.0, 40.0]
    oblique = Volume(volume.array, turn @ volume.affine, FRAME)
    points = np.array(square(6.0, 4.5, 20.5)).reshape(-1, 3) @ turn[:3, :3].T + turn[:3, 3]
    straight = given_regions(structures(tmp_path / "a.dcm", [square(6.0, 4.5, 20.5)]), volume)[0]
    found = given_regions(structures(tmp_path / "b.dcm", [points.ravel().tolist()]), oblique)[0]
    assert found.region.start == straight.region.start
    assert np.array_equal(found.region.mask, straight.region.mask)
    assert refusal(structures(tmp_path / "c.dcm", [square(46.0, 4.5, 30.5)]), oblique) == "contours-not-in-plane"


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
    assert refusal(instance, grid((3, 12, 12), (3.0, 1.0, 1.0))) == code


def test_elsewhere_or_malformed(tmp_path: Path) -> None:
    volume = grid((3, 12, 12), (3.0, 1.0, 1.0))
    assert refusal(structures(tmp_path / "a.dcm", [square(300.0, 0.5, 9.5)]), volume) == "region-outside-image"
    assert refusal(structures(tmp_path / "b.dcm", [square(3.0, 0.5, 9.5)[:-1]]), volume) == "contour-malformed"
    cut = structures(tmp_path / "c.dcm", [square(3.0, 0.5, 9.5)])
    (tmp_path / "c.dcm").write_bytes(b"no DICOM")
    assert refusal(cut, volume) == "region-unreadable"


def test_references_to_absent_images_are_said(tmp_path: Path) -> None:
    volume = grid((3, 12, 12), (3.0, 1.0, 1.0))
    instance = structures(tmp_path / "s.dcm", [square(3.0, 0.5, 9.5)], refers_to=UID + "99")
    (found,) = given_regions(instance, volume, present=(UID + "98",))
    assert [c.code for c in found.cautions] == ["region-references-absent"]
    (found,) = given_regions(instance, volume, present=(UID + "99",))
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
    volume = grid((3, 12, 12), (3.0, 1.0, 1.0))
    (found,) = given_regions(structures(tmp_path / "s.dcm", [square(3.0, 2.5, 5.5), side]), volume)
    assert [c.code for c in found.cautions] == codes


def region(name: str, kind: str = "") -> GivenRegion:
    return GivenRegion(name, Region((0, 0, 0), np.ones((1, 1, 1), bool)), "RTSTRUCT", kind)


@pytest.mark.parametrize(
    ("regions", "chosen", "said"),
    [
        ([("Ring 1", "")], ["Ring 1"], ["region-not-named-tumour"]),
        ([("GTV", "")], ["GTV"], []),
        ([("BODY", "EXTERNAL"), ("Liver", "ORGAN"), ("gtv_primary", "")], ["gtv_primary"], ["regions-set-aside"]),
        ([("BODY", "EXTERNAL"), ("contour", "")], ["contour"], ["regions-set-aside", "region-not-named-tumour"]),
        ([("Liver", ""), ("Lesion 2", ""), ("Lesion 1", "")], ["Lesion 2", "Lesion 1"], ["regions-set-aside"]),
        ([("a", "GTV"), ("b", "")], ["a"], ["regions-set-aside"]),
        ([("PTV tumour 60Gy", ""), ("CTV_node", ""), ("tumour", "")], ["tumour"], ["regions-set-aside"]),
        ([("body of pancreas mass", "GTV")], ["body of pancreas mass"], []),
    ],
)
def test_which_regions_are_lesions(regions: list[tuple[str, str]], chosen: list[str], said: list[str]) -> None:
    found, cautions = lesions_among([region(*r) for r in regions])
    assert [r.name for r in found] == chosen
    assert [c.code for c in cautions] == said


@pytest.mark.parametrize("names", [[("A", ""), ("B", "")], [("Liver", "ORGAN")], [("PTV60", "")], [("_Body", "")]])
def test_a_region_is_not_guessed(names: list[tuple[str, str]]) -> None:
    with pytest.raises(Refused) as refused:
        lesions_among([region(*n) for n in names])
    assert refused.value.code == "region-ambiguous"


def segmentation(path: Path, sources: Sequence[Dataset], mask: np.ndarray[Any, Any], kind: str) -> Instance:
    algorithm = highdicom.AlgorithmIdentificationSequence("x", codes.DCM.ArtificialIntelligence, "1")
    described = highdicom.seg.SegmentDescription(
        1,
        "Tumour",
        codes.SCT.MorphologicallyAbnormalStructure,
        codes.SCT.Neoplasm,
        kind,
        None if kind == "MANUAL" else algorithm,
    )
    seg = highdicom.seg.Segmentation(
        list(sources),
        mask.astype(np.uint8),
        "BINARY",
        [described],
        highdicom.UID(),
        1,
        highdicom.UID(),
        1,
        "m",
        "m",
        "1",
        "1",
    )
    seg.save_as(path)
    return read_instance(path)


@pytest.mark.data
@pytest.mark.parametrize("series", ["pet", "ct"])
def test_segmentations_by_their_own_geometry(shared_data: Path, tmp_path: Path, series: str) -> None:
    case = shared_data / "geometry" / "order_scrambled"
    pet, own = (stack(scan_folder(case / s).instances) for s in ("pet", series))
    volume = Volume(np.zeros(pet.shape, np.float32), pet.affine, pet.frame_of_reference_uid)
    drawn = Volume(np.zeros(own.shape, bool), own.affine, own.frame_of_reference_uid)
    centre = volume.to_lps([4, 4, 4])
    index = np.stack(np.meshgrid(*map(np.arange, own.shape), indexing="ij"), axis=-1)
    inside = np.linalg.norm(drawn.to_lps(index) - centre, axis=-1) < 9.0
    sources = [highdicom.imread(i.path) for i in own.instances]
    seg = segmentation(tmp_path / "seg.dcm", sources, inside, "MANUAL")

    (found,) = given_regions(seg, volume, ct=drawn)

    assert (found.name, found.source, found.kind) == ("Tumour", "SEG", "Neoplasm")
    points = volume.to_lps(np.stack(np.meshgrid(*map(np.arange, pet.shape), indexing="ij"), axis=-1))
    nearest = np.rint(drawn.to_index(points)).astype(int)
    there = ((nearest >= 0) & (nearest < own.shape)).all(axis=-1)
    wanted = np.zeros(pet.shape, bool)
    wanted[there] = inside[tuple(nearest[there].T)]
    assert wanted.sum() > 10
    assert np.array_equal(found.region.full(pet.shape), wanted)
    assert found.cautions == ()
    assert found.on_ct is not None
    assert np.array_equal(found.on_ct.full(own.shape), inside)
    half = Volume(volume.array[:4], volume.affine, volume.frame_of_reference_uid)
    (cut,) = given_regions(seg, half)
    assert [c.code for c in cut.cautions] == ["region-beyond-pet"]
    automatic = segmentation(tmp_path / "auto.dcm", sources, inside, "AUTOMATIC")
    assert refusal(automatic, volume) == "segmentation-automatic"
