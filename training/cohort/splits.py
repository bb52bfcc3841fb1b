"""Which studies are learnt from and which test: by patient, stratified, the same again from the same seed.

Every scheme keeps all studies of a patient together.  Strata are label × centre (``strata``).  Rows of the table's set
"external" are never in a fold; an unlabelled row is never of a patient who is in test, in validation or in the external
set (methods C1, landmark and leak rules).

A splits file is JSON: the cohort's digest and, for each fold, study names.  It is read again only for the same cohort.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from inference.facts import Refused
from training.cohort.strata import both_classes, split_patients, without_class
from training.prepared import UNLABELLED, Parts, Prepared, Rows

VALIDATION_FOLDS = 5  # one fifth of the training rows is held back for early stopping and calibration
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold of one repeat.

    ``test``: rows that nothing is learnt or chosen from.  ``name``: of a left-out centre.
    """

    repeat: int
    fold: int
    parts: Parts
    test: Rows
    name: str = ""


def folds(prepared: Prepared, k: int, repeats: int, seed: int) -> list[Fold]:
    """``repeats`` times ``k`` folds over all labelled rows but the external ones; each row is tested once a repeat.

    Raises ``Refused`` ``cohort-fold-without-positives`` where a fold would lack one of the classes.
    """
    rows = learnable(prepared)
    found = []
    for repeat in range(repeats):
        splits = split_patients(prepared, rows, k, _seed(seed, repeat))
        for number, (train, test) in enumerate(splits):
            parts = _parts(prepared, train, test, _seed(seed, repeat, number))
            found.append(Fold(repeat, number, parts, test))
    check_folds(prepared, found)
    return found


def inner_folds(prepared: Prepared, rows: Rows, k: int, seed: int) -> list[tuple[Rows, Rows]]:
    """``k`` (train, validation) pairs within ``rows`` (labelled), for choices that must not see the outer test."""
    return split_patients(prepared, np.sort(rows), k, seed)


def hold_out(prepared: Prepared, share: float, seed: int) -> Fold:
    """One split: about ``share`` of the patients test.  Raises ``Refused`` as ``folds``."""
    rows = learnable(prepared)
    train, test = split_patients(prepared, rows, max(2, round(1.0 / share)), _seed(seed, 0))[0]
    fold = Fold(0, 0, _parts(prepared, train, test, _seed(seed, 0, 0)), test)
    check_folds(prepared, [fold])
    return fold


def leave_centre_out(prepared: Prepared, seed: int) -> list[Fold]:
    """A fold for each centre, tested by a model that saw none of it.

    A patient with studies in two centres is tested and never learnt from while one of them is out.  Raises ``Refused``
    as ``folds``: a centre with one class only has no AUC.
    """
    rows = learnable(prepared)
    centres = np.array(prepared.centres)
    names = sorted(set(centres[rows].tolist()))
    if len(names) < 2:
        raise without_class("All labelled rows are of one centre; there is none to leave out. Use folds by patient.")
    for name in names:
        both_classes(prepared, rows[centres[rows] == name], f"Centre {name}")
    found = []
    for number, name in enumerate(names):
        test = rows[centres[rows] == name]
        train = _without(prepared, rows, _patients(prepared, test))
        parts = _parts(prepared, train, test, _seed(seed, 0, number))
        found.append(Fold(0, number, parts, test, name))
    check_folds(prepared, found)
    return found


def external(prepared: Prepared) -> Rows:
    """Labelled rows of the table's set "external": tested by the final model, never learnt from."""
    return np.flatnonzero(_in_set(prepared, "external") & (prepared.labels != UNLABELLED)).astype(np.int64)


def final_parts(prepared: Prepared, seed: int) -> Parts:
    """For the model that becomes the bundle: all rows but the external ones.

    ``validation`` is the table's set "internal" where it has both classes, else a fifth of the patients.
    """
    rows = learnable(prepared)
    outside = np.flatnonzero(_in_set(prepared, "external")).astype(np.int64)
    internal = rows[_in_set(prepared, "internal")[rows]]
    if len(set(prepared.labels[internal].tolist())) == 2:
        train = _without(prepared, rows, _patients(prepared, internal))
        both_classes(prepared, train, "The training set")
        unlabelled = _unlabelled(prepared, _patients(prepared, np.concatenate([internal, outside])))
        return Parts(train, internal, unlabelled)
    return _parts(prepared, rows, outside, _seed(seed, 0, 0))


def learnable(prepared: Prepared) -> Rows:
    """Labelled rows that may be learnt from: not external, and not of a patient who is."""
    outside = _patients(prepared, np.flatnonzero(_in_set(prepared, "external")))
    labelled = (prepared.labels != UNLABELLED) & ~_in_set(prepared, "unlabelled")
    return _without(prepared, np.flatnonzero(labelled).astype(np.int64), outside)


def check_folds(prepared: Prepared, found: Sequence[Fold]) -> None:
    """No patient in two parts of a fold, both classes in each.

    Raises ``Refused`` ``cohort-leak``, ``cohort-fold-without-positives``.
    """
    for fold in found:
        name = fold.name or f"Fold {fold.fold + 1} of repeat {fold.repeat + 1}"
        held = {"test": fold.test, "validation": fold.parts.validation, "training": fold.parts.train}
        for part, rows in held.items():
            both_classes(prepared, rows, f"{name}, {part}")
        learnt = {**held, "unlabelled": fold.parts.unlabelled}
        for one, other in (
            ("test", "validation"),
            ("test", "training"),
            ("test", "unlabelled"),
            ("validation", "training"),
            ("validation", "unlabelled"),
        ):
            shared = _patients(prepared, learnt[one]) & _patients(prepared, learnt[other])
            if shared:
                raise Refused(
                    "cohort-leak",
                    f"{name}: {len(shared)} patient(s) are in {one} and in {other}; a patient may be in one part only. "
                    "Make the splits again.",
                )


class _StoredFold(BaseModel):
    model_config = ConfigDict(extra="forbid")

    repeat: int
    fold: int
    name: str = ""
    train: list[str]
    validation: list[str]
    unlabelled: list[str]
    test: list[str]


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    cohort_digest: str
    folds: list[_StoredFold]


def save_splits(file: Path, prepared: Prepared, found: Sequence[Fold]) -> None:
    """Write the folds by study name, in one step."""

    def names(rows: Rows) -> list[str]:
        return [prepared.studies[row] for row in rows]

    stored = _Stored(
        format=FORMAT,
        cohort_digest=prepared.digest,
        folds=[
            _StoredFold(
                repeat=one.repeat,
                fold=one.fold,
                name=one.name,
                train=names(one.parts.train),
                validation=names(one.parts.validation),
                unlabelled=names(one.parts.unlabelled),
                test=names(one.test),
            )
            for one in found
        ],
    )
    partial = file.with_name(file.name + ".partial")
    partial.write_text(stored.model_dump_json(indent=1) + "\n")
    partial.replace(file)


def load_splits(file: Path, prepared: Prepared) -> list[Fold]:
    """The folds as they were stored.

    Raises ``Refused``: ``cohort-splits`` (no splits file), ``cohort-changed`` (made for another cohort),
    ``cohort-leak``.
    """
    try:
        stored = _Stored.model_validate_json(file.read_text())
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        why = "it cannot be read" if isinstance(error, OSError) else "it is no splits file of this version"
        raise Refused("cohort-splits", f"{file.name}: {why}. Start a new run.") from None
    row_of = {study: row for row, study in enumerate(prepared.studies)}
    every = {s for one in stored.folds for s in (*one.train, *one.validation, *one.unlabelled, *one.test)}
    if stored.cohort_digest != prepared.digest or not every <= row_of.keys():
        raise Refused(
            "cohort-changed",
            "The table or its images are not those of this run (their digest differs). Restore them to go on with it, "
            "or start a new run in another folder.",
            expected=stored.cohort_digest,
            found=prepared.digest,
        )

    def rows(studies: list[str]) -> Rows:
        return np.array([row_of[study] for study in studies], np.int64)

    found = [
        Fold(
            one.repeat,
            one.fold,
            Parts(rows(one.train), rows(one.validation), rows(one.unlabelled)),
            rows(one.test),
            one.name,
        )
        for one in stored.folds
    ]
    check_folds(prepared, found)
    return found


def _parts(prepared: Prepared, rows: Rows, test: Rows, seed: int) -> Parts:
    """``rows`` without the test, split into training and validation; and the unlabelled rows that may help."""
    train, validation = split_patients(prepared, rows, _inner_k(prepared, rows), seed)[0]
    outside = np.flatnonzero(_in_set(prepared, "external"))
    away = _patients(prepared, np.concatenate([test, validation, outside]))
    return Parts(train, validation, _unlabelled(prepared, away))


def _inner_k(prepared: Prepared, rows: Rows) -> int:
    """A fifth for validation; more of a class that is so rare that a fifth of it is none."""
    per_class = [len({prepared.patients[r] for r in rows if prepared.labels[r] == label}) for label in (0, 1)]
    return max(2, min(VALIDATION_FOLDS, *per_class))


def _patients(prepared: Prepared, rows: Rows | Any) -> set[str]:
    return {prepared.patients[row] for row in rows}


def _without(prepared: Prepared, rows: Rows, patients: Collection[str]) -> Rows:
    return np.array([row for row in rows if prepared.patients[row] not in patients], np.int64)


def _unlabelled(prepared: Prepared, away: Collection[str]) -> Rows:
    return _without(prepared, np.flatnonzero(prepared.labels == UNLABELLED).astype(np.int64), away)


def _in_set(prepared: Prepared, name: str) -> Any:
    if not prepared.sets:
        return np.zeros(len(prepared), bool)
    return np.array([one == name for one in prepared.sets])


def _seed(*parts: int) -> int:
    """One number out of several, so that repeats and folds do not share their draws."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
