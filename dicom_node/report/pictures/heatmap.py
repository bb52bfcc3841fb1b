"""The heatmap's frames: PET slices with saliency, a legend below each, packed as DICOM RLE (PS3.5 annex G).

Frames are made and packed one by one, so memory holds one of them at a time.  Where a frame is grey its three colour
planes are the same bytes and packed once; the legend, the same everywhere, is packed once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import imagecodecs
import numpy as np
from PIL import Image, ImageDraw

from dicom_node.report.pictures import colours, views
from dicom_node.report.pictures.colours import Pixels
from dicom_node.report.pictures.lettering import font, wrapped
from dicom_node.report.words import verdict
from dicom_node.report.words.phrases import Phrases
from dicom_node.report.words.verdict import ENGLISH
from inference.facts import Analysis, FloatArray

NARROWEST = 192  # pixels: below it the legend cannot be read, above twice it frames are thinned
FEWEST_FRAMES = 60  # as long as the PET has them
MOST_FRAMES = 89  # OHIF 3.13.2 takes a capture with 90 frames or more for a video and stays black
BODY_SUV = 0.5  # a slice without a voxel above it holds no patient
LETTERS = {"ja": 14, "zh": 14}  # of the legend, pixels; 11 in other languages
OUTLINE = np.array((200, 0, 0), np.uint8)


@dataclass(frozen=True, slots=True)
class Frames:
    """Which frames there are, and what is on them.

    ``slices``: PET slice of each frame.  ``step``: edge of a frame pixel in PET pixels, a whole number or one over it.
    ``shape``: rows and columns of a frame, of which the first ``picture`` ones are the PET slice from its corner on.
    ``left_out``: the sentence that names lesions not wholly on the frames, "" where there are none.
    """

    analysis: Analysis
    slices: tuple[int, ...]
    step: float
    picture: tuple[int, int]
    legend: Pixels
    left_out: str

    @classmethod
    def of(cls, analysis: Analysis, say: Phrases = ENGLISH) -> Frames:
        """The frames of an analysis: the slices that hold the body, in the order of the PET's Instance Numbers."""
        rows, columns = analysis.suv.array.shape[1:]
        longest = max(rows, columns)
        zoom = -(-NARROWEST // longest) if longest < NARROWEST else 1
        thinning = max(1, longest // NARROWEST)
        picture = (rows * zoom // thinning, columns * zoom // thinning)
        slices = _body(analysis)
        left_out = _left_out(analysis, slices, ENGLISH)
        legend = _legend(analysis, max(picture[1], NARROWEST), _left_out(analysis, slices, say), say)
        return cls(analysis, _in_source_order(analysis, slices), thinning / zoom, picture, legend, left_out)

    @property
    def shape(self) -> tuple[int, int]:
        return self.picture[0] + self.legend.shape[0], self.legend.shape[1]

    def encoded(self) -> Iterator[bytes]:
        """Each frame as one RLE-encoded frame of Pixel Data."""
        legend = [_packed(self.legend[..., plane]) for plane in range(3)]
        for k in self.slices:
            pixels = self.pixels(k)
            planes = [_packed(pixels)] * 3 if pixels.ndim == 2 else [_packed(p) for p in np.moveaxis(pixels, -1, 0)]
            yield _rle_frame([plane + strip for plane, strip in zip(planes, legend, strict=True)])

    def pixels(self, k: int) -> Pixels:
        """Slice ``k`` without its legend: (rows, columns) where it is grey alone, else (rows, columns, 3)."""
        levels = 255 - colours.scaled(self._thinned(self.analysis.suv.array[k]), *colours.SUV_RANGE)
        over = self._with_saliency(k, levels)
        if over is None:
            over = self._with_outlines(k, levels)
        over = self._zoomed(over)
        short = self.shape[1] - over.shape[1]
        return np.pad(over, ((0, 0), (0, short), *[(0, 0)] * (over.ndim - 2)), constant_values=255) if short else over

    def _with_saliency(self, k: int, levels: Pixels) -> Pixels | None:
        saliency = verdict.shown_saliency(self.analysis)
        if saliency is None:
            return None
        inside = k - saliency.start[0]
        if not 0 <= inside < saliency.array.shape[0]:
            return levels
        rows, columns = saliency.array.shape[1:]
        full = np.zeros(self.analysis.suv.array.shape[1:], np.float32)
        full[saliency.start[1] :, saliency.start[2] :][:rows, :columns] = saliency.array[inside]
        return colours.saliency_over(colours.grey(levels), self._thinned(full))

    def _with_outlines(self, k: int, levels: Pixels) -> Pixels:
        over = levels
        for lesion in verdict.shown_lesions(self.analysis.lesions):
            region = lesion.region
            inside = k - region.start[0]
            if not 0 <= inside < region.mask.shape[0]:
                continue
            full = np.zeros(self.analysis.suv.array.shape[1:], bool)
            full[region.slices[1:]] = region.mask[inside]
            border = self._thinned(views.rim(full).astype(np.float32)) > 0
            over = over.copy() if over.ndim == 3 else colours.grey(over)
            over[border] = OUTLINE
        return over

    def _thinned(self, values: FloatArray) -> FloatArray:
        n = round(self.step)
        if n <= 1:
            return values
        rows, columns = values.shape[0] // n, values.shape[1] // n
        blocks = values[: rows * n, : columns * n].reshape(rows, n, columns, n)
        means: FloatArray = blocks.mean(axis=(1, 3))
        return means

    def _zoomed(self, pixels: Pixels) -> Pixels:
        n = round(1 / self.step)
        return pixels.repeat(n, axis=0).repeat(n, axis=1) if n > 1 else pixels


def _body(analysis: Analysis) -> range:
    """The slices from the first to the last that hold patient, lesion or saliency; at least ``FEWEST_FRAMES``.

    Of more than ``MOST_FRAMES`` those around the index lesion, where alone there is saliency.
    """
    total = analysis.suv.array.shape[0]
    held = set(np.flatnonzero(analysis.suv.array.reshape(total, -1).max(axis=1) >= BODY_SUV).tolist())
    boxes = [
        (lesion.region.start[0], lesion.region.mask.shape[0]) for lesion in verdict.shown_lesions(analysis.lesions)
    ]
    if analysis.saliency is not None:
        boxes.append((analysis.saliency.start[0], analysis.saliency.array.shape[0]))
    held.update(k for start, length in boxes for k in (start, start + length - 1))
    if not held:
        return range(total)
    first, last = max(0, min(held)), min(total - 1, max(held))
    while last - first + 1 < min(FEWEST_FRAMES, total):
        first, last = max(0, first - 1), min(total - 1, last + 1)
    if last - first + 1 > MOST_FRAMES:
        first = min(max(first, views.key_slice(analysis) - MOST_FRAMES // 2), last + 1 - MOST_FRAMES)
        last = first + MOST_FRAMES - 1
    return range(first, last + 1)


def _left_out(analysis: Analysis, slices: range, say: Phrases) -> str:
    boxes = {lesion.number: lesion.region.slices[0] for lesion in verdict.shown_lesions(analysis.lesions)}
    numbers = [str(number) for number, box in boxes.items() if box.start < slices.start or box.stop > slices.stop]
    total = analysis.suv.array.shape[0]
    key = "heatmap-part-many" if len(numbers) > 1 else "heatmap-part-one"
    return say(key, shown=len(slices), total=total, numbers=", ".join(numbers)) if numbers else ""


def _in_source_order(analysis: Analysis, slices: range) -> tuple[int, ...]:
    """By Instance Number, so that frame n is where the reader's PET shows it; by position where numbers are missing."""
    numbers = {k: analysis.pair.pet.instances[k].get("InstanceNumber") for k in slices}
    if any(number is None for number in numbers.values()) or len(set(numbers.values())) < len(numbers):
        return tuple(slices)
    return tuple(sorted(slices, key=lambda k: int(numbers[k] or 0)))


def _legend(analysis: Analysis, width: int, left_out: str, say: Phrases) -> Pixels:
    """The strip below every frame: colour bars with units, and what the colours do not mean."""
    size = LETTERS.get(say.language, 11)
    face = font(size, language=say.language)
    salient = verdict.shown_saliency(analysis) is not None
    notes = [
        say("legend-saliency" if salient else "legend-no-saliency"),
        left_out,
        say("research-use-only"),
        analysis.model.statement,
    ]
    lines = [line for note in notes for line in wrapped(note, face, width - 8)]
    height = 4 + (size + 4) * (2 if salient else 1) + (size + 3) * len(lines) + 4
    image = Image.new("RGB", (width, height), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    draw.fontmode = "1"  # sharp letters pack into a tenth of the bytes of smoothed ones
    draw.line((0, 0, width, 0), (120, 120, 120))
    bar_width = max(40, width - 130)
    ramp = np.linspace(0, 1, bar_width, dtype=np.float32)[None, :]
    bars = [("SUVbw g/ml 0", colours.grey(255 - colours.scaled(np.repeat(ramp, 10, 0), 0, 1)), "10")]
    if salient:  # as it looks where the PET below is white, and where it is black
        below = colours.grey(np.repeat(np.array([[255]] * 5 + [[0]] * 5, np.uint8), bar_width, axis=1))
        bars.append((say("legend-saliency-bar"), colours.saliency_over(below, np.repeat(ramp, 10, 0)), "1"))
    top = 4
    for before, bar, after in bars:
        draw.text((88, top - 1), before, (0, 0, 0), face, anchor="ra")
        image.paste(Image.fromarray(bar), (92, top))
        draw.text((92 + bar_width + 4, top - 1), after, (0, 0, 0), face)
        top += size + 4
    for line in lines:
        draw.text((4, top), line, (0, 0, 0), face)
        top += size + 3
    return np.asarray(image)


def _packed(plane: Pixels) -> bytes:
    """One colour plane, PackBits row by row (PS3.5 G.3.1)."""
    return bytes(imagecodecs.packbits_encode(np.ascontiguousarray(plane)))


def _rle_frame(segments: list[bytes]) -> bytes:
    """RLE header of 64 bytes and the segments, each of even length (PS3.5 G.3, G.5)."""
    even = [segment + b"\0" * (len(segment) % 2) for segment in segments]
    starts = [64 + sum(map(len, even[:n])) for n in range(len(even))]
    return struct.pack("<16L", len(even), *starts, *[0] * (15 - len(even))) + b"".join(even)
