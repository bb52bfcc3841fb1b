"""Splits of a cohort: by patient, both classes in every part, the same again from the same seed, stored and read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from inference.facts import Refused
from training.cohort.splits import (
    Fold,
    check_folds,
    external,
    final_parts,
    folds,
    hold_out,
    inner_folds,
    leave_centre_out,
    load_splits,
    save_splits,
)
from training.prepared import Parts, Prepared


def cohort(
    labels: list[int],
    patients: list[str] | None = None,
    centres: list[str] | None = None,
    sets: list[str] | None = None,
    digest: str = "d",
) -> Prepared:
    n = len(labels)
    return Prepared(
        patients=tuple(patients or [f"P{i}" for i in range(n)]),
        studies=tuple(f"S{i}" for i in range(n)),
        centres=tuple(centres or ["A"] * n),
        labels=np.array(labels, np.int8),
        inputs={},
        sets=tuple(sets or ()),
        digest=digest,
    )


def who(data: Prepared, rows: np.ndarray) -> set[str]:
    return {data.patients[row] for row in rows}


@st.composite
def cohorts(draw: st.DrawFn) -> Prepared:
    """Patients with one to three studies, some unlabelled, some external, two to four centres."""
    n = draw(st.integers(20, 60))
    patients = [f"P{draw(st.integers(0, n - 1))}" for _ in range(n)]
    label_of = {p: draw(st.sampled_from([0, 0, 1, 1, -1])) for p in sorted(set(patients))}
    return cohort(
        [label_of[p] if draw(st.integers(0, 9)) else -1 for p in patients],
        patients,
        [draw(st.sampled_from("ABCD")) for _ in range(n)],
        [draw(st.sampled_from(["train", "train", "train", "external", "unlabelled"])) for _ in range(n)],
    )


@settings(max_examples=60, deadline=None)
@given(cohorts(), st.integers(2, 5), st.integers(0, 5))
def test_every_scheme_keeps_patients_apart_or_refuses(data: Prepared, k: int, seed: int) -> None:
    try:
        found = folds(data, k, 2, seed)
    except Refused as refused:
        event(refused.code)
        return
    outside = {p for p, s in zip(data.patients, data.sets, strict=True) if s == "external"}
    for fold in found:
        parts = {"test": fold.test, "train": fold.parts.train, "validation": fold.parts.validation}
        for rows in parts.values():
            assert set(data.labels[rows].tolist()) == {0, 1}
            assert not who(data, rows) & outside
        assert not who(data, fold.test) & who(data, fold.parts.train)
        assert not who(data, fold.test) & who(data, fold.parts.validation)
        assert not who(data, fold.parts.train) & who(data, fold.parts.validation)
        away = who(data, fold.test) | who(data, fold.parts.validation) | outside
        assert not who(data, fold.parts.unlabelled) & away
        assert (data.labels[fold.parts.unlabelled] == -1).all()
    for repeat in (0, 1):  # every row is tested once a repeat
        tested = np.sort(np.concatenate([f.test for f in found if f.repeat == repeat]))
        usable = [
            i for i in range(len(data))
            if data.labels[i] >= 0 and data.sets[i] == "train" and data.patients[i] not in outside
        ]  # fmt: skip
        assert tested.tolist() == usable


def test_labels_and_centres_are_spread_over_the_folds() -> None:
    labels = [int(i % 10 < 3) for i in range(200)]
    centres = ["AB"[i // 10 % 2] for i in range(200)]
    data = cohort(labels, centres=centres)
    for fold in folds(data, 5, 3, 1):
        in_a = np.array(centres)[fold.test] == "A"
        assert data.labels[fold.test].sum() == 12
        assert in_a.sum() == 20
        assert data.labels[fold.test][in_a].sum() == 6


def test_a_centre_of_one_patient_is_no_stratum_of_its_own() -> None:
    data = cohort([i % 2 for i in range(30)], centres=["A"] * 29 + ["B"])
    assert len(folds(data, 5, 1, 0)) == 5


def test_the_seed_decides() -> None:
    data = cohort([i % 2 for i in range(40)])
    one, same, other = (folds(data, 5, 2, seed) for seed in (3, 3, 4))
    assert [f.test.tolist() for f in one] == [f.test.tolist() for f in same]
    assert [f.parts.validation.tolist() for f in one] == [f.parts.validation.tolist() for f in same]
    assert [f.test.tolist() for f in one] != [f.test.tolist() for f in other]
    assert one[0].test.tolist() != one[5].test.tolist()  # repeats differ


def test_too_few_positives() -> None:
    with pytest.raises(
        Refused, match=r"3 positive patients and 5 folds; every fold needs one. Use at most 3 folds"
    ) as refused:
        folds(cohort([1, 1, 1] + [0] * 30), 5, 1, 0)
    assert refused.value.code == "cohort-fold-without-positives"
    with pytest.raises(Refused, match="0 positive"):
        folds(cohort([0] * 30), 5, 1, 0)
    # three studies, but of one patient
    with pytest.raises(Refused, match="1 positive"):
        folds(cohort([1, 1, 1] + [0] * 30, ["X", "X", "X"] + [f"P{i}" for i in range(30)]), 2, 1, 0)


def test_each_centre_is_left_out_once() -> None:
    data = cohort([i % 2 for i in range(60)], centres=["ABC"[i // 20] for i in range(60)])
    found = leave_centre_out(data, 0)
    assert [f.name for f in found] == ["A", "B", "C"]
    for fold in found:
        assert {data.centres[r] for r in fold.test} == {fold.name}
        assert fold.name not in {data.centres[r] for r in (*fold.parts.train, *fold.parts.validation)}
    with pytest.raises(Refused, match="Centre B has no positive"):
        leave_centre_out(cohort([0, 1] * 10 + [0] * 5, centres=["A"] * 20 + ["B"] * 5), 0)
    with pytest.raises(Refused, match="one centre"):
        leave_centre_out(cohort([0, 1] * 10), 0)


def test_the_external_set_is_never_learnt_from() -> None:
    sets = ["train"] * 30 + ["external"] * 10 + ["train"] * 5
    labels = [i % 2 for i in range(40)] + [-1] * 5
    patients = [f"P{i}" for i in range(40)] + [
        "P39",
        "P39",
        "U1",
        "U2",
        "U3",
    ]  # two unlabelled ones are of a test patient
    data = cohort(labels, patients, sets=sets)
    assert external(data).tolist() == list(range(30, 40))
    parts = final_parts(data, 0)
    assert sorted([*parts.train, *parts.validation]) == list(range(30))
    assert parts.unlabelled.tolist() == [42, 43, 44]


def test_the_tables_own_validation_rows_are_taken() -> None:
    sets = ["train"] * 20 + ["internal"] * 10
    parts = final_parts(cohort([i % 2 for i in range(30)], sets=sets), 0)
    assert parts.validation.tolist() == list(range(20, 30))
    assert parts.train.tolist() == list(range(20))
    one_class = cohort([i % 2 for i in range(20)] + [0] * 10, sets=sets)
    assert set(one_class.labels[final_parts(one_class, 0).validation].tolist()) == {0, 1}


def test_hold_out_and_inner_folds() -> None:
    data = cohort([i % 2 for i in range(100)])
    fold = hold_out(data, 0.25, 0)
    assert len(fold.test) == 25
    inner = inner_folds(data, fold.parts.train, 4, 0)
    assert sorted(np.concatenate([held for _, held in inner]).tolist()) == sorted(fold.parts.train.tolist())
    assert not {r for pair in inner for rows in pair for r in rows.tolist()} & set(fold.test.tolist())


def test_stored_and_read_again(tmp_path: Path) -> None:
    data = cohort([i % 2 for i in range(30)] + [-1] * 5)
    found = folds(data, 3, 2, 0)
    save_splits(tmp_path / "splits.json", data, found)
    again = load_splits(tmp_path / "splits.json", data)
    for one, other in zip(found, again, strict=True):
        assert (one.repeat, one.fold, one.name) == (other.repeat, other.fold, other.name)
        for part in ("train", "validation", "unlabelled"):
            assert getattr(one.parts, part).tolist() == getattr(other.parts, part).tolist()
        assert one.test.tolist() == other.test.tolist()

    changed = cohort([i % 2 for i in range(30)] + [-1] * 5, digest="another")
    with pytest.raises(Refused) as refused:
        load_splits(tmp_path / "splits.json", changed)
    assert refused.value.code == "cohort-changed"
    (tmp_path / "splits.json").write_text("{}")
    with pytest.raises(Refused) as refused:
        load_splits(tmp_path / "splits.json", data)
    assert refused.value.code == "cohort-splits"


def test_splits_that_leak_are_refused(tmp_path: Path) -> None:
    data = cohort([0, 1] * 6, ["P0", "P1", "P2", "P3", *"ABCDEFG", "P0"])
    rows = [np.array(r, np.int64) for r in ([0, 1, 2, 3], [4, 5, 6], [7, 8, 9, 11])]
    leaking = Fold(0, 0, Parts(rows[0], rows[1]), rows[2])
    with pytest.raises(Refused, match=r"1 patient\(s\) are in test and in training") as refused:
        check_folds(data, [leaking])
    assert refused.value.code == "cohort-leak"
    save_splits(tmp_path / "splits.json", data, [leaking])
    with pytest.raises(Refused):
        load_splits(tmp_path / "splits.json", data)
