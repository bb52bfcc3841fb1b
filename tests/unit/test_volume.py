"""A series becomes one regular volume, by positions alone, or is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.facts import Instance, Refused
from inference.instance import scan_folder
from inference.volume import stack
from tests.images import image, with_pixels


def axial(count: int, spacing_mm: float = 3.0, **attributes: Any) -> list[Instance]:
    return [image(n, (-10.0, -20.0, 5.0 + spacing_mm * n), **attributes) for n in range(count)]


def refusal(instances: list[Instance]) -> str:
    with pytest.raises(Refused) as refused:
        stack(instances)
    assert refused.value.reason.endswith(".")
    return refused.value.code


angles = st.floats(-3.1, 3.1)
offsets = st.floats(-400, 400)


@settings(deadline=None)
@given(
    angles=st.tuples(angles, angles, angles),
    origin=st.tuples(offsets, offsets, offsets),
    spacing=st.tuples(st.floats(0.5, 8), st.floats(0.4, 6), st.floats(0.4, 6)),
    count=st.integers(2, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_geometry_in_any_order_of_arrival(
    angles: tuple[float, float, float],
    origin: tuple[float, float, float],
    spacing: tuple[float, float, float],
    count: int,
    seed: int,
) -> None:
    a, b, c = angles
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    turn_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    row, column, normal = (turn_x @ turn_y @ turn_z).T
    orientation = [round(float(v), 6) for v in (*row, *column)]  # as scanners write it
    rng = np.random.default_rng(seed)
    instances = [
        image(
            int(number),
            [round(float(v), 4) for v in np.array(origin) + k * spacing[0] * normal],
            ImageOrientationPatient=orientation,
            PixelSpacing=[spacing[1], spacing[2]],
            InstanceNumber=int(number),
        )
        for k, number in enumerate(rng.permutation(count))
    ]
    shuffled = [instances[n] for n in rng.permutation(count)]

    found = stack(shuffled)

    assert [i.sop_instance_uid for i in found.instances] == [i.sop_instance_uid for i in instances]
    wanted = np.column_stack([normal * spacing[0], column * spacing[1], row * spacing[2], origin])
    assert np.allclose(found.affine[:3], wanted, atol=2e-4)
    assert found.spacing_mm == pytest.approx(spacing, abs=2e-4)
    assert found.shape == (count, 4, 5)


def test_descending_slices_are_turned_round_not_mirrored() -> None:
    up = stack(axial(5))
    down = stack(axial(5)[::-1])
    assert np.array_equal(up.affine, down.affine)
    assert up.affine[:3, 3].tolist() == [-10.0, -20.0, 5.0]
    assert up.affine[:3, :3].tolist() == [[0, 0, 2], [0, 2, 0], [3, 0, 0]]


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("position-missing", {"ImagePositionPatient": None}),
        ("position-missing", {"ImagePositionPatient": [1.0, 2.0]}),
        ("position-missing", {"ImagePositionPatient": [1.0, 2.0, "x"]}),
        ("position-missing", {"ImagePositionPatient": [1.0, 2.0, float("nan")]}),
        ("orientation-missing", {"ImageOrientationPatient": None}),
        ("orientation-mixed", {"ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 0.0, -1.0]}),
        ("orientation-mixed", {"ImageOrientationPatient": [0.9998, 0.0, 0.02, 0.0, 1.0, 0.0]}),
        ("pixel-spacing-missing", {"PixelSpacing": None}),
        ("pixel-spacing-mixed", {"PixelSpacing": [2.0, 2.01]}),
        ("pixel-spacing-mixed", {"PixelSpacing": [-2.0, 2.0]}),
        ("image-size-mixed", {"Rows": 5}),
        ("image-size-mixed", {"Rows": None}),
        ("value-malformed", {"Rows": [4, 4]}),
        ("frame-of-reference-missing", {"FrameOfReferenceUID": None}),
        ("frame-of-reference-mixed", {"FrameOfReferenceUID": "1.9"}),
        ("dynamic-series", {"SeriesType": ["DYNAMIC", "IMAGE"]}),
        ("dynamic-series", {"NumberOfTimeSlices": 3}),
        ("multiframe-unsupported", {"NumberOfFrames": 8}),
    ],
)
def test_one_bad_image_refuses_the_series(code: str, changed: dict[str, Any]) -> None:
    instances = axial(6)
    instances[2] = replace(instances[2], attributes={**instances[2].attributes, **changed})
    assert refusal(instances) == code


def test_an_invalid_orientation_is_refused() -> None:
    assert refusal(axial(4, ImageOrientationPatient=[1.0, 0.0, 0.0, 1.0, 0.0, 0.0])) == "orientation-invalid"


def test_a_multiframe_class_without_its_functional_groups_is_named() -> None:
    instances = [replace(i, sop_class_uid="1.2.840.10008.5.1.4.1.1.130") for i in axial(3)]
    with pytest.raises(Refused, match="Enhanced PET Image Storage"):
        stack(instances)


def test_a_missing_slice_is_named_by_its_place() -> None:
    instances = axial(8)
    del instances[3:5]
    with pytest.raises(Refused) as refused:
        stack(instances)
    assert refused.value.code == "missing-slices"
    assert refused.value.facts["missing_along_normal_mm"] == [14.0, 17.0]


@pytest.mark.parametrize(
    ("off_mm", "code"), [((0.0, 0.0, 0.3), "irregular-spacing"), ((0.4, 0.0, 0.0), "irregular-spacing")]
)
def test_a_slice_off_its_place_is_refused(off_mm: tuple[float, float, float], code: str) -> None:
    instances = axial(9)
    x, y, z = instances[4].attributes["ImagePositionPatient"]
    moved = [x + off_mm[0], y + off_mm[1], z + off_mm[2]]
    instances[4] = replace(instances[4], attributes={**instances[4].attributes, "ImagePositionPatient": moved})
    assert refusal(instances) == code


def test_positions_rounded_to_a_tenth_of_a_millimetre_pass() -> None:
    instances = [image(n, (0.0, 0.0, round(3.27 * n, 1))) for n in range(200)]
    assert stack(instances).spacing_mm[0] == pytest.approx(3.27, abs=1e-3)


def test_a_tilted_gantry_is_refused() -> None:
    tilted = [image(n, (0.0, 3.0 * n * np.tan(np.radians(10.0)), 3.0 * n)) for n in range(6)]
    assert refusal(tilted) == "sheared-stack"


@pytest.mark.parametrize("count", [0, 1])
def test_one_slice_is_no_volume(count: int) -> None:
    assert refusal(axial(count)) == ("single-slice" if count else "no-images")


def test_the_same_instance_twice_counts_once() -> None:
    instances = axial(4)
    found = stack([*instances, instances[1]])
    assert len(found.instances) == 4
    assert [c.code for c in found.cautions] == ["instance-repeated"]


def test_one_uid_with_two_contents_is_refused() -> None:
    instances = axial(4)
    assert refusal([*instances, replace(instances[1], sha256="other")]) == "instance-uid-reused"


@pytest.mark.parametrize(("change", "refused"), [(0, False), (1, True)])
def test_two_images_at_one_place(tmp_path: Path, change: int, refused: bool) -> None:
    values = np.arange(20, dtype=np.int16).reshape(4, 5)
    instances = [with_pixels(i, values, tmp_path) for i in axial(4)]
    twin = with_pixels(image(9, (-10.0, -20.0, 8.0)), values + np.int16(change), tmp_path)
    if refused:
        assert refusal([*instances, twin]) == "duplicate-position"
    else:
        found = [stack([*instances, twin]), stack([twin, *instances])]
        assert [len(f.instances) for f in found] == [4, 4]
        assert found[0].instances == found[1].instances
        assert [c.code for c in found[0].cautions] == ["duplicate-position"]


def test_time_frames_over_the_same_places_are_refused() -> None:
    frames = [image(10 * t + n, (0.0, 0.0, 3.0 * n)) for t in range(3) for n in range(5)]
    assert refusal(frames) == "dynamic-series"


def test_lossy_compression_is_said() -> None:
    assert [c.code for c in stack(axial(3, LossyImageCompression="01")).cautions] == ["lossy-compression"]


@pytest.mark.parametrize(
    ("transfer_syntax_uid", "stated", "codes"),
    [
        ("1.2.840.10008.1.2.4.51", None, ["lossy-compression"]),  # JPEG Extended: never lossless
        ("1.2.840.10008.1.2.4.51", "00", ["lossy-compression"]),
        ("1.2.840.10008.1.2.4.81", None, ["lossy-compression"]),  # JPEG-LS near lossless
        ("1.2.840.10008.1.2.4.91", None, ["lossy-compression"]),  # JPEG 2000, lossless or not
        ("1.2.840.10008.1.2.4.91", "00", []),
        ("1.2.840.10008.1.2.4.90", None, []),
    ],
)
def test_what_the_transfer_syntax_says_of_loss_counts_too(
    transfer_syntax_uid: str, stated: str | None, codes: list[str]
) -> None:
    images = [replace(i, transfer_syntax_uid=transfer_syntax_uid) for i in axial(3, LossyImageCompression=stated)]
    assert [c.code for c in stack(images).cautions] == codes


def test_six_hundred_slices_take_milliseconds() -> None:
    instances = axial(600)
    stack(instances)
    began = process_time()
    stack(instances)
    assert process_time() - began < 0.1


EXPECTED = {
    "baseline": "",
    "duplicate_position_same_pixels": "duplicate-position",
    "dynamic_pet": "dynamic-series",
    "frame_of_reference_missing": "frame-of-reference-missing",
    "gantry_tilt_pair": "sheared-stack",
    "instance_number_empty": "",
    "irregular_spacing_ct": "irregular-spacing",
    "localizer_inside_ct_series": "orientation-mixed",
    "missing_slice_ct": "missing-slices",
    "missing_slice_pet": "missing-slices",
    "oblique_both": "",
    "order_scrambled": "",
    "pixel_spacing_mixed": "pixel-spacing-mixed",
    "position_missing": "position-missing",
    "prone_orientation": "",
    "single_slice_pet": "single-slice",
    "thickness_not_spacing": "",
}


@pytest.mark.data
@pytest.mark.parametrize("case", EXPECTED)
def test_real_cases(shared_data: Path, case: str) -> None:
    said = []
    for part in ("ct", "pet"):
        try:
            said += [c.code for c in stack(scan_folder(shared_data / "geometry" / case / part).instances).cautions]
        except Refused as refused:
            said.append(refused.code)
    assert said == ([EXPECTED[case]] if EXPECTED[case] else [])
