"""Choice of features: what is constant, double or without meaning goes; what carries the label stays."""

from __future__ import annotations

import numpy as np
import pytest

from training.tabular.selection import select


def cohort(seed: int, *, subjects: int = 240, features: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Columns 0, 1 and 2 carry the label; their scales differ by orders of magnitude."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, subjects).astype(np.int8)
    found = rng.standard_normal((subjects, features))
    found[:, :3] += 1.2 * (labels[:, None] - 0.5)
    return (found * np.geomspace(1e-2, 1e3, features)).astype(np.float32), labels


@pytest.mark.parametrize("seed", range(2))
def test_the_columns_that_carry_the_label_are_kept_whatever_their_scale(seed: int) -> None:
    features, labels = cohort(seed)
    selection = select(features, labels, most=24, seed=0)
    assert {0, 1, 2} <= set(selection.columns)
    assert len(selection.columns) <= 8  # one standard error keeps few of the 37 others
    assert set(selection.columns[:3]) == {0, 1, 2}


def test_never_more_than_asked_for_and_never_none() -> None:
    features, labels = cohort(1)
    assert len(select(features, labels, most=2, seed=0).columns) <= 2
    noise = np.random.default_rng(5).standard_normal((60, 30)).astype(np.float32)
    for seed in range(2):
        kept = select(noise, np.random.default_rng(seed).permutation(labels[:60]), most=6, seed=0).columns
        assert 1 <= len(kept) <= 6


def test_constant_columns_go_and_of_copies_one_stays() -> None:
    features, labels = cohort(2)
    rng = np.random.default_rng(0)
    copies = np.exp(features[:, :1] / features[:, :1].std()) + 1e-4 * rng.standard_normal((len(labels), 1))
    all_of_it = np.column_stack([np.full(len(labels), 7.0), features, copies]).astype(np.float32)
    selection = select(all_of_it, labels, most=24, seed=0)
    assert 0 not in selection.columns
    assert len({1, all_of_it.shape[1] - 1} & set(selection.columns)) == 1
    assert selection.varying == all_of_it.shape[1] - 1
    assert selection.uncorrelated == features.shape[1]


def test_features_that_are_all_constant_are_an_error() -> None:
    with pytest.raises(ValueError, match="constant"):
        select(np.ones((20, 3), np.float32), np.arange(20, dtype=np.int8) % 2, most=2, seed=0)


def test_the_same_call_gives_the_same_choice() -> None:
    features, labels = cohort(3)
    assert select(features, labels, most=10, seed=4) == select(features, labels, most=10, seed=4)
