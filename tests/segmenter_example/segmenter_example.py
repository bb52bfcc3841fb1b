"""A segmenter for petct-node: connected uptake at or above SUVbw 4, at least 1 ml, the largest first.

Replace the middle of ``lesions`` by your network.  What it needs stands in ``inference/SEGMENTERS.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from inference.facts import Region, Tracer, Volume

THRESHOLD_SUV = 4.0
LEAST_ML = 1.0


class FixedThreshold:
    """Made once when the node starts: load weights in ``__init__``."""

    name = "fixed threshold example"
    version = "0.1"

    def lesions(self, suv: Volume, ct: Volume, tracer: Tracer) -> Sequence[Region]:
        print(f"{self.name}: {suv.array.shape}, CT {ct.array.shape}, tracer {tracer.name or 'unknown'}")
        labels, _ = ndimage.label(suv.array >= THRESHOLD_SUV, structure=np.ones((3, 3, 3)))
        regions = [
            Region(tuple(part.start for part in box), labels[box] == number)
            for number, box in enumerate(ndimage.find_objects(labels), 1)
        ]
        large = [region for region in regions if region.mask.sum() * suv.voxel_ml >= LEAST_ML]
        return sorted(large, key=lambda region: -int(region.mask.sum()))


class Broken:
    """What happens when a segmenter fails: the study is refused, with the reason in its report."""

    name = "broken example"
    version = "0.1"

    def lesions(self, suv: Volume, ct: Volume, tracer: Tracer) -> Sequence[Region]:
        raise RuntimeError(f"no network for {tracer.name} on {suv.array.shape} and {ct.array.shape} voxels")
