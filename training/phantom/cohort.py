"""A cohort with a known optimum (methods A0): hidden scores, labels, and the PET/CT of one lesion for each subject.

Hidden state h ~ Bernoulli(prevalence), score s = ±delta/2 + N(0, 1), label y = h flipped with probability epsilon.
The image shows s twice (core of the uptake, texture on CT); size, uptake, place, centre and other hot spots carry
nothing.  No reader of the images can beat ``bayes_auc`` in expectation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from inference.facts import Region, Volume
from training.phantom.latents import clustered_auc
from training.phantom.lesion import PlantedLesion, core_fraction, texture_sd_hu
from training.phantom.scene import (
    CENTRES,
    RegionRule,
    contour_region,
    draw_scene,
    image_ct,
    image_pet,
    isocontour_region,
)

__all__ = ["CENTRES", "CohortSettings", "Phantom", "Subject", "bayes_auc", "draw", "render", "write_truth"]


@dataclass(frozen=True, slots=True)
class CohortSettings:
    """The bimodal preset of methods A0; ``extent_mm``: edge of the rendered cube."""

    subjects: int
    seed: int
    delta: float = 4.0
    epsilon: float = 0.1
    prevalence: float = 0.45
    extent_mm: float = 128.0


@dataclass(frozen=True, slots=True)
class Subject:
    """The truth of one subject.  ``region_rule``: how its region is drawn, a contour or 41 % of the maximum."""

    number: int
    hidden: bool
    score: float
    label: bool
    centre: int
    lesion: PlantedLesion
    distractors: tuple[PlantedLesion, ...]
    surroundings_hu: float
    region_rule: RegionRule
    contour_scale: float


@dataclass(frozen=True, slots=True)
class Phantom:
    """The images of one subject: SUVbw, HU (int16, its own grid), and the lesion's region on the PET grid."""

    suv: Volume
    ct: Volume
    region: Region


def bayes_auc(settings: CohortSettings) -> float:
    """Area under the curve of the score s itself for the label y, in closed form.

    P(y = 1 | s) rises with s, so s is the best ranking; each class is a mixture of the two Gaussians.
    """
    return clustered_auc(settings.delta, settings.epsilon, settings.prevalence)


def draw(settings: CohortSettings) -> list[Subject]:
    """The subjects of a cohort; each depends on the seed and its number only."""
    return [_subject(settings, number) for number in range(settings.subjects)]


def render(subject: Subject, settings: CohortSettings) -> Phantom:
    """The images of one subject; the same call gives the same voxels."""
    rng = np.random.default_rng([settings.seed, subject.number, 1])
    centre = CENTRES[subject.centre]
    lesions = (*subject.distractors, subject.lesion)
    suv = image_pet(lesions, centre, settings.extent_mm, rng)
    ct = image_ct(lesions, subject.surroundings_hu, centre, settings.extent_mm, rng)
    return Phantom(suv, ct, _region(subject, suv))


def write_truth(file: Path, settings: CohortSettings, subjects: Sequence[Subject]) -> None:
    """The latents of a cohort with its seed and the best AUC that exists for it, as JSON."""
    truth = {
        "settings": asdict(settings),
        "bayes_auc": bayes_auc(settings),
        "centres": [asdict(centre) for centre in CENTRES],
        "subjects": [asdict(subject) for subject in subjects],
    }
    file.write_text(json.dumps(truth, indent=1, sort_keys=True) + "\n")


def _subject(settings: CohortSettings, number: int) -> Subject:
    rng = np.random.default_rng([settings.seed, number, 0])
    hidden = bool(rng.random() < settings.prevalence)
    score = float((0.5 if hidden else -0.5) * settings.delta + rng.standard_normal())
    label = hidden ^ bool(rng.random() < settings.epsilon)
    scene = draw_scene(settings.extent_mm, rng)
    shown = replace(scene.lesion, core_fraction=core_fraction(score), texture_sd_hu=texture_sd_hu(score))
    return Subject(
        number=number,
        hidden=hidden,
        score=score,
        label=label,
        centre=scene.centre,
        lesion=shown,
        distractors=scene.distractors,
        surroundings_hu=scene.surroundings_hu,
        region_rule=scene.region_rule,
        contour_scale=scene.contour_scale,
    )


def _region(subject: Subject, suv: Volume) -> Region:
    """What serving would be given: a reader's contour, or the 41 % isocontour joined to the maximum."""
    if subject.region_rule == "contour":
        return contour_region(subject.lesion, subject.contour_scale, suv)
    return isocontour_region(subject.lesion, suv)
