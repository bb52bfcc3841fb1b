"""A page as it was seen, and what may be asked of its picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

FloatArray = npt.NDArray[np.floating]
VIEWPORT = (slice(140, 780), slice(300, 1630))  # rows, columns of OHIF's picture that are the image, not the panels
OHIF_VIEW = (slice(53, 842), slice(288, 1662))  # its whole viewport, into which it fits an image
DWV_VIEW = (slice(0, 850), slice(0, 1160))  # dwv.html's
COLOURED = 30  # difference of the channels from which on a pixel is clearly not grey
NEAR_PX = 2


@dataclass(frozen=True)
class Shot:
    """``pixels``: (row, column, RGB).  ``text``: all of the page's.  ``errors``: of its scripts and requests.

    ``image``: what OHIF's viewport shows; ``projection``: (2, 4), LPS mm and 1 → x, y on the page.
    """

    text: str
    errors: list[str]
    pixels: npt.NDArray[np.uint8]
    seconds: float
    image: str = ""
    projection: FloatArray | None = None

    @property
    def is_coloured(self) -> npt.NDArray[np.bool_]:
        """(row, column): whether the pixel is clearly not grey."""
        area = self.pixels.astype(int)
        return np.asarray(area.max(axis=2) - area.min(axis=2) > COLOURED)

    @property
    def coloured(self) -> int:
        """Number of pixels in OHIF's image area that are clearly not grey."""
        return int(self.is_coloured[VIEWPORT].sum())

    @property
    def bright(self) -> int:
        """Number of pixels in OHIF's image area that are not black."""
        return int((self.pixels[VIEWPORT].max(axis=2) > 40).sum())

    @property
    def faults(self) -> list[str]:
        """Errors of the page's scripts; requests that failed count too."""
        return [error for error in self.errors if "favicon" not in error]

    def difference(self, picture: npt.NDArray[np.uint8], view: tuple[slice, slice]) -> float:
        """Mean difference of the grey or colour values from ``picture`` (row, column, RGB) fitted into ``view``."""
        shown = self.pixels[view]
        scale = min(shown.shape[0] / picture.shape[0], shown.shape[1] / picture.shape[1])
        rows, columns = (round(n * scale) for n in picture.shape[:2])
        top, left = (shown.shape[0] - rows) // 2, (shown.shape[1] - columns) // 2
        fitted = Image.fromarray(picture).resize((columns, rows), Image.Resampling.BILINEAR)
        away = shown[top : top + rows, left : left + columns].astype(int) - np.asarray(fitted, int)
        return float(np.abs(away).mean())

    def nearest_frame(self, frames: npt.NDArray[np.uint8], view: tuple[slice, slice]) -> int:
        """Which of ``frames`` (frame, row, column, RGB) looks most like the picture in ``view``."""
        return int(np.argmin([self.difference(frame, view) for frame in frames]))

    def on_page(self, lps_mm: FloatArray) -> npt.NDArray[np.intp]:
        """LPS points (…, 3) → (…, 2) as (row, column) of ``pixels``."""
        assert self.projection is not None
        x, y = self.projection[:, :3] @ lps_mm.T + self.projection[:, 3:]
        return np.stack([y, x], axis=-1).round().astype(int)

    def share_drawn(self, polygon_mm: FloatArray) -> float:
        """How much of the polygon (points, 3) has colour within ``NEAR_PX``, 0 to 1."""
        steps = np.linspace(0, 1, 20)[:, None, None]
        line = (polygon_mm[:-1] * (1 - steps) + polygon_mm[1:] * steps).reshape(-1, 3)
        at = self.on_page(line)
        near = range(-NEAR_PX, NEAR_PX + 1)
        coloured = self.is_coloured
        hits = [coloured[at[:, 0] + down, at[:, 1] + right] for down in near for right in near]
        return float(np.any(hits, axis=0).mean())

    def share_right(self, centres_mm: FloatArray, inside: npt.NDArray[np.bool_]) -> float:
        """Of the voxels with these centres (n, 3), how many are coloured exactly where they are ``inside``, 0 to 1."""
        at = self.on_page(centres_mm)
        return float((self.is_coloured[at[:, 0], at[:, 1]] == inside).mean())


def overlay_share(shot: Shot, volume_to_lps: FloatArray, mask: npt.NDArray[np.bool_], k: int, margin: int = 3) -> float:
    """``share_right`` of the mask's slice ``k`` and the voxels up to ``margin`` around it.

    ``volume_to_lps``: 4×4, (slice, row, column, 1) → LPS mm.
    """
    rows, columns = np.nonzero(mask[k])
    r, c = (np.arange(v.min() - margin, v.max() + margin + 1) for v in (rows, columns))
    index = np.stack([g.ravel() for g in np.meshgrid([k], r, c, indexing="ij")], axis=-1)
    centres = index @ volume_to_lps[:3, :3].T + volume_to_lps[:3, 3]
    return shot.share_right(centres, mask[index[:, 0], index[:, 1], index[:, 2]])
