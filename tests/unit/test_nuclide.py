"""Nuclides by code and by text, against pydicom's copy of PS3.16."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping

from inference.suv.nuclide import HALF_LIVES_S, NUCLIDE_OF_CODE, NUCLIDES, nuclide_named


def test_every_code_of_cid_4020_names_the_nuclide_of_its_meaning() -> None:
    """SNOMED CT and DCM codes as they stand there, SNOMED RT as PS3.16 annex O maps them."""
    retired = {ct: rt for rt, ct in mapping["SRT"].items()}
    for scheme, keywords in cid_concepts[4020].items():
        for keyword in keywords:
            ((code, (meaning, _)),) = concepts[scheme][keyword].items()
            assert NUCLIDE_OF_CODE[code] == nuclide_named(meaning), meaning
            if scheme == "SCT":
                assert NUCLIDE_OF_CODE[retired[code]] == NUCLIDE_OF_CODE[code]
    assert len(NUCLIDES) == sum(map(len, cid_concepts[4020].values())) == len(HALF_LIVES_S)


@pytest.mark.parametrize(
    ("text", "nuclide"),
    [
        ("^18^Fluorine", "F-18"),
        ("F^18^[^18^Fluorine]", "F-18"),
        ("18F", "F-18"),
        ("[18F]FDG", "F-18"),
        ("F18", "F-18"),
        ("Fluorine-18", "F-18"),
        ("68Ga", "Ga-68"),
        ("Tc-94m", "Tc-94m"),
        ("94mTc", "Tc-94m"),
        ("^94m^Technetium", "Tc-94m"),
        ("Mn-52m", "Mn-52m"),
        ("Mn-52", "Mn-52"),
        ("^52m^Manganese", "Mn-52m"),
        ("Tc-99m", ""),  # no positrons
        ("18FDG", ""),
        ("F-18 or Ga-68", ""),
        ("Fluor", ""),
        ("", ""),
    ],
)
def test_a_text_names_a_nuclide(text: str, nuclide: str) -> None:
    assert nuclide_named(text) == nuclide


@given(st.text())
def test_any_text_names_one_we_know_or_none(text: str) -> None:
    assert nuclide_named(text) in ("", *HALF_LIVES_S)


@pytest.mark.parametrize(
    ("nuclide", "seconds"),  # by other evaluations (NNDC), which may differ by 2 %
    [
        *(("F-18", 6584), ("C-11", 1221.8), ("N-13", 597.9), ("O-15", 122.24), ("Ga-68", 4057.7), ("Cu-64", 45723)),
        *(("Zr-89", 282276), ("Rb-82", 75.45), ("I-124", 360806), ("Y-90", 230580), ("Sc-44", 14551)),
    ],
)
def test_half_lives(nuclide: str, seconds: float) -> None:
    assert HALF_LIVES_S[nuclide] == pytest.approx(seconds, rel=0.02)
