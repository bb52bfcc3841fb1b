"""A source header that lacks something or breaks DICOM's rules gives valid results, or a refusal that names why."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_node.config import Settings
from dicom_node.index import Index
from dicom_node.ledger import Ledger
from dicom_node.report import read_result, write_refusal, write_results
from dicom_node.report.source import ALWAYS, IDENTITY, WHERE_PRESENT, read_header
from dicom_node.steps import NOTHING_TO_SEND, Steps
from dicom_node.work.analyst import _Desk
from dicom_node.work.job import Work
from dicom_node.work.result_set import publish, temporary_folder
from inference.facts import Analysis, Instance, Refused, Result
from tests.integration.test_results_peers import run, tool
from tests.report_case import MODEL, NO_LESION, REPORTED, RUN, WITHHELD, make_analysis

pytestmark = pytest.mark.peers

Header = dict[str, str | list[Dataset] | None]
NAME = "Mueller^Joerg"  # dcentvfy compares bytes, whatever the character sets
WHY = Refused("no-ct", "There is no CT.")
EVERY = ("label_map", "parametric_map", "rtstruct", "captures", "mip", "pdf", "ko")


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    folder = tmp_path_factory.mktemp("odd")
    return make_analysis(
        folder,
        size=(6, 20, 20),
        balls=(((8.0, -8.0, 2.0), 10.0, 8.0),),
        header={"PatientName": NAME, "SpecificCharacterSet": "ISO_IR 192"},
    )


def item(**values: object) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        ds[keyword] = raw(keyword, value) if isinstance(value, str) else pydicom.DataElement(keyword, "SQ", value)
    return ds


def raw(keyword: str, text: str) -> RawDataElement:
    """The text as its bytes stand in a file, whether they are a value of the VR or not."""
    data = text.encode()
    data += b" " * (len(data) % 2)
    return RawDataElement(Tag(tag_for_keyword(keyword)), dictionary_VR(keyword), len(data), data, 0, False, True)


def with_header(instance: Instance, header: Header, folder: Path) -> Instance:
    """The image with these header values in place of its own (None: without them)."""
    ds = pydicom.dcmread(instance.path)
    for keyword, value in header.items():
        ds.pop(keyword, None)
        if isinstance(value, str):
            ds[keyword] = raw(keyword, value)
        elif value is not None:
            ds[keyword] = pydicom.DataElement(keyword, "SQ", value)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "source.dcm"
    with warnings.catch_warnings(), pydicom.config.disable_value_validation(), path.open("wb") as file:
        warnings.simplefilter("ignore")  # of what is broken on purpose
        pydicom.dcmwrite(file, ds, enforce_file_format=True)
    return replace(instance, path=str(path))


def refusal(analysis: Analysis, header: Header, folder: Path) -> list[Result]:
    """A structured report and a Secondary Capture: every header goes into them by the same way as into all others."""
    first = with_header(analysis.pair.pet.instances[0], header, folder)
    return list(write_refusal([first], WHY, MODEL, RUN, folder / "results"))


def results(analysis: Analysis, header: Header, folder: Path) -> list[Result]:
    """All that we can write of the study."""
    first, *rest = analysis.pair.pet.instances
    pet = replace(analysis.pair.pet, instances=(with_header(first, header, folder), *rest))
    every = replace(RUN, also=EVERY)
    return list(write_results(replace(analysis, pair=replace(analysis.pair, pet=pet)), every, folder / "results"))


def assert_valid(found: Sequence[Result], source: Path) -> None:
    """dciodvfy has no Error, dcentvfy no other patient or study than the source's, highdicom reads the reports."""
    for result in found:
        said = run(tool("dciodvfy"), "-new", str(result.path))
        errors = [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")]
        if result.kind != "label_map":  # of a SOP class that dciodvfy of 2022 does not know
            assert not errors, (result.kind, errors)
        if result.kind in ("sr", "sr_viewer"):
            hd.sr.srread(result.path)
        assert read_result(result.path, patient=True).kind == result.kind
    said = run(tool("dcentvfy"), str(source), *(str(result.path) for result in found))
    errors = [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")]
    assert not errors, errors


CODE = {"CodeValue": "X1", "CodingSchemeDesignator": "99HOSP", "CodeMeaning": "Ganzkörper-PET"}
STEP = {"ReferencedSOPClassUID": "1.2.840.10008.3.1.2.3.3", "ReferencedSOPInstanceUID": "1.2.3"}
VALID: dict[str, Header] = {
    "no study date": {"StudyDate": None, "StudyTime": None},
    "nothing of the patient": {"PatientName": "", "PatientID": "", "PatientBirthDate": "", "PatientSex": ""},
    "issuer without ID": {"PatientID": "", "IssuerOfPatientID": "HOSPITAL"},
    "as long as allowed": {
        **dict.fromkeys(("PatientID", "StudyDescription", "InstitutionName", "IssuerOfPatientID"), "x" * 64),
        **dict.fromkeys(("StudyID", "AccessionNumber"), "9" * 16),
        "PatientName": f"{'A' * 31}^{'B' * 32}",
    },
    "name of three groups": {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"},
    "private procedure": {"ProcedureCodeSequence": [item(**CODE)]},
    "procedure twice": {"ProcedureCodeSequence": [item(**CODE), item(**CODE)]},
    "long procedure code": {
        "ProcedureCodeSequence": [item(LongCodeValue="X" * 40, CodingSchemeDesignator="99HOSP", CodeMeaning="PET")]
    },
    "procedure by URN": {"ProcedureCodeSequence": [item(URNCodeValue="urn:oid:1.2.3", CodeMeaning="PET")]},
    "procedure of old SNOMED": {
        "ProcedureCodeSequence": [item(CodeValue="P5-08108", CodingSchemeDesignator="SRT", CodeMeaning="PET")]
    },
    "request": {
        "RequestAttributesSequence": [
            item(RequestedProcedureID="R1", RequestedProcedureCodeSequence=[item(**CODE)]),
            item(RequestedProcedureID="R2"),
        ]
    },
    "request without ID": {"RequestAttributesSequence": [item(ScheduledProcedureStepID="S")], "AccessionNumber": ""},
    "no accession number": {"AccessionNumber": None},
    "performed step": {"ReferencedPerformedProcedureStepSequence": [item(**STEP)]},
    "paired part": {"BodyPartExamined": "BREAST", "Laterality": "R"},
    "side of an unpaired part": {"BodyPartExamined": "CHEST", "Laterality": "L"},
    "unknown part": {"BodyPartExamined": "SOMEWHERE"},
    "far zone": {"TimezoneOffsetFromUTC": "+1400"},
    "without identity": {"PatientIdentityRemoved": "YES"},
    "times moved": {"LongitudinalTemporalInformationModified": "MODIFIED"},
}
# What is left out is named; what else the header holds stays.
BROKEN: dict[str, Header] = {
    "too long": {
        **dict.fromkeys(("StudyDescription", "InstitutionName"), "x" * 65),
        **dict.fromkeys(("StudyID", "AccessionNumber"), "9" * 17),
    },
    "backslashes": {"StudyDescription": "a\\b", "InstitutionName": "a\\b", "StudyID": "1\\2"},
    "control characters": {"StudyDescription": "a\x01\x1b[31mb\r\nc", "StudyID": "a\tb", "InstitutionName": "a\x7f"},
    "referring physician": {"ReferringPhysicianName": "a^b^c^d^e^f"},
    "age as text": {"PatientAge": "63 years"},
    "size as text": {"PatientSize": "1,75", "PatientWeight": "80kg"},
    "no number": {"PatientSize": "nan", "PatientWeight": "80.123456789012345678"},
    "sex": {"PatientSex": "U"},
    "sex in small letters": {"PatientSex": "m"},
    "dates": {"StudyDate": "2026-02-28", "StudyTime": "09:30:00", "PatientBirthDate": "1960"},
    "dates of ACR-NEMA": {"StudyDate": "2026.02.28", "PatientBirthDate": "00000000"},
    "no day of any calendar": {"StudyDate": "20261399", "StudyTime": "256199"},
    "body part in words": {"BodyPartExamined": "Ganzer Körper mit Beinen"},
    "body part in small letters": {"BodyPartExamined": "chest"},
    "side": {"BodyPartExamined": "BREAST", "Laterality": "B"},
    "zone without sign": {"TimezoneOffsetFromUTC": "0100"},
    "zone with colon": {"TimezoneOffsetFromUTC": "+01:00"},
    "zone of days": {"TimezoneOffsetFromUTC": "+9959"},
    "zone of no minutes": {"TimezoneOffsetFromUTC": "+0560"},
    "zone in letters": {"TimezoneOffsetFromUTC": "UTC"},
    "identity removed": {"PatientIdentityRemoved": "MAYBE"},
    "times moved": {"LongitudinalTemporalInformationModified": "X"},
    "method of no code": {"DeidentificationMethodCodeSequence": [item()]},
    "procedure without scheme": {"ProcedureCodeSequence": [item(CodeValue="X1", CodeMeaning="PET")]},
    "procedure too long": {"ProcedureCodeSequence": [item(**{**CODE, "CodeValue": "X" * 17})]},
    "procedure of two values": {"ProcedureCodeSequence": [item(**{**CODE, "CodeValue": "X\\Y"})]},
    "procedure in too many words": {"ProcedureCodeSequence": [item(**{**CODE, "CodeMeaning": "m" * 65})]},
    "procedure empty": {"ProcedureCodeSequence": [item(), item(**CODE)]},
    "step empty": {"ReferencedPerformedProcedureStepSequence": [item()]},
    "step half": {"ReferencedPerformedProcedureStepSequence": [item(ReferencedSOPClassUID="1.2.3")]},
    "step of no UID": {
        "ReferencedPerformedProcedureStepSequence": [item(**{**STEP, "ReferencedSOPInstanceUID": "1.2.abc"})]
    },
}
BROKEN_REQUESTS: dict[str, Dataset] = {
    "RequestedProcedureID": item(RequestedProcedureID="R" * 17),
    "RequestedProcedureDescription": item(RequestedProcedureID="R", RequestedProcedureDescription="a\\b"),
    "RequestedProcedureCodeSequence": item(
        RequestedProcedureID="R", RequestedProcedureCodeSequence=[item(CodeMeaning="x")]
    ),
}


@pytest.mark.parametrize("header", VALID.values(), ids=VALID.keys())
def test_an_odd_header_that_is_valid_gives_valid_results(analysis: Analysis, tmp_path: Path, header: Header) -> None:
    assert_valid(refusal(analysis, header, tmp_path), tmp_path / "source.dcm")
    _, left_out = read_header(tmp_path / "source.dcm")
    assert left_out == ()


@pytest.mark.parametrize("header", BROKEN.values(), ids=BROKEN.keys())
def test_what_breaks_dicom_is_left_out_and_named(analysis: Analysis, tmp_path: Path, header: Header) -> None:
    found = refusal(analysis, header, tmp_path)
    _, left_out = read_header(tmp_path / "source.dcm")
    assert set(left_out) == set(header) - {k for k in header if (k, header[k]) == ("BodyPartExamined", "BREAST")}
    whole = with_header(analysis.pair.pet.instances[0], dict.fromkeys(left_out), tmp_path / "without")
    assert_valid(found, Path(whole.path))
    for result in found:
        written = pydicom.dcmread(result.path)
        assert (str(written.PatientName), written.PatientID) == (NAME, "P-1")
        assert not any(written.get(keyword) for keyword in left_out if keyword in (*ALWAYS, *WHERE_PRESENT))


@pytest.mark.parametrize("keyword", BROKEN_REQUESTS)
def test_a_broken_request_is_left_out_in_part(analysis: Analysis, tmp_path: Path, keyword: str) -> None:
    header: Header = {"RequestAttributesSequence": [BROKEN_REQUESTS[keyword]]}
    found = refusal(analysis, header, tmp_path)
    assert read_header(tmp_path / "source.dcm")[1] == (keyword,)
    assert_valid(found, tmp_path / "source.dcm")


def test_every_object_of_a_study_with_everything_broken_is_valid_and_says_so(
    analysis: Analysis, tmp_path: Path
) -> None:
    header: Header = {}
    for broken in BROKEN.values():
        header |= {keyword: value for keyword, value in broken.items() if value != "BREAST"}
    found = results(analysis, header, tmp_path)
    whole = with_header(analysis.pair.pet.instances[0], dict.fromkeys(header), tmp_path / "without")
    assert_valid(found, Path(whole.path))
    report = next(read_result(result.path) for result in found if result.kind == "sr")
    (warning,) = [warning for warning in report.warnings if warning.startswith("source-values-left-out")]
    assert all(keyword in warning for keyword in header)


def test_every_object_of_a_study_with_the_longest_values_is_valid(analysis: Analysis, tmp_path: Path) -> None:
    """Of the node's own too: serial number, versions, model."""
    long = replace(
        analysis,
        model=replace(MODEL, name="m" * 60, version="9" * 60, statement="s" * 500, target="t" * 80),
        prediction=replace(REPORTED, applicability_reasons=("r" * 2000,)),
    )
    found = results(long, VALID["as long as allowed"], tmp_path)
    assert_valid(found, tmp_path / "source.dcm")


IDENTITIES: dict[str, Header] = {
    "ID too long": {"PatientID": "x" * 65},
    "two IDs": {"PatientID": "P-1\\P-2"},
    "ID with a line break": {"PatientID": "P\n1"},
    "issuer": {"IssuerOfPatientID": "x" * 65},
    "two names": {"PatientName": "A^B\\C^D"},
    "name too long": {"PatientName": "A" * 65},
    "six parts": {"PatientName": "A^B^C^D^E^F"},
    "four groups": {"PatientName": "A=B=C=D"},
}


@pytest.mark.parametrize("header", IDENTITIES.values(), ids=IDENTITIES.keys())
def test_a_patient_who_cannot_be_named_is_refused_never_cut(analysis: Analysis, tmp_path: Path, header: Header) -> None:
    for write in (results, refusal):
        with pytest.raises(Refused) as refused:
            write(analysis, header, tmp_path)
        assert refused.value.code == "source-identity-invalid"
        assert all(keyword in refused.value.reason for keyword in header)
        assert not any(str(value) in refused.value.reason for value in header.values())


def test_the_node_tells_of_a_patient_who_cannot_be_named_and_sends_nothing(analysis: Analysis, tmp_path: Path) -> None:
    """No answer can be attached, and the run ends at once, with the reason."""
    settings = Settings(
        node={"data_dir": tmp_path / "node"},
        deliver={"destinations": [{"kind": "orthanc", "name": "pacs", "url": "http://127.0.0.1:9"}]},
    )
    image = with_header(analysis.pair.pet.instances[0], IDENTITIES["two IDs"], tmp_path)
    index, ledger = Index(settings.index_file), Ledger(settings.index_file)
    work = Work.of_refusal([image], WHY, "b" * 64)
    ledger.decide(work.study_instance_uid, [work], 1.0)
    desk = object.__new__(_Desk)
    desk._models = {}
    written = temporary_folder(settings.results_dir, work.run_id)
    refused = desk._refuse([image], WHY, "refused", None, RUN, written)
    assert (refused.state, refused.code, refused.results) == ("refused", "no-ct", ())
    publish(written, settings.results_dir / work.run_id, refused)
    steps = Steps(settings, None)  # type: ignore[arg-type]
    assert steps.destinations(work.run_id) == []
    (delivery,) = ledger.deliveries(work.run_id)
    assert (delivery.state, delivery.reason) == ("withheld", NOTHING_TO_SEND)
    for opened in (steps._ledger, index, ledger):
        opened.close()


UNREADABLE_SETS = ("NONSENSE99", "ISO_IR 999", "ISO_IR 13\\")


@pytest.mark.parametrize("character_set", UNREADABLE_SETS)
def test_a_character_set_that_there_is_not_is_read_as_far_as_it_goes(
    analysis: Analysis, tmp_path: Path, character_set: str
) -> None:
    image = with_header(analysis.pair.pet.instances[0], {}, tmp_path)
    data = Path(image.path).read_bytes()
    assert data.count(b"ISO_IR 192") == 1
    Path(image.path).write_bytes(data.replace(b"ISO_IR 192", character_set.encode()))
    found = list(write_refusal([image], WHY, MODEL, RUN, tmp_path / "results"))
    assert_valid(found, Path(with_header(analysis.pair.pet.instances[0], {}, tmp_path / "whole").path))


SHAPES: dict[str, dict[str, Any]] = {
    "no lesion": {"balls": (), "prediction": NO_LESION},
    "one voxel in the corner": {"balls": (((-38.0, -38.0, -8.175), 1.0, 6.0),)},
    "withheld": {"prediction": WITHHELD, "balls": (((8.0, -8.0, 2.0), 10.0, 8.0),)},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_every_object_is_valid_whatever_the_lesions(tmp_path: Path, shape: dict[str, Any]) -> None:
    header = {"PatientName": NAME, "SpecificCharacterSet": "ISO_IR 192"}
    assert_valid(
        results(make_analysis(tmp_path / "in", size=(6, 20, 20), header=header, **shape), {}, tmp_path),
        tmp_path / "source.dcm",
    )


def test_two_thousand_lesions_give_valid_results(analysis: Analysis, tmp_path: Path) -> None:
    lesion = analysis.lesions[0]
    many = tuple(replace(lesion, number=n, tracking_name=f"Lesion {n}") for n in range(1, 2001))
    found = results(replace(analysis, lesions=many), {}, tmp_path)
    assert_valid(found, tmp_path / "source.dcm")
    report = next(read_result(result.path) for result in found if result.kind == "sr")
    assert report.lesion_count == 2000


TEXT = st.text(st.characters(max_codepoint=0x17F), max_size=80)  # beyond, dciodvfy counts bytes for letters
LIKELY = st.sampled_from(["", "A", "a", "20260228", "101500", "+0100", "063Y", "71.5", "M", "YES", "CHEST", "R", "A^B"])
VALUES = st.one_of(LIKELY, TEXT, TEXT.map(lambda text: f"{text}\\{text}"))
PLAIN = [keyword for keyword in (*ALWAYS, *WHERE_PRESENT, "Laterality") if not keyword.endswith("Sequence")]
CODES = st.lists(
    st.dictionaries(
        st.sampled_from(["CodeValue", "LongCodeValue", "CodingSchemeDesignator", "CodeMeaning"]), VALUES
    ).map(lambda values: item(**values)),
    max_size=2,
)
STEPS = st.lists(
    st.dictionaries(st.sampled_from([*STEP]), st.one_of(st.sampled_from(["1.2.3", "1.2.03", "1.2.", ""]), VALUES)).map(
        lambda values: item(**values)
    ),
    max_size=2,
)
REQUESTS = st.lists(
    st.dictionaries(st.sampled_from(["RequestedProcedureID", "RequestedProcedureDescription"]), VALUES).map(
        lambda values: item(**values)
    ),
    max_size=2,
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(PLAIN, VALUES),
        "ProcedureCodeSequence": CODES,
        "RequestAttributesSequence": REQUESTS,
        "ReferencedPerformedProcedureStepSequence": STEPS,
    },
)


@pytest.mark.filterwarnings(
    "ignore:Invalid value:UserWarning", "ignore:The value length:UserWarning"
)  # in examples shown
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=HEADERS)
def test_any_header_gives_valid_results_or_a_refusal(analysis: Analysis, tmp_path: Path, header: Header) -> None:
    try:
        found = refusal(analysis, header, tmp_path)
    except Refused as refused:
        named = [keyword for keyword in IDENTITY if keyword in refused.reason]
        if refused.code != "source-identity-invalid" or not set(named) & set(header):
            raise
        return
    said = run(tool("dciodvfy"), "-new", str(found[0].path))
    errors = [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")]
    assert not errors
    written = pydicom.dcmread(found[0].path)
    for keyword in IDENTITY:  # the very same, but for the padding
        given_value = header.get(keyword)
        if isinstance(given_value, str):
            assert str(written.get(keyword) or "").strip(" \0") == given_value.strip(" \0").strip("=^ ")
    for element in written.iterall():
        if element.VR in ("LO", "SH", "PN", "CS"):
            assert not any(unicodedata.category(letter) == "Cc" for letter in str(element.value))
