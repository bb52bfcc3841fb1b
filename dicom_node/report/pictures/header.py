"""The top of the key image: the verdict, whether the model applies at all, and whether this replaces something."""

from __future__ import annotations

from dicom_node.report.pictures.canvas import INK, MARGIN, MUTED, SIDE, WARN, Canvas
from dicom_node.report.pictures.lettering import line_height
from dicom_node.report.words import verdict
from inference.facts import Analysis

NUMBER_SIZE, NAME_SIZES, INTERVAL_SIZE = 64, (28, 25, 22), 24
SENTENCE_SIZES = (44, 40, 36, 32, 28)  # of a verdict without a number: the largest at which it is one line, or two
BAND_SIZES = (22, 20)  # the largest at which it is one line
ON_WARN, REPLACED = (30, 20, 0), (38, 66, 108)  # ink on an amber band; the band of a replaced result
GAUGE_HEIGHT, GAUGE, RANGE = 10, (62, 66, 76), (120, 170, 255)


def header(canvas: Canvas, analysis: Analysis, *, replaces: bool) -> int:
    """Draw it; returns where the next thing may begin."""
    number = verdict.spoken(analysis)
    if number is not None and verdict.demonstrates_only(analysis):
        bottom = _no_result(canvas, analysis, number)
    else:
        bottom = _sentence(canvas, analysis) if number is None else _number(canvas, analysis, number)
        bottom = _applicability(canvas, analysis, bottom)
    if analysis.model.whole_body and number is not None:
        bottom = canvas.paragraph(canvas.say("of-the-study"), bottom, size=BAND_SIZES[-1], ink=MUTED, most=1)
    if replaces:
        text = canvas.say("picture-replaces")
        bottom = canvas.band(text, bottom, size=BAND_SIZES[0], fill=REPLACED, ink=INK, most=1)
    return bottom


def _sentence(canvas: Canvas, analysis: Analysis) -> int:
    text = verdict.headline(analysis, canvas.say)
    rows = {size: len(canvas.lines(text, size, bold=True)) for size in SENTENCE_SIZES}
    fits = [size for most in (1, 2) for size in SENTENCE_SIZES if rows[size] <= most]
    size = fits[0] if fits else SENTENCE_SIZES[-1]
    ink = WARN if verdict.state(analysis) == "withheld" else INK
    return canvas.paragraph(text, 6, size=size, bold=True, ink=ink, most=2) + 4


def _no_result(canvas: Canvas, analysis: Analysis, number: verdict.Spoken) -> int:
    """That the model does not apply, large on amber, why, and last the number: small, muted and called no result."""
    text = canvas.say("not-applicable")
    size = next((s for s in SENTENCE_SIZES if len(canvas.lines(text, s, bold=True)) == 1), SENTENCE_SIZES[-1])
    bottom = canvas.band(text, 0, size=size, fill=WARN, ink=ON_WARN, most=2) + 2
    if reasons := verdict.reasons(analysis.prediction, canvas.say):
        bottom = canvas.paragraph(reasons, bottom, size=BAND_SIZES[-1], ink=WARN, most=2)
    told = verdict.demonstration(analysis, number, canvas.say)
    return canvas.paragraph(told, bottom, size=BAND_SIZES[-1], ink=MUTED, most=2) + 4


def _number(canvas: Canvas, analysis: Analysis, number: verdict.Spoken) -> int:
    """The probability, large; beside it of what, its interval in words and on a gauge of 0 to 100 %."""
    percent = f"{number.percent:.1f} %"
    canvas.text((MARGIN, 2), percent, NUMBER_SIZE, bold=True)
    left = round(MARGIN + canvas.width(percent, NUMBER_SIZE, bold=True)) + 24
    name = analysis.model.probability_code.meaning
    if analysis.prediction.status == "indeterminate":
        name = canvas.say("headline-indeterminate", headline=name)
    width = SIDE - MARGIN - left
    size = next((s for s in NAME_SIZES if len(canvas.lines(name, s, bold=True, width=width)) == 1), NAME_SIZES[-1])
    top = canvas.paragraph(name, 6, size=size, bold=True, left=left, most=2)
    interval = verdict.interval(number, canvas.say)
    canvas.text((left, top), interval, INTERVAL_SIZE, ink=INK if number.bounds else MUTED)
    after = left + canvas.width(interval, INTERVAL_SIZE) + 30
    _gauge(canvas, number, round(after), top + line_height(INTERVAL_SIZE) // 2)
    return max(top + line_height(INTERVAL_SIZE), line_height(NUMBER_SIZE)) + 4


def _gauge(canvas: Canvas, number: verdict.Spoken, left: int, middle: int) -> None:
    """From 0 to 100 %: the interval as a bar, the probability as a tick."""
    left, right = left + 24, SIDE - MARGIN - 50
    if right - left < 120:
        return
    half = GAUGE_HEIGHT // 2
    canvas.draw.rectangle((left, middle - half, right, middle + half), GAUGE)

    def at(percent: float) -> float:
        return left + (right - left) * percent / 100.0

    if number.bounds:
        canvas.draw.rectangle((at(number.bounds[0]), middle - half, at(number.bounds[1]), middle + half), RANGE)
    canvas.draw.rectangle((at(number.percent) - 2, middle - half - 5, at(number.percent) + 2, middle + half + 5), INK)
    canvas.text((left - 6, middle), "0", ink=MUTED, anchor="rm")
    canvas.text((right + 6, middle), "100", ink=MUTED, anchor="lm")


def _applicability(canvas: Canvas, analysis: Analysis, top: int) -> int:
    """In quiet letters where the model applies or said nothing, else dark on amber: that must not be missed."""
    text = verdict.applicability_sentence(analysis.prediction, canvas.say)
    if verdict.applicability(analysis.prediction) == "inside" or verdict.state(analysis) == "none":
        return canvas.paragraph(text, top, size=BAND_SIZES[0], ink=MUTED, most=1) + 4
    size = next((s for s in BAND_SIZES if len(canvas.lines(text, s, bold=True)) == 1), BAND_SIZES[-1])
    return canvas.band(text, top, size=size, fill=WARN, ink=ON_WARN, most=2)
