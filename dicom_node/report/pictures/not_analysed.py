"""The picture that stands for a study that was not analysed: why, and what to do."""

from __future__ import annotations

from dicom_node.report.pictures.canvas import INK, MUTED, WARN, Canvas
from dicom_node.report.pictures.colours import Pixels
from dicom_node.report.pictures.header import REPLACED
from dicom_node.report.words import verdict
from dicom_node.report.words.phrases import Phrases
from dicom_node.report.words.verdict import ENGLISH
from inference.facts import ModelFacts, Refused


def refusal_image(
    refused: Refused, model: ModelFacts | None, say: Phrases = ENGLISH, *, replaces: bool = False
) -> Pixels:
    """The picture: (1024, 1024, 3), row, column, RGB.  ``replaces``: an earlier result of the node."""
    canvas = Canvas(say)
    top = canvas.band(say("picture-replaces"), 0, size=22, fill=REPLACED, ink=INK, most=1) if replaces else 0
    top = canvas.paragraph(say("not-analysed"), top + 50, size=64, bold=True, ink=WARN, most=2)
    top = canvas.paragraph(say("because", reason=verdict.refusal_sentence(refused, say)), top + 20, size=34, most=11)
    top = canvas.paragraph(verdict.what_to_do(refused, say), top + 24, size=28, most=5)
    canvas.paragraph(say("reason-code", code=refused.code), top + 24, size=24, ink=MUTED, most=1)
    canvas.footer(model)
    return canvas.pixels
