"""Is the scale of the SUV right?  Checks against what the header or physics say a second time.  Warnings only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from inference.facts import Caution, Instance, SuvRule, Volume
from inference.reading.header import number, zoned_moment
from inference.suv.scan_time import acquired_at, frame_s

# Decay Factor is written with five digits; 3 % of F-18 are five minutes.
DECAY_FACTOR_TOLERANCE = 0.03
# SUV is uptake relative to an even spread: summed over the volume it cannot exceed the body's mass (1 ml weighs 1 g),
# but for noise and scatter.
MOST_OF_THE_DOSE = 1.25
HEAVIEST_KG = 300.0  # where the weight is not among the rule's inputs
# PET resolves 5 mm: the mean of a slice cannot be so many times that of both its neighbours.
SLICE_JUMP = 20.0
LEAST_MEAN_SUV = 0.05  # below this a slice is air and noise
# The mean SUV of a body is 1 by definition.  No volume is filled with more than the first, none lies below the second.
MOST_MEDIAN_SUV, LEAST_MAXIMUM_SUV = 100.0, 0.1
SAMPLE = 100_000  # voxels, evenly spread: enough for a median


def calibration_cautions(instances: Sequence[Instance], rule: SuvRule, suv: Volume) -> tuple[Caution, ...]:
    """What contradicts the scale of ``suv`` (slices in the order of ``instances``), made by ``rule``."""
    return (*_decay_factor(instances, rule), *_whole_dose(rule, suv), *_level(suv), *_slice_jump(suv))


def _decay_factor(instances: Sequence[Instance], rule: SuvRule) -> tuple[Caution, ...]:
    """Decay Factor (0054,1321), with which the scanner corrected, against the decay since the reference time used.

    It is exp(λ (t_acq - t_ref)) λT / (1 - exp(-λT)) (PS3.3 C.8.9.4); 1 is written by those that do not state it.
    """
    half_life_s, reference = rule.inputs.get("half_life_s"), zoned_moment(rule.reference_time or None, None)
    if not isinstance(half_life_s, float | int) or reference is None or rule.inputs.get("decay_correction") == "NONE":
        return ()
    per_second, worst = math.log(2) / half_life_s, 0.0
    for instance in instances:
        stated, start = number(instance.attributes, "DecayFactor"), acquired_at(instance)
        lasted = (frame_s(instance) or 0.0) * per_second
        if not stated or stated <= 0 or stated == 1 or start is None or lasted <= 0:
            continue
        since = (start - reference).total_seconds() * per_second
        worst = max(worst, abs(math.log(stated) - since - math.log(lasted / -math.expm1(-lasted))))
    if worst <= DECAY_FACTOR_TOLERANCE:
        return ()
    text = (
        f"Decay Factor (0054,1321) differs by {100 * math.expm1(worst):.0f} % from the decay between the reference "
        "time that was used and the acquisition: Decay Correction, a time or the half-life may be wrong, so SUV too."
    )
    return (Caution("decay-factor-disagrees", text),)


def _whole_dose(rule: SuvRule, suv: Volume) -> tuple[Caution, ...]:
    weight_kg = rule.inputs.get("weight_kg")
    most_g = (weight_kg if isinstance(weight_kg, float | int) else HEAVIEST_KG) * 1000.0 * MOST_OF_THE_DOSE
    found_g = float(suv.array.sum(dtype=float)) * suv.voxel_ml
    text = (
        f"By its SUV the volume holds {found_g / most_g * MOST_OF_THE_DOSE:.1f} times the injected dose: Units, "
        "Rescale Slope, weight, dose or times are wrong."
    )
    return (Caution("more-than-the-dose", text),) if found_g > most_g else ()


def _level(suv: Volume) -> tuple[Caution, ...]:
    sample = suv.array.ravel()[:: max(1, suv.array.size // SAMPLE)]
    filled = sample[sample > LEAST_MEAN_SUV]
    median = float(np.median(filled)) if filled.size else 0.0
    if median <= MOST_MEDIAN_SUV and float(suv.array.max()) >= LEAST_MAXIMUM_SUV:
        return ()
    text = (
        f"No PET has such values: median SUV {median:.3g}, maximum {float(suv.array.max()):.3g}. Units, Rescale Slope, "
        "weight or dose are wrong."
    )
    return (Caution("suv-implausible", text),)


def _slice_jump(suv: Volume) -> tuple[Caution, ...]:
    means = suv.array.mean(axis=(1, 2), dtype=float)
    if len(means) < 3:
        return ()
    inner, before, after = means[1:-1], means[:-2], means[2:]
    above = inner > SLICE_JUMP * np.maximum(np.maximum(before, after), LEAST_MEAN_SUV)
    below = np.maximum(inner, LEAST_MEAN_SUV) * SLICE_JUMP < np.minimum(before, after)
    count = int((above | below).sum())
    text = (
        f"{count} slice(s) have a mean SUV more than {SLICE_JUMP:.0f} times above or below both their neighbours': "
        "their Rescale Slope or their pixels may be wrong."
    )
    return (Caution("slice-scale-differs", text),) if count else ()
