"""The tracer, from real headers and from what vendors write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping

from inference.facts import Instance, Tracer
from inference.reading.instance import scan_folder
from inference.suv.tracer import KINDS, NAMES, tracer_cautions, tracer_named, tracer_of
from tests.studies import pet

FDG = ("C-B1031", "SRT", "FDG -- fluorodeoxyglucose")
F18 = ("C-111A1", "SRT", "^18^Fluorine")
GA68 = ("C-131A3", "SRT", "^68^Gallium")


def code(value: str, scheme: str, meaning: str) -> dict[str, str]:
    return {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning}


def item(
    text: str | None = None,
    tracer: tuple[str, str, str] | None = None,
    nuclide: tuple[str, str, str] | None = None,
    half_life_s: float | None = None,
) -> dict[str, Any]:
    return {
        "Radiopharmaceutical": text,
        "RadiopharmaceuticalCodeSequence": [code(*tracer)] if tracer else [],
        "RadionuclideCodeSequence": [code(*nuclide)] if nuclide else [],
        "RadionuclideHalfLife": half_life_s,
    }


def series(*items: dict[str, Any], slices: int = 3) -> list[Instance]:
    made = pet()[:slices]
    information = {"RadiopharmaceuticalInformationSequence": list(items)}
    return [replace(i, attributes={**i.attributes, **information}) for i in made]


# --------------------------------------------------------------------------------------------------------- real headers


@pytest.mark.data
def test_real_headers(shared_data: Path) -> None:
    def of(folder: str) -> Tracer:
        return tracer_of([i for i in scan_folder(shared_data / folder).instances if i.modality == "PT"])

    assert of("geometry/baseline") == Tracer("fdg", "F-18", "FDG -- fluorodeoxyglucose")
    assert of("suv/real_raw").name == ""  # FLT, but the header names the nuclide only
    assert of("suv/real_raw").nuclide == "F-18"


# --------------------------------------------------------------------------------------------------------- the standard


def standard(cid: int) -> dict[str, str]:
    """Code of a context group as pydicom knows PS3.16 → its meaning, SNOMED in both systems."""
    found = {}
    for scheme, names in cid_concepts[cid].items():
        for name in names:
            for value, (meaning, groups) in concepts[scheme][name].items():
                if cid in groups:
                    found[f"{scheme} {value}"] = meaning
                    if scheme == "SCT" and value in mapping["SCT"]:
                        found[f"SRT {mapping['SCT'][value]}"] = meaning
    return found


def test_every_code_is_that_of_its_tracer_in_the_standard() -> None:
    known = standard(25) | standard(4021)
    for kind in KINDS:
        for its in kind.codes:
            assert its in known, its
            scheme, value = its.split()
            told = tracer_of(series(item(None, (value, scheme, known[its]))))
            assert told.name == kind.name, (its, known[its])
            assert told.nuclide in kind.nuclides


def test_no_other_code_of_the_standard_is_taken_for_one_of_ours() -> None:
    ours = {c for kind in KINDS for c in kind.codes}
    for its, meaning in standard(4021).items():
        if its not in ours:
            assert tracer_of(series(item(meaning, (its.split()[1], its.split()[0], meaning)))).name == "", its


# -------------------------------------------------------------------------------------------------- what vendors write


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("FDG", "fdg"),
        ("18F-FDG", "fdg"),
        ("F18FDG", "fdg"),
        ("[18F]FDG", "fdg"),
        ("^18^F-FDG", "fdg"),
        ("F-18 FDG (oncology)", "fdg"),
        ("FDG -- fluorodeoxyglucose", "fdg"),
        ("Fluorodeoxyglucose F^18^", "fdg"),
        ("2-[18F]fluoro-2-deoxy-D-glucose", "fdg"),
        ("Fludeoxyglucose F 18", "fdg"),
        ("Fluordesoxyglukose", "fdg"),
        ("Fluorodésoxyglucose", "fdg"),
        ("18F-PSMA-1007", "psma-1007"),
        ("PSMA1007", "psma-1007"),
        ("Ga-68-PSMA-11", "psma-11"),
        ("68Ga-PSMA-HBED-CC-11", "psma-11"),
        ("Ga68 PSMA", "psma"),
        ("PSMA I&T", "psma"),
        ("18F-DCFPyL", "dcfpyl"),
        ("68Ga-DOTATATE", "dotatate"),
        ("Cu-64 DOTATATE", "dotatate"),
        ("Ga-68 DOTATOC", "dotatoc"),
        ("68Ga DOTA-TOC", "dotatoc"),
        ("DOTANOC", "dotanoc"),
        ("Edotreotide Ga^68^", "dotatoc"),
        ("FLT", "flt"),
        ("18F-FET", "fet"),
        ("Fluoroethyltyrosine", "fet"),
        ("F-DOPA", "fdopa"),
        ("6-[18F]fluoro-L-DOPA", "fdopa"),
        ("C-11 Choline", "choline"),
        ("18F-Fluorocholine", "fluorocholine"),
        ("68Ga-FAPI-46", "fapi"),
        ("18F-NaF", "naf"),
        ("Sodium fluoride F18", "naf"),
        ("Florbetapir", "florbetapir"),
        ("AV-45", "florbetapir"),
        ("N-13 Ammonia", "ammonia"),
        ("Solution", ""),
        ("F-18", ""),
        ("", ""),
        ("FDGal", ""),
        ("DOTATATE 68 Ga", "dotatate"),
        ("PSMA 11 Ga 68", "psma-11"),
        ("Fluorine-18 FDG", "fdg"),
        ("18 Fluor FDG", "fdg"),
        ("Rubidium-82", ""),
        ("Rubidium chloride", "rubidium"),
        ("professional", ""),
    ],
)
def test_texts_of_vendors(text: str, name: str) -> None:
    found = tracer_of(series(item(text)))
    assert found.name == name
    assert tracer_cautions(series(item(text))) == ()


@pytest.mark.parametrize(
    ("what", "name"),
    [
        (item("Solution", FDG, F18, 6588.0), "fdg"),  # the text says nothing: the code speaks
        (item(None, ("35321007", "SCT", "Fluorodeoxyglucose F^18^")), "fdg"),
        (item("Fluorine 18F 370 MBq", FDG, F18), "fdg"),
        (
            item(None, ("35321007", "SCT", "フルデオキシグルコース"), F18),
            "fdg",
        ),  # the code's own meaning, in any language
        (item("FDG -- fluorodeoxyglucose", ("Y-X1743", "99SDM", "FDG -- fluorodeoxyglucose")), "fdg"),
        (item("F-18 choline", None, F18), "fluorocholine"),
        (item("FDG", None, None, 6588.0), "fdg"),
        (item(None, None, F18, 6586.2), ""),
        (item("PSMA", ("126758", "DCM", "PSMA-1007 F^18^"), F18), "psma-1007"),  # general and special are no quarrel
    ],
)
def test_code_text_and_nuclide_together(what: dict[str, Any], name: str) -> None:
    assert tracer_of(series(what)).name == name
    assert tracer_cautions(series(what)) == ()


@pytest.mark.parametrize(
    "what",
    [
        item("18F-PSMA-1007", FDG, F18, 6588.0),
        item("Ga-68 DOTATOC", FDG, GA68, 4062.6),
        item("FDG", FDG, GA68, 4062.6),  # FDG is never labelled with gallium
        item("68Ga-FDG"),
        item("FDG", FDG, F18, 4062.6),  # two nuclides
        item("Somethingumab", FDG, F18, 6588.0),  # the console's default code beside a new tracer's name
        item("FDG PSMA"),
        item("前列腺特异性膜抗原", FDG, F18),  # says something, and not to us
        item(None, ("C-B1031", "SRT", "PSMA-1007"), F18),
    ],
)
def test_a_contradiction_leaves_the_name_open_and_is_said(what: dict[str, Any]) -> None:
    assert tracer_of(series(what)).name == ""
    assert [c.code for c in tracer_cautions(series(what))] == ["tracer-contradicted"]


def test_slices_that_disagree_and_two_injections_are_unknown() -> None:
    first, *others = series(item("FDG"))
    for other in (series(item("68Ga-PSMA-11"))[0], series(item(None))[0], series()[0]):
        assert tracer_of([first, *others, other]).name == ""
        assert tracer_cautions([first, *others, other])
    two = series(item("FDG"), item("68Ga-DOTATATE"))
    assert tracer_of(two).name == ""
    assert tracer_cautions(two)


def test_no_sequence_is_an_unknown_tracer() -> None:
    assert tracer_of(series()) == Tracer("", "")
    assert tracer_of([]) == Tracer("", "")


JSON = st.recursive(
    st.none() | st.floats(allow_nan=True) | st.text(max_size=80) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*item(), *code("", "", "")]), inner),
    max_leaves=12,
)


@given(JSON)
def test_any_value_gives_a_name_of_ours_or_none(value: Any) -> None:
    made = [replace(i, attributes={"RadiopharmaceuticalInformationSequence": value}) for i in pet()[:1]]
    found = tracer_of(made)
    assert found.name in ("", *NAMES)
    assert len(found.text) <= 64
    assert found.text.isprintable()


def test_all_tracers_of_a_text_are_found() -> None:
    assert tracer_named("FDG or DOTATOC") == ("fdg", "dotatoc")
