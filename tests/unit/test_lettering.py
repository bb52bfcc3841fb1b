"""Every text is drawn whole, in letters that its font has, and broken where its script allows."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from fontTools.ttLib import TTFont
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from dicom_node.report import write_refusal, write_results
from dicom_node.report.pictures import lettering
from dicom_node.report.pictures.key_image import key_image
from dicom_node.report.pictures.lettering import font, legible, readable, wrapped
from dicom_node.report.words.phrases import LANGUAGES, TABLES, Phrases, table
from dicom_node.report.write import OPTIONAL
from inference.facts import Analysis, Caution, Prediction, Refused
from tests.report_case import MODEL, NO_LESION, REPORTED, RUN, STATEMENT, WITHHELD, make_analysis

TWO = (((30.0, -20.0, 12.0), 14.0, 8.0), ((-35.0, 10.0, -15.0), 9.0, 5.0))
REASONS = (
    "its SUVmax is 31.2 g/ml, the training data had 2 to 25 g/ml",
    "the proposed lesion may be an organ's own uptake (salivary glands or tonsils)",
)


@pytest.mark.parametrize("bold", [False, True])
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_fonts_hold_every_letter_of_the_tables(language: str, bold: bool) -> None:
    held = TTFont(font(20, bold=bold, language=language).path).getBestCmap()
    needed = Phrases(language).letters | set("0123456789.,-+×≥%()[]/abcxyzABCXYZ")
    assert sorted(letter for letter in needed if ord(letter) not in held) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_is_readable_as_the_package_comes(language: str) -> None:
    readable.cache_clear()
    assert readable(Phrases(language)).language == language


@pytest.fixture
def no_fonts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lettering, "FONTS", tmp_path)
    for cached in (lettering.font, lettering.readable):
        cached.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    for cached in (lettering.font, lettering.readable):
        cached.cache_clear()


def test_without_the_fonts_pictures_are_in_english_and_the_log_says_so(no_fonts: Path, caplog) -> None:
    assert readable(Phrases("ja")) == Phrases("en")
    assert readable(Phrases("fr")) == Phrases("fr")
    assert "pictures are in English" in caplog.text


def test_with_fonts_that_lack_letters_pictures_are_in_english_and_the_log_says_which(no_fonts: Path, caplog) -> None:
    for weight in ("Regular", "Bold"):
        source = Path(font(16, bold=weight == "Bold").path)
        (no_fonts / f"NotoSansSC-{weight}.ttf").write_bytes(source.read_bytes())
    assert readable(Phrases("zh")) == Phrases("en")
    assert "病" in caplog.text


def test_a_letter_that_no_font_holds_is_a_question_mark() -> None:
    assert legible("model 모델, 日本", font(18)) == "model ??, ??"
    assert legible("model 모델, 日本 é ź Ł", font(18, language="ja")) == "model ??, 日本 é z ?"


def _sentences(language: str) -> list[str]:
    return [row[language] for name in TABLES for row in table(name).values()]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("width", [90, 160, 400])
def test_lines_are_broken_where_the_script_allows(language: str, width: int) -> None:
    face = font(18, language=language)
    for sentence in _sentences(language):
        lines = wrapped(sentence, face, width)
        assert "".join(lines).replace(" ", "") == sentence.replace(" ", "")
        assert all(face.getlength(line) <= width for line in lines)
        if all(face.getlength(piece) <= width for piece in lettering._pieces(sentence)):
            assert not [
                ln
                for ln in lines[1:]
                if ln[0] in ":;!?%»\u3001\u3002\uff0c\uff1a\uff1b\uff01\uff1f\uff09\u300d\u201dー々っゃゅょッャュョ"
            ]
            assert not [ln for ln in lines[:-1] if unicodedata.category(ln[-1]) in ("Ps", "Pi")]


def test_a_latin_word_in_a_japanese_sentence_stays_whole() -> None:
    face = font(18, language="ja")
    lines = wrapped("患者の体重と身長が整合しませんので、SUVmaxも誤りです", face, 150)
    assert any("SUVmax" in line for line in lines)


@given(st.text(alphabet="ab W日\u3002\u3001\uff08\uff09ー«» :≥", max_size=120), st.integers(60, 300))
def test_no_text_is_lost_and_none_is_too_wide(text: str, width: int) -> None:
    face = font(18, language="ja")
    lines = wrapped(text, face, width)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(line and face.getlength(line) <= width for line in lines)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object, tuple[float, ...], Image.Image, bool]]:
    """What is written on pictures: text, font, its box, the picture, and whether it stands on an image (rimmed)."""
    calls: list[tuple[str, object, tuple[float, ...], Image.Image, bool]] = []
    write = ImageDraw.ImageDraw.text

    def text(self: ImageDraw.ImageDraw, xy, text, fill=None, font=None, anchor=None, **more) -> None:
        box = self.textbbox(xy, text, font, anchor, stroke_width=more.get("stroke_width", 0))
        calls.append((text, font, box, self._image, bool(more.get("stroke_width"))))
        write(self, xy, text, fill, font, anchor, **more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return calls


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    codes = ("liver-uptake-unusual", "region-automatic", "injection-day-assumed", "demonstration-does-not-apply")
    cautions = tuple(Caution(code, f"English text of {code}.") for code in codes)
    return replace(make_analysis(tmp_path_factory.mktemp("in"), size=(10, 30, 32), balls=TWO), cautions=cautions)


PREDICTIONS = {
    "reported": replace(REPORTED, applicability_reasons=REASONS),
    "withheld": replace(WITHHELD, applicability_reasons=REASONS),
    "none": NO_LESION,
}


@pytest.mark.parametrize("prediction", PREDICTIONS.values(), ids=PREDICTIONS.keys())
@pytest.mark.parametrize("language", LANGUAGES)
def test_all_that_is_drawn_has_its_letters_and_fits_where_it_is_drawn(
    language: str, prediction: Prediction, analysis: Analysis, drawn, tmp_path: Path
) -> None:
    lesions = () if prediction is NO_LESION else analysis.lesions
    case = replace(analysis, prediction=prediction, lesions=lesions)
    run = replace(RUN, language=language, also=tuple(OPTIONAL) if prediction.status == "reported" else ())
    write_results(case, run, tmp_path / "results")
    refused = Refused("region-frame-of-reference-differs", "English reason.")
    write_refusal(analysis.pair.pet.instances, refused, MODEL, run, tmp_path / "refused")
    assert len(drawn) > 30
    assert [text for text, face, *_ in drawn if legible(text, face) != text] == []
    assert_nothing_is_cut_or_crossed(drawn)


@pytest.mark.parametrize("warnings", [0, 2, 30])
def test_however_much_must_be_said_nothing_is_cut_or_crossed(warnings: int, analysis: Analysis, drawn) -> None:
    text = "a sentence long enough to need a second line of the picture, as real warnings are, and then some words"
    said = tuple(Caution(f"w{n}", f"{n}: {text}") for n in range(warnings))
    many = tuple(replace(analysis.lesions[0], number=n, tracking_name=f"Lesion {n}") for n in range(1, 1 + warnings))
    key_image(replace(analysis, cautions=said, lesions=many or analysis.lesions))
    assert STATEMENT in " ".join(text for text, *_ in drawn).replace("Demonstration", "demonstration")
    assert_nothing_is_cut_or_crossed(drawn)


def assert_nothing_is_cut_or_crossed(drawn) -> None:
    assert [text for text, _, box, image, _ in drawn if not _lies_within(box, image)] == []
    beside = [(text, box, image) for text, _, box, image, rimmed in drawn if not rimmed]
    crossing = [
        (text, other_text)
        for (text, box, image), (other_text, other, other_image) in combinations(beside, 2)
        if image is other_image and _cross(box, other)
    ]
    assert crossing == []


def _lies_within(box: tuple[float, ...], image: Image.Image) -> bool:
    left, top, right, bottom = box
    return left >= 0 and top >= 0 and right <= image.width and bottom <= image.height


def _cross(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    across, along = (min(one[n + 2], other[n + 2]) - max(one[n], other[n]) for n in (0, 1))
    return across > 0 and along > 0


def test_letters_are_set_alike_whatever_library_a_machine_has() -> None:
    """The other layout needs one that is loaded where it is installed, and sets letters elsewhere by a pixel."""
    assert {font(20, language=language).layout_engine for language in LANGUAGES} == {ImageFont.Layout.BASIC}
