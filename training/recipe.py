"""The one interface of all recipes: settings, looks, and an estimator with fit, predict_proba and save_bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, JsonValue

from training.prepared import Parts, Prepared, Rows


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of ``total`` steps of what ``text`` names."""

    done: int
    total: int
    text: str


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a fit runs, apart from what it learns.

    ``folder``: for checkpoints of this fit alone; a fit that finds its own goes on from there and ends with the same
    bytes.  ``tell`` gets progress; ``stop`` is asked between steps: when it is true the fit saves and raises
    ``Stopped``.  ``device``: "cpu" or "cuda"; ``threads``: of the CPU.
    """

    seed: int
    folder: Path
    device: str = "cpu"
    threads: int = 1
    tell: Callable[[Progress], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False


class Stopped(Exception):  # noqa: N818 - asked for
    """The run was asked to end; its state is saved."""


@dataclass(frozen=True, slots=True)
class Release:
    """What a bundle says that no fit knows.

    ``demonstration``: trained on phantoms or on too little to speak; then the node delivers to loopback only.
    ``evaluation``: as ``inference.model.served.Evaluation`` takes it, None where nothing was held out.
    ``manifest``: how it was trained (command, cohort digest, splits, seeds, packages).  ``card``: Markdown, appended
    to the model card.
    """

    name: str
    version: str
    demonstration: bool
    evaluation: Mapping[str, JsonValue] | None = None
    manifest: Mapping[str, JsonValue] = field(default_factory=dict)
    card: str = ""


class Estimator(Protocol):
    """A model that learns.

    It may have ``facts`` and ``costs``, dictionaries of plain JSON for the run's record: what a reader of the report
    wants to see (chosen features, temperature, stopping step), and seconds an epoch, share of the input pipeline …
    """

    def fit(self, data: Prepared, parts: Parts, conditions: Conditions) -> Self:
        """Learn from ``parts``; the same arguments give the same model on the same machine.

        Raises ``inference.facts.Refused``: ``training-one-class``, ``training-loss-not-finite``,
        ``training-out-of-memory``; ``Stopped``.
        """

    def predict_proba(self, data: Prepared, rows: Rows) -> npt.NDArray[np.float64]:
        """Calibrated probability of the label, (len(rows),)."""

    def save_bundle(self, out: Path, release: Release) -> str:
        """Write what the node serves; gives the bundle's digest."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One system.

    ``name``: of the command; ``title``: for people, with "a reconstruction" where it is one; ``source``: paper, DOI.
    ``images``: what it looks at, as ``Served.images``.  ``settings``: pydantic model; fields carry description, the
    paper's value or the reason of the default.  ``looks``: name → input settings, from the settings.
    ``variants``: names of the models that are compared in a run, the one that becomes the bundle first (where
    the node cannot serve it, the next that it can).
    ``estimator``: (settings, variant) → a fresh estimator.  ``values``: columns of the table that are used where
    present; ``never``: columns that must not be (known only after baseline), with the reason.
    ``published``: the paper's table, rows of (model, quantity, value), only what is published.
    ``sources``: variant → the sources of a phantom cohort that it may use, as its truth file names them ("ct+pet").
    ``relabelled``: (settings, data) → the data with the labels that the system is about, where the table's may not
    simply be taken (a label that follows from a time); before any split.  Raises ``Refused``.
    """

    name: str
    title: str
    source: str
    images: str
    settings: type[BaseModel]
    looks: Callable[[Any], Mapping[str, Any]]
    variants: tuple[str, ...]
    estimator: Callable[[Any, str], Estimator]
    values: tuple[str, ...] = ()
    never: Mapping[str, str] = field(default_factory=dict)
    published: tuple[tuple[str, str, str], ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    relabelled: Callable[[Any, Prepared], Prepared] = lambda _, data: data


def refuse_never(values: Sequence[str], never: Mapping[str, str]) -> None:
    """Raise ``ValueError`` (for a settings model) where a column is asked for that no model may be given."""
    if wrong := [name for name in values if name in never]:
        raise ValueError(f"values: '{wrong[0]}' must not be used: {never[wrong[0]]}")
