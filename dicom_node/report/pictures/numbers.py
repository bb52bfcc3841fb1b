"""The lesions' numbers as a table, the index lesion's first and largest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dicom_node.report.pictures.canvas import INK, MUTED, SMALLEST, Canvas
from dicom_node.report.pictures.overlay import INDEX, OTHER
from dicom_node.report.words import verdict
from inference.facts import Lesion

INDEX_SIZE, SIZE = 26, 22
HEAD, INDEX_ROW, ROW = 27, 36, 28  # heights
RULE = (60, 66, 78)


@dataclass(frozen=True, slots=True)
class Column:
    """``name`` is the field's own term, the same in every language."""

    name: str
    value: Callable[[Lesion], str]


WITH_PET = (
    Column("SUVmax", lambda lesion: f"{lesion.on_pet.suv_max:.2f}"),
    Column("SUVpeak", lambda lesion: f"{lesion.on_pet.suv_peak:.2f}"),
    Column("MTV ml", lambda lesion: f"{lesion.on_pet.mtv_ml:.1f}"),
    Column("TLG g", lambda lesion: f"{lesion.on_pet.tlg:.1f}"),
    Column("SUVmean", lambda lesion: f"{lesion.on_pet.suv_mean:.2f}"),
    Column("V ml", lambda lesion: f"{lesion.volume_ml:.1f}"),
)
CT_ALONE = (
    Column("V ml", lambda lesion: f"{lesion.volume_ml:.1f}"),
    Column("HU", lambda lesion: "" if lesion.mean_hu is None else f"{lesion.mean_hu:.0f}".replace("-", "−")),
)
IODINE_MAP = (
    Column("V ml", lambda lesion: f"{lesion.volume_ml:.1f}"),
    Column("mg/ml", lambda lesion: "" if lesion.mean_iodine is None else f"{lesion.mean_iodine:.2f}"),
)
NAME_WIDE, NAME_NARROW, BETWEEN = 250, 34, 12  # pixels of the lesions' names, and between columns
WIDE = 700  # pixels: from there on lesions are named in full


def columns_of(lesions: Sequence[Lesion]) -> tuple[Column, ...]:
    """What there is to say of lesions of a PET, of a CT alone or of an iodine map."""
    if all(lesion.uptake for lesion in lesions):
        return WITH_PET
    return IODINE_MAP if any(lesion.mean_iodine is not None for lesion in lesions) else CT_ALONE


def table_height(lesions: int) -> int:
    """Of a table with that many rows."""
    return HEAD + (INDEX_ROW if lesions else 0) + ROW * max(0, lesions - 1)


def lesion_table(
    canvas: Canvas, lesions: Sequence[Lesion], found: int, corner: tuple[int, int], size: tuple[int, int]
) -> int:
    """Draw the table at ``corner`` (x, y) within ``size`` (width, height); returns where it ends.

    ``found``: lesions in all, of which those without room are counted in the last row.
    """
    left, y = corner
    shown = _rows_with_room(found, len(lesions), size[1])
    first = NAME_WIDE if size[0] >= WIDE else NAME_NARROW
    columns, ends = _ends(canvas, lesions[:shown], left + first, size[0] - first)
    for end, column in zip(ends, columns, strict=True):
        canvas.text((end, y), column.name, SMALLEST, ink=MUTED, anchor="ra")
    y += HEAD
    canvas.draw.line((left, y - 2, left + size[0], y - 2), RULE)
    for position, lesion in enumerate(lesions[:shown]):
        letters, height = (INDEX_SIZE, INDEX_ROW) if position == 0 else (SIZE, ROW)
        middle = y + height // 2
        _name(canvas, lesion, (left, middle), index=position == 0, wide=size[0] >= WIDE)
        for end, column in zip(ends, columns, strict=True):
            canvas.text((end, middle), column.value(lesion), letters, ink=INK, bold=position == 0, anchor="rm")
        y += height
    if found > shown:
        canvas.text((left, y + ROW // 2), canvas.say("and-more", number=found - shown), SIZE, ink=MUTED, anchor="lm")
        y += ROW
    return y


def _name(canvas: Canvas, lesion: Lesion, at: tuple[int, int], *, index: bool, wide: bool) -> None:
    letters, ink = (INDEX_SIZE, INDEX) if index else (SIZE, OTHER)
    name = canvas.say("lesion", number=lesion.number) if wide else str(lesion.number)
    canvas.text(at, name, letters, ink=ink, bold=index, anchor="lm")
    if wide:
        after = at[0] + canvas.width(name, letters, bold=index) + 12
        canvas.text((after, at[1]), source(canvas, lesion), SMALLEST, ink=MUTED, anchor="lm")


def _ends(canvas: Canvas, lesions: Sequence[Lesion], left: int, width: int) -> tuple[Sequence[Column], list[int]]:
    """The first columns, as many as there is room for, and where each ends; what is left is shared out before them."""
    offered = columns_of(lesions)
    needed: list[float] = []
    for column in offered:
        values = [
            canvas.width(column.value(lesion), INDEX_SIZE if n == 0 else SIZE, bold=n == 0)
            for n, lesion in enumerate(lesions)
        ]
        needed.append(max([canvas.width(column.name, SMALLEST), *values]))
    fit = next((n for n in range(len(offered), 1, -1) if sum(needed[:n]) + BETWEEN * (n - 1) <= width), 1)
    spare = max(0.0, width - sum(needed[:fit])) / fit
    ends, x = [], float(left)
    for wide in needed[:fit]:
        x += wide + spare
        ends.append(round(x))
    return offered[:fit], ends


def _rows_with_room(found: int, listed: int, height: int) -> int:
    """How many lesions fit; a row is kept for the count of the rest where there is one."""
    room = max(1, 1 + (height - HEAD - INDEX_ROW) // ROW)
    return listed if found <= room and found == listed else max(1, min(listed, room - 1))


def source(canvas: Canvas, lesion: Lesion) -> str:
    """Who found the lesion."""
    return canvas.say("source-automatic") if lesion.source == "automatic" else lesion.source


def found_sentences(canvas: Canvas, lesions: Sequence[Lesion], found: int) -> tuple[str, str]:
    """How many lesions there are, with and without who found them."""
    sources = dict.fromkeys(source(canvas, lesion) for lesion in lesions)
    count = verdict.lesion_count(found, found, canvas.say)
    return f"{count} ({', '.join(sources)})", count
