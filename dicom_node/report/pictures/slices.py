"""The heatmap's frames: PET slices with saliency and the lesions' outlines, a legend below each.

Without a PET they are slices of the CT or of the iodine map, in grey.

Frames are made one by one, so memory holds one of them at a time.  The legend, the same everywhere, is packed once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_node.report.pictures import colours, rle, views
from dicom_node.report.pictures.colours import Pixels
from dicom_node.report.pictures.cuts import BODY_HU, SOFT_TISSUE
from dicom_node.report.pictures.legend import NARROWEST, Bar, caption, ct_bar, iodine_bar, legend, saliency_bar, suv_bar
from dicom_node.report.pictures.overlay import INDEX, INDEX_ON_LIGHT, OTHER, OTHER_ON_LIGHT
from dicom_node.report.words import verdict
from dicom_node.report.words.phrases import Phrases
from dicom_node.report.words.verdict import ENGLISH
from inference.facts import Analysis, BoolArray, FloatArray, Lesion, Region

FEWEST_FRAMES = 60  # as long as the PET has them
MOST_FRAMES = 89  # OHIF 3.13.2 takes a capture with 90 frames or more for a video and stays black
CONTEXT = 45  # of the most: slices round the index lesion that other lesions, farther away, leave
BODY_SUV = 0.5  # a slice without a voxel above it holds no patient


@dataclass(frozen=True, slots=True)
class Frames:
    """Which frames there are, and what is on them.

    ``slices``: PET slice of each frame.  ``step``: edge of a frame pixel in PET pixels, a whole number or one over it.
    ``shape``: rows and columns of a frame, of which the first ``picture`` ones are the PET slice from its corner on.
    ``left_out``: the sentence that names lesions not wholly on the frames, "" where there are none, in English.
    """

    analysis: Analysis
    slices: tuple[int, ...]
    step: float
    picture: tuple[int, int]
    legend: Pixels
    left_out: str
    say: Phrases

    @classmethod
    def of(cls, analysis: Analysis, say: Phrases = ENGLISH, most: int = MOST_FRAMES, *, notice: str = "") -> Frames:
        """The frames of an analysis: the slices that hold the body, in the order of the PET's Instance Numbers.

        Of more than ``most`` the slices of the lesions come first, then those next to the index lesion.
        ``notice``: what must be read before all else in the legend.
        """
        rows, columns = analysis.grid.array.shape[1:]
        longest = max(rows, columns)
        zoom = -(-NARROWEST // longest) if longest < NARROWEST else 1
        thinning = max(1, longest // NARROWEST)
        picture = (rows * zoom // thinning, columns * zoom // thinning)
        slices = _chosen(analysis, _body(analysis), most)
        notes = [
            notice,
            say("not-applicable") if verdict.demonstrates_only(analysis) else "",
            say("legend-no-saliency" if verdict.shown_saliency(analysis) is None else "legend-saliency"),
            _left_out(analysis, slices, say),
            say("legend-gaps") if slices[-1] - slices[0] >= len(slices) else "",
            say("research-use-only"),
            analysis.model.statement,
        ]
        width = max(picture[1], NARROWEST)
        bars = [_bar(analysis, width)]
        if verdict.shown_saliency(analysis) is not None:
            bars.append(saliency_bar(width, say("legend-saliency-bar")))
        strip = legend(width, bars, notes, say)
        order, left_out = _in_source_order(analysis, slices), _left_out(analysis, slices, ENGLISH)
        return cls(analysis, order, thinning / zoom, picture, strip, left_out, say)

    @property
    def shape(self) -> tuple[int, int]:
        rows = self.picture[0] + self.caption(self.slices[0]).shape[0] + self.legend.shape[0]
        return rows, self.legend.shape[1]

    def encoded(self) -> Iterator[bytes]:
        """Each frame as one RLE-encoded frame of Pixel Data."""
        below = rle.packed_planes(self.legend)
        for k in self.slices:
            yield rle.frame(rle.packed_planes(self.pixels(k)), rle.packed_planes(self.caption(k)), below)

    def whole(self, k: int) -> Pixels:
        """The frame of slice ``k``: ``shape`` and 3 colours."""
        picture = self.pixels(k)
        picture = colours.grey(picture) if picture.ndim == 2 else picture
        return np.concatenate([picture, colours.grey(self.caption(k)), self.legend])

    def caption(self, k: int) -> Pixels:
        """Which PET image this is, since frames may be fewer than slices: (rows, columns), grey."""
        number = views.image_number(self.analysis, k)
        image = verdict.image(self.analysis.pair.kind, self.say)
        return caption(self.legend.shape[1], self.say("slice-image", image=image, number=number), self.say)

    def pixels(self, k: int) -> Pixels:
        """Slice ``k`` without its legend: (rows, columns) where it is grey alone, else (rows, columns, 3)."""
        over = _levels(self.analysis, self._thinned(self.analysis.grid.array[k]))
        over = self._with_outlines(k, self._zoomed(self._with_saliency(k, over)))
        short = self.shape[1] - over.shape[1]
        return np.pad(over, ((0, 0), (0, short), *[(0, 0)] * (over.ndim - 2)), constant_values=255) if short else over

    def _with_saliency(self, k: int, levels: Pixels) -> Pixels:
        saliency = verdict.shown_saliency(self.analysis)
        if saliency is None or not 0 <= k - saliency.start[0] < saliency.array.shape[0]:
            return levels
        rows, columns = saliency.array.shape[1:]
        full = np.zeros(self.analysis.grid.array.shape[1:], np.float32)
        full[saliency.start[1] :, saliency.start[2] :][:rows, :columns] = saliency.array[k - saliency.start[0]]
        return colours.saliency_over(colours.grey(levels), self._thinned(full))

    def _with_outlines(self, k: int, over: Pixels) -> Pixels:
        lesions = verdict.shown_lesions(self.analysis.lesions)
        light = self.analysis.pair.pet is not None
        index, other = (INDEX_ON_LIGHT, OTHER_ON_LIGHT) if light else (INDEX, OTHER)
        for position, lesion in reversed(list(enumerate(lesions))):  # the index lesion's on top
            if k not in _span(lesion.region):
                continue
            over = over.copy() if over.ndim == 3 else colours.grey(over)
            over[self._border(lesion, k)] = other if position else index
        return over

    def _border(self, lesion: Lesion, k: int) -> BoolArray:
        region = lesion.region
        full = np.zeros(self.analysis.grid.array.shape[1:], bool)
        full[region.slices[1:]] = region.mask[k - region.start[0]]
        if self.step < 1:
            return views.rim(self._zoomed(full))
        border: BoolArray = self._thinned(views.rim(full).astype(np.float32)) > 0
        return border

    def _thinned(self, values: FloatArray) -> FloatArray:
        n = round(self.step)
        if n <= 1:
            return values
        rows, columns = values.shape[0] // n, values.shape[1] // n
        blocks = values[: rows * n, : columns * n].reshape(rows, n, columns, n)
        means: FloatArray = blocks.mean(axis=(1, 3))
        return means

    def _zoomed(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        n = round(1 / self.step)
        return pixels.repeat(n, axis=0).repeat(n, axis=1) if n > 1 else pixels


def _levels(analysis: Analysis, values: FloatArray) -> Pixels:
    """A slice in grey: PET inverse, CT in its soft-tissue window, iodine from none up."""
    if analysis.pair.pet is not None:
        return 255 - colours.scaled(values, *colours.SUV_RANGE)
    if analysis.pair.kind == "CT":
        return colours.scaled(values, SOFT_TISSUE.low, SOFT_TISSUE.high)
    return colours.scaled(values, *colours.IODINE_RANGE)


def _bar(analysis: Analysis, width: int) -> Bar:
    if analysis.pair.pet is not None:
        return suv_bar(width)
    return ct_bar(width, (SOFT_TISSUE.low, SOFT_TISSUE.high)) if analysis.pair.kind == "CT" else iodine_bar(width)


def _span(region: Region) -> range:
    return range(region.start[0], region.start[0] + region.mask.shape[0])


def _body(analysis: Analysis) -> range:
    """The slices from the first to the last that hold patient, lesion or saliency; at least ``FEWEST_FRAMES``."""
    total = analysis.grid.array.shape[0]
    least = {"PET/CT": BODY_SUV, "CT": BODY_HU, "iodine map": -np.inf}[analysis.pair.kind]
    held = set(np.flatnonzero(analysis.grid.array.reshape(total, -1).max(axis=1) >= least).tolist())
    spans = [_span(lesion.region) for lesion in verdict.shown_lesions(analysis.lesions)]
    if analysis.saliency is not None:
        start = analysis.saliency.start[0]
        spans.append(range(start, start + analysis.saliency.array.shape[0]))
    held.update(k for span in spans for k in (span[0], span[-1]))
    if not held:
        return range(total)
    first, last = max(0, min(held)), min(total - 1, max(held))
    while last - first + 1 < min(FEWEST_FRAMES, total):
        first, last = max(0, first - 1), min(total - 1, last + 1)
    return range(first, last + 1)


def _chosen(analysis: Analysis, body: range, most: int) -> tuple[int, ...]:
    """At most so many of the body's slices, by position: those that lesions lie on, as many as leave ``CONTEXT`` free.

    Then those next to the index lesion, where alone there is saliency.
    """
    if len(body) <= most:
        return tuple(body)
    key = views.key_slice(analysis)
    nearest = sorted(body, key=lambda k: abs(k - key))
    taken: set[int] = set()
    for lesion in verdict.shown_lesions(analysis.lesions):
        span = set(_span(lesion.region)) & set(body)
        if len(taken | span) <= most - CONTEXT:
            taken |= span
    for k in nearest:
        if len(taken) == most:
            break
        taken.add(k)
    return tuple(sorted(taken))


def _left_out(analysis: Analysis, slices: tuple[int, ...], say: Phrases) -> str:
    shown = set(slices)
    lesions = verdict.shown_lesions(analysis.lesions)
    numbers = [str(lesion.number) for lesion in lesions if not shown.issuperset(_span(lesion.region))]
    total = analysis.grid.array.shape[0]
    key = "heatmap-part-many" if len(numbers) > 1 else "heatmap-part-one"
    image = verdict.image(analysis.pair.kind, say)
    return say(key, image=image, shown=len(slices), total=total, numbers=", ".join(numbers)) if numbers else ""


def _in_source_order(analysis: Analysis, slices: tuple[int, ...]) -> tuple[int, ...]:
    """By Instance Number, so that frame n is where the reader's PET shows it; by position where numbers are missing."""
    numbers = {k: analysis.pair.reference.instances[k].get("InstanceNumber") for k in slices}
    if any(number is None for number in numbers.values()) or len(set(numbers.values())) < len(numbers):
        return slices
    return tuple(sorted(slices, key=lambda k: int(numbers[k] or 0)))
