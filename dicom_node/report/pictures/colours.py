"""Colour maps and blending.  All pixels are uint8; colour is the last axis.

Warm is uptake, cold is saliency, in every picture.  Both maps are perceptually even: equal steps of the value look like
equal steps (the usual hot-metal map is not: its lightness climbs thrice as fast in places), and grow lighter all the
way, so that they can be read by colour-blind readers and in a grey print.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from inference.facts import FloatArray

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

SUV_RANGE = (0.0, 10.0)  # g/ml: PET is shown between these in every picture
IODINE_RANGE = (0.0, 5.0)  # mg/ml: an iodine map is; vessels in the venous phase have some 4
MOST_OPACITY = 0.6  # of saliency, so that the image below it stays visible
PET_OPACITY, PET_OPAQUE_SUV = 0.75, 4.0  # of PET on CT: rises to the first at the second
CT_BELOW_PET = 0.65  # brightness of the CT there, or uptake would be darker than the tissue that it lies in

# matplotlib's inferno (CC0), perceptually uniform, at 33 equal steps; straight lines between them stay within 2/255.
_INFERNO = (
    "000004 040312 0b0724 150b37 210c4a 2f0a5b 3d0965 4a0c6b 57106e 64156e 71196e "
    "7d1e6d 8a226a 972766 a32c61 b0315b bc3754 c63d4d d04545 da4e3c e35933 eb6429 "
    "f1711f f67e14 f98c0a fb9b06 fcaa0f fbba1f f9c932 f5d949 f2e865 f3f586 fcffa4"
)
# The darker half of ColorBrewer's YlGnBu (Apache 2.0) at equal steps of CIELAB.  With opacity rising along it, more
# saliency stands out more on every grey from black to white; with maps that end pale (inferno, viridis) it fades again
# on the white of a PET.
_COLD = (
    "152874 1c2d82 233390 243b97 24449c 234da0 2356a4 225fa9 2169ad 2072b1 1f7cb6 1e85bb 1d8fbf "
    "2498c1 2ca0c2 34a9c3 3db2c4"
)


def _table(colours: list[str]) -> Pixels:
    """256 colours (256, 3) through the given ones (hex, RGB) at equal steps."""
    at = np.round(np.linspace(0, 255, len(colours)))
    rgb = np.array([[int(colour[i : i + 2], 16) for i in (0, 2, 4)] for colour in colours])
    return np.stack([np.interp(np.arange(256), at, rgb[:, c]) for c in range(3)], axis=-1).round().astype(np.uint8)


INFERNO = _table(_INFERNO.split())
COLD = _table(_COLD.split())


def scaled(values: npt.NDArray[Any], low: float, high: float) -> Pixels:
    """``values`` from low..high to 0..255; outside it is the nearer end, and not-a-number is low."""
    share = (np.nan_to_num(values, nan=low).astype(np.float32) - np.float32(low)) * np.float32(255.0 / (high - low))
    levels: Pixels = np.clip(share + np.float32(0.5), 0, 255).astype(np.uint8)
    return levels


def grey(levels: Pixels) -> Pixels:
    """Grey levels (...) as colour (..., 3)."""
    colour: Pixels = np.repeat(levels[..., None], 3, axis=-1)
    return colour


def blend(below: Pixels, above: Pixels, opacity: FloatArray) -> Pixels:
    """``above`` over ``below`` (both (..., 3)) with ``opacity`` 0..1 (...)."""
    share = opacity[..., None].astype(np.float32)
    return np.asarray((1 - share) * below + share * above + 0.5, np.uint8)


def saliency_over(below: Pixels, saliency: FloatArray) -> Pixels:
    """Saliency 0..1 (...) in cold colours over ``below`` (..., 3), its opacity rising with it to ``MOST_OPACITY``."""
    return blend(below, COLD[scaled(saliency, 0, 1)], MOST_OPACITY * np.clip(saliency, 0, 1))


def pet_over(below: Pixels, suv: FloatArray) -> Pixels:
    """SUVbw (...) in warm colours over a dimmed ``below`` (..., 3), its opacity rising with it to ``PET_OPACITY``."""
    opacity = np.clip(suv * (PET_OPACITY / PET_OPAQUE_SUV), 0.0, PET_OPACITY)
    dimmed = (below * np.float32(CT_BELOW_PET)).astype(np.uint8)
    return blend(dimmed, INFERNO[scaled(suv, *SUV_RANGE)], opacity)
