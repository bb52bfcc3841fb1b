"""What is drawn over a picture to find a lesion again: outlines, numbers, the lines of the other planes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from dicom_node.report.pictures import views
from dicom_node.report.pictures.colours import Colour, Pixels
from dicom_node.report.pictures.lettering import font
from inference.facts import BoolArray, Lesion

INDEX, OTHER = (0, 235, 235), (90, 220, 90)  # outlines over dark pictures; neither colour is in the maps below them
INDEX_ON_LIGHT, OTHER_ON_LIGHT = (200, 0, 0), (0, 120, 0)
LINE, LINE_ON_LIGHT = 230.0, 40.0
LINE_OPACITY, GAP_MM = 0.45, 14.0  # of the planes' lines, which leave the point itself free
NUMBER_SIZE, EDGE = 20, 26  # of the lesions' numbers; what they leave free for the orientation letters

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, slots=True)
class Mark:
    """A lesion on a picture: its number, its colour, and the pixels that it covers."""

    number: int
    colour: Colour
    mask: BoolArray


def marks(lesions: Sequence[Lesion], masks: Iterable[BoolArray], *, light: bool = False) -> list[Mark]:
    """Marks of the lesions, the first of which is the index lesion; those outside the picture are left out."""
    index, other = (INDEX_ON_LIGHT, OTHER_ON_LIGHT) if light else (INDEX, OTHER)
    found = zip(lesions, masks, strict=True)
    return [
        Mark(lesion.number, index if n == 0 else other, mask) for n, (lesion, mask) in enumerate(found) if mask.any()
    ]


def outline(pixels: Pixels, found: Sequence[Mark], width: int) -> None:
    """Draw the borders, the index lesion's on top."""
    for mark in reversed(found):
        pixels[views.rim(mark.mask, width)] = mark.colour


def plane_lines(pixels: Pixels, at: tuple[float, float], gap: float, *, light: bool = False) -> None:
    """A faint horizontal and vertical line through the pixel ``at`` (row, column), free within ``gap`` pixels of it."""
    level = LINE_ON_LIGHT if light else LINE
    for flipped, (across, along) in ((pixels, at), (pixels.swapaxes(0, 1), at[::-1])):
        line = round(across)
        if 0 <= line < flipped.shape[0]:
            free = np.abs(np.arange(flipped.shape[1]) - along) > gap
            flipped[line, free] = ((1 - LINE_OPACITY) * flipped[line, free] + LINE_OPACITY * level + 0.5).astype(
                np.uint8
            )


def numbered(pixels: Pixels, found: Sequence[Mark], *, light: bool = False, avoid: Sequence[Box] = ()) -> Pixels:
    """The lesions' numbers beside them, as far as there is room off the picture's edge and the boxes to ``avoid``.

    The index lesion's is placed first.  A line leads from the number to the lesion.
    """
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    face = font(NUMBER_SIZE, bold=True)
    boxes = [_box(mark.mask) for mark in found]
    taken = [*boxes, *avoid]
    for mark, box in zip(found, boxes, strict=True):
        text = str(mark.number)
        size = (face.getlength(text), NUMBER_SIZE * 0.8)
        place = _free_place(box, size, taken, (image.width, image.height))
        if place is None:
            continue
        taken.append(place)
        x, y = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
        near = (min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3]))
        edge = (min(max(near[0], place[0]), place[2]), min(max(near[1], place[1]), place[3]))
        draw.line((*edge, *near), mark.colour, 2)
        rim = (255, 255, 255) if light else (0, 0, 0)
        draw.text((x, y), text, mark.colour, face, anchor="mm", stroke_width=2, stroke_fill=rim)
    return np.array(image)


def _box(mask: BoolArray) -> Box:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1])


def _free_place(box: Box, size: tuple[float, float], taken: Sequence[Box], picture: tuple[int, int]) -> Box | None:
    """Where a label of ``size`` (width, height) fits beside ``box`` without touching what is taken; the nearest."""
    width, height = size
    middle_x, middle_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    for away in (8, 18):
        up, down = box[1] - away - height, box[3] + away
        left, right = box[0] - away - width, box[2] + away
        for x, y in (
            *((right, middle_y - height / 2), (left, middle_y - height / 2)),
            *((right, up), (left, up), (right, down), (left, down)),
            *((middle_x - width / 2, up), (middle_x - width / 2, down)),
        ):
            place = (x, y, x + width, y + height)
            inside = min(x, y, picture[0] - place[2], picture[1] - place[3]) >= EDGE
            if inside and not any(_touch(place, other) for other in taken):
                return place
    return None


def _touch(one: Box, other: Box) -> bool:
    return one[0] - 3 < other[2] and other[0] - 3 < one[2] and one[1] - 3 < other[3] and other[1] - 3 < one[3]
