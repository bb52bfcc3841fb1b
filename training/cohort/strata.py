"""K splits by patient, stratified by label and centre; a split without one of the classes is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sklearn.model_selection import StratifiedGroupKFold

from inference.facts import Refused
from training.prepared import Prepared, Rows

CLASSES = ((1, "positive"), (0, "negative"))


def split_patients(prepared: Prepared, rows: Rows, k: int, seed: int) -> list[tuple[Rows, Rows]]:
    """``k`` pairs (the others, held out) of labelled ``rows``, each in their order; a patient is on one side only.

    Raises ``Refused`` ``cohort-fold-without-positives``.
    """
    if k < 2:
        raise ValueError(f"{k} folds; at least 2 are needed")
    patients = [prepared.patients[row] for row in rows]
    labels = [int(label) for label in prepared.labels[rows]]
    for label, word in CLASSES:
        has = len({patient for patient, one in zip(patients, labels, strict=True) if one == label})
        if has < 2:
            raise without_class(
                f"There are {has} {word} patients to split; each side needs one. Add {word} studies, or check the "
                "label's column."
            )
        if has < k:
            raise without_class(
                f"There are {has} {word} patients and {k} folds; every fold needs one. Use at most {has} folds, or add "
                f"{word} studies."
            )
    strata = _strata(labels, [prepared.centres[row] for row in rows], patients, k)
    splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
    found = [(rows[others], rows[held]) for others, held in splitter.split(rows[:, None], strata, patients)]
    for others, held in found:
        both_classes(prepared, held, "A fold")
        both_classes(prepared, others, "The rest of a fold")
    return found


def both_classes(prepared: Prepared, rows: Rows, what: str) -> None:
    """Raise ``Refused`` ``cohort-fold-without-positives`` where ``rows`` lack a class; ``what`` names them."""
    for label, word in CLASSES:
        if not (prepared.labels[rows] == label).any():
            raise without_class(
                f"{what} has no {word} study, so nothing can be learnt or measured there. Use fewer folds, join small "
                f"centres, or add {word} studies."
            )


def without_class(reason: str) -> Refused:
    """The refusal of a part that lacks a class."""
    return Refused("cohort-fold-without-positives", reason)


def _strata(labels: Sequence[int], centres: Sequence[str], patients: Sequence[str], k: int) -> list[str]:
    """Label and centre of each row as one name.

    Centres with fewer than ``k`` patients of a label are one stratum together, or join the largest where even together
    they are fewer: a stratum that cannot reach every fold balances nothing.
    """
    rows = list(zip(labels, centres, patients, strict=True))
    sizes = Counter((label, centre) for label, centre, _ in set(rows))
    name: dict[tuple[int, str], str] = {}
    for label in set(labels):
        mine = {centre: size for (one, centre), size in sizes.items() if one == label}
        small = {centre: size for centre, size in mine.items() if size < k}
        largest = max(sorted(mine), key=lambda centre: mine[centre])
        together = "small centres" if sum(small.values()) >= k or len(small) == len(mine) else f"centre {largest}"
        name |= {(label, c): f"{label}, {together if c in small else f'centre {c}'}" for c in mine}
    return [name[label, centre] for label, centre, _ in rows]
