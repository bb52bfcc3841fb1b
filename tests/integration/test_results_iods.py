"""Every object against the attribute tables of its IOD (PS3.3, as highdicom has them), beyond what dciodvfy knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map
from pydicom.datadict import dictionary_is_retired
from pydicom.dataset import Dataset

from dicom_node.report import write_refusal, write_results
from dicom_node.report.write import OPTIONAL
from inference.facts import Instance, Predecessor, Refused
from tests.report_case import MODEL, RUN, make_analysis

TWO = (((30.0, -20.0, 12.0), 14.0, 8.0), ((-35.0, 10.0, -15.0), 9.0, 5.0))
EARLIER = Predecessor("1.2.3", "1.2.3.4", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.3.5")
ALL = replace(RUN, also=tuple(OPTIONAL))
SMALL = {"size": (8, 24, 24), "balls": (((0.0, 0.0, 0.0), 12.0, 6.0),)}
HEADERS = {
    "unpaired part": {},
    "paired part": {"BodyPartExamined": "BREAST", "Laterality": "R"},
    "no part": {"BodyPartExamined": ""},
}
SR_ITEMS = "sr-document-content"  # its table is of content items of every value type
PICTURES = ("key_image", "heatmap", "captures", "mip")
DERIVED = (*PICTURES, "seg", "label_map", "parametric_map")


def attributes(ds: Dataset) -> Iterator[tuple[str, str, str, str]]:
    """Module, its usage, keyword and type of each attribute at the top of the IOD."""
    for module in get_iod_module_map()[get_sop_class_iod_map()[ds.SOPClassUID]]:
        for attribute in get_module_attribute_map()[module["key"]]:
            if not attribute["path"]:
                yield module["key"], module["usage"], attribute["keyword"], attribute["type"]


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_each_attribute_is_of_the_objects_iod_and_none_is_missing(tmp_path: Path, header: dict[str, object]) -> None:
    analysis = make_analysis(tmp_path / "in", balls=TWO, size=(12, 40, 44), header=header)
    written = write_results(analysis, replace(ALL, predecessors=(EARLIER,)), tmp_path / "out")
    assert {result.kind for result in written} >= {*OPTIONAL, *DERIVED}
    for result in written:
        ds = pydicom.dcmread(result.path)
        table = list(attributes(ds))
        foreign = {element.keyword for element in ds} - {keyword for _, _, keyword, _ in table}
        assert not foreign, (result.kind, foreign)
        for module, usage, keyword, kind in table:
            if usage == "M" and module != SR_ITEMS and kind in ("1", "2"):
                assert keyword in ds, (result.kind, module, keyword)
                assert kind == "2" or not ds[keyword].is_empty, (result.kind, module, keyword)
        retired = [e.keyword for e in ds.iterall() if dictionary_is_retired(e.tag)]
        assert not retired, (result.kind, retired)


def lossily(instance: Instance, **attributes: object) -> Instance:
    return replace(instance, attributes={**instance.attributes, "LossyImageCompression": "01", **attributes})


def test_what_is_derived_from_lossy_images_says_so(tmp_path: Path) -> None:
    """Lossy once is lossy for ever (PS3.3 C.7.6.1.1.5), whether PET or CT was."""
    plain = make_analysis(tmp_path / "in", **SMALL)
    how = {"LossyImageCompressionMethod": "ISO_15444_1", "LossyImageCompressionRatio": 12.5}
    ct = plain.pair.ct
    one = replace(ct, instances=(lossily(ct.instances[0], **how), *ct.instances[1:]))
    lossy = replace(plain, pair=replace(plain.pair, ct=one))
    for analysis, expected in ((plain, ("00", None, None)), (lossy, ("01", "ISO_15444_1", 12.5))):
        for result in write_results(analysis, ALL, tmp_path / expected[0]):
            ds = pydicom.dcmread(result.path)
            method, ratio = ds.get("LossyImageCompressionMethod"), ds.get("LossyImageCompressionRatio")
            said = (ds.get("LossyImageCompression"), method, ratio)
            assert said == (expected if result.kind in DERIVED else (None, None, None)), result.kind


def test_method_and_ratio_are_of_the_file_where_the_header_is_silent(tmp_path: Path) -> None:
    plain = make_analysis(tmp_path / "in", **SMALL)
    pet = plain.pair.pet
    first = replace(pet.instances[0], transfer_syntax_uid="1.2.840.10008.1.2.4.50")
    size = 40 * Path(first.path).stat().st_size // 24 + 1
    first = replace(first, attributes={**first.attributes, "Rows": size, "Columns": 24, "BitsAllocated": 8})
    lossy = replace(plain, pair=replace(plain.pair, pet=replace(pet, instances=(first, *pet.instances[1:]))))
    heatmap = next(r for r in write_results(lossy, RUN, tmp_path / "out") if r.kind == "heatmap")
    ds = pydicom.dcmread(heatmap.path)
    assert (ds.LossyImageCompression, ds.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert float(ds.LossyImageCompressionRatio) == pytest.approx(40, abs=0.1)


def test_neither_method_nor_ratio_is_made_up(tmp_path: Path) -> None:
    plain = make_analysis(tmp_path / "in", **SMALL)
    pet = plain.pair.pet
    odd = lossily(pet.instances[0], LossyImageCompressionMethod="ISO_15444_1", LossyImageCompressionRatio=["2", "x"])
    lossy = replace(plain, pair=replace(plain.pair, pet=replace(pet, instances=(odd, *pet.instances[1:]))))
    for result in write_results(lossy, RUN, tmp_path / "out"):
        ds = pydicom.dcmread(result.path)
        assert ds.get("LossyImageCompression", "01") == "01"
        assert "LossyImageCompressionMethod" not in ds
        assert "LossyImageCompressionRatio" not in ds


def test_no_picture_of_a_patient_is_said_to_show_no_face(tmp_path: Path) -> None:
    """A projection, or a stack of slices, may; text does not (PS3.3 C.7.6.1, Recognizable Visual Features)."""
    analysis = make_analysis(tmp_path / "in", **SMALL)
    for result in write_results(analysis, ALL, tmp_path / "out"):
        if result.kind in PICTURES:
            assert "RecognizableVisualFeatures" not in pydicom.dcmread(result.path)
    why = Refused("no-ct", "There is no CT that belongs to the PET; send it.")
    refused = write_refusal(analysis.pair.pet.instances, why, MODEL, RUN, tmp_path / "refused")
    text = next(pydicom.dcmread(r.path) for r in refused if r.kind == "key_image")
    assert text.RecognizableVisualFeatures == "NO"


def test_what_replaces_an_earlier_result_says_so_in_every_object_that_has_room(tmp_path: Path) -> None:
    analysis = make_analysis(tmp_path / "in", **SMALL)
    notice = "Do not use the earlier"
    for run, expected in ((ALL, False), (replace(ALL, predecessors=(EARLIER,)), True)):
        for result in write_results(analysis, run, tmp_path / str(expected)):
            if result.kind in ("pdf", "seg", "label_map"):  # its page is read in its own test; 64 letters are too few
                continue
            said = " ".join(str(e.value) for e in pydicom.dcmread(result.path).iterall() if e.VR in ("LT", "ST", "UT"))
            assert (notice in said) == expected, result.kind
