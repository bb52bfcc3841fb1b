"""The PET turning about the patient's long axis: maximum intensity projections from all sides.

The PET is laid out once on a grid along the patient's own axes, as levels of one byte; each view then only picks from
it (nearest voxel), which takes milliseconds.  Whatever the direction of the stack, the views are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from dicom_node.report.pictures import colours, overlay, rle, views
from dicom_node.report.pictures.colours import Pixels
from dicom_node.report.pictures.cuts import body_box
from dicom_node.report.pictures.legend import NARROWEST, caption, legend, suv_bar
from dicom_node.report.pictures.lettering import font
from dicom_node.report.words import verdict
from dicom_node.report.words.phrases import Phrases
from dicom_node.report.words.verdict import ENGLISH
from inference.facts import Analysis, BoolArray, FloatArray, Lesion, Volume

VIEWS = 36  # every ten degrees
MOST_WIDE, MOST_TALL = 160, 400  # cells of the grid, however fine the PET
SHORTEST = 320  # rows of a frame: below it the letters would cover the patient
LETTERS = 18
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Rotation:
    """The views of an analysis, the first from the front, then turning so that the patient's left comes to the reader.

    ``levels``: 0..255 for SUV_RANGE, (row * columns + column of the axial grid, slice from the head down), an empty one
    last.  ``labels``: on the same grid the lesions, the index lesion's the highest.  ``low_mm``: LPS x and y of the
    axial grid's first cell.  ``axis_mm``: LPS x and y of the axis that the views turn about.
    """

    lesions: tuple[Lesion, ...]
    levels: Pixels
    labels: Pixels
    columns: int
    low_mm: tuple[float, float]
    axis_mm: tuple[float, float]
    wide: int
    step_mm: float
    legend: Pixels
    say: Phrases

    @classmethod
    def of(cls, analysis: Analysis, say: Phrases = ENGLISH, *, notice: str = "") -> Rotation:
        """``notice``: what must be read before all else in the legend."""
        low, high = body_box(analysis)
        size_mm = high - low
        around_mm = float(np.hypot(size_mm[0], size_mm[1]))
        suv = analysis.pet
        step_mm = max(min(suv.spacing_mm[1:]), around_mm / MOST_WIDE, float(size_mm[2]) / MOST_TALL)
        columns, rows, slices = (int(n) + 1 for n in np.ceil(size_mm / step_mm))
        grid = _Grid((low[0], low[1], high[2]), (slices, rows, columns), step_mm)
        lesions = verdict.shown_lesions(analysis.lesions)
        wide, tall = int(np.ceil(around_mm / step_mm)) + 1, slices
        zoom = max(1, round(SHORTEST / tall), -(-NARROWEST // wide))
        notes = [notice, say("mip-note"), say("research-use-only"), analysis.model.statement]
        strip = legend(wide * zoom, [suv_bar(wide * zoom)], notes, say)
        axis_mm = (float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2)
        return cls(
            lesions,
            grid.levels(suv),
            grid.labels(suv, lesions),
            columns,
            (float(low[0]), float(low[1])),
            axis_mm,
            wide,
            step_mm,
            strip,
            say,
        )

    @property
    def zoom(self) -> int:
        return int(self.legend.shape[1]) // self.wide

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        return self.tall + self.caption(0).shape[0] + self.legend.shape[0], self.legend.shape[1]

    @property
    def tall(self) -> int:
        """Rows of a frame's picture, above its caption and legend."""
        return int(self.levels.shape[1]) * self.zoom

    def encoded(self) -> Iterator[bytes]:
        """Each frame as one RLE-encoded frame of Pixel Data."""
        below = rle.packed_planes(self.legend)
        for degrees in angles():
            yield rle.frame(rle.packed_planes(self.view(degrees)), rle.packed_planes(self.caption(degrees)), below)

    def caption(self, degrees: float) -> Pixels:
        """From where the view is: (rows, columns), grey."""
        return caption(self.legend.shape[1], f"{degrees:.0f}°", self.say)

    def view(self, degrees: float) -> Pixels:
        """The PET seen from ``degrees``: 0 from the front, 90 from the patient's left; (rows, columns, 3)."""
        right = _right(degrees)
        lines = self._lines(right)
        levels = 255 - _greatest(self.levels, lines).T
        size = (levels.shape[1] * self.zoom, levels.shape[0] * self.zoom)
        pixels = np.array(Image.fromarray(colours.grey(levels)).resize(size, Image.Resampling.BILINEAR))
        found = overlay.marks(self.lesions, self._masks(lines), light=True)
        overlay.outline(pixels, found, 1)
        return self._lettered(overlay.numbered(pixels, found, light=True), right)

    def _masks(self, lines: Indices) -> Iterator[BoolArray]:
        seen = _greatest(self.labels, lines).T if self.lesions else np.zeros((1, 1), np.uint8)
        for position in range(len(self.lesions)):
            yield (seen == _label(position)).repeat(self.zoom, axis=0).repeat(self.zoom, axis=1)

    def _lettered(self, pixels: Pixels, right: tuple[float, float]) -> Pixels:
        image = Image.fromarray(pixels)
        draw = ImageDraw.Draw(image)
        height, width = pixels.shape[:2]
        for at, letter, anchor in (
            ((4, height / 2), views.letters_of((-right[0], -right[1], 0.0)), "lm"),
            ((width - 4, height / 2), views.letters_of((*right, 0.0)), "rm"),
            ((width / 2, 4), "H", "mt"),
            ((width / 2, height - 4), "F", "mb"),
        ):
            draw.text(at, letter, (0, 0, 0), font(LETTERS), anchor=anchor, stroke_width=2, stroke_fill=(255, 255, 255))
        return np.asarray(image)

    def _lines(self, right: tuple[float, float]) -> Indices:
        """For each depth and each column of the view, the cell of the axial grid there; the empty one outside."""
        across = (np.arange(self.wide) - (self.wide - 1) / 2) * self.step_mm
        depth = across[:, None]
        x = self.axis_mm[0] + across * right[0] - depth * right[1]
        y = self.axis_mm[1] + across * right[1] + depth * right[0]
        column, row = (
            np.round((at - low) / self.step_mm).astype(int) for at, low in zip((x, y), self.low_mm, strict=True)
        )
        empty = self.levels.shape[0] - 1
        inside = (column >= 0) & (column < self.columns) & (row >= 0) & (row < empty // self.columns)
        cells: Indices = np.where(inside, row * self.columns + column, empty)
        return cells


def angles() -> list[float]:
    """Degrees of the views."""
    return [360.0 * n / VIEWS for n in range(VIEWS)]


def _right(degrees: float) -> tuple[float, float]:
    """Unit vector (LPS x, y) to the right of the view."""
    return float(np.cos(np.deg2rad(degrees))), float(np.sin(np.deg2rad(degrees)))


def _label(position: int) -> int:
    return 255 - position


def _greatest(cells: Pixels, lines: Indices) -> Pixels:
    """The greatest along each line: (columns of the view, slices)."""
    empty = cells.shape[0] - 1
    seen = np.zeros((lines.shape[1], cells.shape[1]), np.uint8)
    for line in lines:
        held = np.flatnonzero(line != empty)
        if held.size:
            part = slice(held[0], held[-1] + 1)
            np.maximum(seen[part], cells[line[part]], out=seen[part])
    return seen


@dataclass(frozen=True, slots=True)
class _Grid:
    """A grid along the patient's axes, slices from the head down; ``corner``: its first cell, LPS mm."""

    corner: tuple[float, float, float]
    shape: tuple[int, int, int]
    step_mm: float

    def index_in(self, volume: Volume) -> tuple[FloatArray, FloatArray]:
        """Matrix and offset from the grid's (slice, row, column) to voxel indices of ``volume``."""
        inverse = np.linalg.inv(volume.affine)[:3, :3]
        steps = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], float) * self.step_mm  # columns: slice, row, column
        return inverse @ steps, volume.to_index(self.corner)

    def levels(self, suv: Volume) -> Pixels:
        """SUVbw as levels, see ``Rotation.levels``; made in slabs, so that memory holds little in floating point."""
        matrix, offset = self.index_in(suv)
        cells = np.zeros((self.shape[1] * self.shape[2] + 1, self.shape[0]), np.uint8)
        slab = 32
        for first in range(0, self.shape[0], slab):
            size = (min(slab, self.shape[0] - first), *self.shape[1:])
            start = offset + matrix[:, 0] * first
            values = ndimage.affine_transform(suv.array, matrix, start, size, np.float32, order=1, prefilter=False)
            cells[:-1, first : first + size[0]] = colours.scaled(values, *colours.SUV_RANGE).reshape(size[0], -1).T
        return cells

    def labels(self, suv: Volume, lesions: tuple[Lesion, ...]) -> Pixels:
        """The lesions on the grid, see ``Rotation.labels``."""
        cells = np.zeros((self.shape[1] * self.shape[2] + 1, self.shape[0]), np.uint8)
        whole = cells[:-1].T.reshape(self.shape)
        for position, lesion in reversed(list(enumerate(lesions))):
            box = self._box(suv, lesion)
            index = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), axis=-1)
            matrix, offset = self.index_in(suv)
            inside = views.in_region(lesion.region, index @ matrix.T + offset)
            whole[box][inside] = _label(position)
        cells[:-1] = whole.reshape(self.shape[0], -1).T
        return cells

    def _box(self, suv: Volume, lesion: Lesion) -> tuple[slice, ...]:
        """The cells round a lesion."""
        start, end = np.asarray(lesion.region.start) - 1, np.add(lesion.region.start, lesion.region.mask.shape)
        corners = suv.to_lps(
            [(k, r, c) for k in (start[0], end[0]) for r in (start[1], end[1]) for c in (start[2], end[2])]
        )
        cells = (corners - self.corner)[:, ::-1] * (-1, 1, 1) / self.step_mm
        low, high = np.floor(cells.min(axis=0)).astype(int), np.ceil(cells.max(axis=0)).astype(int) + 1
        return tuple(slice(max(0, a), max(0, min(b, n))) for a, b, n in zip(low, high, self.shape, strict=True))
