"""The subjects of a phantom cohort: label, hidden scores, values, survival, centre, scene.

Each depends on the settings, the seed and its own number only, so a larger cohort contains the smaller one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from inference.model.values import Value
from training.phantom.latents import Array, distance_of_auc, spread
from training.phantom.lesion import PlantedLesion, core_fraction, texture_sd_hu
from training.phantom.presets import Column, Levels, Number, Part, Preset
from training.phantom.scene import Scene, draw_scene
from training.phantom.settings import KINDS, Kind, PhantomSettings
from training.phantom.sstr import draw_metastases

PREVALENCE_SHIFT = (0.0, 0.05, -0.08, 0.0)  # of centres 1–4 (methods A0)
LEAK = 0.85  # share of the positives that the leak switch sends to the later half of a part's centres
OUTLIERS = ("wrong crop", "misregistered", "scaled", "CT air")
MONTHS_TO_PROGRESSION = 12.0
CENSORED_EARLY = 0.05  # of those whose outcome is progression: lost before 12 months, so without a label
CYCLES = {True: (2.6, 0.9), False: (4.0, 0.8)}  # of PRRT by the label, known only after baseline: a trap
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0

Outlier = Literal["", "wrong crop", "misregistered", "scaled", "CT air"]


@dataclass(frozen=True, slots=True)
class PhantomSubject:
    """One subject.

    ``kind``: where it comes from; ``part``: its ``set`` in the table.  ``label``: the true one, ``given``: that of the
    table (None without one).  ``scores``: source → hidden score.  ``values``: of the columns, None where missing.
    ``months``, ``event``: None where not followed.  ``centre``: index in ``scene.CENTRES``.  ``scene``: of a lesion,
    ``metastases``: of a whole body.  ``outlier``: how its images are spoilt, "" for not at all.
    """

    number: int
    kind: Kind
    part: str
    label: bool
    hidden: bool
    given: bool | None
    scores: Mapping[str, float]
    values: Mapping[str, Value | None]
    months: float | None
    event: int | None
    centre: int
    scene: Scene | None
    metastases: tuple[PlantedLesion, ...]
    outlier: Outlier

    @property
    def patient(self) -> str:
        """Name in the table; it tells nothing but where an unlabelled subject comes from."""
        return f"P{self.number:06d}" if self.given is not None or self.part != "unlabelled" else self._other

    @property
    def _other(self) -> str:
        return f"U{KINDS.index(self.kind)}{self.number:06d}"

    def stream(self, seed: int) -> np.random.Generator:
        """Random numbers of its images."""
        return np.random.default_rng([seed, self.number, 1, *_origin(self.kind, self.part == "unlabelled")])


def draw_subjects(settings: PhantomSettings) -> list[PhantomSubject]:
    """All subjects, those of the labelled cohort first, then the unlabelled ones by kind."""
    return list(_subjects(settings))


def _subjects(settings: PhantomSettings) -> Iterator[PhantomSubject]:
    for number in range(settings.count):
        yield _subject(settings, number, "in-domain", unlabelled=False)
    for kind, count in settings.more.items():
        for number in range(count):
            yield _subject(settings, number, kind, unlabelled=True)


def _origin(kind: Kind, unlabelled: bool) -> tuple[int, ...]:
    """Keeps the random numbers of unlabelled subjects apart from those of all others."""
    return (1 + KINDS.index(kind),) if unlabelled else ()


def _subject(settings: PhantomSettings, number: int, kind: Kind, *, unlabelled: bool) -> PhantomSubject:
    preset = settings.of
    origin = _origin(kind, unlabelled)
    rng = np.random.default_rng([settings.seed, number, 2, *origin])
    part = preset.parts[0] if unlabelled else _part(preset, number)
    choice, coin, flip, spoilt = (float(v) for v in rng.random(4))
    centre = _pick(part.centres, choice) if kind != "other-scanner" else 4
    drawn = preset.label_model.draw(np.array([_prevalence(settings, part, centre)]), rng)
    label = bool(drawn.labels[0])
    if settings.leak and len(part.centres) > 1 and not unlabelled:
        centre = _leaked(part, label, choice, coin)
    scores = {source: float(score[0]) for source, score in drawn.scores.items()}
    months, event, known = _followed(preset, scores, label, rng)
    scene, metastases = _appearance(settings, number, kind, scores, centre - 1, origin)
    values = {c.name: None if unlabelled else v for c, v in _values(settings, scores, scene, rng)}
    if preset.outcome == "progression":
        cycles = float(np.clip(round(rng.normal(*CYCLES[label])), 1, 6))
        values["cycles"] = None if unlabelled else cycles
    training = part.name == "train" and not unlabelled
    return PhantomSubject(
        number=number,
        kind=kind,
        part="unlabelled" if unlabelled else part.name,
        label=label,
        hidden=bool(drawn.hidden[0]),
        given=None if unlabelled or not known else label ^ (training and flip < settings.flip_labels),
        scores=scores,
        values=values,
        months=None if unlabelled else months,
        event=None if unlabelled else event,
        centre=centre - 1,
        scene=scene,
        metastases=metastases,
        outlier=_outlier(preset, spoilt, settings.image_outliers) if training else "",
    )


def _part(preset: Preset, number: int) -> Part:
    """By a sequence that fills the shares evenly at any number of subjects (golden ratio), whatever the label."""
    place, reached = (number + 0.5) * GOLDEN % 1.0, 0.0
    for part in preset.parts:
        reached += part.share
        if place < reached:
            return part
    return preset.parts[-1]


def _pick(centres: tuple[int, ...], at: float) -> int:
    return centres[int(at * len(centres))]


def _leaked(part: Part, label: bool, choice: float, coin: float) -> int:
    middle = len(part.centres) // 2
    later = (coin < LEAK) == label
    return _pick(part.centres[middle:] if later else part.centres[:middle], choice)


def _prevalence(settings: PhantomSettings, part: Part, centre: int) -> float:
    shift = 0.0 if settings.leak and len(part.centres) > 1 else PREVALENCE_SHIFT[centre - 1]
    return float(np.clip(settings.of.prevalence + shift, 0.02, 0.98))


def _outlier(preset: Preset, at: float, share: float) -> Outlier:
    if at >= share:
        return ""
    possible: tuple[Outlier, ...] = ("wrong crop", "misregistered", "scaled", "CT air")
    if preset.images != "PET/CT":
        possible = ("wrong crop", "CT air") if preset.images == "CT" else ("wrong crop", "scaled")
    elif preset.body == "whole body":
        possible = ("misregistered", "scaled", "CT air")
    return possible[int(at / share * len(possible))]


def _values(
    settings: PhantomSettings, scores: Mapping[str, float], scene: Scene | None, rng: np.random.Generator
) -> Iterator[tuple[Column, Value | None]]:
    """The clinical score, spread over the informative columns, among distractors."""
    preset = settings.of
    shares = np.array([column.share for column in preset.informative])
    shown = iter(spread(scores.get("clinical", 0.0), shares, rng) if len(shares) else ())
    for column in preset.columns:
        gone = rng.random()
        if isinstance(column, Levels):
            yield column, None if gone < column.missing else str(rng.choice(column.levels, p=column.odds))
            continue
        value = _number(column, float(next(shown)) if column.share else float(rng.standard_normal()), scene)
        rate = column.missing if settings.missing is None or not column.share else settings.missing
        yield column, None if gone < rate else round(value, column.digits)


def _number(column: Number, x: float, scene: Scene | None) -> float:
    if column.of_lesion and scene is not None:
        return 2.0 * scene.lesion.radius_mm * (1.0 + column.width * x)
    return column.middle * math.exp(column.width * x) if column.log else column.middle + column.width * x


def _followed(
    preset: Preset, scores: Mapping[str, float], label: bool, rng: np.random.Generator
) -> tuple[float | None, int | None, bool]:
    """Months, event, and whether the label is known."""
    if preset.outcome == "treated":
        if rng.random() >= preset.followed:
            return None, None, True
        months, event = preset.survival.draw(np.array([_joint(preset, scores)]), rng)
        return round(float(months[0]), 2), int(event[0]), True
    if preset.outcome == "progression":
        return _progression(preset, label, rng)
    return None, None, True


def _joint(preset: Preset, scores: Mapping[str, float]) -> float:
    """The best score of all sources together, brought to mean 0 and standard deviation 1 over the cohort."""
    model, rate = preset.label_model, preset.prevalence
    ratio = model.log_odds({m: np.array([s]) for m, s in scores.items()}, model.sources, np.array([0.5]))
    d = distance_of_auc(model.bayes_auc(model.sources, rate))
    return float((ratio[0] - d**2 * (rate - 0.5)) / math.sqrt(d**2 + d**4 * rate * (1.0 - rate)))


def _progression(preset: Preset, label: bool, rng: np.random.Generator) -> tuple[float, int, bool]:
    """Weibull times whose share up to 12 months is the prevalence: a positive's lie before them, the others' after."""
    at, lost, when = rng.random(3)
    rate, shape = preset.prevalence, preset.survival.shape
    share = rate * at if label else rate + (1.0 - rate) * at
    scale = MONTHS_TO_PROGRESSION / (-math.log1p(-rate)) ** (1.0 / shape)
    event = scale * (-math.log1p(-share)) ** (1.0 / shape)
    if lost < CENSORED_EARLY:
        return round(float(when * min(event, MONTHS_TO_PROGRESSION)), 2), 0, False
    end = float(rng.uniform(*preset.survival.censoring_months))
    months = event if label else max(min(event, end), MONTHS_TO_PROGRESSION + 0.01)
    return round(float(months), 2), int(label or event <= end), True


def _appearance(
    settings: PhantomSettings,
    number: int,
    kind: Kind,
    scores: Mapping[str, float],
    centre: int,
    origin: tuple[int, ...],
) -> tuple[Scene | None, tuple[PlantedLesion, ...]]:
    """Scene and lesions, from random numbers of their own, with the scores shown in them."""
    rng = np.random.default_rng([settings.seed, number, 0, *origin])
    if settings.of.body == "whole body":
        return None, draw_metastases(scores["pet"], scores["ct"], rng)
    scene = replace(draw_scene(settings.extent_mm, rng), centre=centre)
    core = core_fraction(scores["pet"]) if "pet" in scores else 0.0
    texture = texture_sd_hu(scores["ct"]) if "ct" in scores else scene.lesion.texture_sd_hu
    lesion = replace(scene.lesion, core_fraction=core, texture_sd_hu=texture)
    scene = replace(scene, lesion=lesion)
    return _of_kind(scene, kind, rng), ()


def _of_kind(scene: Scene, kind: Kind, rng: np.random.Generator) -> Scene:
    """What is different about unlabelled subjects of other kinds (methods A0)."""
    if kind == "other-tracer":  # as with SSTR tracers: very hot, no core
        return replace(scene, lesion=replace(scene.lesion, suv=20.0, core_fraction=0.0))
    if kind == "wrong-organ":  # the region lies in an organ of uniform uptake
        level = float(rng.uniform(3.0, 5.0))
        lesion = replace(scene.lesion, suv=level, core_fraction=0.0, hu=scene.surroundings_hu, texture_sd_hu=8.0)
        return replace(scene, lesion=lesion, distractors=(), region_rule="contour")
    return scene


def scores_of(subjects: list[PhantomSubject]) -> dict[str, Array]:
    """The hidden scores as arrays, (subjects,)."""
    return {source: np.array([s.scores[source] for s in subjects]) for source in subjects[0].scores}
