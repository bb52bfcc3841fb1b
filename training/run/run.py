"""A recipe on a cohort: cross-validation, final fit, bundle; it goes on after a stop or a kill."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel, JsonValue, ValidationError

from inference.facts import Refused
from training.cohort.splits import Fold, folds, leave_centre_out, load_splits, save_splits
from training.prepared import Prepared
from training.recipe import Progress, Recipe, Stopped
from training.record import (
    RUN_FILE,
    WORK_FOLDER,
    RunRecord,
    Said,
    append_predictions,
    keep_whole,
    read_record,
    write_record,
)
from training.run.cost import Clock, peak_mb
from training.run.environment import machine, versions
from training.run.final import final_fit
from training.run.task import Answered, Folds, Task, Where, carry_out, folds_by_task, tasks

SPLITS_FILE = "splits.json"
STOP_FILE = "stop"
Tell = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What a person chooses of a run.

    ``variants``: of the recipe, none for all.  ``permutations``: how often the labels are permuted before everything
    (each costs a whole cross-validation).  ``leave_centre_out``: also test each centre by a model that saw none of it.
    ``jobs``: fits at a time, in processes of their own.  ``keep_work``: leave
    the checkpoints.
    """

    folds: int = 5
    repeats: int = 1
    seed: int = 0
    permutations: int = 0
    leave_centre_out: bool = False
    variants: tuple[str, ...] = ()
    jobs: int = 1
    device: str = "cpu"
    threads: int = 1
    keep_work: bool = False


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a run comes from, for its record.

    ``left_out``: study → why.  ``truth``: what a phantom cohort knows of its optimum.  ``version``: of the bundle.
    ``cautions``: what was said of the others.
    """

    command: str
    cohort: str
    left_out: Mapping[str, str] = field(default_factory=dict)
    cautions: tuple[Said, ...] = ()
    truth: Mapping[str, JsonValue] = field(default_factory=dict)
    version: str = "0.1.0"


def run(
    recipe: Recipe,
    settings: BaseModel,
    data: Prepared,
    out: Path,
    options: Options,
    origin: Origin,
    tell: Tell = lambda _: None,
) -> RunRecord:
    """Run, or go on with, what ``out`` holds.

    A file ``stop`` in ``out`` ends it at the next step with everything saved.  Raises ``Stopped``; ``Refused``
    ``run-folder-used`` (the folder holds another run, or the cohort changed since), and those of the fits.
    """
    variants = _variants(recipe, options)
    record = _record(recipe, settings, data, options, origin, variants)
    out.mkdir(parents=True, exist_ok=True)
    record = _taken_up(out, record)
    clock = Clock(record.seconds)
    try:
        chosen = _splits(out, data, options)
        todo = _left(out, tasks(variants, chosen), chosen)
        where = Where(out / WORK_FOLDER, out / STOP_FILE, options.device, options.threads)
        for answered in _answers(todo, recipe, settings, data, chosen, where, options, tell):
            _note(record, answered)
            record.seconds = clock.seconds()
            write_record(out, record)
            append_predictions(out, answered.predicted)  # last: from then on the fold counts as done
        if not record.bundle_digest:
            tell(Progress(0, 1, f"final fit of {variants[0]}"))
            record.bundle_digest = final_fit(recipe, settings, data, out, where, options.seed, record, origin.version)
    except Stopped:
        record.state, record.seconds = "stopped", clock.seconds()
        write_record(out, record)
        raise
    finally:
        (out / STOP_FILE).unlink(missing_ok=True)
    record.state, record.seconds = "done", clock.seconds()
    record.peak_memory_mb = peak_mb()
    write_record(out, record)
    if not options.keep_work:
        shutil.rmtree(out / WORK_FOLDER, ignore_errors=True)
    return record


def settings_digest(settings: BaseModel) -> str:
    """SHA-256 (hex) of the settings."""
    return sha256(settings.model_dump_json().encode()).hexdigest()


def _variants(recipe: Recipe, options: Options) -> tuple[str, ...]:
    unknown = [name for name in options.variants if name not in recipe.variants]
    if unknown:
        raise Refused(
            "run-variant-unknown",
            f"{recipe.name} has no variant '{unknown[0]}'; it has {', '.join(recipe.variants)}.",
        )
    return options.variants or recipe.variants


def _record(
    recipe: Recipe,
    settings: BaseModel,
    data: Prepared,
    options: Options,
    origin: Origin,
    variants: tuple[str, ...],
) -> RunRecord:
    labelled = data.labels >= 0
    return RunRecord(
        recipe=recipe.name,
        title=recipe.title,
        command=origin.command,
        settings=settings.model_dump(mode="json"),
        settings_digest=settings_digest(settings),
        cohort=origin.cohort,
        cohort_digest=data.digest,
        subjects=len(set(data.patients)),
        positives=int((data.labels == 1).sum()),
        unlabelled=int((~labelled).sum()),
        variants=variants,
        seed=options.seed,
        repeats=options.repeats,
        folds=options.folds,
        state="running",
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine(options.device),
        versions=versions(),
        left_out=dict(origin.left_out),
        cautions=origin.cautions,
        truth=dict(origin.truth),
    )


_SAME = ("recipe", "settings_digest", "cohort_digest", "seed", "repeats", "folds", "variants")
_CHANGED = {
    "cohort_digest": "the cohort changed since the run began",
    "settings_digest": "the settings are others",
    "recipe": "it is a run of another recipe",
}


def _taken_up(out: Path, record: RunRecord) -> RunRecord:
    """The record of the run that the folder holds, if it is this one; else this one, in an empty folder."""
    if not (out / RUN_FILE).is_file():
        if any(file.name != STOP_FILE for file in out.iterdir()):  # asked to stop before it began
            raise Refused("run-folder-used", f"The folder '{out.name}' holds other files; give a new or empty folder.")
        write_record(out, record)
        return record
    try:
        found = read_record(out)
    except (ValidationError, UnicodeDecodeError):
        raise _damaged(out) from None
    different = [name for name in _SAME if getattr(found, name) != getattr(record, name)]
    if different:
        why = _CHANGED.get(different[0], f"its {different[0]} is another")
        raise Refused(
            "run-folder-used",
            f"The folder '{out.name}' holds a run that cannot go on: {why}. Give a new folder for a new run.",
        )
    found.state = "running"
    return found


def _splits(out: Path, data: Prepared, options: Options) -> Folds:
    file = out / SPLITS_FILE
    if file.is_file():
        crossed = load_splits(file, data)
    else:
        crossed = folds(data, options.folds, options.repeats, options.seed)
        save_splits(file, data, crossed)
    centres = leave_centre_out(data, options.seed) if options.leave_centre_out else []
    return folds_by_task(crossed, centres, options.permutations)


def _left(out: Path, every: Sequence[Task], chosen: Folds) -> list[Task]:
    """The fits whose answers are not all there."""
    try:
        whole = keep_whole(out, {task.place: len(chosen[task.place[1:]].test) for task in every})
    except (ValidationError, UnicodeDecodeError):
        raise _damaged(out) from None
    return [task for task in every if task.place not in whole]


def _damaged(out: Path) -> Refused:
    return Refused(
        "run-folder-used", f"The files of the run in '{out.name}' are damaged; give a new folder and run it again."
    )


def _answers(
    todo: Sequence[Task],
    recipe: Recipe,
    settings: BaseModel,
    data: Prepared,
    chosen: Folds,
    where: Where,
    options: Options,
    tell: Tell,
) -> Iterator[Answered]:
    """Each task's answer as it is ready."""
    if options.jobs <= 1:
        for number, task in enumerate(todo):
            if where.stop_file.exists():
                raise Stopped
            label = f"{task.variant}, {task.scheme}, fold {task.fold + 1} of repeat {task.repeat + 1}"
            tell(Progress(number, len(todo), label))
            yield carry_out(
                task,
                recipe,
                settings,
                data,
                chosen[task.scheme, task.repeat, task.fold],
                where,
                options.seed,
                _within(tell, label),
            )
        tell(Progress(len(todo), len(todo), "folds"))
        return
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import BrokenProcessPool

    # loky lays large arrays into shared memory once; each answer comes as soon as it is there
    pool = Parallel(n_jobs=options.jobs, return_as="generator_unordered", max_nbytes="1M")
    calls = (
        delayed(_apart)(
            task, recipe.name, settings, data, chosen[task.scheme, task.repeat, task.fold], where, options.seed
        )
        for task in todo
    )
    try:
        for number, answered in enumerate(pool(calls), 1):
            if answered is None:
                raise Stopped
            tell(Progress(number, len(todo), f"folds ({options.jobs} at a time)"))
            yield answered
    except BrokenProcessPool:
        if where.stop_file.exists():  # Ctrl-C reached a process that was only beginning
            raise Stopped from None
        raise Refused(
            "run-interrupted",
            f"One of {options.jobs} processes was killed, as when memory runs out. What was done is kept; start again "
            "with fewer --jobs.",
        ) from None


def _apart(
    task: Task, name: str, settings: BaseModel, data: Prepared, fold: Fold, where: Where, seed: int
) -> Answered | None:
    """In a process of its own; None where it was asked to stop.  Ctrl-C is the parent's to answer."""
    import signal

    from training.recipes import recipe

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if where.stop_file.exists():
        return None
    try:
        return carry_out(task, recipe(name), settings, data, fold, where, seed)
    except Stopped:
        return None


def _within(tell: Tell, label: str) -> Tell:
    return lambda progress: tell(Progress(progress.done, progress.total, f"{label}: {progress.text}"))


def _note(record: RunRecord, answered: Answered) -> None:
    place = f"{answered.task.scheme} {answered.task.repeat}.{answered.task.fold}"
    for kept, new in ((record.facts, answered.facts), (record.costs, answered.costs)):
        if new and answered.task.with_true_labels:
            of_variant = kept.setdefault(answered.task.variant, {})
            if isinstance(of_variant, dict):
                of_variant[place] = dict(new)
