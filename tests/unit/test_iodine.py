"""Iodine maps: told by their header, never taken for HU, and in mg/ml only where the header says so."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.facts import Instance, Refused
from inference.reading.iodine import is_iodine_map, mg_per_ml, why_no_hu
from tests.images import CT_IMAGE
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
