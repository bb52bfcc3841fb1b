"""Patient names of any character set reach every object and an archive unchanged, and nothing else; and the objects are
valid in every language of the texts."""

from __future__ import annotations

import json
import logging
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient

from dicom_node.demo.orthanc_process import PrivateOrthanc
from dicom_node.report import read_result, write_refusal, write_results
from dicom_node.report.pictures import lettering
from dicom_node.report.words import verdict
from dicom_node.report.words.phrases import LANGUAGES, Phrases
from dicom_node.report.write import OPTIONAL
from inference.facts import Analysis, Caution, Prediction, Refused, Result, Saliency
from tests import optional_objects
from tests.integration import test_results_peers
from tests.integration.test_results_peers import run, tool
from tests.report_case import AXIAL, MODEL, REPORTED, RUN, WITHHELD, ball, lesion_of, make_analysis, real_analysis

pytestmark = pytest.mark.peers
ALL = replace(RUN, also=tuple(OPTIONAL))
NAMES = {  # as ../shared/data/README.md gives them
    "name_arabic": "قباني^لنزار",
    "name_chinese": "Wang^XiaoDong=王^小东",
    "name_japanese": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "name_russian": "Люкceмбypг^Иван",
    "name_utf8_mixed": "Müller-Łukasz^Zoë=王^小东",
    "charset_undeclared_latin1": "CASE^MüLLER_UNDECLARED_LAT1",
    "hostile_text": "<script>alert(1)</script>^\"'; DROP TABLE studies;--",
}
STANDARD = {  # examples of PS3.5 annexes H to K, in the files of pydicom_charsets
    "chrArab.dcm": "قباني^لنزار",
    "chrFrenMulti.dcm": "Buc^Jérôme",
    "chrGreek.dcm": "Διονυσιος",
    "chrH31.dcm": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "chrH32.dcm": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    "chrHbrw.dcm": "שרון^דבורה",
    "chrRuss.dcm": "Люкceмбypг",
    "chrX1.dcm": "Wang^XiaoDong=王^小東",
    "chrX2.dcm": "Wang^XiaoDong=王^小东",
}


def with_lesion(analysis: Analysis) -> Analysis:
    """The hottest place as a lesion, so that every object has something to hold."""
    suv = analysis.suv
    hottest = np.unravel_index(int(suv.array.argmax()), suv.array.shape)
    region = ball(suv, suv.to_lps(hottest), 15.0)
    lesion = lesion_of(suv, region, 1, "automatic")
    heat = lesion.region.mask.astype(np.float32)
    return replace(analysis, lesions=(lesion,), saliency=Saliency(lesion.region.start, heat, 16.0, 0.02))


def assert_valid(path: Path) -> None:
    optional_objects.assert_valid(path)
    if path.name.startswith("sr"):
        test_results_peers.assert_valid(path)


def name_in(path: Path) -> str:
    """The name's bytes as they lie in the file, which must be UTF-8 and say so."""
    ds = pydicom.dcmread(path)
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    raw = pydicom.dcmread(path, specific_tags=["PatientName"]).get_item("PatientName").value
    return (raw if isinstance(raw, bytes) else raw.original_string).decode("utf-8").removesuffix(" ")  # even length


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory):
    with PrivateOrthanc(tmp_path_factory.mktemp("orthanc")) as orthanc:
        yield orthanc


def assert_kept_by(archive: PrivateOrthanc, result: Result, name: str) -> None:
    """The archive shows the name as it is, and gives the object back as it was."""
    sent = pydicom.dcmread(result.path)
    client = DICOMwebClient(archive.dicomweb_url)
    client.store_instances([sent])
    uids = (result.study_instance_uid, result.series_instance_uid, result.sop_instance_uid)
    returned = client.retrieve_instance(*uids, media_types=(("application/dicom", "*"),))
    assert str(returned.PatientName) == name
    query = json.dumps({"Level": "Instance", "Query": {"SOPInstanceUID": result.sop_instance_uid}, "Expand": True})
    request = urllib.request.Request(f"{archive.http_url}/tools/find", query.encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        (found,) = json.load(answer)
    with urllib.request.urlopen(f"{archive.http_url}/instances/{found['ID']}/simplified-tags", timeout=30) as answer:
        assert json.load(answer)["PatientName"] == name


@pytest.mark.data
@pytest.mark.parametrize("case", NAMES)
def test_a_name_reaches_every_object_and_the_archive(
    case: str, shared_data: Path, tmp_path: Path, archive: PrivateOrthanc, caplog, capfd
) -> None:
    caplog.set_level(logging.DEBUG)
    folder = shared_data / "robustness" / case
    analysis = with_lesion(real_analysis(folder / "pet", folder / "ct", None, REPORTED))
    refused = Refused("weight-missing", "Patient's Weight (0010,1030) is missing.")
    results = [
        *write_results(analysis, ALL, tmp_path / "results"),
        *write_refusal(analysis.pair.pet.instances, refused, MODEL, RUN, tmp_path / "refused"),
    ]
    assert {r.kind for r in results} >= {"seg", "key_image", "heatmap", "sr", "sr_viewer", *OPTIONAL}
    said = caplog.text + "".join(capfd.readouterr())
    assert not [part for part in NAMES[case].replace("^", "=").split("=") if len(part) > 1 and part in said]
    for result in results:
        assert name_in(result.path) == NAMES[case]
        assert_valid(result.path)
        assert_kept_by(archive, result, NAMES[case])


@pytest.mark.data
@pytest.mark.parametrize("file", STANDARD)
def test_names_of_the_standards_examples_reach_every_object(file: str, shared_data: Path, tmp_path: Path) -> None:
    source = pydicom.dcmread(shared_data / "robustness" / "pydicom_charsets" / file)
    header = {"SpecificCharacterSet": source.SpecificCharacterSet, "PatientName": source.PatientName}
    analysis = make_analysis(tmp_path / "in", size=(6, 20, 22), header=header)
    for result in write_results(analysis, ALL, tmp_path / "out"):
        assert name_in(result.path) == STANDARD[file]


def pictures(name: str, folder: Path) -> dict[str, bytes]:
    analysis = make_analysis(folder / "in", size=(6, 20, 22), header={"PatientName": name, "PatientID": name})
    found = write_results(analysis, ALL, folder / "out")
    datasets = {str(result.path.name): pydicom.dcmread(result.path) for result in found}
    return {file: ds.PixelData for file, ds in datasets.items() if "PixelData" in ds}


def test_no_name_is_in_the_pixels(tmp_path: Path) -> None:
    """With another name and ID the pixels are the same."""
    assert pictures("Müller^Jörg", tmp_path / "one") == pictures("X", tmp_path / "other")


CAUTIONS = tuple(
    Caution(code, f"Text of {code} with its value, 7 min.") for code in ("uptake-time", "region-automatic")
)
REASON = "its SUVmax is 31.2 g/ml, the training data had 2 to 25 g/ml"
PREDICTIONS = {
    "reported": replace(REPORTED, applicability_reasons=(REASON,)),
    "withheld": replace(WITHHELD, applicability_reasons=(REASON,)),
}


@pytest.mark.parametrize(
    ("language", "prediction"),
    [*((language, PREDICTIONS["reported"]) for language in LANGUAGES), ("ja", PREDICTIONS["withheld"])],
    ids=[*LANGUAGES, "withheld"],
)
def test_every_language_is_valid_says_which_it_is_and_is_read_back_in_english(
    language: str, prediction: Prediction, tmp_path: Path
) -> None:
    analysis = replace(
        make_analysis(tmp_path / "in", size=(8, 24, 26), prediction=prediction, turn=AXIAL), cautions=CAUTIONS
    )
    run_in = replace(ALL if language == "ja" else RUN, language=language)
    results = write_results(analysis, run_in, tmp_path / "out")
    say = Phrases(language)
    for result in results:
        assert_valid(result.path)
        if result.kind not in ("sr", "sr_viewer"):
            continue
        ds = pydicom.dcmread(result.path)
        spoken = [i for i in ds.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "121049"]
        assert [i.ConceptCodeSequence[0].CodeValue for i in spoken] == [language]
        texts = [str(e.value) for e in ds.iterall() if e.keyword == "TextValue"]
        assert say("research-use-only") in texts
        assert say("sentence", text=verdict.headline(analysis, say)) in texts
        out = tmp_path / f"{result.kind}.json"
        read = run(tool("tid1500reader"), "--inputDICOM", str(result.path), "--outputMetadata", str(out))
        assert read.returncode == 0, read.stderr
    (report,) = [r for r in results if r.kind == "sr"]
    summary = read_result(report.path)
    assert {f"{c.code}: {c.text}" for c in CAUTIONS} <= set(summary.warnings)
    assert summary.prediction is not None
    assert summary.prediction.applicability_reasons == (REASON,)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_refusal_is_valid_in_every_language_and_read_back_in_english(language: str, tmp_path: Path) -> None:
    analysis = make_analysis(tmp_path / "in", size=(4, 16, 16))
    refused = Refused(
        "dose-implausible", "Radionuclide Total Dose (0018,1074) is 12: for this weight [...] it may be MBq."
    )
    results = write_refusal(
        analysis.pair.pet.instances, refused, MODEL, replace(RUN, language=language), tmp_path / "out"
    )
    for result in results:
        assert_valid(result.path)
    report = next(r.path for r in results if r.kind == "sr")
    texts = [str(e.value) for e in pydicom.dcmread(report).iterall() if e.keyword == "TextValue"]
    assert verdict.what_to_do(refused, Phrases(language)) in texts
    assert read_result(report).refusal_reason == refused.reason


def test_without_the_fonts_the_pictures_are_in_english_and_the_report_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis = make_analysis(tmp_path / "in", size=(4, 16, 16))
    english = {r.kind: r for r in write_results(analysis, RUN, tmp_path / "english")}
    monkeypatch.setattr(lettering, "FONTS", tmp_path)
    for cached in (lettering.font, lettering.readable):
        cached.cache_clear()
    try:
        results = {r.kind: r for r in write_results(analysis, replace(RUN, language="ja"), tmp_path / "out")}
    finally:
        lettering.readable.cache_clear()
    for kind in ("key_image", "heatmap"):
        assert pydicom.dcmread(results[kind].path).PixelData == pydicom.dcmread(english[kind].path).PixelData
    texts = [str(e.value) for e in pydicom.dcmread(results["sr"].path).iterall() if e.keyword == "TextValue"]
    assert Phrases("ja")("pictures-in-english") in texts
    assert not [e for e in pydicom.dcmread(english["sr"].path).iterall() if "fonts" in str(e.value)]
