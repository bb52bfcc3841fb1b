"""Multi-frame CT and PET become their frames, with positions, scales and times of their own, or are refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended, itemize_fragment
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
)

from dicom_node.assemble import assemble
from dicom_node.errors import ROWS
from dicom_node.work.job import Work
from inference.facts import Instance, Refused
from inference.geometry.volume import stack
from inference.load import load_ct, load_pet
from inference.reading.decoded import decode, with_decoded
from inference.reading.frames import single_frames
from inference.reading.instance import read_instance, scan_folder
from inference.reading.pixels import stored_slices
from inference.suv.rule import suv_rule
from tests.enhanced import code, enhanced, enhanced_pair, item, save

pytestmark = pytest.mark.data


@pytest.fixture(scope="session")
def baseline(shared_data: Path) -> Path:
    return shared_data / "geometry" / "baseline"


@pytest.fixture(scope="session")
def enhanced_folder(baseline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return enhanced_pair(baseline, tmp_path_factory.mktemp("enhanced"))


@pytest.fixture
def pet(baseline: Path) -> Dataset:
    """An Enhanced PET object that a test may spoil."""
    return enhanced(sorted((baseline / "pet").glob("*.dcm")), "1.2.3.77")


@pytest.fixture
def ct(baseline: Path) -> Dataset:
    return enhanced(sorted((baseline / "ct").glob("*.dcm")), "1.2.3.78")


def one(ds: Dataset, folder: Path) -> Instance:
    return read_instance(save(ds, folder / "one.dcm"))


def refusal(ds: Dataset, folder: Path) -> Refused:
    with pytest.raises(Refused) as refused:
        stack([one(ds, folder)])
    return refused.value


def test_an_enhanced_pair_is_the_pair_of_single_frames(baseline: Path, enhanced_folder: Path) -> None:
    for part in ("ct", "pet"):
        wanted = stack(scan_folder(baseline / part).instances)
        found = stack([read_instance(enhanced_folder / f"{part}.dcm")])
        assert np.allclose(found.affine, wanted.affine)
        assert found.shape == wanted.shape
        if part == "ct":
            assert np.array_equal(load_ct(found).array, load_ct(wanted).array)
        else:
            rules = suv_rule(found.instances), suv_rule(wanted.instances)
            assert rules[0].factors == pytest.approx(rules[1].factors, rel=1e-9)
            suvs = [load_pet(s, r).array for s, r in zip((found, wanted), rules, strict=True)]
            assert np.array_equal(*suvs)
            assert [i.frame for i in found.instances] == list(range(8))[:: 1 if found.instances[0].frame == 0 else -1]


def test_a_legacy_converted_pair_is_the_baseline(shared_data: Path, baseline: Path) -> None:
    case = shared_data / "geometry" / "legacy_converted_enhanced"
    for part in ("ct", "pet"):
        wanted = stack(scan_folder(baseline / part).instances)
        found = stack([read_instance(case / f"{part}.dcm")])
        assert np.allclose(found.affine, wanted.affine, atol=1e-3)
        assert np.array_equal(
            np.stack(list(stored_slices(found.instances))), np.stack(list(stored_slices(wanted.instances)))
        )
        slopes = [[i.get("RescaleSlope") for i in s.instances] for s in (found, wanted)]
        assert slopes[0] == pytest.approx(slopes[1], rel=1e-9)
    factors = suv_rule(found.instances).factors
    assert factors == pytest.approx((json.loads((case / "case.json").read_text())["truth"]["suvbw_factor"],) * 8)


def test_what_a_frame_is_called(enhanced_folder: Path) -> None:
    instance = read_instance(enhanced_folder / "pet.dcm")
    frames = single_frames([instance])
    assert [f.frame for f in frames] == list(range(8))
    assert {(f.sop_instance_uid, f.sha256) for f in frames} == {(instance.sop_instance_uid, instance.sha256)}
    first = frames[0].attributes
    assert (first["Units"], first["DecayCorrection"], first["SeriesType"]) == ("BQML", "START", ["STATIC", "IMAGE"])
    assert set(first["CorrectedImage"]) >= {"ATTN", "DECY", "NORM"}
    assert (first["NumberOfFrames"], first["InstanceNumber"], first["NumberOfSlices"]) == (1, 1, 8)
    assert first["DecayCorrectionDateTime"] == first["SeriesDate"] + first["SeriesTime"]
    assert single_frames(frames) == frames


def test_the_index_keeps_little_of_each_frame(pet: Dataset, tmp_path: Path) -> None:
    for group in pet.PerFrameFunctionalGroupsSequence:
        group.FrameVOILUTSequence = [item(WindowCenter=1, WindowWidth=2)]
        group.FrameContentSequence[0].FrameComments = "x" * 1000
    instance = one(pet, tmp_path)
    assert "x" * 1000 not in json.dumps(dict(instance.attributes))
    assert "FrameVOILUTSequence" not in instance.attributes["PerFrameFunctionalGroupsSequence"][0]


def test_the_stored_work_names_frames(baseline: Path, enhanced_folder: Path) -> None:
    instances = [read_instance(enhanced_folder / f"{part}.dcm") for part in ("ct", "pet")]
    pair = assemble(instances)
    work = Work.of_pair(pair, "0" * 64)
    again = Work(work.run_id, work.study_instance_uid, json.loads(work.as_json()))
    assert again.pair(instances) == pair
    frames = [i.frame for i in again.pair(instances).pet.instances]
    assert sorted(frames) == list(range(8))
    beyond = {**again.content["pet"], "instances": [[pair.pet.instances[0].sop_instance_uid, 8]]}
    with pytest.raises(Refused, match="content-changed"):
        Work(work.run_id, work.study_instance_uid, {**again.content, "pet": beyond}).pair(instances)


# ------------------------------------------------------------------------------------------------------------ refusals


def without(keyword: str) -> Callable[[Dataset], None]:
    def spoil(ds: Dataset) -> None:
        for group in (ds, *ds.SharedFunctionalGroupsSequence, *ds.PerFrameFunctionalGroupsSequence):
            if keyword in group:
                del group[keyword]

    return spoil


def of_all_frames(macro: str, **attributes: Any) -> Callable[[Dataset], None]:
    def spoil(ds: Dataset) -> None:
        for group in (*ds.SharedFunctionalGroupsSequence, *ds.PerFrameFunctionalGroupsSequence):
            if macro in group:
                for keyword, value in attributes.items():
                    setattr(group[macro][0], keyword, value)

    return spoil


def with_attributes(**attributes: Any) -> Callable[[Dataset], None]:
    return lambda ds: [setattr(ds, k, v) for k, v in attributes.items()] and None


UNMAPPED: dict[str, tuple[Callable[[Dataset], None], str, str]] = {
    "no position": (without("PlanePositionSequence"), "multiframe-unsupported", "Image Position"),
    "no orientation": (without("PlaneOrientationSequence"), "multiframe-unsupported", "Image Orientation"),
    "no spacing": (without("PixelMeasuresSequence"), "multiframe-unsupported", "Pixel Spacing"),
    "no functional groups": (
        without("PerFrameFunctionalGroupsSequence"),
        "multiframe-unsupported",
        "Functional Groups",
    ),
    "no units": (without("RealWorldValueMappingSequence"), "multiframe-unsupported", "Real World Value Mapping"),
    "another unit": (
        of_all_frames("RealWorldValueMappingSequence", MeasurementUnitsCodeSequence=[code("ml/min/g")]),
        "multiframe-unsupported",
        "Real World Value Mapping",
    ),
    "decay unknown": (without("DecayCorrected"), "multiframe-unsupported", "Decay Corrected"),
    "decay time unknown": (without("DecayCorrectionDateTime"), "multiframe-unsupported", "Decay Correction DateTime"),
    "fewer groups than frames": (with_attributes(NumberOfFrames=7), "multiframe-unsupported", "as many"),
    "projection": (
        of_all_frames("PETFrameTypeSequence", VolumetricProperties="SAMPLED"),
        "not-slices",
        "Volumetric Properties",
    ),
    "rendering": (
        of_all_frames("PETFrameTypeSequence", VolumeBasedCalculationTechnique="MAX_IP"),
        "not-slices",
        "MAX_IP",
    ),
    "maximum": (
        of_all_frames("PETFrameTypeSequence", FrameType=["DERIVED", "PRIMARY", "VOLUME", "MAXIMUM"]),
        "not-slices",
        "MAXIMUM",
    ),
    "dynamic": (
        of_all_frames("PETFrameTypeSequence", FrameType=["ORIGINAL", "PRIMARY", "DYNAMIC", "NONE"]),
        "dynamic-series",
        "",
    ),
    "gated": (
        of_all_frames("PETFrameTypeSequence", FrameType=["ORIGINAL", "PRIMARY", "CARDIAC_GATED", "NONE"]),
        "dynamic-series",
        "",
    ),
    "gated by its trigger": (
        lambda ds: (
            [
                setattr(g, "CardiacSynchronizationSequence", [item(NominalCardiacTriggerDelayTime=100.0 * n)])
                for n, g in enumerate(ds.PerFrameFunctionalGroupsSequence)
            ]
            and None
        ),
        "dynamic-series",
        "",
    ),
    "part of a concatenation": (
        with_attributes(ConcatenationUID="1.2.9", InConcatenationNumber=1, InConcatenationTotalNumber=2),
        "missing-slices",
        "2 parts",
    ),
}


@pytest.mark.parametrize("name", UNMAPPED)
def test_what_cannot_be_read_as_slices_is_refused(pet: Dataset, tmp_path: Path, name: str) -> None:
    spoil, wanted, says = UNMAPPED[name]
    spoil(pet)
    refused = refusal(pet, tmp_path)
    assert refused.code == wanted
    assert says in refused.reason
    if wanted == "multiframe-unsupported":
        assert "Enhanced PET Image Storage" in refused.reason


def test_frames_at_several_times_are_refused(pet: Dataset, tmp_path: Path) -> None:
    for number, group in enumerate(pet.PerFrameFunctionalGroupsSequence):
        group.FrameContentSequence[0].TemporalPositionIndex = number % 2 + 1
    assert refusal(pet, tmp_path).code == "dynamic-series"


def test_a_pet_without_attenuation_correction_stays_one(pet: Dataset, tmp_path: Path) -> None:
    pet.AttenuationCorrected = "NO"
    with pytest.raises(Refused) as refused:
        suv_rule(stack([one(pet, tmp_path)]).instances)
    assert refused.value.code == "not-attenuation-corrected"


def test_uncorrected_decay_is_said(pet: Dataset, tmp_path: Path) -> None:
    pet.DecayCorrected = "NO"
    assert {i.get("DecayCorrection") for i in stack([one(pet, tmp_path)]).instances} == {"NONE"}


def test_uncorrected_decay_is_reckoned_from_each_frame_s_own_time(baseline: Path, pet: Dataset, tmp_path: Path) -> None:
    pet.DecayCorrected = "NO"
    del pet.DecayCorrectionDateTime
    for number, group in enumerate(pet.PerFrameFunctionalGroupsSequence):
        group.FrameContentSequence[0].FrameAcquisitionDateTime = f"20060409125{number}00"
    found = suv_rule(stack([one(pet, tmp_path)]).instances)
    singles = [
        replace(i, attributes={**i.attributes, "DecayCorrection": "NONE", "AcquisitionTime": f"125{number}00"})
        for number, i in enumerate(sorted(scan_folder(baseline / "pet").instances, key=lambda i: i.path))
    ]
    wanted = suv_rule(stack(singles).instances)
    assert found.factors == pytest.approx(wanted.factors, rel=1e-12)
    assert len(set(found.factors)) == 8


def test_a_maker_s_own_word_in_a_converted_image_type_is_no_reason_to_refuse(shared_data: Path) -> None:
    legacy = read_instance(shared_data / "geometry" / "legacy_converted_enhanced" / "ct.dcm")
    shared = legacy.attributes["SharedFunctionalGroupsSequence"][0]

    def of_type(word: str) -> Instance:
        frame_type = [{"FrameType": ["ORIGINAL", "PRIMARY", "AXIAL", word]}]
        groups = [{**shared, "CTImageFrameTypeSequence": frame_type}]
        return replace(legacy, attributes={**legacy.attributes, "SharedFunctionalGroupsSequence": groups})

    assert stack([of_type("CT_SOM5 SPI")]).shape[0] == 8
    with pytest.raises(Refused, match="not-slices"):
        stack([of_type("MAXIMUM")])


@given(st.data())
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_macro_says_the_same_whether_shared_or_of_each_frame(enhanced_folder: Path, data: st.DataObject) -> None:
    instance = read_instance(enhanced_folder / data.draw(st.sampled_from(["ct.dcm", "pet.dcm"])))
    shared = dict(instance.attributes["SharedFunctionalGroupsSequence"][0])
    moved = {name: shared.pop(name) for name in data.draw(st.sets(st.sampled_from(sorted(shared))))}
    groups = [{**group, **moved} for group in instance.attributes["PerFrameFunctionalGroupsSequence"]]
    functional = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": groups}
    other = replace(instance, attributes={**instance.attributes, **functional})
    assert single_frames([other]) == single_frames([instance])


@pytest.mark.parametrize(
    ("unit", "units", "suv_type"),
    [("g/ml{SUVbw}", "GML", "BW"), ("{SUVbw}g/ml", "GML", "BW"), ("g/ml{SUVlbm(Janma)}", "GML", "LBMJANMA")],
)
def test_suv_units_by_their_code(pet: Dataset, tmp_path: Path, unit: str, units: str, suv_type: str) -> None:
    of_all_frames("RealWorldValueMappingSequence", MeasurementUnitsCodeSequence=[code(unit)])(pet)
    del pet.DecayCorrected
    frames = stack([one(pet, tmp_path)]).instances
    assert {(i.get("Units"), i.get("SUVType")) for i in frames} == {(units, suv_type)}


def test_two_scales_of_one_frame_are_refused(shared_data: Path, tmp_path: Path) -> None:
    ds = pydicom.dcmread(shared_data / "geometry" / "legacy_converted_enhanced" / "pet.dcm")
    mapping = item(RealWorldValueSlope=2.0, RealWorldValueIntercept=0.0, MeasurementUnitsCodeSequence=[code("Bq/ml")])
    ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = [mapping]
    refused = refusal(ds, tmp_path)
    assert (refused.code, "one scale" in refused.reason) == ("multiframe-unsupported", True)


def test_a_perfusion_map_is_no_ct(shared_data: Path, ct: Dataset, tmp_path: Path) -> None:
    real = read_instance(shared_data / "geometry" / "enhanced_ct_real" / "ct.dcm")
    with pytest.raises(Refused) as refused:
        stack([real])
    assert (refused.value.code, "RCBF" in refused.value.reason) == ("not-slices", True)
    ct.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = [
        item(RealWorldValueSlope=1.0, RealWorldValueIntercept=0.0, MeasurementUnitsCodeSequence=[code("ml/100ml/s")])
    ]
    assert refusal(ct, tmp_path).code == "ct-not-hu"


def test_both_parts_of_a_concatenation_are_one_volume(baseline: Path, tmp_path: Path) -> None:
    paths = sorted((baseline / "pet").glob("*.dcm"))
    parts = []
    for number, some in enumerate((paths[:3], paths[3:]), 1):
        ds = enhanced(some, f"1.2.3.{number}")
        ds.SeriesInstanceUID, ds.ConcatenationUID = "1.2.3.9", "1.2.3.10"
        ds.InConcatenationNumber, ds.InConcatenationTotalNumber = number, 2
        parts.append(read_instance(save(ds, tmp_path / f"{number}.dcm")))
    assert stack(parts).shape == (8, 9, 9)


WEIRD = st.sampled_from(
    [None, 0, -1, 1e308, "", "x", "NO", [], [None], [1, 2], [{}], {}, "9" * 70, [1e308] * 3, [0] * 6]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to everything inside nested attributes."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in entries:
        yield (*path, key)
        yield from places(inside, (*path, key))


@given(data=st.data(), spoiled=st.sampled_from(["ct.dcm", "pet.dcm"]), weird=WEIRD, remove=st.booleans())
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_spoiled_value_is_refused_with_a_code_or_leaves_a_volume(
    enhanced_folder: Path, data: st.DataObject, spoiled: str, weird: Any, remove: bool
) -> None:
    pair = []
    for name in ("ct.dcm", "pet.dcm"):
        instance = read_instance(enhanced_folder / name)
        attributes = json.loads(json.dumps(dict(instance.attributes)))
        if name == spoiled:
            *path, last = data.draw(st.sampled_from(list(places(attributes))))
            within = attributes
            for key in path:
                within = within[key]
            if remove:
                del within[last]
            else:
                within[last] = weird
        pair.append(replace(instance, attributes=attributes))
    try:
        found = assemble(pair)
        suv_rule(found.pet.instances)
        assert stack(found.ct.instances).shape[0] == stack(found.pet.instances).shape[0] == 8
        said = ""
    except Refused as refused:
        said = refused.code
    assert said in {"", *ROWS}


# -------------------------------------------------------------------------------------------------------------- pixels


def encoded(values: np.ndarray[Any, Any], syntax: str) -> bytes:
    """One frame as its codestream, of even length."""
    if syntax == JPEGLSLossless:
        frame = imagecodecs.jpegls_encode(values.astype(np.uint16) & 0xFFFF)
    else:
        frame = imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True, level=0)
    return bytes(frame) + b"\0" * (len(frame) % 2)


def in_one_fragment(frames: list[bytes]) -> tuple[bytes, dict[str, bytes]]:
    return encapsulate(frames, has_bot=False), {}


def with_basic_table(frames: list[bytes]) -> tuple[bytes, dict[str, bytes]]:
    return encapsulate(frames, has_bot=True), {}


def in_fragments(frames: list[bytes]) -> tuple[bytes, dict[str, bytes]]:
    return encapsulate(frames, fragments_per_frame=2, has_bot=True), {}


def in_fragments_without_table(frames: list[bytes]) -> tuple[bytes, dict[str, bytes]]:
    items = [f for frame in frames for f in itemize_fragment(frame[:20]) + itemize_fragment(frame[20:])]
    return b"\xfe\xff\x00\xe0\x00\x00\x00\x00" + bytes(items), {}


def with_extended_table(frames: list[bytes]) -> tuple[bytes, dict[str, bytes]]:
    data, offsets, lengths = encapsulate_extended(frames)
    return data, {"ExtendedOffsetTable": offsets, "ExtendedOffsetTableLengths": lengths}


@pytest.mark.parametrize(
    ("pack", "syntax"),
    [
        (in_one_fragment, JPEGLSLossless),
        (with_basic_table, JPEGLSLossless),
        (in_fragments, JPEG2000Lossless),
        (in_fragments_without_table, JPEG2000Lossless),
        (with_extended_table, JPEG2000Lossless),
    ],
)
def test_compressed_frames_however_they_are_packed(
    ct: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pack: Callable[[list[bytes]], tuple[bytes, dict[str, bytes]]],
    syntax: str,
) -> None:
    values = np.frombuffer(ct.PixelData, "<i2").reshape(8, ct.Rows, ct.Columns)
    frames = [encoded(v, syntax) for v in values]
    ct.PixelData, more = pack(frames)
    for keyword, value in more.items():
        setattr(ct, keyword, value)
    ct["PixelData"].VR, ct["PixelData"].is_undefined_length = "OB", True
    ct.file_meta.TransferSyntaxUID = syntax
    made = stack([one(ct, tmp_path)])
    opened = []
    read = pydicom.dcmread
    monkeypatch.setattr(pydicom, "dcmread", lambda *a, **k: opened.append(a) or read(*a, **k))

    found = np.stack(list(stored_slices(made.instances)))

    assert np.array_equal(found, values[[i.frame for i in made.instances]])
    assert len(opened) == 1  # the object is read once, not once a frame


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_uncompressed_frames_in_every_transfer_syntax(ct: Dataset, tmp_path: Path, syntax: str) -> None:
    values = np.frombuffer(ct.PixelData, "<i2").reshape(8, ct.Rows, ct.Columns)
    ct.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        ct.PixelData = values.astype(">i2").tobytes()
    ct["PixelData"].VR = "OW"
    pydicom.dcmwrite(tmp_path / "one.dcm", ct, enforce_file_format=True)
    made = stack([read_instance(tmp_path / "one.dcm")])
    assert np.array_equal(np.stack(list(stored_slices(made.instances))), values[[i.frame for i in made.instances]])


def test_a_compressed_object_that_lacks_a_frame_is_refused(ct: Dataset, tmp_path: Path) -> None:
    values = np.frombuffer(ct.PixelData, "<i2").reshape(8, ct.Rows, ct.Columns)
    ct.PixelData = encapsulate([encoded(v, JPEG2000Lossless) for v in values[:7]])
    ct["PixelData"].VR, ct["PixelData"].is_undefined_length = "OB", True
    ct.file_meta.TransferSyntaxUID = JPEG2000Lossless
    made = stack([one(ct, tmp_path)])
    with pytest.raises(Refused) as refused:
        list(stored_slices(made.instances))
    assert refused.value.code in ("pixel-data-short", "pixel-data-unreadable")


def test_decoded_frames_that_were_removed_are_decoded_from_the_object_read_once(
    ct: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.frombuffer(ct.PixelData, "<i2").reshape(8, ct.Rows, ct.Columns)
    ct.PixelData = encapsulate([encoded(v, JPEG2000Lossless) for v in values])
    ct["PixelData"].VR, ct["PixelData"].is_undefined_length = "OB", True
    ct.file_meta.TransferSyntaxUID = JPEG2000Lossless
    instance = one(ct, tmp_path)
    assert decode(instance, tmp_path / "decoded") == values.nbytes
    ready = with_decoded(instance, tmp_path / "decoded")
    made = stack([ready])
    wanted = values[[i.frame for i in made.instances]]
    assert np.array_equal(np.stack(list(stored_slices(made.instances))), wanted)
    Path(ready.pixel_path).unlink()
    opened = []
    read = pydicom.dcmread
    monkeypatch.setattr(pydicom, "dcmread", lambda *a, **k: opened.append(a) or read(*a, **k))
    assert np.array_equal(np.stack(list(stored_slices(made.instances))), wanted)
    assert len(opened) == 1


def test_the_functional_groups_of_a_segmentation_are_passed_over(pet: Dataset, tmp_path: Path) -> None:
    pet.SOPClassUID = pet.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    assert "PerFrameFunctionalGroupsSequence" not in one(pet, tmp_path).attributes


def test_more_frames_than_any_volume_has_are_refused_before_their_groups_are_read(
    pet: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.reading.instance.MOST_FRAMES", 7)
    monkeypatch.setattr("inference.reading.frames.MOST_FRAMES", 7)
    instance = one(pet, tmp_path)
    assert "PerFrameFunctionalGroupsSequence" not in instance.attributes
    with pytest.raises(Refused, match="at most 7 frames"):
        stack([instance])
