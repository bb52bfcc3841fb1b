"""What a phantom cohort knows of itself: hidden scores, and the best AUC there is for every set of sources."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from training.phantom.latents import (
    GaussianSources,
    Missing,
    Suppressor,
    auc_with_missing,
    distance_of_auc,
    empirical_auc,
)
from training.phantom.scene import CENTRES
from training.phantom.settings import PhantomSettings
from training.phantom.subjects import LEAK, PREVALENCE_SHIFT, PhantomSubject

SAMPLES = 200_000
STATEMENT = "Phantoms with a planted signal: nothing here speaks about patients."


def bayes_aucs(settings: PhantomSettings) -> dict[str, float]:
    """The best AUC for every set of sources, named "ct", "pet+ct" …; no reader of them can beat it in expectation."""
    model, rate = settings.of.label_model, settings.of.prevalence
    return {"+".join(chosen): model.bayes_auc(chosen, rate) for chosen in _sets(model.sources)}


def bayes_aucs_as_given(settings: PhantomSettings) -> dict[str, float]:
    """As ``bayes_aucs``, for the values as the table has them, some of them missing (only sets with "clinical")."""
    model, columns = settings.of.label_model, settings.of.informative
    if not columns or not isinstance(model, GaussianSources | Suppressor):
        return {}
    rates = [column.missing if settings.missing is None else settings.missing for column in columns]
    missing = Missing(tuple(column.share for column in columns), tuple(rates))
    own = distance_of_auc(model.bayes_auc(("clinical",)))
    found = {}
    for chosen in _sets(model.sources):
        if "clinical" in chosen:
            others = distance_of_auc(model.bayes_auc([s for s in chosen if s != "clinical"]))
            found["+".join(chosen)] = auc_with_missing(own, missing, others)
    return found


def bayes_auc_with_centre(settings: PhantomSettings) -> float:
    """The best AUC for a reader who also uses which centre a subject comes from, by simulation (SE about 0.001).

    All parts are mixed as in the cohort.  Without the leak switch it is hardly more than ``bayes_aucs``; with it, what
    a cheating reader can reach: then only the AUC within each centre is honest.
    """
    preset = settings.of
    rng = np.random.default_rng(1)
    part = rng.choice(len(preset.parts), SAMPLES, p=[p.share for p in preset.parts])
    centres = np.array([[p.centres[int(u * len(p.centres))] for u in np.linspace(0, 0.999, 60)] for p in preset.parts])
    centre = centres[part, rng.integers(0, 60, SAMPLES)]
    leaky = np.array([settings.leak and len(p.centres) > 1 for p in preset.parts])[part]
    shift = np.where(leaky, 0.0, np.array(PREVALENCE_SHIFT)[centre - 1])
    rate = np.clip(preset.prevalence + shift, 0.02, 0.98)
    drawn = preset.label_model.draw(rate, rng)
    told = np.where(rng.random(SAMPLES) < LEAK, drawn.labels, ~drawn.labels)
    hint = np.where(leaky, np.where(told, 1.0, -1.0) * math.log(LEAK / (1.0 - LEAK)), 0.0)
    return empirical_auc(
        drawn.labels, preset.label_model.log_odds(drawn.scores, preset.label_model.sources, rate) + hint
    )


def truth_of(settings: PhantomSettings, subjects: Sequence[PhantomSubject]) -> dict[str, Any]:
    """The truth file's content."""
    return {"statement": STATEMENT, **optimum(settings), "subjects": [_subject(subject) for subject in subjects]}


def optimum(settings: PhantomSettings) -> dict[str, Any]:
    """What is known of the cohort as a whole."""
    return {
        "settings": settings.as_json(),
        "bayes_auc": bayes_aucs(settings),
        "bayes_auc_as_given": bayes_aucs_as_given(settings),
        "bayes_auc_with_centre": bayes_auc_with_centre(settings),
        "columns": {column.name: column.share for column in settings.of.informative},
        "centres": [asdict(centre) for centre in CENTRES],
    }


def _subject(subject: PhantomSubject) -> dict[str, Any]:
    told = asdict(subject)
    told.pop("values")  # they stand in the table
    return {"patient": subject.patient, **told, "centre": subject.centre + 1}


def _sets(sources: Sequence[str]) -> list[tuple[str, ...]]:
    return [chosen for size in range(1, len(sources) + 1) for chosen in combinations(sources, size)]
