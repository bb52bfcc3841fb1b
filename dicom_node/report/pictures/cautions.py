"""The warnings on the key image: as many as fit, as large as fits, and how many more there are."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.report.pictures.canvas import ACROSS, MARGIN, SIDE, SMALLEST, WARN, Canvas
from dicom_node.report.pictures.lettering import line_height

SIZES = (24, 22, SMALLEST)  # the largest at which all fit
MOST_LINES = 5  # that pictures make room for


def least_height(canvas: Canvas, warnings: Sequence[str], width: int = ACROSS) -> int:
    """What the pictures leave for warnings: all of them in the smallest letters, up to a bound."""
    rows = sum(len(canvas.lines(text, SMALLEST, most=_most(width), width=width)) for text in warnings)
    return line_height(SMALLEST) * min(rows, MOST_LINES * _most(width) // 2) + (8 if warnings else 0)


def _most(width: int) -> int:
    """Lines that one warning may take."""
    return 2 if width > SIDE // 2 else 5


def draw_warnings(canvas: Canvas, lines: Sequence[str], corner: tuple[int, int], floor: int) -> None:
    """As large as fits from ``corner`` to ``floor``; what never fits is in the structured report, and said so."""
    left, top = corner
    width = SIDE - MARGIN - left

    def height(some: Sequence[str], size: int) -> int:
        return line_height(size) * sum(len(canvas.lines(t, size, most=_most(width), width=width)) for t in some)

    size = next((s for s in SIZES if top + height(lines, s) <= floor), SIZES[-1])
    for position, line in enumerate(lines):
        whole = top + height(lines[position:], size) <= floor
        if not whole and top + height([line], size) + line_height(size) > floor:
            rest = canvas.say("more-in-report", number=len(lines) - position)
            canvas.paragraph(rest, top, size=size, ink=WARN, bold=True, left=left, most=2)
            return
        top = canvas.paragraph(line, top, size=size, ink=WARN, left=left, most=_most(width))
