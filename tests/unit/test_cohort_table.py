"""Tables of cohorts as people write them: what is understood, and what is refused with row and column."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from inference.facts import Refused
from inference.model.value_names import slug, unit_in
from training.cohort.columns import post_baseline, to_number
from training.cohort.findings import Finding
from training.cohort.table import Cohort, parse_cohort, read_cohort


def table(folder: Path, text: str, name: str = "cohort.csv", roles: str = "", encoding: str = "utf-8") -> Path:
    (folder / "a.nii").touch()
    if roles:
        (folder / name).with_suffix(".columns.toml").write_text(roles)
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def errors(file: Path) -> list[Finding]:
    return [finding for finding in parse_cohort(file)[1] if finding.level == "error"]


def warnings(cohort: Cohort) -> dict[str, str]:
    return {finding.code: finding.column for finding in cohort.findings}


def test_a_plain_table(tmp_path: Path) -> None:
    rows = "patient,centre,label,ct,age,stage,months,event,set\n" + "".join(
        f"P{i},{'AB'[i % 2]},{i % 2},a.nii,{50 + 5 * i},{'I' * (1 + i % 2)},{i + 0.5},{i % 2},{'external' * (i > 4)}\n"
        for i in range(6)
    )
    cohort = read_cohort(table(tmp_path, rows))
    first, last = cohort.studies[0], cohort.studies[-1]
    assert (first.row, first.patient, first.study, first.centre, first.label, first.set) == (
        2,
        "P0",
        "P0",
        "A",
        0,
        "train",
    )
    assert (first.months, first.event, last.set) == (0.5, 0, "external")
    assert first.ct == tmp_path / "a.nii"
    assert first.pet is None
    assert [(c.name, c.kind) for c in cohort.columns] == [("age", "number"), ("stage", "category")]
    assert cohort.columns[0].values == (50.0, 55.0, 60.0, 65.0, 70.0, 75.0)
    assert cohort.groups["age"] == ("40 to 59", "40 to 59", "60 to 74", "60 to 74", "60 to 74", "75 and above")


def test_a_spreadsheet_of_another_country(tmp_path: Path) -> None:
    """Semicolons, decimal commas, a byte order mark, umlauts, blank lines, quotes round a separator."""
    lines = [
        "Patient;Label;CT;Alter (a);CEA [µg/l];Befund",
        "",
        'Müller;1;a.nii;63,5;1,5;"x; y"',
        ";;;;;",
        "ß;0;a.nii;70;;k",
    ]
    text = "\r\n".join(lines)
    cohort = read_cohort(table(tmp_path, text, roles='[names]\nAlter = "age"\n', encoding="utf-8-sig"))
    assert [s.patient for s in cohort.studies] == ["Müller", "ß"]
    assert [s.row for s in cohort.studies] == [3, 5]
    age = cohort.columns[0]
    assert (age.name, age.unit, age.kind, age.values) == ("age", "a", "number", (63.5, 70.0))
    assert cohort.set_aside["CEA [µg/l]"] == "it is the same in every row"


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    text = "patient\tlabel\tct\nMüller\t1\ta.nii\nP2\t0\ta.nii\n"
    cohort = read_cohort(table(tmp_path, text, encoding=encoding))
    assert cohort.studies[0].patient == "Müller"
    assert ("table-encoding" in warnings(cohort)) == (encoding == "cp1252")


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    text = (
        "patient,study,label,ct,cea,months,event,set\n"
        "P1,S1,1,a.nii,3,1,1,\n"
        ",S2,0,a.nii,4,1,1,\n"
        "P3,S3,maybe,a.nii,<5,1,1,\n"
        "P4,S4,0,b.nii,5,-1,0,test\n"
        "P5,S1,0,,6,2,,\n"
        "P6,S6,0,a.nii,7,2,,\n"
        "P7,S7,0,a.nii,7,2,1\n"
    )
    found = {(e.row, e.column) for e in errors(table(tmp_path, text))}
    assert found == {
        (3, "patient"), (4, "label"), (4, "cea"), (5, "ct"), (5, "months"), (5, "set"), (6, ""), (7, ""), (8, ""),
    }  # fmt: skip
    with pytest.raises(Refused, match=r"row 4, column label: a label is 0, 1 or empty") as refused:
        read_cohort(tmp_path / "cohort.csv")
    assert refused.value.code == "cohort-faults"
    assert "maybe" not in refused.value.reason
    assert "<5" not in refused.value.reason


@pytest.mark.parametrize("path", ["x" * 5000, "..", "a.nii/b", "\u0000", "C:\\data\\ct"])
def test_paths_that_are_none(tmp_path: Path, path: str) -> None:
    found = errors(table(tmp_path, f"patient,label,ct\nP1,1,a.nii\nP2,0,{path}\n".replace("\0", "%00")))
    assert [(e.row, e.column) for e in found] == ([] if path == ".." else [(3, "ct")])


def test_two_rows_of_one_study(tmp_path: Path) -> None:
    found = errors(table(tmp_path, "patient,label,ct\nP1,1,a.nii\nP1,0,a.nii\nP2,0,a.nii\n"))
    assert [(e.row, e.code) for e in found] == [(2, "study-twice"), (3, "study-twice")]


def test_labels_in_the_wrong_column(tmp_path: Path) -> None:
    text = "patient,label,ct\n" + "".join(f"P{i},{i * 7},a.nii\n" for i in range(1, 6))
    (found,) = errors(table(tmp_path, text))
    assert (found.row, found.column) == (None, "label")
    assert "5 different values" in found.text
    (found,) = errors(table(tmp_path, text.replace("label", "tps")))
    assert (found.code, found.column) == ("column-missing", "label")


def test_a_measured_label_with_its_rule(tmp_path: Path) -> None:
    text = "patient,TPS (%),ct,cea\nP1,0,a.nii,1\nP2,1,a.nii,2\nP3,60,a.nii,3\nP4,,a.nii,4\n"
    cohort = read_cohort(table(tmp_path, text, roles='label = "TPS"\npositive = ">= 1"\n'))
    assert [s.label for s in cohort.studies] == [0, 1, 1, -1]
    assert [c.name for c in cohort.columns] == ["cea"]  # the label's own column is no value
    assert cohort.label_header == "TPS (%)"
    texts = "patient,label,ct\nP1,short,a.nii\nP2,long,a.nii\n"
    cohort = read_cohort(table(tmp_path, texts, "words.csv", roles='positive = ["Short"]\n'))
    assert [s.label for s in cohort.studies] == [1, 0]


def test_what_is_known_after_the_scan_is_offered_to_no_model(tmp_path: Path) -> None:
    text = "patient,label,ct,cycles,prior_relapse,alp,PFS (months),remission\n" + "".join(
        f"P{i},{i % 2},a.nii,{i},{i % 3},{i * 2},{i + 3},{i % 4}\n" for i in range(6)
    )
    cohort = read_cohort(table(tmp_path, text, roles='baseline = ["prior_relapse"]\npost_baseline = ["remission"]\n'))
    assert [c.name for c in cohort.columns] == ["prior_relapse", "alp"]
    assert cohort.set_aside.keys() == {"cycles", "PFS (months)", "remission"}
    assert {f.column for f in cohort.findings if f.code == "post-baseline"} == {"cycles", "PFS (months)"}


@pytest.mark.parametrize(
    ("name", "leaks"),
    [
        ("cycles", True), ("n_cycles", True), ("follow_up_days", True), ("followup_days", True),
        ("best_response", True),
        ("os_months", True), ("pfs", True), ("status", True), ("vital_status", True), ("time_to_progression", True),
        ("smoking_status", False), ("performance_status", False), ("cost", False), ("post_code", True), ("age", False),
        ("cga", False), ("pfsx", False), ("position", False),
    ],
)  # fmt: skip
def test_names_that_say_post_baseline(name: str, leaks: bool) -> None:
    assert post_baseline(name) is leaks


def test_columns_that_are_no_values(tmp_path: Path) -> None:
    text = "patient,label,ct,scan_date,remarks,country,scanner,histology\n" + "".join(
        f"P{i},{i % 2},a.nii,2020010{i},remark number {i},NO,GE {i % 2},{'ab'[i % 2]}\n" for i in range(1, 8)
    )
    cohort = read_cohort(table(tmp_path, text))
    assert [c.name for c in cohort.columns] == ["histology"]
    assert cohort.set_aside["scan_date"] == "it holds dates"
    assert "free text" in cohort.set_aside["remarks"]
    assert cohort.set_aside["country"] == "it is the same in every row"
    assert set(cohort.groups) == {"scanner"}  # reported by subgroup, never learnt from


def test_excel(tmp_path: Path) -> None:
    (tmp_path / "a.nii").touch()
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.append(["patient", "label", "ct", "age", "sex"])
    sheet.append(["P1", 1, "a.nii", 60.5, "male"])
    sheet.append([])
    sheet.append(["P2", 0.0, "a.nii", 71, "f"])
    sheet.append(["P3", None, "a.nii", None, None])
    book.create_sheet("notes").append(["x"])
    book.save(tmp_path / "cohort.xlsx")
    cohort = read_cohort(tmp_path / "cohort.xlsx")
    assert [(s.row, s.label) for s in cohort.studies] == [(2, 1), (4, 0), (5, -1)]
    assert {c.name: c.values for c in cohort.columns} == {"age": (60.5, 71.0, None), "sex": ("M", "F", None)}
    assert "several-sheets" in warnings(cohort)

    sheet["B5"] = "=1-B4"  # its result was never stored, so the cell would look empty
    book.save(tmp_path / "cohort.xlsx")
    assert [e.code for e in errors(tmp_path / "cohort.xlsx")] == ["formula-without-value"]


def test_the_same_content_has_the_same_digest_in_any_format(tmp_path: Path) -> None:
    comma = read_cohort(table(tmp_path, "patient,label,ct,cea\nP1,1,a.nii,1.5\nP2,0,a.nii,2\n"))
    semicolon = read_cohort(table(tmp_path, "patient;label;ct;cea\nP1;1;a.nii;1,5\nP2;0;a.nii;2,0\n", "other.csv"))
    changed = read_cohort(table(tmp_path, "patient,label,ct,cea\nP1,1,a.nii,1.6\nP2,0,a.nii,2\n", "third.csv"))
    assert comma.digest == semicolon.digest != changed.digest


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("c.csv", b"", "empty"),
        ("c.csv", b"patient,label\n", "no row"),
        ("c.csv", b'patient,label\n"P1,1\n', "cannot be split"),
        ("c.csv", b"\x00\x01\x02,", "no text"),
        ("c.csv", b"\xff\xfea", "byte order mark"),
        ("c.xlsx", b"PK\x03\x04 no zip", "no XLSX"),
        ("c.pdf", b"%PDF", "CSV or an XLSX"),
    ],
)
def test_what_is_no_table(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Refused, match=said) as refused:
        read_cohort(tmp_path / name)
    assert refused.value.code == "cohort-unreadable"


def test_a_spreadsheet_that_would_fill_the_memory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sheet1.xml", b"<x/>")
        archive.infolist()[0].file_size = 2**30
    with pytest.raises(Refused) as refused:
        read_cohort(tmp_path / "bomb.xlsx")
    assert refused.value.code == "cohort-too-large"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('positive = "about 1"', "comparison"),
        ("colour = 1", "colour"),
        ('region_names = ["("]', "regular expression"),
        ('[names]\nx = "Not A Name"', "lower-case"),
        ("label = ", "cannot be read"),
        ('label = "nowhere"', "no such column"),
    ],
)
def test_faults_of_the_description(tmp_path: Path, text: str, said: str) -> None:
    file = table(tmp_path, "patient,label,ct\nP1,1,a.nii\nP2,0,a.nii\n", roles=text)
    with pytest.raises(Refused, match=said):
        read_cohort(file)


def test_headers() -> None:
    assert [slug(h) for h in ("γ-GT (U/l)", "Patient ID", " CEA [ng/mL] ", "3D size", "Größe")] == [
        "gamma_gt", "patient_id", "cea", "v_3d_size", "grosse",
    ]  # fmt: skip
    assert [unit_in(h) for h in ("γ-GT (U/l)", "CEA [ng/mL]", "age")] == ["U/l", "ng/mL", ""]


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_numbers_with_point_and_comma(value: float) -> None:
    text = repr(value)
    assert to_number(text, decimal_comma=False) == value
    assert to_number(text.replace(".", ","), decimal_comma=True) == value
    assert math.isfinite(to_number(text, decimal_comma=True))


@given(st.text(max_size=300))
def test_any_text_is_a_table_or_is_refused(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "cohort.csv")
        file.write_text("patient,label,ct\n" + text, encoding="utf-8", errors="replace")
        try:
            cohort, findings = parse_cohort(file)
        except Refused:
            return
        assert (cohort is None) == any(f.level == "error" for f in findings)
