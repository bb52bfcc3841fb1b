"""A series becomes one regular volume, by positions alone, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.facts import Instance, Refused
from inference.geometry.volume import stack
from inference.reading import pixels
from inference.reading.instance import scan_folder
from tests.images import FRAME, image, with_pixels


def axial(count: int, spacing_mm: float = 3.0, modality: str = "CT", **attributes: Any) -> list[Instance]:
    return [image(n, (-10.0, -20.0, 5.0 + spacing_mm * n), modality, **attributes) for n in range(count)]


def refusal(instances: list[Instance]) -> str:
    with pytest.raises(Refused) as refused:
        stack(instances)
    assert refused.value.reason.endswith(".")
    return refused.value.code


def outcome(instances: list[Instance]) -> str:
    """The code of the refusal or of the first caution, "" where there is neither."""
    try:
        return next((c.code for c in stack(instances).cautions), "")
    except Refused as refused:
        return refused.code


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


def _moved(along_mm: float, across_mm: float) -> Callable[[Instance], Instance]:
    def move(instance: Instance) -> Instance:
        x, y, z = instance.attributes["ImagePositionPatient"]
        place = [x + across_mm, y, z + along_mm]
        return replace(instance, attributes={**instance.attributes, "ImagePositionPatient": place})

    return move


def _changed(**attributes: Any) -> Callable[[Instance], Instance]:
    return lambda instance: replace(instance, attributes={**instance.attributes, **attributes})


FAULTS = st.one_of(
    st.builds(_moved, st.floats(-6, 6), st.just(0.0)),
    st.builds(_moved, st.just(0.0), st.floats(-6, 6)),
    st.builds(lambda s: _changed(PixelSpacing=[s, 2.0]), st.floats(0.5, 4)),
    st.builds(lambda a: _changed(ImageOrientationPatient=[1.0, 0.0, 0.0, 0.0, np.cos(a), np.sin(a)]), st.floats(-1, 1)),
    st.builds(lambda r: _changed(Rows=r), st.integers(0, 9)),
    st.builds(lambda f: _changed(FrameOfReferenceUID=f), st.sampled_from([None, "1.9", FRAME])),
    st.builds(lambda k: _changed(ConvolutionKernel=[k]), st.sampled_from(["B30f", "B70f"])),
    st.builds(lambda t: _changed(TemporalPositionIdentifier=t), st.integers(1, 3)),
    st.builds(lambda n: _changed(AcquisitionNumber=n), st.integers(1, 3)),
)


@settings(deadline=None, max_examples=300)
@given(
    fault=FAULTS,
    modality=st.sampled_from(["CT", "PT"]),
    count=st.integers(4, 9),
    data=st.data(),
)
def test_one_fault_is_refused_flagged_or_harmless(
    fault: Callable[[Instance], Instance], modality: str, count: int, data: st.DataObject
) -> None:
    common = {"ConvolutionKernel": ["B30f"], "TemporalPositionIdentifier": 1, "AcquisitionNumber": 1}
    instances = axial(count, 3.0, modality, **common)
    at = data.draw(st.integers(0, count - 1))
    instances[at] = fault(instances[at])
    try:
        found = stack(instances)
    except Refused:
        return
    if found.regrid is not None:
        assert modality == "CT"
        assert found.cautions
        return
    assert not found.cautions
    assert [i.get("AcquisitionNumber") for i in found.instances].count(1) >= count - 1
    for k, instance in enumerate(found.instances):  # every image is where the volume has it, as its own header says
        place = instance.attributes["ImagePositionPatient"]
        assert np.linalg.norm(found.affine[:3, :3] @ [k, 0, 0] + found.affine[:3, 3] - place) < 0.11
        row, column = np.reshape(instance.attributes["ImageOrientationPatient"], (2, 3))
        assert np.allclose(found.affine[:3, 2], row * instance.attributes["PixelSpacing"][1], atol=1e-3)
        assert np.allclose(found.affine[:3, 1], column * instance.attributes["PixelSpacing"][0], atol=1e-3)
        assert (instance.get("Rows"), instance.get("FrameOfReferenceUID")) == (4, FRAME)


@given(count=st.integers(4, 12), data=st.data())
def test_an_inner_slice_that_is_missing_is_always_noticed(count: int, data: st.DataObject) -> None:
    instances = axial(count, modality=data.draw(st.sampled_from(["CT", "PT"])))
    some = data.draw(st.sets(st.integers(1, count - 2), min_size=1, max_size=count - 3))
    left = [i for n, i in enumerate(instances) if n not in some]
    steps = np.diff([n for n in range(count) if n not in some])
    if steps.min() == 1:
        assert refusal(left) == "missing-slices"
    elif len(set(steps.tolist())) > 1:  # no two neighbours are left to show the spacing: uneven, refused or flagged
        assert outcome(left) in ("missing-slices", "irregular-spacing", "irregular-spacing-interpolated")


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


@pytest.mark.parametrize("off_mm", [(0.0, 0.0, 0.3), (0.4, 0.0, 0.0)])
def test_a_slice_off_its_place_is_refused_in_pet_and_flagged_in_ct(off_mm: tuple[float, float, float]) -> None:
    for modality in ("PT", "CT"):
        instances = axial(9, modality=modality)
        place = np.add(instances[4].attributes["ImagePositionPatient"], off_mm).tolist()
        instances[4] = replace(instances[4], attributes={**instances[4].attributes, "ImagePositionPatient": place})
        if modality == "PT":
            assert refusal(instances) == "irregular-spacing"
        else:
            assert len(stack(instances).cautions) == 1
            assert stack(instances).regrid is not None


def test_positions_rounded_to_a_tenth_of_a_millimetre_pass() -> None:
    instances = [image(n, (0.0, 0.0, round(3.27 * n, 1))) for n in range(200)]
    assert stack(instances).spacing_mm[0] == pytest.approx(3.27, abs=1e-3)


def test_a_tilted_gantry_is_refused_in_pet() -> None:
    tilted = [image(n, (0.0, 3.0 * n * np.tan(np.radians(10.0)), 3.0 * n), "PT") for n in range(6)]
    assert refusal(tilted) == "sheared-stack"


@pytest.mark.parametrize(
    ("heights", "code"),
    [
        ([0, 3, 6, 12, 15], "missing-slices"),  # one inner slice did not come
        ([0, 6, 12, 15, 21, 27], "missing-slices"),  # few came: all distances are whole steps of 3 mm
        ([0, 3, 6, 13, 16, 19], "irregular-spacing"),  # more than a slice would fit in
        ([0, 6, 12, 23, 29, 35], "irregular-spacing"),  # wider than 10 mm
        ([0, 3, 6, 9, 13.5, 18], ""),
        ([0, 2.37, 6.54, 8.91, 13.08], ""),
    ],
)
def test_gaps_in_a_ct(heights: list[float], code: str) -> None:
    instances = [image(n, (0.0, 0.0, float(h))) for n, h in enumerate(heights)]
    if code:
        assert refusal(instances) == code
    else:
        assert [c.code for c in stack(instances).cautions] == ["irregular-spacing-interpolated"]


def test_slices_beside_their_line_are_refused() -> None:
    instances = axial(9)
    x, y, z = instances[4].attributes["ImagePositionPatient"]
    instances[4] = replace(instances[4], attributes={**instances[4].attributes, "ImagePositionPatient": [x, y + 2, z]})
    assert refusal(instances) == "irregular-spacing"


def test_no_gantry_tilts_by_forty_degrees() -> None:
    tilted = [image(n, (0.0, 3.0 * n * np.tan(np.radians(40.0)), 3.0 * n)) for n in range(6)]
    assert refusal(tilted) == "sheared-stack"


def test_a_tilted_stack_too_large_for_memory_is_refused() -> None:
    tilted = [image(n, (0.0, 3.0 * n, 5.0 * n), Rows=30000, Columns=30000) for n in range(6)]
    assert refusal(tilted) == "too-large"


def test_a_tilt_that_positions_do_not_show_is_said() -> None:
    assert [c.code for c in stack(axial(4, GantryDetectorTilt=12.0)).cautions] == ["gantry-tilt-not-in-positions"]
    assert not stack(axial(4, GantryDetectorTilt=0.0)).cautions


# ------------------------------------------------------------------------------------- several volumes in one series


@pytest.mark.parametrize(
    ("modality", "keyword", "values", "code"),
    [
        ("CT", "ConvolutionKernel", (["B30f"], ["B70f"]), "reconstructions-mixed"),
        ("PT", "ReconstructionMethod", ("OSEM", "FBP"), "reconstructions-mixed"),
        ("CT", "TemporalPositionIdentifier", (1, 2), "dynamic-series"),
        ("PT", "TemporalPositionIdentifier", (1, 2), "dynamic-series"),
        ("PT", "TriggerTime", (0.0, 120.0), "dynamic-series"),
        ("CT", "AcquisitionNumber", (1, 2), "acquisitions-mixed"),
        ("CT", "KVP", (80.0, 140.0), "acquisitions-mixed"),
        ("CT", "ImageType", (["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "SECONDARY"]), "acquisitions-mixed"),
    ],
)
@pytest.mark.parametrize("where", ["between", "same place"])
def test_two_volumes_in_one_series_are_refused(
    modality: str, keyword: str, values: tuple[Any, Any], code: str, where: str
) -> None:
    shift = 1.5 if where == "between" else 0.0
    instances = [
        image(10 * which + n, (0.0, 0.0, 3.0 * n + shift * which), modality, **{keyword: value})
        for which, value in enumerate(values)
        for n in range(5)
    ]
    wanted = code if where == "between" or code != "acquisitions-mixed" else "dynamic-series"
    assert refusal(instances) == wanted


def test_acquisitions_one_after_the_other_are_one_volume() -> None:
    beds = [image(n, (0.0, 0.0, 3.0 * n), "PT", AcquisitionNumber=1 + n // 5, TriggerTime=None) for n in range(10)]
    assert stack(beds).shape[0] == 10


@pytest.mark.parametrize(
    ("orientation", "toward"),
    [
        ([0.0, 1.0, 0.0, 0.0, 0.0, -1.0], (1.0, 0.0, 0.0)),  # sagittal
        ([1.0, 0.0, 0.0, 0.0, 0.0, -1.0], (0.0, 1.0, 0.0)),  # coronal
    ],
)
def test_sagittal_and_coronal_stacks(orientation: list[float], toward: tuple[float, float, float]) -> None:
    places = [tuple(2.5 * n * t for t in toward) for n in range(6)]
    found = stack([image(n, p, ImageOrientationPatient=orientation) for n, p in enumerate(places)])
    normal = np.cross(orientation[:3], orientation[3:])
    assert np.allclose(found.affine[:3, 0], 2.5 * normal)
    assert np.allclose(found.affine[:3, 2], 2.0 * np.array(orientation[:3]))
    assert np.allclose(found.affine[:3, 1], 2.0 * np.array(orientation[3:]))


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


def test_every_transfer_syntax_that_is_decoded_is_lossless_or_flagged() -> None:
    lossless = {f"1.2.840.10008.1.2.4.{n}" for n in (57, 70, 80, 90, 201, 202)}
    decoded = pixels._JPEG_LOSSY | pixels._JPEG_LOSSLESS | pixels._JPEG_LS | pixels._JPEG_2000
    for syntax in decoded:
        found = stack([replace(i, transfer_syntax_uid=syntax) for i in axial(3)])
        assert [c.code for c in found.cautions] == ([] if syntax in lossless else ["lossy-compression"])


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
    "gantry_tilt_pair": "gantry-tilt-regridded",
    "instance_number_empty": "",
    "irregular_spacing_ct": "irregular-spacing-interpolated",
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
