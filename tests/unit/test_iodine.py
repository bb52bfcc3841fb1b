"""Iodine maps: told by their header, never taken for HU, and in mg/ml only where the header says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.facts import Instance, Refused
from inference.geometry.volume import stack
from inference.load import load_ct, load_iodine
from inference.reading.iodine import is_iodine_map, mg_per_ml, why_no_hu
from tests.images import CT_IMAGE, with_pixels
from tests.images import image as plain_image
from tests.studies import one

UNIT = {"RescaleType": "MGML", "RescaleSlope": "0.01", "RescaleIntercept": "-10"}
SPECIFIC = {"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "MAT_SPECIFIC"]}


def code(value: str, scheme: str) -> dict[str, str]:
    return {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": "-"}


def mapping(unit: str = "mg/ml", slope: float = 0.01, material: str = "44588005", **more: Any) -> dict[str, Any]:
    quantity = [{"ConceptNameCodeSequence": [code("105590001", "SCT")], "ConceptCodeSequence": [code(material, "SCT")]}]
    item = {"RealWorldValueSlope": slope, "RealWorldValueIntercept": -10.0, **more}
    return item | {"MeasurementUnitsCodeSequence": [code(unit, "UCUM")], "QuantityDefinitionSequence": quantity}


def image(**attributes: Any) -> Instance:
    return one(CT_IMAGE, 4, 1, **{"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], **attributes})


@pytest.mark.parametrize(
    "attributes",
    [
        {"RealWorldValueMappingSequence": [mapping()]},
        {**SPECIFIC, "SeriesDescription": "Iodine"},
        {**UNIT, "SeriesDescription": "DE abdomen iodine"},
        {"SeriesDescription": "Iodine Density [mg/ml]"},
        {"SeriesDescription": "GSI Iodine(Water)"},
        {"SeriesDescription": "IODINE_MAP 3.0"},
        {**SPECIFIC, "RealWorldValueMappingSequence": [mapping("mg/ml", material="", LUTExplanation="Iodine")]},
    ],
)
def test_an_iodine_map_is_told_and_is_no_ct(attributes: dict[str, Any]) -> None:
    assert is_iodine_map(image(**attributes))
    assert why_no_hu(image(**attributes)) == "it is an iodine map"


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"SeriesDescription": "CT abdomen, iodine contrast 100 ml", "ContrastBolusAgent": "Iodine 350"},
        {"SeriesDescription": "Water(Iodine)", **SPECIFIC},
        {"SeriesDescription": "Virtual non-contrast, iodine removed"},
        {"SeriesDescription": "VNC without iodine map"},
        {"RealWorldValueMappingSequence": [mapping(material="11713004")], **SPECIFIC},
        {"SeriesDescription": "Calcium map"},
    ],
)
def test_other_images_are_no_iodine_map(attributes: dict[str, Any]) -> None:
    assert not is_iodine_map(image(**attributes))


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        (SPECIFIC, "MAT_SPECIFIC"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "EFF_ATOMIC_NUM"]}, "EFF_ATOMIC_NUM"),
        ({"RescaleType": "Z_EFF"}, "Z_EFF"),
        ({"RescaleType": "HU"}, ""),
        ({"RescaleType": "US"}, ""),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "VMI"]}, ""),
    ],
)
def test_what_is_no_hu_is_no_ct(attributes: dict[str, Any], why: str) -> None:
    assert why in why_no_hu(image(**attributes))
    assert bool(why_no_hu(image(**attributes))) == bool(why)


def test_the_unit_is_read_from_where_it_stands() -> None:
    assert mg_per_ml(image(**UNIT)) == (0.01, -10.0)
    assert mg_per_ml(image(RealWorldValueMappingSequence=[mapping("mg/cm3")])) == (0.01, -10.0)
    assert mg_per_ml(image(**UNIT, RealWorldValueMappingSequence=[mapping()])) == (0.01, -10.0)


@pytest.mark.parametrize(
    "attributes",
    [
        {"SeriesDescription": "Iodine map", "RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"},
        {"SeriesDescription": "Iodine map", "RescaleSlope": 1, "RescaleIntercept": 0},
        {"RealWorldValueMappingSequence": [mapping("[hnsf'U]")]},
        {"RealWorldValueMappingSequence": [mapping("ug/ml")]},
        {"RealWorldValueMappingSequence": [mapping(), mapping(slope=0.1)]},
        {**UNIT, "RealWorldValueMappingSequence": [mapping(slope=0.1)]},
        {**UNIT, "RescaleSlope": None},
        {**UNIT, "RescaleSlope": "0"},
        {**UNIT, "RescaleSlope": "nan"},
    ],
)
def test_a_unit_that_is_not_certain_is_refused(attributes: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refusal:
        mg_per_ml(image(**attributes))
    assert refusal.value.code == "iodine-unit-unknown"


@given(st.text(max_size=40), st.sampled_from(["HU", "US", "", "MGML", "mg/ml"]))
def test_no_description_makes_hu_of_a_stated_concentration(description: str, kind: str) -> None:
    told = image(SeriesDescription=description, RescaleType=kind, RescaleSlope=1, RescaleIntercept=0)
    if kind in ("MGML", "mg/ml"):
        assert why_no_hu(told)
    else:
        with pytest.raises(Refused):
            mg_per_ml(told)


def stored(folder: Path, values: list[np.ndarray[Any, Any]], **attributes: Any) -> Any:
    told = {**UNIT, "SeriesDescription": "Iodine map", "PixelRepresentation": 0, **attributes}
    return stack([with_pixels(plain_image(n, (0, 0, 3.0 * n), **told), v, folder) for n, v in enumerate(values)])


def test_stored_values_become_mg_per_ml_and_never_hu(tmp_path: Path) -> None:
    values = [np.full((4, 5), 1000 + 50 * n, np.uint16) for n in range(3)]
    values[1][0, 0] = 0
    made = stored(tmp_path, values, PixelPaddingValue=0)
    found = load_iodine(made)
    assert found.array.dtype == np.float32
    assert found.array[:, 2, 2] == pytest.approx([0.0, 0.5, 1.0], abs=1e-5)
    assert found.array[1, 0, 0] == 0.0
    with pytest.raises(Refused, match="MGML"):
        load_ct(made)


def test_values_of_another_unit_than_stated_are_refused(tmp_path: Path) -> None:
    hundredths = [np.full((4, 5), 20_000, np.uint16) for _ in range(2)]  # 190 mg/ml
    with pytest.raises(Refused) as refusal:
        load_iodine(stored(tmp_path, hundredths))
    assert refusal.value.code == "iodine-values-out-of-range"
