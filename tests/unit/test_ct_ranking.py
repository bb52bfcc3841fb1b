"""Which of several CTs is taken, row by row of the table."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.assemble.ct_ranking import SHARP, SOFT, TABLE, UNKNOWN, kernel_class
from dicom_node.assemble.selection import select
from tests.studies import ct, pet

PLAIN: dict[str, Any] = {"ConvolutionKernel": ["B30f"], "SliceThickness": 3.0}


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ("B10f B31s B40f B41f H30s I30f I31f\\3 D30f Br36 Br40d Bf37 Hr36 Qr40 Br40d/3 J30s", SOFT),
        ("B50f B60s B70f B80f I70f Br59 Bl57 Bl64f Bl40 Ur77 S80s", SHARP),
        ("STANDARD SOFT STND DETAIL CHEST", SOFT),
        ("LUNG BONE BONEPLUS EDGE", SHARP),
        ("FC01 FC08 FC08-H FC13 FC18 FC26", SOFT),
        ("FC30 FC50 FC51 FC52 FC55 FC81 FC86", SHARP),
        ("A B C IA", SOFT),
        ("D E L YA YB", SHARP),
        ("B_SOFT_B H_SMOOTH_A", SOFT),
        ("B_SHARP_C LUNG_A", SHARP),
        ("FC43 UB xyz 4711", UNKNOWN),
    ],
)
def test_kernels_of_the_makers(names: str, kind: int) -> None:
    assert {name: kernel_class(ct(1, ConvolutionKernel=[name])) for name in names.split()} == dict.fromkeys(
        names.split(), kind
    )


def test_a_kernel_of_two_values_and_none() -> None:
    assert kernel_class(ct(1, ConvolutionKernel=["Br64f", "3"])) == SHARP
    assert kernel_class(ct(1)) == UNKNOWN


@pytest.mark.parametrize(
    ("worse", "why"),
    [
        ({"slices": 5}, "uncovered"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]}, "derived"),
        ({"ConvolutionKernel": ["B70f"]}, "kernel"),
        ({"ConvolutionKernel": ["4711"]}, "kernel"),
        ({"SliceThickness": 8.0}, "thicker"),
        ({"PixelSpacing": [1.0, 1.0]}, "field of view"),
        ({"ContrastBolusAgent": "Iodine"}, "contrast"),
        ({"SliceThickness": 1.0}, "farther"),
        ({}, "a later series"),
    ],
)
def test_each_row_decides_and_says_so(worse: dict[str, Any], why: str) -> None:
    images = pet(12, SliceThickness=3.0)
    best, other = ct(12, series=8, **PLAIN), ct(**{"slices": 12, "series": 9, **PLAIN, **worse})
    for candidates in ([*best, *other], [*other, *best]):
        chosen = select([*images, *candidates])
        assert {i.series_instance_uid for i in chosen.ct} == {best[0].series_instance_uid}
        (left_out,) = [c for c in chosen.choices if not c.chosen]
        assert left_out.code == "another-ct"
        assert why in left_out.reason
        assert "best of 2 CTs" in chosen.ct_why


def test_a_row_above_outweighs_all_rows_below() -> None:
    images = pet(12, SliceThickness=3.0)
    sharp = ct(12, series=2, **{**PLAIN, "ConvolutionKernel": ["B70f"]})
    soft = ct(12, series=9, **{**PLAIN, "SliceThickness": 8.0, "ContrastBolusAgent": "Iodine"})
    assert {i.series_instance_uid for i in select([*images, *sharp, *soft]).ct} == {soft[0].series_instance_uid}


def test_a_field_wider_than_the_pets_is_no_advantage() -> None:
    images = pet(12, SliceThickness=3.0)  # 32 mm wide
    wide = ct(12, series=9, **{**PLAIN, "PixelSpacing": [4.0, 4.0], "ContrastBolusAgent": "Iodine"})
    fitting = ct(12, series=2, **PLAIN)
    assert {i.series_instance_uid for i in select([*images, *wide, *fitting]).ct} == {fitting[0].series_instance_uid}


def test_every_row_has_a_reason_of_its_own() -> None:
    assert len({row.worse for row in TABLE}) == len(TABLE) == 7
