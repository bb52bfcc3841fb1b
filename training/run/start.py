"""From the names a person gives to a run: cohort read and checked, images made ready, settings read, run started."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, JsonValue, ValidationError

from inference.facts import Refused
from training.prepared import Prepared
from training.recipe import Progress
from training.recipes import recipe as recipe_named
from training.record import RunRecord, Said
from training.run.run import STOP_FILE, Options, Origin, run

TRUTH_FILE = "truth.json"
NO_MEMORY = ("allocate memory", "out of memory")  # of torch's errors, on CPU and GPU
LOST = (
    "Lost to follow-up before the label was known: such studies are in no fold and are not tested. The survival "
    "figures are without them, so they hold more early events than all patients had."
)


def start(
    name: str,
    table: Path,
    out: Path,
    *,
    settings_file: Path | None = None,
    settings_given: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    skip_bad: bool = False,
    command: str = "",
    tell: Callable[[Progress], None] = lambda _: None,
) -> RunRecord:
    """Train the recipe ``name`` on the cohort in ``table``; the run lies in ``out`` with its report.

    ``settings_given``: "name=value", over those of ``settings_file`` (TOML).  Raises ``Refused`` as its parts do;
    ``training.recipe.Stopped``.  ``training-out-of-memory`` wherever memory ends.  A file ``stop`` in ``out`` ends it.
    """
    stop_file = out / STOP_FILE
    stop_file.unlink(missing_ok=True)  # of a sitting that was killed
    try:
        return _start(name, table, out, settings_file, settings_given, options or {}, skip_bad, command, tell)
    except (MemoryError, RuntimeError) as fault:
        if isinstance(fault, RuntimeError) and not any(said in str(fault) for said in NO_MEMORY):
            raise
        raise Refused(
            "training-out-of-memory",
            "The memory does not hold the run; lower the size of the input, batch or members, or --jobs. What was done "
            "is kept.",
        ) from fault
    finally:
        stop_file.unlink(missing_ok=True)


def _start(
    name: str,
    table: Path,
    out: Path,
    settings_file: Path | None,
    settings_given: Sequence[str],
    options: Mapping[str, Any],
    skip_bad: bool,
    command: str,
    tell: Callable[[Progress], None],
) -> RunRecord:
    from training.cohort.leakage import refuse_leaks
    from training.cohort.prepare import prepare
    from training.cohort.table import read_cohort
    from training.report.write import write_report

    chosen = Options(**options)
    chosen = replace(chosen, device=_device(chosen.device))
    recipe = recipe_named(name)
    settings = read_settings(recipe.settings, settings_file, settings_given)
    cohort = read_cohort(table)
    refuse_leaks(cohort, recipe)
    stop = (out / STOP_FILE).exists
    prepared = prepare(
        cohort,
        recipe.looks(settings),
        cache=cache_folder(),
        processes=os.cpu_count() or 1,
        skip_bad=skip_bad,
        tell=tell,
        stop=stop,
    )
    data = recipe.relabelled(settings, prepared.data)
    cautions = (*lost_to_follow_up(prepared.data, data), *said_of(prepared.cautions))
    origin = Origin(command, table.name, prepared.left_out, cautions, truth_of(table))
    record = run(recipe, settings, data, out, chosen, origin, tell)
    tell(Progress(0, 1, "report"))
    write_report(out, cohort=data)
    return record


def read_settings(model: type[BaseModel], file: Path | None, given: Sequence[str]) -> BaseModel:
    """The recipe's settings.  Raises ``Refused`` ``settings-wrong``, naming each fault and what there is."""
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values |= tomllib.loads(file.read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
            raise Refused("settings-wrong", f"The settings file '{file.name}' cannot be read: {fault}") from None
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise Refused("settings-wrong", f"--set '{text}' is not NAME=VALUE.")
        values[key.strip()] = _value(value)
    try:
        return model.model_validate(values)
    except ValidationError as fault:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in fault.errors())
        known = ", ".join(model.model_fields)
        raise Refused("settings-wrong", f"Settings of the recipe are wrong: {faults}. There are: {known}.") from None


def truth_of(table: Path) -> dict[str, JsonValue]:
    """What a phantom cohort knows of its optimum, without the single subjects; nothing for patients."""
    file = table.parent / TRUTH_FILE
    if not file.is_file():
        return {}
    truth = json.loads(file.read_text())
    return {key: value for key, value in truth.items() if key != "subjects"}


def said_of(cautions: Mapping[str, Sequence[tuple[str, str]]]) -> tuple[Said, ...]:
    """What was said of the studies (study → code, text), the most frequent first."""
    texts: dict[str, list[str]] = {}
    for of_study in cautions.values():
        for code, text in dict(of_study).items():
            texts.setdefault(code, []).append(text)
    found = [Said(code=code, text=said[0], studies=len(said)) for code, said in texts.items()]
    return tuple(sorted(found, key=lambda one: -one.studies))


def lost_to_follow_up(before: Prepared, data: Prepared) -> tuple[Said, ...]:
    """Of labels that follow from a time: who was lost before theirs was known, and what that does to the figures."""
    if data is before or not len(data.months):
        return ()
    lost = int(((data.labels < 0) & np.isfinite(data.months) & (data.events == 0)).sum())
    return (Said(code="lost-to-follow-up", text=LOST, studies=lost),) if lost else ()


def cache_folder() -> Path:
    """Where prepared inputs are kept between runs: ``PETCT_NODE_CACHE``, else the user's cache folder."""
    named = os.environ.get("PETCT_NODE_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(named) if named else home / "petct-node" / "inputs"


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _device(name: str) -> str:
    """ "auto" is the GPU where there is one."""
    if name not in ("auto", "cpu", "cuda"):
        raise Refused("device-unknown", f"The device is '{name}'; it must be auto, cpu or cuda.")
    if name == "cpu":
        return name
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise Refused("device-missing", "The device is cuda, and torch sees no GPU; use cpu, or mend the driver.")
    return "cpu"
