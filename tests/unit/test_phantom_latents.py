"""Label models of the phantoms: the optimum has the known values of methods A0–A5, and draws agree with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.phantom.latents import (
    Clustered,
    Continuous,
    GaussianSources,
    LabelModel,
    Missing,
    Suppressor,
    Survival,
    auc_of_distance,
    auc_with_missing,
    distance_of_auc,
    empirical_auc,
    spread,
)
from training.phantom.presets import PRESETS

A0 = {0.55: 0.178, 0.60: 0.358, 0.65: 0.545, 0.70: 0.742, 0.75: 0.954, 0.78: 1.092, 0.80: 1.190, 0.85: 1.466}


@pytest.mark.parametrize(("auc", "d"), A0.items())
def test_distance_and_auc_are_those_of_the_table(auc: float, d: float) -> None:
    assert distance_of_auc(auc) == pytest.approx(d, abs=6e-4)
    assert auc_of_distance(d) == pytest.approx(auc, abs=2e-4)


@pytest.mark.parametrize(
    ("delta", "epsilon", "prevalence", "auc"),
    [(4, 0.1, 0.45, 0.896), (4, 0.2, 0.45, 0.797), (3, 0.1, 0.45, 0.885), (4, 0.1, 0.30, 0.873)],
)
def test_clusters_with_label_noise(delta: float, epsilon: float, prevalence: float, auc: float) -> None:
    assert Clustered(delta, epsilon).bayes_auc(("pet",), prevalence) == pytest.approx(auc, abs=1.1e-3)


@pytest.mark.parametrize(("beta", "auc"), [(1, 0.740), (1.5, 0.813), (2, 0.862), (2.5, 0.896), (3, 0.919)])
def test_continuous_scores(beta: float, auc: float) -> None:
    assert Continuous(beta).bayes_auc(("ct",)) == pytest.approx(auc, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "sources", "auc"),
    [
        ("dlr", ("ct",), 0.85),
        ("dlr", ("ct", "clinical"), 0.892),
        ("cpc", ("pet",), 0.78),
        ("cpc", ("pet", "ct"), 0.825),
        ("cpc", ("pet", "ct", "clinical"), 0.833),
        ("dfsigm", ("iodine", "clinical"), 0.862),
        ("prrt_pfs", ("ct",), 0.50),
        ("prrt_pfs", ("pet",), 0.566),
        ("prrt_pfs", ("pet", "ct"), 0.70),
        ("prrt_pfs", ("pet", "ct", "clinical"), 0.72),
        ("ussl", ("pet", "ct"), 0.896),
    ],
)
def test_optima_of_the_presets(name: str, sources: tuple[str, ...], auc: float) -> None:
    preset = PRESETS[name]
    assert preset.label_model.bayes_auc(sources, preset.prevalence) == pytest.approx(auc, abs=1e-3)


@pytest.mark.parametrize(
    "model", [GaussianSources({"pet": 1.092, "ct": 0.742}), Clustered(), Continuous(2.0), Suppressor()]
)
def test_the_best_ranking_of_drawn_subjects_has_the_optimum(model: LabelModel) -> None:
    rate = np.full(100_000, 0.4)
    drawn = model.draw(rate, np.random.default_rng(3))
    for sources in (model.sources[:1], model.sources):
        best = model.log_odds(drawn.scores, sources, rate)
        assert empirical_auc(drawn.labels, best) == pytest.approx(model.bayes_auc(sources, 0.4), abs=0.006)


@pytest.mark.parametrize("model", [GaussianSources({"pet": 1.0}), Clustered(), Continuous(), Suppressor()])
def test_without_any_source_there_is_nothing_to_know(model: LabelModel) -> None:
    assert model.bayes_auc((), 0.4) == 0.5
    assert len(set(model.log_odds({}, (), np.full(3, 0.4)).tolist())) == 1


def test_log_odds_are_calibrated() -> None:
    rate = np.full(200_000, 0.3)
    model = Clustered(3.0, 0.1)
    drawn = model.draw(rate, np.random.default_rng(0))
    chance = 1.0 / (1.0 + np.exp(-model.log_odds(drawn.scores, ("ct",), rate)))
    for low in (0.1, 0.3, 0.6):
        inside = (chance > low) & (chance < low + 0.1)
        assert drawn.labels[inside].mean() == pytest.approx(chance[inside].mean(), abs=0.03)


@settings(max_examples=30, deadline=None)
@given(st.floats(-4, 4), st.lists(st.floats(0.1, 1.0), min_size=1, max_size=6), st.integers(0, 99))
def test_columns_together_hold_the_score_exactly(score: float, weights: list[float], seed: int) -> None:
    w = np.array(weights) / np.linalg.norm(weights)
    assert w @ spread(score, w, np.random.default_rng(seed)) == pytest.approx(score, abs=1e-9)


def test_columns_are_independent_with_unit_variance_given_the_label() -> None:
    rng = np.random.default_rng(1)
    w = np.array([0.6, 0.64, 0.48])
    found = np.array([spread(float(rng.standard_normal()), w, rng) for _ in range(20_000)])
    assert np.cov(found.T) == pytest.approx(np.eye(3), abs=0.04)


def test_missing_values_cost_something_and_all_of_them_everything() -> None:
    weights = (0.6, 0.8)
    assert auc_with_missing(0.954, Missing(weights, (0.0, 0.0))) == pytest.approx(auc_of_distance(0.954), abs=0.003)
    assert auc_with_missing(0.954, Missing(weights, (1.0, 1.0))) == pytest.approx(0.5, abs=0.003)
    some = auc_with_missing(0.954, Missing(weights, (0.2, 0.2)), others=1.466)
    assert auc_of_distance(1.466) < some < auc_of_distance(float(np.hypot(0.954, 1.466)))


@pytest.mark.parametrize(("hazard_ratio", "c_index"), [(1.3, 0.575), (1.6, 0.624), (2.0, 0.680)])
def test_survival_has_the_known_concordance(hazard_ratio: float, c_index: float) -> None:
    from lifelines.utils import concordance_index

    rng = np.random.default_rng(5)
    score = rng.standard_normal(4000)
    months, event = Survival(hazard_ratio).draw(score, rng)
    assert concordance_index(months, -score, event) == pytest.approx(c_index, abs=0.02)
    assert ((months <= 12) & (event == 1)).mean() == pytest.approx(0.45, abs=0.03)
