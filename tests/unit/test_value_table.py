"""A site's table of values: whose row it is, what is wrong with it, and what a model takes of it."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.commands import doctor
from dicom_node.config import Settings
from dicom_node.identity import Basis, settings_digest
from dicom_node.values import Table, ValueTable, keys_of, read_table, values_of_file
from inference.facts import Instance, Pair, Refused, Series
from inference.model.bundle import save_bundle
from inference.model.given import NOTHING_GIVEN, Given, taken_values
from inference.model.value_names import same_unit
from inference.model.values import ValueSpec
from tests.kinds_case import AGE, CHROMOGRANIN, NEEDED, SEX, served_for
from tests.studies import STUDY, ct, pet

HEADER = {"AccessionNumber": "A-1", "StudyDate": "20260301", "PatientAge": "065Y", "PatientBirthDate": None}


def images(**changes: Any) -> list[Instance]:
    return pet(4, **{**HEADER, **changes})


def pair(**changes: Any) -> Pair:
    series = [
        Series(i[0].study_instance_uid, i[0].series_instance_uid, tuple(i), "") for i in (images(**changes), ct())
    ]
    return Pair(series[0], series[1], None)


def table(folder: Path, text: str | bytes, name: str = "labs.csv") -> Table:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(path)


def found(folder: Path, text: str) -> Given:
    return table(folder, text).of(keys_of(images()))


@pytest.mark.parametrize(
    "text",
    [
        "accession_number,cga\nA-1,12.5\n",
        "Accession Number;CgA [ug/L]\nA-1;12,5\n",
        "AccessionNumber\tCGA\nA-1\t12.5\n",
        f"StudyInstanceUID,cga\n{STUDY},12.5\n",
        "Patient ID,Study Date,cga\np1,2026-03-01,12.5\n",
        "patient_id;study_date;cga\nP1;01.03.2026;12,5\n",
        f"study_instance_uid,accession_number,patient_id,cga\n{STUDY},A-1,P1,12.5\n",
        "\ufeffaccession,cga\r\n\r\nA-1,12.5\r\nB-2,9\r\n",
    ],
)
def test_the_studys_row_is_found_however_it_is_written(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text).values == {"cga": "12.5"}


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("accession_number,cga\nA-1,1\nB,2\nA-1,1\n", "values-ambiguous", "rows 2, 4"),
        ("accession_number,patient_id,cga\nA-1,P2,1\n", "values-other-patient", "row 2"),
        (f"study_instance_uid,accession_number,cga\n{STUDY},B-2,1\n", "values-other-patient", "accession_number"),
        ("accession_number,cga\nA-1,1,2\n", "values-unreadable", "row 2 has 3 cells and the header 2"),
        (
            "accession_number,cga\nA-1," + "x" * 300 + "\n",
            "values-unreadable",
            "row 2 has more than 256 characters in cga",
        ),
        ("cga\n1\n2\n", "values-ambiguous", "no key column"),
    ],
)
def test_a_row_that_cannot_be_trusted_is_named_by_its_number(tmp_path: Path, text: str, code: str, named: str) -> None:
    given_values = found(tmp_path, text)
    assert given_values.values == {}
    assert given_values.fault is not None
    assert given_values.fault.code == code
    assert named in given_values.fault.reason
    assert "P2" not in given_values.fault.reason


def test_another_study_has_no_values_and_an_empty_key_names_none(tmp_path: Path) -> None:
    assert found(tmp_path, "accession_number,cga\nB-2,1\n") is NOTHING_GIVEN
    blank = table(tmp_path, "accession_number,cga\n,1\n")
    assert blank.of(keys_of(images(AccessionNumber=""))) is NOTHING_GIVEN
    only_patient = table(tmp_path, "patient_id,cga\nP1,1\n")
    assert only_patient.of(keys_of(images())) is NOTHING_GIVEN


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.csv", b"accession_number,cga\n", "no row below its header"),
        ("a.csv", b"accession_number,cga,CgA (ug/L)\nA-1,1,2\n", "cga is there twice"),
        ("a.csv", b'accession_number,cga\n"A-1,1\n', "cannot be split"),
        ("a.csv", b"\x00\x01\x02", "no text"),
        ("a.csv", b"accession_number," + b",".join(b"v%d" % n for n in range(600)) + b"\nA-1\n", "500 columns"),
        ("a.json", b"{", "no JSON"),
        ("a.json", b"[1]", "one object is wanted"),
        ("a.json", b'{"cga": [1]}', "the value of 'cga'"),
        ("a.json", b'{"cga": true}', "the value of 'cga'"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why) as refusal:
        table(tmp_path, content, name)
    assert refusal.value.code == "values-unreadable"


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "labs.csv").open("wb") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(Refused, match="16 MiB"):
        read_table(tmp_path / "labs.csv")


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    for file in (path, path.with_suffix(".json")):
        file.write_bytes(content)
        os.utime(file, (0, 0))  # long ago: nobody is writing it
        fault = ValueTable(file).of(images()).fault
        assert fault is None or fault.code == "values-unreadable"


def test_the_sites_table_is_read_again_when_it_changes_and_needs_a_key(tmp_path: Path) -> None:
    path = tmp_path / "labs.csv"
    labs = ValueTable(path)
    missing = labs.of(images())
    assert missing.fault is not None
    assert missing.fault.code == "values-unreadable"
    path.write_text("accession_number,cga\nA-1,1\n")
    assert labs.of(images()).values == {"cga": "1"}
    path.write_text("accession_number,cga\nA-1,22\n")
    assert labs.of(images()).values == {"cga": "22"}
    path.write_text("cga\n1\n")
    unkeyed = labs.of(images()).fault
    assert unkeyed is not None
    assert "no column says whose row it is" in unkeyed.reason
    assert ValueTable(None).of(images()) is NOTHING_GIVEN


def test_a_named_file_must_hold_the_study(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"CgA (ug/L)": 80, "sex": "male", "ggt": None}))
    assert values_of_file(path, images()).values == {"cga": "80", "sex": "M", "ggt": None}
    path.write_text(json.dumps({"accession_number": "B-2", "cga": 80}))
    fault = values_of_file(path, images()).fault
    assert fault is not None
    assert fault.code == "values-other-patient"
    with pytest.raises(Refused, match="no file"):
        values_of_file(tmp_path / "none.csv", images())


def test_a_table_that_is_being_written_is_not_read_half(tmp_path: Path) -> None:
    path = tmp_path / "labs.csv"
    path.write_text("accession_number,cga\nA-1,1")  # of 12.5
    writer = threading.Timer(0.5, lambda: path.write_text("accession_number,cga\nA-1,12.5\n"))
    writer.start()
    assert ValueTable(path).of(images()).values == {"cga": "12.5"}
    writer.join()


def test_the_doctor_looks_at_the_table(tmp_path: Path) -> None:
    labs = tmp_path / "labs.csv"
    bundle = tmp_path / "told"
    told = served_for("CT", values=(CHROMOGRANIN, AGE))
    save_bundle(bundle, told, [{"a": np.zeros(1, np.float32)}], None, model_card="")
    settings = {"node": {"data_dir": tmp_path / "data"}, "infer": {"bundle": str(bundle)}}

    def found(**more: Any) -> tuple[str, str]:
        told = list(doctor._values(Settings(**settings, **more)))
        return (told[0].state, told[0].found) if told else ("", "")

    assert found() == ("note", "models take cga, and there is no table")
    assert found(values={"table": labs})[0] == "fault"
    labs.write_text("cga\n1\n")
    assert found(values={"table": labs})[0] == "fault"
    labs.write_text("accession_number,ggt\nA-1,1\n")
    assert found(values={"table": labs}) == ("note", "labs.csv has no column cga")
    labs.write_text("accession_number,CgA (ug/L)\nA-1,1\n")
    assert found(values={"table": labs}) == ("ok", "labs.csv, 1 row(s)")


# --------------------------------------------------------------------------------------------------- what a model takes


def test_each_value_comes_from_where_the_bundle_says() -> None:
    tlg = ValueSpec(name="tlg", title="TLG", source="measured")
    taken = taken_values((CHROMOGRANIN, AGE, SEX, tlg), Given({"cga": "250"}), pair(), None)
    assert taken.values == {"cga": 250.0, "age": 65.0, "sex": "F", "tlg": None}
    assert [value.source for value in taken.told] == ["table", "header", "header", "measured"]
    assert taken.why_not == ()


def test_table_and_header_stand_in_for_each_other() -> None:
    without = taken_values((AGE, SEX), Given({"age": "64", "sex": "F"}), pair(PatientAge=None, PatientSex=""), None)
    assert without.values == {"age": 64.0, "sex": "F"}
    of_table = replace_source(AGE, "table")
    assert taken_values((of_table,), NOTHING_GIVEN, pair(), None).values == {"age": 65.0}


def replace_source(spec: ValueSpec, source: str) -> ValueSpec:
    return spec.model_copy(update={"source": source})


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("CgA", ""),
        ("CgA (ug/L)", ""),
        ("CgA [µg/l]", ""),
        ("CgA (mcg / L)", ""),
        ("CgA (ng/mL)", "is given in ng/mL, and the model takes it in ug/L"),
        ("CgA (nmol/l)", "is given in nmol/l, and the model takes it in ug/L"),
        ("CgA (mg/L)", "is given in mg/L"),
    ],
)
def test_a_number_in_another_unit_is_not_used(tmp_path: Path, header: str, why: str) -> None:
    given = found(tmp_path, f"accession_number,{header}\nA-1,250\n")
    (told,) = taken_values((CHROMOGRANIN,), given, pair(), None).why_not or ("",)
    assert why in told
    assert bool(told) == bool(why)
    assert "250" not in told
    as_json = table(tmp_path, json.dumps({header: 250}), "one.json").of({})
    assert taken_values((CHROMOGRANIN,), as_json, pair(), None).why_not == ((told,) if told else ())


def test_a_unit_of_what_the_table_does_not_give_or_the_model_does_not_take_is_no_fault(tmp_path: Path) -> None:
    empty = found(tmp_path, "accession_number,CgA (mg/l),other (nmol/l)\nA-1,,5\n")
    assert taken_values((CHROMOGRANIN,), empty, pair(), None).why_not == ()
    category = ValueSpec(name="stage", title="stage", levels=("II", "I"))
    stage = found(tmp_path, "accession_number,stage (AJCC 8)\nA-1,I\n")
    assert taken_values((category,), stage, pair(), None).why_not == ()


def test_a_corrected_unit_is_another_set_of_values() -> None:
    specs, values = (CHROMOGRANIN,), {"cga": "1"}
    digests = [Given(values, units=units).digest(specs, STUDY) for units in ({}, {"cga": "ug/l"}, {"ggt": "U/l"})]
    assert digests[0] == digests[2] != digests[1]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("U/L", "IU/l", True),
        ("u/l", "U/l", True),
        ("[iU]/ml", "[U]/mL", True),
        ("10^9/L", "10*9/l", True),
        ("×10⁹/l", "10*9/l", True),
        ("years", "a", True),
        ("mU/l", "U/l", False),
        ("kU/l", "U/l", False),
        ("mg", "Mg", False),
        ("10*6/l", "10*9/l", False),
        ("umol/l", "mg/dl", False),
        ("", "mg/dl", False),
    ],
)
def test_one_unit_has_many_spellings(one: str, other: str, same: bool) -> None:
    assert same_unit(one, other) is same


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"sex": "M"}, "sex in the given values is not the image header's"),
        ({"age": "70"}, "age in the given values"),
        ({"age": "30", "sex": "M"}, "sex and age"),
        ({"age": "66", "sex": "F"}, ""),
        ({"age": "unsure"}, ""),
    ],
)
def test_another_patients_sex_or_age_is_noticed(values: dict[str, str], why: str) -> None:
    (told,) = taken_values((CHROMOGRANIN,), Given(values), pair(), None).why_not or ("",)
    assert why in told
    assert bool(told) == bool(why)
    assert "70" not in told


def test_a_fault_of_the_table_matters_only_to_models_that_take_values_from_outside() -> None:
    fault = Given(fault=Refused("values-ambiguous", "labs.csv: rows 2, 3 are all of this study; leave one."))
    measured = ValueSpec(name="tlg", title="TLG", source="measured")
    assert taken_values((CHROMOGRANIN,), fault, pair(), None).why_not
    assert taken_values((measured,), fault, pair(), None).why_not == ()
    assert taken_values((), fault, pair(), None).why_not == ()
    assert fault.digest((CHROMOGRANIN,), STUDY)
    assert fault.digest((measured,), STUDY) == ""


def test_the_digest_is_of_what_the_model_takes_and_nothing_else() -> None:
    specs = (CHROMOGRANIN, NEEDED)
    one = Given({"cga": "1", "ggt": None, "other": "5"}).digest(specs, STUDY)
    assert one == Given({"cga": "1", "other": "6"}).digest(specs, STUDY)
    assert one != Given({"cga": "2"}).digest(specs, STUDY)
    assert one != Given({"cga": "1"}).digest(specs, "1.2.3")
    assert Given({"other": "5"}).digest(specs, STUDY) == "" == NOTHING_GIVEN.digest(specs, STUDY)


def test_other_values_are_an_occasion_and_other_results() -> None:
    before = Basis("1", "m" * 64, "", "s" * 64)
    assert Basis.from_json(before.as_json()) == before
    old = json.loads(before.as_json())
    del old["values"]
    assert Basis.from_json(json.dumps(old)) == before
    assert replace(before, values="v" * 64).changes(before) == ("values",)
    digests = {settings_digest(use_given_region=True, values=values) for values in ("", "a", "b")}
    assert len(digests) == 3
    assert settings_digest(use_given_region=True) in digests
