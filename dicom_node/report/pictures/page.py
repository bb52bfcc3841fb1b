"""The result on one page, made to be printed or mailed: verdict, key image, lesions, warnings, and what it rests on.

No patient data: who it is of stands in the header of the DICOM object that carries the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime

from dicom_node.report.pictures.colours import Pixels
from dicom_node.report.pictures.sheet import GREY, RED, FootLine, Sheet
from dicom_node.report.words import verdict
from dicom_node.report.words.phrases import Phrases
from inference.facts import Analysis, Lesion

TEXT, SMALL, SMALLEST = 8.0, 7.0, 6.5  # points
HEADLINES = (14.0, 12.5, 11.0, 10.0)  # the largest at which it is one line
TALLEST, SHORTEST = 500.0, 250.0  # of the key image: as large as the text below leaves it
FEWEST_WARNINGS = 4  # that the key image makes room for
EDGES = (0.0, 0.13, 0.46, 0.56, 0.66, 0.77, 0.89, 1.0)  # of the table's columns, shares of its width


def page(
    analysis: Analysis, key_image: Pixels, say: Phrases, notice: str, report_uid: str, created: datetime, node: str
) -> bytes:
    """The page as PDF.

    ``notice``: what must be read before all else ("" where there is nothing).  ``report_uid``: of the main report.
    ``node``: who made it, with its version.
    """
    title = say("page-title", images=verdict.images(analysis.pair.kind, say))
    sheet = Sheet(title, say.language, created, node)
    sheet.foot(_foot(analysis, say, report_uid, node))
    sheet.paragraph(title, 10, ink=GREY)
    sheet.paragraph(say("research-use-only"), 11, bold=True, ink=RED)
    if notice:
        sheet.paragraph(notice, TEXT, bold=True, ink=RED, most=3)
    sheet.rule()
    _verdict(sheet, analysis, say)
    sheet.top += 4
    lesions = verdict.shown_lesions(analysis.lesions)
    warnings = [verdict.caution_sentence(caution, say) for caution in verdict.cautions(analysis)]
    basis = _basis(analysis, say)
    below = _height(sheet, lesions, warnings[:FEWEST_WARNINGS], basis)
    sheet.picture(key_image, min(TALLEST, max(SHORTEST, sheet.floor - sheet.top - below)), title)
    _lesions(sheet, lesions, len(analysis.lesions), say)
    _listed(sheet, say("page-warnings"), warnings, sheet.floor - _section_height(sheet, basis), say)
    _listed(sheet, say("page-basis"), basis, sheet.floor, say)
    return sheet.pdf()


def _verdict(sheet: Sheet, analysis: Analysis, say: Phrases) -> None:
    """The verdict, then whether the model applies; the other way round where it does not and still gave a number."""
    applies = verdict.applicability_sentence(analysis.prediction, say)
    number = verdict.spoken(analysis)
    if number is not None and verdict.demonstrates_only(analysis):
        sheet.paragraph(applies, HEADLINES[-1], bold=True, ink=RED, most=4)
        sheet.paragraph(verdict.demonstration(analysis, number, say), TEXT, ink=GREY, most=3)
        return
    headline = verdict.headline(analysis, say)
    size = next((s for s in HEADLINES if len(sheet.lines(headline, s, bold=True)) == 1), HEADLINES[-1])
    sheet.paragraph(headline, size, bold=True, most=3)
    inside = verdict.applicability(analysis.prediction) == "inside"
    sheet.paragraph(applies, 9, ink=GREY if inside else RED, most=4)


def _foot(analysis: Analysis, say: Phrases, report_uid: str, node: str) -> list[FootLine]:
    statement = analysis.model.statement
    return [
        *([FootLine(f"{statement[0].upper()}{statement[1:]}.", TEXT, RED, bold=True)] if statement else []),
        FootLine(f"{verdict.model_line(analysis, say)}, {node}", SMALL, GREY),
        FootLine(say("page-identity", uid=report_uid), SMALLEST, GREY),
        FootLine(say("research-use-only"), TEXT, RED, bold=True),
    ]


def _basis(analysis: Analysis, say: Phrases) -> list[str]:
    """How the numbers came about: the structured report has their inputs."""
    rule = analysis.rule
    return [
        *([say("page-suv", rule=f"{rule.suv_type}: {rule.rule}")] if rule else []),
        *([verdict.tracer(analysis.tracer, say)] if analysis.pair.pet else []),
        *([values] if (values := verdict.values_given(analysis, say)) else []),
        *(verdict.reference(uptake, say) for uptake in analysis.references),
    ]


def _height(sheet: Sheet, lesions: Sequence[Lesion], *sections: Sequence[str]) -> float:
    """What stands below the picture, if no text is cut."""
    table = (len(lesions) + 2) * TEXT * 1.28
    return table + sum(_section_height(sheet, section) for section in sections) + 16


def _section_height(sheet: Sheet, texts: Sequence[str]) -> float:
    return sum(sheet.height(text, SMALL, most=3) for text in texts) + TEXT * 1.28 + 10 if texts else 0.0


def _lesions(sheet: Sheet, lesions: Sequence[Lesion], found: int, say: Phrases) -> None:
    sheet.paragraph(verdict.lesion_count(found, len(lesions), say), TEXT, bold=True)
    if not lesions:
        return
    columns = [(say(name) if name.startswith("page-") else name, value) for name, value in _columns(lesions)]
    names = (say("page-lesion"), say("page-found-by"), *(name for name, _ in columns))
    sheet.row(names, EDGES[: len(names)], TEXT, bold=True)
    for lesion in lesions:
        automatic = lesion.source == "automatic"
        found_by = say("source-automatic") if automatic else say("page-of-person", kind=lesion.source)
        cells = (say("lesion", number=lesion.number), found_by, *(f"{value(lesion):.2f}" for _, value in columns))
        sheet.row(cells, EDGES[: len(cells)], TEXT)
    sheet.top += 4


def _columns(lesions: Sequence[Lesion]) -> list[tuple[str, Callable[[Lesion], float]]]:
    """Names, of which some are phrases, and values of what there is to say of the lesions."""
    volume = ("page-volume", lambda lesion: lesion.volume_ml)
    if not all(lesion.uptake for lesion in lesions):
        if any(lesion.mean_iodine is not None for lesion in lesions):
            return [volume, ("mg/ml", lambda lesion: math.nan if lesion.mean_iodine is None else lesion.mean_iodine)]
        return [volume, ("HU", lambda lesion: math.nan if lesion.mean_hu is None else lesion.mean_hu)]
    return [
        ("SUVmax", lambda lesion: lesion.on_pet.suv_max),
        ("SUVmean", lambda lesion: lesion.on_pet.suv_mean),
        ("SUVpeak", lambda lesion: lesion.on_pet.suv_peak),
        volume,
        ("MTV ml", lambda lesion: lesion.on_pet.mtv_ml),
        ("TLG g", lambda lesion: lesion.on_pet.tlg),
    ]


def _listed(sheet: Sheet, title: str, texts: Sequence[str], floor: float, say: Phrases) -> None:
    """As many of the texts as there is room for; how many more there are is said."""
    if not texts:
        return
    sheet.top += 2
    sheet.rule()
    sheet.paragraph(title, TEXT, bold=True)
    for position, text in enumerate(texts):
        last = position == len(texts) - 1
        room = floor - sheet.top - (0.0 if last else SMALL * 1.28)
        if sheet.height(text, SMALL, most=3) > room:
            sheet.paragraph(say("more-in-report", number=len(texts) - position), SMALL, most=1)
            return
        sheet.paragraph(text, SMALL, most=3)
