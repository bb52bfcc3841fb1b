"""What a run leaves behind, as files, and how it is read again.

run.json            ``RunRecord``: recipe, settings, cohort, splits, machine, state
predictions.jsonl   one ``Predicted`` a line, appended when a fold is done (a killed run goes on after the last)
work/               checkpoints of unfinished fits; removed when the run ends
bundle/             what the node serves
report.html, report.json
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, TextIO

from pydantic import BaseModel, ConfigDict, Field, JsonValue

RUN_FILE = "run.json"
PREDICTIONS_FILE = "predictions.jsonl"
BUNDLE_FOLDER = "bundle"
WORK_FOLDER = "work"
HEATMAP_CHECKS = "the heatmaps' sanity checks (methods D6)"  # of ``RunRecord.facts``

Part = Literal["test", "external", "train"]


class Predicted(BaseModel):
    """One subject's probability from a model that did not learn from it (``part`` "train": that did).

    ``scheme``: "cv" (out of fold), "centre" (of a model that saw nothing of this centre), "final" (the bundle's model;
    its "train" rows show the gap, "external" rows test it), or "permuted-N" (labels permuted before anything was
    learnt; ``label`` is the permuted one).
    ``threshold``: on the probability, fixed on the fold's validation rows (Youden) before the test rows were seen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str
    scheme: str
    repeat: int
    fold: int
    part: Part
    patient: str
    study: str
    centre: str
    label: int
    probability: float
    threshold: float = 0.5
    months: float | None = None
    event: int | None = None


class Said(BaseModel):
    """A caution, the first study's text of it, and of how many studies it was said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    text: str
    studies: int


class RunRecord(BaseModel):
    """``run.json``.  ``seconds``, ``peak_memory_mb``: of the run so far.  ``versions``: of packages and of this one.

    ``left_out``: study → why it was skipped (``--skip-bad``).  ``cautions``: what was said of studies that are used.
    ``truth``: what a phantom cohort knows of its optimum (``bayes_auc`` …), empty for patients.  ``facts``: what an
    estimator wants shown (chosen features, thresholds …), by variant.  ``costs``: seconds an epoch, share of the input
    pipeline …, by variant.
    """

    model_config = ConfigDict(extra="forbid")

    recipe: str
    title: str
    command: str
    settings: dict[str, JsonValue]
    settings_digest: str
    cohort: str
    cohort_digest: str
    subjects: int
    positives: int
    unlabelled: int
    variants: tuple[str, ...]
    seed: int
    repeats: int
    folds: int
    state: Literal["running", "stopped", "done"]
    started_at: str
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    machine: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    left_out: dict[str, str] = Field(default_factory=dict)
    cautions: tuple[Said, ...] = ()
    truth: dict[str, JsonValue] = Field(default_factory=dict)
    facts: dict[str, JsonValue] = Field(default_factory=dict)
    costs: dict[str, JsonValue] = Field(default_factory=dict)
    bundle_digest: str = ""


def write_record(folder: Path, record: RunRecord) -> None:
    """Replace ``run.json`` in one step."""
    partial = folder / f"{RUN_FILE}.partial"
    partial.write_text(record.model_dump_json(indent=1) + "\n")
    partial.replace(folder / RUN_FILE)


def read_record(folder: Path) -> RunRecord:
    """Raises ``FileNotFoundError``, ``pydantic.ValidationError``."""
    return RunRecord.model_validate_json((folder / RUN_FILE).read_text())


def append_predictions(folder: Path, rows: Iterable[Predicted]) -> None:
    """All rows of a fold in one write, synced: they count as done from then on."""
    text = "".join(row.model_dump_json() + "\n" for row in rows)
    with (folder / PREDICTIONS_FILE).open("a+") as file:
        _drop_half_line(file)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


Place = tuple[str, str, int, int]  # variant, scheme, repeat, fold


def keep_whole(folder: Path, sizes: Mapping[Place, int]) -> set[Place]:
    """Which of these have as many rows as they should; what a kill or a full disk left of the others is removed.

    Rows of places that are not asked for stay.  Raises as ``read_predictions``.
    """
    rows = read_predictions(folder)
    found = Counter(place_of(row) for row in rows)
    cut = {place for place, size in sizes.items() if 0 < found[place] != size}
    if cut:
        kept = [row for row in rows if place_of(row) not in cut]
        partial = folder / f"{PREDICTIONS_FILE}.partial"
        partial.write_text("".join(row.model_dump_json() + "\n" for row in kept))
        partial.replace(folder / PREDICTIONS_FILE)
    return {place for place in sizes if found[place] and place not in cut}


def place_of(row: Predicted) -> Place:
    """Of which fit it is."""
    return row.variant, row.scheme, row.repeat, row.fold


def _drop_half_line(file: TextIO) -> None:
    """A line that a kill cut in two is not joined with the next one."""
    file.seek(0)
    text = file.read()
    if text and not text.endswith("\n"):
        file.truncate(len(text[: text.rfind("\n") + 1].encode()))


def read_predictions(folder: Path) -> list[Predicted]:
    """All rows; a last line that a kill cut in two is left out."""
    file = folder / PREDICTIONS_FILE
    if not file.is_file():
        return []
    whole = file.read_text().split("\n")[:-1]
    return [Predicted.model_validate_json(line) for line in whole if line]
