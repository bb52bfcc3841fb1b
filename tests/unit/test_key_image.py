"""The key image as a reader sees it: everything in its place, nothing cut, nothing covered, large enough to read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageDraw, ImageFont

from dicom_node.report.pictures import overlay
from dicom_node.report.pictures.canvas import SIDE, SMALLEST, Canvas, Frame
from dicom_node.report.pictures.colours import Pixels
from dicom_node.report.pictures.cuts import Cuts
from dicom_node.report.pictures.key_image import halved, key_image
from dicom_node.report.pictures.not_analysed import refusal_image
from dicom_node.report.words import verdict
from dicom_node.report.words.phrases import LANGUAGES, Phrases
from inference.facts import Analysis, Caution, Refused, Region
from tests.report_case import MODEL, NO_LESION, REPORTED, TURNS, WITHHELD, make_analysis

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Written:
    """A text of the picture: where it stands, and the size of its letters."""

    text: str
    box: Box
    size: float


@dataclass
class Seen:
    """What was put on a picture."""

    texts: list[Written]
    panels: list[tuple[Pixels, tuple[int, int], Frame]]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Watches the canvas; it draws as ever."""
    found = Seen([], [])
    text, panel = ImageDraw.ImageDraw.text, Canvas.panel

    def watched_text(draw: ImageDraw.ImageDraw, xy, text_, fill=None, font=None, *args, **more) -> None:  # noqa: ANN001, ANN002
        if draw.im.size == (SIDE, SIDE):
            assert isinstance(font, ImageFont.FreeTypeFont)
            box = draw.textbbox(xy, text_, font, anchor=more.get("anchor"), stroke_width=0)
            found.texts.append(Written(text_, box, font.size))
        text(draw, xy, text_, fill, font, *args, **more)

    def watched_panel(canvas: Canvas, pixels: Pixels, corner: tuple[int, int], frame: Frame) -> None:
        found.panels.append((pixels, corner, frame))
        panel(canvas, pixels, corner, frame)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", watched_text)
    monkeypatch.setattr(Canvas, "panel", watched_panel)
    return found


def overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def assert_readable(seen: Seen) -> None:
    assert seen.texts
    for text in seen.texts:
        assert text.box[0] >= 0, text
        assert text.box[1] >= 0, text
        assert text.box[2] <= SIDE, text
        assert text.box[3] <= SIDE, text
        assert text.size >= SMALLEST, text
    for n, one in enumerate(seen.texts):
        for other in seen.texts[:n]:
            assert not overlap(one.box, other.box), (one, other)
    boxes = [(x, y, x + p.shape[1], y + p.shape[0]) for p, (x, y), _ in seen.panels]
    for n, box in enumerate(boxes):
        assert min(box[0], box[1]) >= 0, box
        assert max(box[2], box[3]) <= SIDE, box
        assert not any(overlap(box, other) for other in boxes[:n]), box


LONG = "a sentence long enough to need a second line of the picture, as real warnings are, and then some words"
PLACES = tuple(((-60.0 + 12 * n, -30.0 + 7 * n, -90.0 + 18 * n), 9.0, 4.0 + n) for n in range(11))
TALL = {"size": (120, 44, 48), "spacing_mm": (8.0, 8.0, 8.0), "balls": (((30.0, -20.0, 12.0), 14.0, 8.5), *PLACES)}
CASES: dict[str, tuple[dict, Callable[[Analysis], Analysis]]] = {
    "one lesion": ({}, lambda a: a),
    "one member": ({}, lambda a: replace(a, prediction=replace(REPORTED, interval=None))),
    "inside": ({}, lambda a: replace(a, prediction=replace(REPORTED, applicability="inside"))),
    "indeterminate": ({}, lambda a: replace(a, prediction=replace(REPORTED, status="indeterminate", label=None))),
    "withheld": ({}, lambda a: replace(a, prediction=WITHHELD)),
    "no lesion": ({"balls": (), "prediction": NO_LESION}, lambda a: a),
    "whole body": (TALL, lambda a: a),
    "whole body, no lesion": ({**TALL, "balls": (), "prediction": NO_LESION}, lambda a: a),
    "thin slab": ({"size": (3, 40, 44)}, lambda a: a),
    "many warnings": ({}, lambda a: replace(a, cautions=tuple(Caution(f"w{n}", f"{n}: {LONG}") for n in range(30)))),
    "whole body, many warnings": (
        TALL,
        lambda a: replace(a, cautions=tuple(Caution(f"w{n}", f"{n}: {LONG}") for n in range(30))),
    ),
    "huge numbers": (
        TALL,
        lambda a: replace(
            a,
            lesions=tuple(
                replace(
                    lesion,
                    volume_ml=23456.7,
                    uptake=replace(lesion.on_pet, suv_max=1234.56, suv_peak=1034.56, mtv_ml=12345.6, tlg=123456.7),
                )
                for lesion in a.lesions
            ),
        ),
    ),
    "long name": (
        {},
        lambda a: replace(
            a, model=replace(MODEL, name="m" * 64, probability_code=replace(MODEL.probability_code, meaning="Mm " * 21))
        ),
    ),
}


@pytest.fixture(scope="module")
def analyses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Analysis]:
    made: dict[str, Analysis] = {}
    for name, (arguments, change) in CASES.items():
        key = str(arguments)
        if key not in made:
            made[key] = make_analysis(tmp_path_factory.mktemp("case"), **arguments)
        made[name] = change(made[key])
    return made


@pytest.mark.parametrize("replaces", [False, True], ids=["first", "replaces"])
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_cut_covered_or_too_small(
    analyses: dict[str, Analysis], seen: Seen, name: str, replaces: bool
) -> None:
    key_image(analyses[name], replaces=replaces)
    assert_readable(seen)
    assert any("earlier result" in text.text for text in seen.texts) == replaces


@pytest.mark.parametrize("language", LANGUAGES[1:])
@pytest.mark.parametrize("name", ["withheld", "no lesion", "whole body", "many warnings"])
def test_nor_in_any_language(analyses: dict[str, Analysis], seen: Seen, name: str, language: str) -> None:
    say = Phrases(language)
    key_image(analyses[name], say, replaces=True)
    assert_readable(seen)
    texts = {text.text for text in seen.texts}
    for _, _, frame in seen.panels:
        assert {frame.title, frame.short or frame.title} & texts or not frame.title, "a title was cut"
    assert say("picture-replaces") in texts
    if verdict.spoken(analyses[name]) is None:
        top = "".join(text.text for text in seen.texts[:2]).replace(" ", "")
        assert top.startswith(verdict.headline(analyses[name], say).replace(" ", "")), "the verdict was cut"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_refusal_is_readable(seen: Seen, language: str) -> None:
    why = Refused("frame-of-reference-differs", f"PET and CT have different Frames of Reference; {LONG * 9}.")
    pixels = refusal_image(why, MODEL, Phrases(language), replaces=True)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert_readable(seen)


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
def test_a_lesion_stands_where_it_lies_on_every_panel(tmp_path: Path, seen: Seen, turn: np.ndarray) -> None:
    """The body of the case lies round the origin, so the middle of each panel is there too."""
    point = np.array((32.0, -22.0, 18.0))  # left, in front, towards the head
    lesion = (tuple(point.tolist()), 9.0, 8.0)
    analysis = make_analysis(tmp_path, size=(40, 40, 40), spacing_mm=(4.0, 4.0, 4.0), turn=turn, balls=(lesion,))
    picture = key_image(analysis)
    sides = {"L": 0, "R": 0, "P": 1, "A": 1, "H": 2, "F": 2}
    assert len(seen.panels) == 6
    for pixels, (left, top), frame in seen.panels:
        _, right, _, bottom = frame.letters
        signs = [1 if letter in "LPH" else -1 for letter in (right, bottom)]
        expected = [sign * point[sides[letter]] for sign, letter in zip(signs, (right, bottom), strict=True)]
        height, width = pixels.shape[:2]
        drawn = picture[top : top + height, left : left + width].astype(int)
        colour = overlay.INDEX_ON_LIGHT if frame.light else overlay.INDEX
        rows, columns = np.nonzero((np.abs(drawn - colour) < 12).all(axis=-1))
        found = np.array((np.median(columns) - (width - 1) / 2, np.median(rows) - (height - 1) / 2)) * frame.step_mm
        assert np.abs(found - expected).max() < 9, (frame.title, found, expected)


def test_the_planes_cross_at_the_index_lesions_maximum_and_the_picture_says_where(
    analyses: dict[str, Analysis], seen: Seen
) -> None:
    analysis = analyses["one lesion"]
    key_image(analysis)
    x, y, z = Cuts.of(analysis).centre
    assert (x, y, z) == analysis.lesions[0].shown_lps_mm
    texts = [text.text for text in seen.texts]
    number = round(float(analysis.suv.to_index((x, y, z))[0])) + 1
    assert f"Axial, PET image {number}" in texts
    place = f"Planes cross at x {x:.0f}, y {y:.0f}, z {z:.0f} mm (LPS)".replace("-", "−")
    assert any(text.startswith(place) for text in texts)


def test_what_must_be_read_first_is_largest(analyses: dict[str, Analysis], seen: Seen) -> None:
    key_image(analyses["inside"])
    assert max(seen.texts, key=lambda text: text.size).text == "73.4 %"
    assert seen.texts[0].text == "73.4 %"


@pytest.mark.parametrize("language", LANGUAGES)
def test_where_the_model_does_not_apply_that_is_largest_and_its_number_is_small_and_last(
    analyses: dict[str, Analysis], seen: Seen, language: str
) -> None:
    say = Phrases(language)
    picture = key_image(analyses["one lesion"], say)
    assert_readable(seen)
    verdict_line, numbers = seen.texts[0], [text for text in seen.texts if "73.4" in text.text]
    assert verdict_line.text == say("not-applicable")
    assert verdict_line.size == max(text.size for text in seen.texts)
    (number,) = numbers
    assert number.size < verdict_line.size * 0.75
    assert number.box[1] > verdict_line.box[3]
    assert number.text.startswith(say("demonstration-only", headline=""))
    x0, y0, x1, y1 = map(round, number.box)
    assert picture[y0:y1, x0:x1].max() < 200, "it is muted"


def test_letters_keep_clear_of_notes_and_scale_bars_on_narrow_panels(seen: Seen) -> None:
    canvas = Canvas()
    for width in (192, 220, 256, 312):
        seen.texts.clear()
        frame = Frame("", ("R", "L", "A", "P"), 1.0, "W 1500 L −600")
        canvas.panel(np.zeros((200, width, 3), np.uint8), (20, 40), frame)
        by_text = {text.text: text.box for text in seen.texts}
        (scale,) = (text for text in by_text if text.endswith(" mm"))
        for one, other in (("W 1500 L −600", "A"), (scale, "P"), ("W 1500 L −600", "R"), (scale, "R")):
            x0, y0, x1, y1 = by_text[one]
            assert not overlap((x0 - 6, y0, x1 + 6, y1), by_text[other]), (width, one, other)


def test_withheld_prints_no_number_of_the_model(analyses: dict[str, Analysis], seen: Seen) -> None:
    key_image(analyses["withheld"])
    assert not any("%" in text.text for text in seen.texts)
    assert "PET, saliency withheld" in [frame.title for _, _, frame in seen.panels]


def test_every_lesions_number_stands_in_the_table_or_is_counted(analyses: dict[str, Analysis], seen: Seen) -> None:
    analysis = analyses["whole body"]
    key_image(analysis)
    texts = [text.text for text in seen.texts]
    (more,) = [text for text in texts if text.startswith("and ")]
    listed = [lesion for lesion in analysis.lesions if f"{lesion.on_pet.suv_max:.2f}" in texts]
    assert listed == list(analysis.lesions[: len(listed)])
    assert f"and {len(analysis.lesions) - len(listed)} more" == more
    assert f"{analysis.lesions[0].on_pet.suv_max:.2f}" in texts


def test_a_small_lesion_of_a_long_body_is_shown_enlarged(tmp_path: Path, seen: Seen) -> None:
    analysis = make_analysis(
        tmp_path, size=(120, 44, 48), spacing_mm=(8.0, 8.0, 8.0), balls=(((60.0, 0.0, 90.0), 12.0, 9.0),)
    )
    key_image(analysis)
    assert "Lesion 1, enlarged" in [text.text for text in seen.texts]
    steps_mm = [frame.step_mm for _, _, frame in seen.panels]
    assert min(steps_mm) < steps_mm[0] / 2


def test_warnings_that_have_no_room_are_counted(analyses: dict[str, Analysis], seen: Seen) -> None:
    key_image(analyses["many warnings"])
    told = sum(text.text.startswith("Warning: ") for text in seen.texts)
    assert told >= 2
    assert f"… {31 - told} more in the structured report" in [text.text for text in seen.texts]  # one from the pairing


def test_the_footer_stays_free_whatever_must_be_said(analyses: dict[str, Analysis]) -> None:
    plain, full = key_image(analyses["one lesion"]), key_image(analyses["many warnings"])
    floor = Canvas().footer(MODEL)
    assert np.array_equal(plain[floor:], full[floor:])
    assert np.ptp(plain[floor:].reshape(-1, 3), axis=0).min() > 100, "there is something to read"


def test_the_picture_knows_no_patient(tmp_path: Path) -> None:
    other = {"PatientName": "Somebody^Else", "PatientID": "X", "PatientBirthDate": "19991231", "AccessionNumber": "Z"}
    one, two = (
        make_analysis(tmp_path / name, header=header)
        for name, header in (("one", {}), ("two", {**other, "StudyDate": ""}))
    )
    assert np.array_equal(key_image(one), key_image(two))


def test_letters_keep_their_contrast_at_half_size(analyses: dict[str, Analysis], seen: Seen) -> None:
    """On plain ground a letter's strokes must not melt into it when four pixels become one."""
    picture = halved(key_image(analyses["many warnings"])).astype(int).sum(axis=-1)
    plain = [t for t in seen.texts if t.text.startswith("Warning") or t.text.startswith("Planes")]
    assert plain
    for text in plain:
        x0, y0, x1, y1 = (round(v / 2) for v in text.box)
        part = picture[y0:y1, x0:x1]
        assert np.percentile(part, 97) - np.median(part) > 200, text


def test_a_lesion_outside_the_ct_is_shown_on_the_projection(tmp_path: Path, seen: Seen) -> None:
    analysis = make_analysis(tmp_path, balls=(((30.0, -20.0, 12.0), 14.0, 8.0),))
    far = Region((2, 20, 42), np.ones((3, 2, 2), bool))
    lesions = (*analysis.lesions, replace(analysis.lesions[0], number=2, region=far))
    key_image(replace(analysis, lesions=lesions))
    (projection,) = [pixels for pixels, _, frame in seen.panels if frame.title.startswith("MIP")]
    assert (projection == overlay.OTHER_ON_LIGHT).all(axis=-1).any()
