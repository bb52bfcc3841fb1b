"""From a cohort to arrays: every study through ``inference.model.look``, cached by content, several at a time.

A stopped or killed preparation goes on where it was: what is in the cache is not made again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from inference.facts import Refused
from inference.model.inputs import InputSettings
from inference.model.values import Value
from training.cohort.cache import Entry, Facts
from training.cohort.findings import MOST_SHOWN
from training.cohort.leakage import refuse_same_images
from training.cohort.parallel import each
from training.cohort.seen import Seen, Task, kind_of, look_at, read_or_remake
from training.cohort.table import Cohort
from training.prepared import Prepared
from training.recipe import Progress

IN_MEMORY = 512 * 2**20  # bytes of one look; more are mapped from a file of the cache
REGION_GROUP = "region"  # subgroup: who drew the region


@dataclass(frozen=True, slots=True)
class PreparedCohort:
    """``data``: what recipes learn from.  ``left_out``: study → why.  ``cautions``: study → (code, text) of each."""

    data: Prepared
    left_out: Mapping[str, str] = field(default_factory=dict)
    cautions: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)


def prepare(
    cohort: Cohort,
    looks: Mapping[str, InputSettings],
    *,
    cache: Path,
    processes: int = 1,
    skip_bad: bool = False,
    tell: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> PreparedCohort:
    """The cohort as ``looks`` see it (name → settings, all of one kind of images).

    What is measured on the lesion (``suv_max``, ``mtv_ml``, ``tlg``, ``volume_ml`` …) stands among the values in place
    of the table's own column of that name, and age and sex of the DICOM header where the table has no such column: so
    does serving (``inference.model.given``).
    Raises ``Refused``: ``cohort-image`` naming every row that cannot be used (left out with ``skip_bad``),
    ``cohort-leak`` where two patients have the same image, ``cohort-interrupted``; ``Stopped``.
    """
    kind = kind_of(looks)
    tasks = [
        Task(study, kind, looks, {c.name: c.values[i] for c in cohort.columns}, cohort.region_names, cache)
        for i, study in enumerate(cohort.studies)
    ]
    seen = []
    for one in each(look_at, tasks, processes, stop):
        seen.append(one)
        tell(Progress(len(seen), len(tasks), "images"))
    left_out = {t.study.study: one.why for t, one in zip(tasks, seen, strict=True) if one.why}
    if left_out and not (skip_bad and len(left_out) < len(tasks)):
        raise _unusable(tasks, seen)
    kept = [i for i, one in enumerate(seen) if not one.why]
    arrays, facts = _gathered([tasks[i] for i in kept], [seen[i] for i in kept], cache)
    studies = [cohort.studies[i] for i in kept]
    voxels = {study.study: one.voxels for study, one in zip(studies, facts, strict=True)}
    refuse_same_images(studies, voxels, cohort.file.name)
    data = _prepared(cohort, kept, arrays, facts, [seen[i].content for i in kept])
    said = {study.study: f.cautions for study, f in zip(studies, facts, strict=True) if f.cautions}
    return PreparedCohort(data, left_out, said)


def _unusable(tasks: Sequence[Task], seen: Sequence[Seen]) -> Refused:
    bad = [(t.study, one.why) for t, one in zip(tasks, seen, strict=True) if one.why]
    lines = [f"  row {study.row} (study {study.study}): {why}" for study, why in bad[:MOST_SHOWN]]
    more = [f"  … and {len(bad) - MOST_SHOWN} more"] if len(bad) > MOST_SHOWN else []
    return Refused(
        "cohort-image",
        "\n".join(
            [
                f"{len(bad)} of {len(tasks)} studies cannot be used; mend them, or leave them out with --skip-bad:",
                *lines,
                *more,
            ]
        ),
    )


def _gathered(
    tasks: Sequence[Task], seen: Sequence[Seen], cache: Path
) -> tuple[dict[str, npt.NDArray[np.float32]], list[Facts]]:
    """All arrays of each look in one, and the facts: of the first look, radiomics of the first that has them."""
    arrays: dict[str, npt.NDArray[np.float32]] = {}
    facts: list[Facts] = []
    for name in tasks[0].looks:
        arrays[name], own = _stacked(tasks, name, [one.entries[name] for one in seen], cache)
        if not facts:
            facts = own
        elif not facts[0].radiomics:
            facts = [f.model_copy(update={"radiomics": g.radiomics}) for f, g in zip(facts, own, strict=True)]
    return arrays, facts


def _stacked(
    tasks: Sequence[Task], name: str, paths: Sequence[Path], cache: Path
) -> tuple[npt.NDArray[np.float32], list[Facts]]:
    """float32 (study, channel, …) of one look, mapped from a file where it is large; writing to it changes no file."""
    entries = (read_or_remake(task, name, path) for task, path in zip(tasks, paths, strict=True))
    shape = (len(tasks), *read_or_remake(tasks[0], name, paths[0]).array.shape)
    if math.prod(shape) * 4 <= IN_MEMORY:
        array = np.empty(shape, np.float32)
        return array, _filled(array, entries)
    key = hashlib.sha256("\n".join(path.stem for path in paths).encode()).hexdigest()
    file = cache / "whole" / f"{key}.npy"
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{key}.{os.getpid()}.partial")
    mapped = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape)
    facts = _filled(mapped, entries)
    mapped.flush()
    del mapped
    partial.replace(file)
    return np.asarray(np.load(file, mmap_mode="c", allow_pickle=False)), facts


def _filled(array: npt.NDArray[np.float32], entries: Iterable[Entry]) -> list[Facts]:
    facts = []
    for i, entry in enumerate(entries):
        array[i] = entry.array
        facts.append(entry.facts)
    return facts


def _prepared(
    cohort: Cohort,
    kept: Sequence[int],
    arrays: Mapping[str, npt.NDArray[np.float32]],
    facts: Sequence[Facts],
    contents: Sequence[Mapping[str, str]],
) -> Prepared:
    studies = [cohort.studies[i] for i in kept]
    values: dict[str, tuple[Value | None, ...]] = {c.name: tuple(c.values[i] for i in kept) for c in cohort.columns}
    for name in dict.fromkeys(name for f in facts for name in f.header):
        values.setdefault(name, tuple(f.header.get(name) for f in facts))
    measured = dict.fromkeys(name for f in facts for name in f.measured)
    values |= {name: tuple(f.measured.get(name) for f in facts) for name in measured}
    groups = {name: tuple(texts[i] for i in kept) for name, texts in cohort.groups.items()}
    if len({f.source for f in facts}) > 1:
        groups[REGION_GROUP] = tuple("proposed" if f.source == "automatic" else "drawn" for f in facts)
    names = tuple(facts[0].radiomics)
    used = [study.label if study.set != "unlabelled" else -1 for study in studies]
    return Prepared(
        patients=tuple(study.patient for study in studies),
        studies=tuple(study.study for study in studies),
        centres=tuple(study.centre for study in studies),
        labels=np.array(used, np.int8),
        inputs=arrays,
        values=values,
        quantities={name: np.array([f.quantities[name] for f in facts]) for name in facts[0].quantities},
        radiomics=np.array([[f.radiomics[name] for name in names] for f in facts], float),
        radiomics_names=names,
        months=np.array([study.months for study in studies]),
        events=np.array([study.event for study in studies], np.int8),
        groups=groups,
        digest=_digest(cohort, [study.study for study in studies], contents),
        sets=tuple(study.set for study in studies),
        units={c.name: c.unit for c in cohort.columns if c.unit and c.name not in measured},
    )


def _digest(cohort: Cohort, names: Sequence[str], contents: Sequence[Mapping[str, str]]) -> str:
    """Of the table, and of all images of the studies that are used, also those at which these looks do not look."""
    said = [cohort.digest, [(name, dict(content)) for name, content in zip(names, contents, strict=True)]]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
