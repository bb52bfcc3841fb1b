"""The conformance statement is what its command gives, and its command tells the truth about what it looks at."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from deploy.conformance import attributes, content, network, vocabulary
from deploy.conformance.markdown import fill, table
from deploy.conformance.origin import Found
from deploy.conformance.page import DOCUMENT, TABLES, page
from deploy.conformance.specimens import ORIGINS, specimens
from dicom_node.errors import ROWS
from dicom_node.receive.admission import STORAGE_CLASSES, TRANSFER_SYNTAXES
from dicom_node.report import codes, write
from tests import statement


def test_the_document_is_what_the_command_gives() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert page(text) == text, "run `make conformance`"


def test_a_table_that_was_changed_by_hand_is_made_anew() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert page(text.replace("ISO_IR 192", "ISO_IR 100")) != page(text)  # the prose stays as it was written
    spoilt = text.replace("| Device UID | (0018,1002) | UI |", "| Device UID | (0018,1002) | LO |")
    assert spoilt != text
    assert page(spoilt) == page(text)


@pytest.mark.parametrize(
    "text", ["no marker", "<!-- table: a -->\n<!-- end of table -->\n<!-- table: b -->\n<!-- end of table -->"]
)
def test_a_marker_without_a_table_or_a_table_without_a_marker_is_a_fault(text: str) -> None:
    with pytest.raises(ValueError, match="markers and tables differ"):
        fill(text, {"a": lambda: "table\n"})


def test_nothing_of_this_machine_stands_in_it() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert platform.node() not in text.split()
    assert str(Path.home()) not in text
    assert str(DOCUMENT.parent) not in text
    assert not re.search(r"20260[34]\d\d", text)  # times of the specimens' runs
    assert "Müller" not in text


def test_cells_keep_to_their_line_and_column() -> None:
    assert table(("a", "b"), [("1|2", "x\ny"), ("<b>", "*")]).splitlines()[2:] == [
        "| 1\\|2 | x y |",
        "| &lt;b> | \\* |",
    ]


def test_every_kind_of_object_and_of_report_has_its_tables() -> None:
    kinds = set(statement.sections("attributes"))
    assert kinds == {*write.DEFAULT, *write.OPTIONAL}
    assert {row["Kind"] for row in statement.rows(statement.between("created-objects"))} == kinds
    assert {"sr", "sr_viewer", "sr of a refusal"} <= set(statement.sections("content-trees"))


@pytest.mark.parametrize(
    ("name", "source", "value"),
    [
        ("PatientName", "COPY", ""),
        ("StudyInstanceUID", "COPY", ""),
        ("AccessionNumber", "COPY", ""),
        ("SOPInstanceUID", "AUTO", ""),
        ("SeriesInstanceUID", "AUTO", ""),
        ("DeviceSerialNumber", "NODE", ""),
        ("SoftwareVersions", "MODEL, NODE", ""),
        ("SeriesTime", "TIME", ""),
        ("SpecificCharacterSet", "FIXED", "ISO_IR 192"),
        ("Manufacturer", "FIXED", codes.MANUFACTURER),
    ],
)
def test_where_values_come_from_is_found_out(name: str, source: str, value: str) -> None:
    for kind in attributes.kinds():
        row = next(row for row in attributes.rows(kind) if row.path == (name,))
        assert (row.source, row.value) == (source, value), kind


def test_one_implementation_has_one_uid_on_the_wire_and_in_files() -> None:
    stated = {row["Parameter"]: row["Value"] for row in statement.rows(network.acceptor())}
    for kind, objects in specimens()[0].objects.items():
        for ds in objects:
            assert ds.file_meta.ImplementationClassUID == stated["Implementation Class UID"], kind
            assert ds.file_meta.ImplementationVersionName == stated["Implementation Version Name"], kind


def test_presence_is_found_out() -> None:
    found = {row.path: row.presence for row in attributes.rows("sr")}
    assert found["PatientName",] == "VNAP"
    assert found["IssuerOfPatientID",] == "ANAP"
    assert found["SOPInstanceUID",] == "ALWAYS"
    assert found["PerformedProcedureCodeSequence",] == "EMPTY"
    assert found["PredecessorDocumentsSequence",] == "ANAP"
    assert found["PredecessorDocumentsSequence", "StudyInstanceUID"] == "ALWAYS"  # where the sequence is


def test_the_specimens_differ_in_each_origin_once() -> None:
    changed = [specimen.changed for specimen in specimens() if specimen.changed]
    assert sorted(changed) == sorted(ORIGINS)
    sources = {row.source for kind in attributes.kinds() for row in attributes.rows(kind)}
    single = {name for source in sources for name in source.split(", ") if name}
    assert single == {*ORIGINS.values(), "COPY", "AUTO", "FIXED"}


def test_attributes_of_items_are_counted_in_each_item() -> None:
    ds, one, other = Dataset(), Dataset(), Dataset()
    one.Manufacturer, other.ManufacturerModelName = "a", "b"
    ds.ContributingEquipmentSequence = [one, other]
    found = attributes.look([ds])
    assert found["ContributingEquipmentSequence", "Manufacturer"] == Found("LO", 2, 1, 1, 0, ["a"])


def test_an_item_that_no_template_row_allows_is_an_extension() -> None:
    private, finding = Code("X", "99PETCTNODE", "private"), Code("121071", "DCM", "Finding")
    text = sr.TextContentItem(private, "free text", sr.RelationshipTypeValues.CONTAINS)
    coded = sr.CodeContentItem(finding, private, sr.RelationshipTypeValues.CONTAINS)
    assert content.row_of("1500", text) is None
    assert content.row_of("1411", text) == ("1411", "17")
    assert content.row_of("1411", coded) == ("1411", "3b")  # the row that names the concept before the one for any


def test_all_our_codes_refusals_classes_and_syntaxes_are_listed() -> None:
    private = {row["Code"] for row in statement.rows(vocabulary.private_codes())}
    assert {"PRED-STATE", "APPLIC-NO", "WARN", "REFUSAL-CLASS", "DEMO-PROB"} <= private
    assert {row["Reason"] for row in statement.rows(vocabulary.refusals())} == set(ROWS)
    classes = {row["UID"] for row in statement.rows(network.sop_classes()) if row["As SCP"] == "yes"}
    assert classes == set(STORAGE_CLASSES)
    syntaxes = {row["UID"] for row in statement.rows(network.transfer_syntaxes()) if "R" in row["Sets"]}
    assert syntaxes == set(TRANSFER_SYNTAXES)
    assert len(TABLES) == DOCUMENT.read_text(encoding="utf-8").count("<!-- end of table -->")
