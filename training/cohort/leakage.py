"""What would let a model know the answer by another way than the one that is claimed (methods C1, F3).

An error forbids training: a patient, or an image, on both sides of a test; a value that is the label.  A warning gives
the numbers and leaves the judgement to people: a centre that tells the label, values that are missing by label.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from inference.facts import Refused
from inference.model.value_names import slug
from training.cohort.columns import Column
from training.cohort.findings import Finding, refuse_errors
from training.cohort.study import IMAGES, Study
from training.cohort.table import Cohort
from training.prepared import UNLABELLED

if TYPE_CHECKING:
    from training.recipe import Recipe

TOO_GOOD = 0.99  # AUC of one value alone; no clinical value tells a label apart so well
ENOUGH_EQUAL, ENOUGH_RANKED = 10, 20  # labelled rows from which it is no chance
CENTRE_P, MISSING_P = 0.01, 0.001
MOST_CENTRES_SHOWN = 8

Labels = npt.NDArray[np.int8]


def refuse_leaks(cohort: Cohort, recipe: Recipe | None = None) -> None:
    """Raise ``Refused`` ``cohort-faults`` where the table cannot be learnt from without a leak, or has one class."""
    refuse_errors(leaks(cohort, recipe), cohort.file.name)


def leaks(cohort: Cohort, recipe: Recipe | None = None) -> list[Finding]:
    """All findings that the table alone allows; ``same_images`` gives those of the images."""
    labels = np.array([s.label for s in cohort.studies if s.set != "unlabelled"], np.int8)
    return [
        *_classes(labels, cohort.label_header),
        *_patients(cohort.studies),
        *_same_paths(cohort.studies),
        *(finding for column in cohort.columns for finding in _about_column(column, cohort)),
        *_never(cohort, recipe),
        *_centres(cohort.studies),
    ]


def same_images(studies: Sequence[Study], digests: Mapping[str, Sequence[str]]) -> list[Finding]:
    """The same voxels in two rows, whatever their files are called.  ``digests``: study → one for each image.

    An error where the rows are of two patients; a warning where one patient's image counts twice.
    """
    rows: dict[str, list[Study]] = defaultdict(list)
    for study in studies:
        for digest in dict.fromkeys(digests.get(study.study, ())):
            rows[digest].append(study)
    found = {}
    for same in rows.values():
        if len(same) > 1:
            key = tuple(study.row for study in same)
            found[key] = _same(same, "the same image (voxel for voxel)")
    return list(found.values())


def refuse_same_images(studies: Sequence[Study], digests: Mapping[str, Sequence[str]], table: str) -> None:
    """Raise ``Refused`` ``cohort-leak`` where two patients have the same image."""
    errors = [f for f in same_images(studies, digests) if f.level == "error"]
    if errors:
        raise Refused("cohort-leak", f"The cohort {table}: " + "; ".join(map(str, errors)))


def _same(same: Sequence[Study], what: str) -> Finding:
    others = ", ".join(str(study.row) for study in same[1:])
    if len({study.patient for study in same}) > 1:
        text = f"{what} is in row {others} under another patient; one of them is wrong, or the patients are one"
        return Finding("error", "same-image", text, same[0].row)
    return Finding("warning", "same-image", f"{what} is in row {others} too and counts twice", same[0].row)


def _classes(labels: Labels, header: str) -> list[Finding]:
    known = labels[labels != UNLABELLED]
    if not len(known):
        return [Finding("error", "no-label", "no row has a label; there is nothing to learn or to test", column=header)]
    if len(set(known.tolist())) == 1:
        text = f"all {len(known)} labelled rows are {int(known[0])}; a model needs both classes"
        return [Finding("error", "one-class", text, column=header)]
    return []


def _patients(studies: Sequence[Study]) -> list[Finding]:
    found = []
    sets = defaultdict(set)
    spelling: dict[str, dict[str, int]] = defaultdict(dict)
    for study in studies:
        sets[study.patient].add("external" if study.set == "external" else "training")
        spelling[_key(study.patient)].setdefault(study.patient, study.row)
    for study in studies:
        if study.set == "external" and len(sets[study.patient]) > 1:
            text = "its patient is in the external set and in another; take all studies of the patient to one side"
            found.append(Finding("error", "patient-in-two-sets", text, study.row, "patient"))
    for names in spelling.values():
        if len(names) > 1:
            row, *others = names.values()
            text = f"its patient differs from that of row {', '.join(map(str, others))} in case or zeros only: one?"
            found.append(Finding("warning", "patient-spelling", text, row, "patient"))
    return found


def _key(patient: str) -> str:
    return re.sub(r"(?<!\d)0+(?=\d)", "", patient.casefold())


def _same_paths(studies: Sequence[Study]) -> list[Finding]:
    found = []
    for role in IMAGES:
        rows: dict[str, list[Study]] = defaultdict(list)
        for study in studies:
            if path := getattr(study, role):
                rows[str(path.resolve())].append(study)
        found += [_same(same, f"the same file or folder ({role})") for same in rows.values() if len(same) > 1]
    return found


def _about_column(column: Column, cohort: Cohort) -> list[Finding]:
    labels = np.array([s.label for s in cohort.studies], np.int8)
    labelled = labels != UNLABELLED
    known = np.array([value is not None for value in column.values])
    found = []
    rows = labelled & known
    auc = _alone(column, labels, rows)
    exact = auc == 1.0 and len({column.values[i] for i in np.flatnonzero(rows)}) == 2
    if rows.sum() >= (ENOUGH_EQUAL if exact else ENOUGH_RANKED) and auc >= TOO_GOOD:
        how = "it is the label by another name" if exact else f"alone it tells the label apart with AUC {auc:.3f}"
        allowed = slug(column.header) in {slug(one) for one in cohort.baseline}
        text = (
            f"{how}. If it is the label, or follows from it, name it under ignore in the table's description; if it "
            "was known at the scan, under baseline"
        )
        found.append(Finding("warning" if allowed else "error", "label-among-values", text, column=column.header))
    missing_of = [int((labelled & ~known & (labels == label)).sum()) for label in (0, 1)]
    known_of = [int((rows & (labels == label)).sum()) for label in (0, 1)]
    if sum(missing_of) and _exact_p(missing_of, known_of) < MISSING_P:
        text = (
            f"it is missing in {missing_of[1]} of {missing_of[1] + known_of[1]} positive and {missing_of[0]} of "
            f"{missing_of[0] + known_of[0]} negative rows: that it is missing tells the label"
        )
        found.append(Finding("warning", "missing-by-label", text, column=column.header))
    return found


def _alone(column: Column, labels: Labels, rows: npt.NDArray[np.bool_]) -> float:
    """AUC of the value by itself, in whichever direction; of a category: of the share of positives in its level."""
    from sklearn.metrics import roc_auc_score

    chosen = np.flatnonzero(rows)
    mine = labels[chosen]
    if len(set(mine.tolist())) < 2:
        return 0.5
    if column.kind == "number":
        scores = np.array([column.values[i] for i in chosen], float)
    else:
        levels = np.array([str(column.values[i]) for i in chosen])
        scores = np.array([mine[levels == level].mean() for level in levels])
    auc = float(roc_auc_score(mine, scores))
    return max(auc, 1.0 - auc)


def _exact_p(one: Sequence[int], other: Sequence[int]) -> float:
    from scipy.stats import fisher_exact

    return float(fisher_exact([list(one), list(other)]).pvalue)


def _never(cohort: Cohort, recipe: Recipe | None) -> list[Finding]:
    if recipe is None:
        return []
    return [
        Finding("warning", "never", f"the recipe {recipe.name} never uses it: {why}", column=column.header)
        for column in cohort.columns
        for name, why in recipe.never.items()
        if column.name == name
    ]


def _centres(studies: Sequence[Study]) -> list[Finding]:
    """Prevalence by centre, where it differs by more than chance."""
    from scipy.stats import chi2_contingency
    from sklearn.metrics import roc_auc_score

    labelled = [s for s in studies if s.label != UNLABELLED and s.set != "unlabelled"]
    counts = {
        centre: [sum(s.centre == centre and s.label == label for s in labelled) for label in (0, 1)]
        for centre in sorted({s.centre for s in labelled})
    }
    table = np.array(list(counts.values()))
    if len(counts) < 2 or not table.sum(axis=0).all():
        return []
    p = float(chi2_contingency(table).pvalue)
    if p >= CENTRE_P:
        return []
    share = {centre: positive / (negative + positive) for centre, (negative, positive) in counts.items()}
    auc = float(roc_auc_score([s.label for s in labelled], [share[s.centre] for s in labelled]))
    shown = ", ".join(f"{c or 'no name'} {share[c]:.0%} of {sum(counts[c])}" for c in list(counts)[:MOST_CENTRES_SHOWN])
    text = (
        f"the centre tells the label (AUC {auc:.2f} by itself, chi² p = {p:.2g}; positive: {shown}): a model may learn "
        "the scanner. Look at the AUC per centre, and leave each centre out once"
    )
    return [Finding("warning", "centre-tells-label", text, column="centre")]
