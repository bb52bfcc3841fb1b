"""The printed page: one sheet in the reader's language, the same bytes each time, and nothing of the patient on it."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pypdf
import pytest
from PIL import Image

from dicom_node.report import write_results
from dicom_node.report.words.phrases import LANGUAGES, Phrases
from inference.facts import Analysis, Caution, Predecessor, ReferenceUptake, Result
from tests.integration.test_results_peers import run, tool
from tests.report_case import NO_LESION, PATIENT, RUN, STATEMENT, WITHHELD, make_analysis

TWO = (((30.0, -20.0, 12.0), 14.0, 8.0), ((-35.0, 10.0, -15.0), 9.0, 5.0))
PDF = replace(RUN, also=("pdf",))
MM = 72 / 25.4


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return make_analysis(tmp_path_factory.mktemp("study"), balls=TWO)


@pytest.fixture(scope="module")
def results(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    return {r.kind: r for r in write_results(analysis, PDF, tmp_path_factory.mktemp("out"))}


def page_of(results: dict[str, Result]) -> pypdf.PageObject:
    ds = pydicom.dcmread(results["pdf"].path)
    reader = pypdf.PdfReader(io.BytesIO(ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength]), strict=True)
    assert len(reader.pages) == 1
    return reader.pages[0]


def text_of(page: pypdf.PageObject) -> str:
    """With its line breaks as spaces, and without any: Chinese and Japanese break within a sentence."""
    text = page.extract_text()
    return f"{' '.join(text.split())}\n{''.join(text.split())}"


def test_it_is_an_encapsulated_pdf(results: dict[str, Result]) -> None:
    ds = pydicom.dcmread(results["pdf"].path)
    assert (ds.Modality, ds.SeriesNumber) == ("DOC", 9050)
    assert (ds.MIMETypeOfEncapsulatedDocument, ds.BurnedInAnnotation) == ("application/pdf", "NO")
    assert "research use only" in ds.DocumentTitle
    assert str(ds.PatientName) == "Müller^Jörg"
    content = ds.EncapsulatedDocument
    assert len(content) % 2 == 0
    assert content[: ds.EncapsulatedDocumentLength].endswith(b"%%EOF\n")
    assert len(content) < 2_000_000


@pytest.mark.peers
@pytest.mark.parametrize("language", LANGUAGES)
def test_validators_find_no_fault_and_dcmtk_takes_the_page_out(
    analysis: Analysis, tmp_path: Path, language: str
) -> None:
    results = {r.kind: r for r in write_results(analysis, replace(PDF, language=language), tmp_path)}
    said = run(tool("dciodvfy"), "-new", str(results["pdf"].path))
    assert [line for line in (said.stdout + said.stderr).splitlines() if line.startswith(("Error", "Warning"))] == []
    assert run(tool("dcm2pdf"), str(results["pdf"].path), str(tmp_path / "page.pdf")).returncode == 0
    text = text_of(pypdf.PdfReader(tmp_path / "page.pdf").pages[0])
    say = Phrases(language)
    for phrase in (
        say("page-title", images=say("images-pet")),
        say("research-use-only"),
        say("lesion", number=2),
        say("applicability-outside"),
        say.caution("uptake-time", "Uptake time 45 min; the model was trained on 55 to 75 min."),
    ):
        assert "".join(phrase.split()) in text, phrase
    for number in ("73.4", "59.3", "84.6", "8.00", "7.44", "4.65"):
        assert number in text
    assert STATEMENT[1:] in text
    assert pydicom.dcmread(results["sr"].path).SOPInstanceUID in text


def test_it_is_one_sheet_of_a4_with_its_fonts(results: dict[str, Result]) -> None:
    page = page_of(results)
    assert [float(edge) / MM for edge in page.mediabox[2:]] == pytest.approx([210, 297], abs=0.1)
    fonts = [font.get_object() for font in page["/Resources"]["/Font"].values()]
    assert len(fonts) == 2
    for font in fonts:
        assert "/FontFile2" in font["/DescendantFonts"][0].get_object()["/FontDescriptor"]


def test_nothing_of_the_patient_is_on_it(results: dict[str, Result]) -> None:
    page = page_of(results)
    said = text_of(page) + str(page.pdf.metadata)
    private = ("Müller", "Jörg", PATIENT["PatientID"], PATIENT["PatientBirthDate"], PATIENT["StudyDate"], "CHEST")
    assert not [value for value in private if str(value) in said]


def test_it_shows_the_key_image_pixel_by_pixel(results: dict[str, Result]) -> None:
    (picture,) = page_of(results).images
    with Image.open(results["key_image"].path.parent / "key_image.png") as png:
        assert np.array_equal(np.asarray(picture.image.convert("RGB")), np.asarray(png))


def test_a_repeat_in_another_process_writes_the_same_bytes(
    analysis: Analysis, results: dict[str, Result], tmp_path: Path
) -> None:
    (tmp_path / "input.pickle").write_bytes(pickle.dumps((analysis, PDF)))
    script = (
        "import pickle, sys; from pathlib import Path; from dicom_node.report import write_results; "
        "a, r = pickle.loads(Path(sys.argv[1]).read_bytes()); write_results(a, r, Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "input.pickle"), str(tmp_path / "again")]
    subprocess.run(command, check=True, timeout=120)
    assert (tmp_path / "again" / "pdf.dcm").read_bytes() == results["pdf"].path.read_bytes()


def test_what_does_not_fit_is_said_and_the_page_stays_one(analysis: Analysis, tmp_path: Path) -> None:
    lesions = tuple(replace(analysis.lesions[n % 2], number=n + 1) for n in range(60))
    long = "What may be wrong with this study, and what that means for its numbers. " * 3
    full = replace(
        analysis,
        lesions=lesions,
        cautions=tuple(Caution(f"c{n}", f"{n}: {long}") for n in range(30)),
        references=(
            ReferenceUptake("liver", 2.1, 0.3, 14.1, (-40.0, 10.0, -300.0)),
            ReferenceUptake("blood pool", 1.6, 0.2, 1.6, (10.0, 20.0, -200.0)),
        ),
    )
    earlier = Predecessor("1.2.3", "1.2.4.1", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.5.1")
    run_again = replace(PDF, predecessors=(earlier,))
    page = page_of({r.kind: r for r in write_results(full, run_again, tmp_path)})
    text = text_of(page)
    listed = [number for number in range(30) if f" {number}: What may be wrong" in text]
    assert 1 <= len(listed) < 30
    assert f"… {31 - len(listed)} more in the structured report" in text  # one is of the pair
    assert "Lesion 20 " in text
    assert "40 left out" in text
    assert "Do not use the earlier results" in text
    assert "Reference uptake, blood pool" in text
    assert text.count(STATEMENT[1:]) == 1


@pytest.mark.parametrize("case", ["withheld", "no lesion"])
def test_without_a_probability_there_is_none_on_it(analysis: Analysis, tmp_path: Path, case: str) -> None:
    changed = {
        "withheld": replace(analysis, prediction=WITHHELD, saliency=None),
        "no lesion": replace(analysis, prediction=NO_LESION, saliency=None, lesions=()),
    }[case]
    text = text_of(page_of({r.kind: r for r in write_results(changed, PDF, tmp_path)}))
    assert "73.4" not in text
    assert {"withheld": "withheld", "no lesion": "No lesion was found"}[case] in text
