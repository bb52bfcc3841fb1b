"""Labels from time and event: nobody who was lost is called long, and the table may not say otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter

from inference.facts import Refused
from training.cohort.pfs import censoring_weights, pfs_labels, with_pfs_labels
from training.prepared import Prepared


def cohort(months: list[float], events: list[int], labels: list[int], sets: tuple[str, ...] = ()) -> Prepared:
    names = tuple(f"S{i}" for i in range(len(months)))
    return Prepared(
        patients=names,
        studies=names,
        centres=("A",) * len(names),
        labels=np.array(labels, np.int8),
        inputs={},
        months=np.array(months),
        events=np.array(events, np.int8),
        sets=sets,
    )


@pytest.mark.parametrize(
    ("months", "event", "label"),
    [
        (5, 1, 1),
        (12, 1, 1),
        (12.1, 1, 0),
        (40, 1, 0),
        (11.9, 0, -1),
        (0, 0, -1),
        (12, 0, 0),
        (30, 0, 0),
        (np.nan, -1, -1),
    ],
)
def test_each_case(months: float, event: int, label: int) -> None:
    assert pfs_labels(np.array([months]), np.array([event], np.int8)).tolist() == [label]


@given(st.lists(st.tuples(st.floats(0, 60), st.sampled_from([0, 1])), min_size=1))
def test_who_was_lost_is_never_long_and_who_progressed_early_never_either(rows: list[tuple[float, int]]) -> None:
    months, events = np.array([m for m, _ in rows]), np.array([e for _, e in rows], np.int8)
    labels = pfs_labels(months, events)
    assert not (labels[months < 12] == 0).any()
    assert not (labels[events == 0] == 1).any()


def test_the_tables_label_must_agree_where_time_is_known_and_stays_where_it_is_not() -> None:
    known = cohort([5.0, 20.0, 3.0, np.nan], [1, 0, 0, -1], [1, 0, 0, 1])
    assert with_pfs_labels(known).labels.tolist() == [1, 0, -1, 1]
    with pytest.raises(Refused, match="study S1") as refusal:
        with_pfs_labels(replace(known, labels=np.array([1, 1, 0, 1], np.int8)))
    assert refusal.value.code == "label-contradicts-time"
    without = replace(known, months=np.empty(0), events=np.empty(0, np.int8))
    assert with_pfs_labels(without) is without


def test_weights_are_the_inverse_of_kaplan_meiers_censoring_curve() -> None:
    rng = np.random.default_rng(4)
    event, lost = rng.weibull(1.2, 400) * 18, rng.uniform(0, 40, 400)
    months, events = np.minimum(event, lost), (event <= lost).astype(np.int8)
    data = with_pfs_labels(cohort(months.tolist(), events.tolist(), [-1] * 400))
    rows = np.flatnonzero(data.labels >= 0)
    curve = KaplanMeierFitter().fit(months, event_observed=1 - events)
    expected = 1.0 / curve.survival_function_at_times(np.minimum(months[rows], 12.0) - 1e-9).to_numpy()
    assert censoring_weights(data, rows) == pytest.approx(expected / expected.mean(), rel=1e-5)


def test_weighting_recovers_the_share_of_short_survivors() -> None:
    """Left out, those who were lost make early events too frequent; weighted, the share is right again."""
    rng = np.random.default_rng(5)
    event, lost = rng.weibull(1.2, 4000) * 18, rng.uniform(0, 24, 4000)
    data = with_pfs_labels(cohort(np.minimum(event, lost).tolist(), (event <= lost).astype(int).tolist(), [-1] * 4000))
    rows = np.flatnonzero(data.labels >= 0)
    truth, short = (event <= 12).mean(), data.labels[rows] == 1
    assert short.mean() > truth + 0.08
    assert np.average(short, weights=censoring_weights(data, rows)) == pytest.approx(truth, abs=0.03)


def test_external_rows_do_not_weigh_and_rows_without_a_time_weigh_one() -> None:
    sets = ("train",) * 4 + ("external",) * 4
    data = cohort(
        [6.0, 20.0, 8.0, np.nan, 1.0, 1.0, 1.0, 1.0], [1, 0, 0, -1, 0, 0, 0, 0], [1, 0, -1, 1, -1, -1, -1, -1], sets
    )
    rows = np.array([0, 1, 3])
    found = censoring_weights(data, rows)
    assert found / found[0] == pytest.approx([1.0, 2.0, 1.0])  # of two still followed one was lost at 8 months
    assert censoring_weights(replace(data, months=np.empty(0)), rows).tolist() == [1.0] * 3
