"""Reading a file: what is taken from it, and that nothing in it can do harm."""

from __future__ import annotations

import hashlib
import io
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from inference.facts import Instance, Refused
from inference.reading.elements import DEEPEST, PIXEL_DATA
from inference.reading.instance import KEYWORDS, read_buffer, read_instance, reading_cautions, scan_folder
from tests.made_series import ct_image, write_ct_series


def written(ds: Dataset, syntax: str | None = None) -> bytes:
    buffer = io.BytesIO()
    if syntax is not None:
        ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def read(ds: Dataset, syntax: str | None = None) -> Instance:
    return read_buffer(written(ds, syntax), "")


def code_of(data: bytes) -> str:
    with pytest.raises(Refused) as caught:
        read_buffer(data, "")
    return caught.value.code


def plain(value: object) -> object:
    """A pydicom value as the plain JSON type that ``Instance.attributes`` promises."""
    if isinstance(value, pydicom.multival.MultiValue):
        return [plain(v) or "" if isinstance(v, str) else plain(v) for v in value]
    if isinstance(value, Items):
        return [{e.keyword: plain_element(e) for e in item if e.keyword} for item in value]
    if isinstance(value, pydicom.valuerep.PersonName | str):
        return str(value).strip() or None
    if isinstance(value, float | pydicom.valuerep.DSdecimal):
        return float(value)
    return value


def plain_element(element: pydicom.DataElement) -> object:
    value = plain(element.value)
    many = element.VM != 0 and pydicom.datadict.dictionary_VM(element.tag) != "1" and element.VR != "SQ"
    if value is None or (value == [] and element.VR != "SQ"):
        return None
    return [value] if many and not isinstance(value, list) else value


@pytest.mark.data
@pytest.mark.parametrize(
    "folder",
    [
        "geometry/baseline",
        "robustness/ts_implicit",
        "robustness/ts_big_endian",
        "robustness/ts_jpeg_ls",
        "robustness/name_arabic",
        "robustness/name_chinese",
        "robustness/name_japanese",
        "robustness/name_russian",
        "robustness/name_utf8_mixed",
        "robustness/rtstruct_references_absent",
        "suv/real_raw",
        "suv/headers",
    ],
)
def test_values_are_those_of_pydicom(shared_data: Path, folder: str) -> None:
    scan = scan_folder(shared_data / folder)
    assert scan.instances
    for instance in scan.instances:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom on values of real scanners
            ds = pydicom.dcmread(instance.path)
            expected = {e.keyword: plain_element(e) for e in ds if e.keyword in KEYWORDS}
        found = {k: v for k, v in instance.attributes.items() if k in KEYWORDS}
        assert found == expected
        assert instance.transfer_syntax_uid == ds.file_meta.TransferSyntaxUID
        if instance.pixel_offset >= 0:
            with Path(instance.path).open("rb") as file:
                file.seek(instance.pixel_offset)
                assert file.read(instance.pixel_length) == ds.PixelData


@pytest.mark.data
def test_private_values_with_and_without_their_creator(shared_data: Path) -> None:
    with_creator = [
        i for i in scan_folder(shared_data / "suv" / "headers").instances if "PhilipsSUVScaleFactor" in i.attributes
    ]
    assert with_creator
    assert not any("WithoutPrivateCreator" in i.attributes for i in with_creator)
    without = [i for i in scan_folder(shared_data / "suv" / "dro").instances if "WithoutPrivateCreator" in i.attributes]
    assert without
    assert reading_cautions(without)[0].code == "private-creator-missing"
    for instance in (*with_creator, *without):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(instance.path, stop_before_pixels=True)
        for name, tag in (("PhilipsSUVScaleFactor", 0x70531000), ("GEScanDateTime", 0x0009100D)):
            if name in instance.attributes:
                value = ds[tag].value
                text = value.decode() if isinstance(value, bytes) else str(value)
                assert str(instance.attributes[name]).rstrip("0.") == text.strip().rstrip("0.")


def test_another_creator_at_the_block_is_not_philips() -> None:
    ds = ct_image(1)
    ds.add_new(0x70530010, "LO", "Somebody else")
    ds.add_new(0x70531000, "DS", "5")
    assert "PhilipsSUVScaleFactor" not in read(ds).attributes


@pytest.mark.data
def test_undeclared_characters_are_read_and_flagged(shared_data: Path) -> None:
    instances = scan_folder(shared_data / "robustness" / "charset_undeclared_latin1").instances
    assert [c.code for c in reading_cautions(instances)] == ["text-guessed"]
    assert all("\N{REPLACEMENT CHARACTER}" not in i.attributes["PatientName"] for i in instances)


@pytest.mark.data
@pytest.mark.parametrize(
    ("case", "code", "known"),
    [
        ("deep_nesting", "nesting-too-deep", True),
        ("file_truncated_header", "unreadable-truncated", False),
        ("file_truncated_pixels", "unreadable-truncated", True),
        ("pixel_data_missing", "pixel-data-missing", True),
        ("pixel_data_short", "pixel-data-short", True),
        ("file_no_preamble", "no-preamble", False),
        ("pydicom_meta_no_transfer_syntax", "no-transfer-syntax", False),
        ("pydicom_no_meta", "not-dicom", False),
        ("pydicom_bad_vr", "identity-mismatch", True),
        ("pydicom_mr_truncated", "unreadable-truncated", True),
    ],
)
def test_broken_files_are_refused_with_what_is_known(shared_data: Path, case: str, code: str, known: bool) -> None:
    start = time.process_time()
    set_aside = [(p, r) for p, r in scan_folder(shared_data / "robustness" / case).set_aside if p.name != "case.json"]
    assert {r.code for _, r in set_aside} == {code}
    assert all(("study_instance_uid" in r.facts) is known for _, r in set_aside)
    assert time.process_time() - start < 2.0


@pytest.mark.data
def test_every_shared_file_is_read_or_refused(shared_data: Path) -> None:
    for folder in ("geometry", "robustness"):
        scan = scan_folder(shared_data / folder)
        assert len(scan.instances) > 300


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, None])
def test_transfer_syntaxes_give_the_same_values(syntax: str | None) -> None:
    expected, instance = read(ct_image(7)), read(ct_image(7), syntax)
    if (
        syntax == ExplicitVRBigEndian
    ):  # pydicom writes what it is given: the pixels are turned by nobody, nor needed here
        assert instance.pixel_offset == -1
    assert instance.attributes == expected.attributes
    assert (instance.pixel_offset >= 0) is (syntax in (None, ImplicitVRLittleEndian))


def test_offset_and_digest() -> None:
    data = written(ct_image(3))
    instance = read_buffer(data, "")
    pixels = np.frombuffer(data, "<i2", 256, instance.pixel_offset)
    assert pixels.tolist() == list(range(3, 259))
    at = data.index(b"\x08\x00\x05\x00CS")  # the first element of the data set
    assert instance.sha256 == hashlib.sha256(data[at:]).hexdigest()


def test_lists_only_where_several_values_are_allowed() -> None:
    ds = ct_image(1)
    ds.ImageType = "ORIGINAL"
    ds.SeriesDescription = "a\\b"
    attributes = read(ds).attributes
    assert attributes["ImageType"] == ["ORIGINAL"]
    assert attributes["SeriesDescription"] == "a\\b"


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize("text", ["70,5", "seventy", "1\\2", "nan", "1e999", "1_000"])
def test_a_number_that_is_none_is_left_out_and_flagged(text: str) -> None:
    ds = ct_image(1)
    ds.add_new(
        "PatientWeight", "LO", text
    )  # the text as it is, in an element that is a decimal string by the dictionary
    attributes = read(ds).attributes
    assert "PatientWeight" not in attributes
    assert attributes["UnreadableValues"] == ["PatientWeight"]


def test_empty_is_none_and_absent_is_absent() -> None:
    ds = ct_image(1)
    ds.PatientID = ""
    instance = read(ds)
    assert instance.attributes["PatientID"] is None
    assert "PatientWeight" not in instance.attributes


def test_a_padding_value_below_zero_in_implicit_vr() -> None:
    ds = ct_image(1)
    ds.add_new("PixelPaddingValue", "SS", -2000)
    assert read(ds, ImplicitVRLittleEndian).attributes["PixelPaddingValue"] == -2000


def test_a_sequence_archived_as_unknown_is_read() -> None:
    ds = ct_image(1)
    item = Dataset()
    item.RadionuclideTotalDose = 3.5e8
    ds.RadiopharmaceuticalInformationSequence = [item]
    implicit = written(ds, ImplicitVRLittleEndian)
    tag = b"\x54\x00\x16\x00"
    at = implicit.index(tag)
    length = implicit[at + 4 : at + 8]
    assert length != b"\xff\xff\xff\xff"
    value = implicit[at + 8 : at + 8 + int.from_bytes(length, "little")]
    del ds.RadiopharmaceuticalInformationSequence
    explicit = written(ds, "1.2.840.10008.1.2.1")
    before_pixels = explicit.index(b"\xe0\x7f\x10\x00OW")
    unknown = tag + b"UN\0\0" + length + value
    instance = read_buffer(explicit[:before_pixels] + unknown + explicit[before_pixels:], "")
    assert instance.attributes["RadiopharmaceuticalInformationSequence"] == [{"RadionuclideTotalDose": 3.5e8}]


def test_uids_must_be_digits_and_dots_and_zeros_may_lead() -> None:
    ds = ct_image(1)
    data = written(ds)
    assert code_of(data.replace(b"1.2.3.1.1\0", b"../../etc\0")) in ("uid-invalid", "identity-mismatch")
    assert read_buffer(data.replace(b"1.2.3.1.1\0", b"1.2.03.01\0"), "").series_instance_uid == "1.2.03.01"


def test_meta_header_and_data_set_must_agree() -> None:
    ds = ct_image(1)
    data = written(ds)
    ds.SOPInstanceUID = "1.2.3.1.1.9"
    assert ds.file_meta.MediaStorageSOPInstanceUID != ds.SOPInstanceUID
    other = data.replace(b"1.2.3.1.1.1\0", b"1.2.3.1.1.9\0", 1)
    assert code_of(other) == "identity-mismatch"


def test_an_element_twice_is_refused() -> None:
    data = written(ct_image(1))
    element = b"\x10\x00\x20\x00LO\x04\x00"
    at = data.index(element)
    assert code_of(data[:at] + element + b"T-2 " + data[at:]) == "unreadable-structure"


@pytest.mark.parametrize("claimed", [0xFFFF, 0xFFFF_FFF0])
def test_pixel_data_must_be_as_long_as_it_says(claimed: int) -> None:
    data = bytearray(written(ct_image(1)))
    at = data.index(b"\xe0\x7f\x10\x00OW\0\0") + 8
    data[at : at + 4] = claimed.to_bytes(4, "little")
    assert code_of(bytes(data)) == "unreadable-truncated"


def test_rows_times_columns_against_bytes() -> None:
    ds = ct_image(1)
    ds.Rows = 17
    assert code_of(written(ds)) == "pixel-data-short"
    ds.Rows = 0
    assert code_of(written(ds)) == "unreadable-structure"


def nested(depth: int, undefined: bool) -> bytes:
    """Explicit VR sequences inside each other, in a private element."""
    value = b""
    for _ in range(depth):
        if undefined:
            item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + value + b"\xfe\xff\x0d\xe0\0\0\0\0"
            value = b"\x09\x00\x10\x10SQ\0\0\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0\0\0\0\0"
        else:
            item = b"\xfe\xff\x00\xe0" + len(value).to_bytes(4, "little") + value
            value = b"\x09\x00\x10\x10SQ\0\0" + len(item).to_bytes(4, "little") + item
    return value


@pytest.mark.parametrize("undefined", [True, False])
def test_nesting_is_bounded(undefined: bool) -> None:
    data = written(ct_image(1))
    at = data.index(b"\x10\x00\x10\x00PN")
    assert read_buffer(data[:at] + nested(DEEPEST, undefined) + data[at:], "").sop_instance_uid
    start = time.process_time()
    for depth in (DEEPEST + 1, 5000):
        assert code_of(data[:at] + nested(depth, undefined) + data[at:]) == "nesting-too-deep"
    assert time.process_time() - start < 2.0


def test_the_number_of_elements_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(ct_image(1))
    at = data.index(b"\x10\x00\x10\x00PN")
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 1000
    many = data[:at] + b"\x09\x00\x10\x10SQ\0\0" + len(items).to_bytes(4, "little") + items + data[at:]
    assert read_buffer(many, "").sop_instance_uid
    monkeypatch.setattr("inference.reading.elements.MOST_ELEMENTS", 1000)
    assert code_of(many) == "too-many-elements"


def test_a_deflated_bomb_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.reading.part10.INFLATED_MOST", 1 << 20)
    data = written(ct_image(1))
    start = data.index(b"\x08\x00\x05\x00CS")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(data[start:] + bytes(1 << 24)) + packer.flush()
    meta = data[:start].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    length = meta.index(b"\x02\x00\x10\x00UI") + 6
    meta = meta[:length] + (22).to_bytes(2, "little") + meta[length + 2 :]
    assert code_of(meta + bomb) == "unreadable-deflated"


@settings(max_examples=300, deadline=1000)
@given(cut=st.integers(0, 10_000), flips=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=8))
def test_damaged_bytes_are_read_or_refused(cut: int, flips: list[tuple[int, int]]) -> None:
    data = bytearray(DAMAGED)
    for at, byte in flips:
        data[at % len(data)] = byte
    try:
        instance = read_buffer(bytes(data[: max(0, len(data) - cut % len(data))] if cut > 5000 else data), "")
    except Refused:
        return
    assert instance.pixel_offset + instance.pixel_length <= len(data)


def damaged_base() -> bytes:
    ds = ct_image(1)
    item = Dataset()
    item.RadionuclideTotalDose = 3.5e8
    item.RadionuclideCodeSequence = [Dataset()]
    ds.RadiopharmaceuticalInformationSequence = [item, item]
    return written(ds)


DAMAGED = damaged_base()


def test_scan_takes_each_instance_once_and_keeps_the_first_of_two(tmp_path: Path) -> None:
    first, second = write_ct_series(tmp_path, 2)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "0001.dcm").write_bytes(first.read_bytes())
    other = ct_image(2)
    other.PatientID = "T-2"
    other.save_as(tmp_path / "z.dcm", enforce_file_format=True)
    (tmp_path / "notes.txt").write_text("not DICOM")
    calls: list[tuple[int, int]] = []
    scan = scan_folder(tmp_path, lambda done, total: calls.append((done, total)))
    assert [i.path for i in scan.instances] == [str(first), str(second)]
    assert {p.name: r.code for p, r in scan.set_aside} == {"z.dcm": "sop-instance-conflict", "notes.txt": "not-dicom"}
    assert calls[-1] == (5, 5)


def test_scan_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no-such-folder"):
        scan_folder(tmp_path / "absent")


def test_large_files_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.reading.instance.MAP_FROM", 0)
    (path,) = write_ct_series(tmp_path, 1)
    assert read_instance(path).attributes == read_buffer(path.read_bytes(), "").attributes
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(Refused, match="unreadable-truncated"):
        read_instance(path)


def test_reading_is_fast(tmp_path: Path) -> None:
    paths = write_ct_series(tmp_path, 200)
    start = time.process_time()
    for path in paths:
        read_instance(path)
    assert (time.process_time() - start) / len(paths) < 0.003  # measured 0.2 to 0.4 ms


def test_pixel_data_tag() -> None:
    assert pydicom.datadict.tag_for_keyword("PixelData") == PIXEL_DATA
