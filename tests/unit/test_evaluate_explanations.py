"""ComBat inside folds, SHAP of tabular heads, and the sanity checks of heatmaps (methods D6)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from inference.facts import Refused
from training.evaluate.harmonise import fit_combat
from training.evaluate.saliency_checks import (
    cascading_randomisation,
    check_saliency,
    completeness_error,
    deletion_insertion,
    energy_in,
    pointing,
    similarity,
)
from training.evaluate.shapley import shapley


def from_centres(seed: int, n: int = 40) -> tuple[np.ndarray, list[str]]:
    """Features (3 n, 6) of three centres with their own shift and scale; the last feature never changes."""
    rng = np.random.default_rng(seed)
    parts = [rng.normal(shift, scale, (n, 6)) for shift, scale in ((0, 1), (2, 1.5), (-1, 0.7))]
    features = np.vstack(parts)
    features[:, 5] = 3.0
    return features, [name for name in "abc" for _ in range(n)]


def test_combat_takes_the_centre_away_from_subjects_it_never_saw() -> None:
    features, centres = from_centres(0)
    effects = fit_combat(features, centres)
    fresh, _ = from_centres(1)
    moved = effects.apply(fresh, centres)
    means = np.array([moved[np.array(centres) == name, :5].mean(axis=0) for name in "abc"])
    assert np.ptp(means, axis=0).max() < 0.8  # before: 3
    np.testing.assert_array_equal(moved[:, 5], 3.0)
    one_by_one = np.vstack([effects.apply(fresh[i : i + 1], centres[i : i + 1]) for i in range(len(fresh))])
    np.testing.assert_allclose(one_by_one, moved)  # nothing is learnt from those it is applied to


def test_combat_is_neurocombats_on_the_training_rows(capsys: pytest.CaptureFixture[str]) -> None:
    from neuroCombat import neuroCombat

    features, centres = from_centres(2)
    theirs = neuroCombat(features[:, :5].T, pd.DataFrame({"centre": centres}), "centre")["data"].T
    capsys.readouterr()
    ours = fit_combat(features, centres).apply(features, centres)
    np.testing.assert_allclose(ours[:, :5], theirs, atol=1e-9)
    assert capsys.readouterr().out == ""


def test_combat_refuses_a_strange_centre() -> None:
    features, centres = from_centres(0)
    with pytest.raises(Refused, match="no centre 'z'"):
        fit_combat(features, centres).apply(features[:1], ["z"])
    with pytest.raises(Refused, match="two centres"):
        fit_combat(features[:40], ["a"] * 40)


def test_shapley_values_of_a_linear_head_are_known() -> None:
    rng = np.random.default_rng(0)
    training, weights = rng.normal(size=(80, 4)), np.array([2.0, -1.0, 0.0, 0.5])
    found = shapley(lambda x: x @ weights, training, training[:5], ["a", "b", "nothing", "c"], seed=0)
    np.testing.assert_allclose(found.values, weights * (training[:5] - training.mean(axis=0)), atol=1e-6)
    np.testing.assert_allclose(found.values.sum(axis=1) + found.expected, training[:5] @ weights, atol=1e-6)
    assert next(iter(found.importance)) in ("a", "b")
    assert found.importance["nothing"] == pytest.approx(0.0, abs=1e-9)
    again = shapley(lambda x: x @ weights, training, training[:5], ["a", "b", "nothing", "c"], seed=0)
    np.testing.assert_array_equal(again.values, found.values)


class Toy(nn.Module):
    """Answers by the mean of a filtered cube: it sees a bright spot."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(torch.tanh(self.first(x)).mean(dim=(2, 3, 4)))
        return answer


def seeing() -> Toy:
    """Weights under which label 1 is a bright spot."""
    torch.manual_seed(0)
    net = Toy().eval()
    with torch.no_grad():
        net.first.weight.fill_(0.2)
        net.first.bias.zero_()
        net.head.weight.copy_(torch.tensor([[-3.0] * 4, [3.0] * 4]))
        net.head.bias.zero_()
    return net


def spot(at: int) -> tuple[Tensor, np.ndarray]:
    """A cube with noise and a bright 3³ spot, and the spot's mask."""
    generator = torch.Generator().manual_seed(at)
    x = 0.01 * torch.randn((1, 1, 10, 10, 10), generator=generator)
    mask = np.zeros((10, 10, 10), bool)
    mask[at : at + 3, 2:5, 4:7] = True
    x[0, 0][torch.from_numpy(mask)] += 1.0
    return x, mask


def class_activation(network: nn.Module, x: Tensor) -> np.ndarray:
    with torch.no_grad():
        cells = torch.tanh(network.first(x))
        weights = network.head.weight[1] - network.head.weight[0]
        return (weights[None, :, None, None, None] * cells).sum(dim=1).relu()[0].numpy()


def blind_map(network: nn.Module, x: Tensor) -> np.ndarray:
    """An "explanation" that looks at the image alone: it must fail."""
    return x[0, 0].abs().numpy()


def test_an_honest_map_passes_and_an_edge_detector_does_not() -> None:
    subjects = [spot(at) for at in (1, 3, 5)]
    inputs, masks = [x for x, _ in subjects], [mask for _, mask in subjects]
    honest = check_saliency(seeing(), class_activation, inputs, masks, seed=1)
    assert honest.pointing == 1.0
    assert honest.energy_in_mask > 5 * honest.mask_share
    assert honest.failures == ()
    assert honest.deletion < honest.random_deletion
    assert honest.insertion > honest.random_insertion
    assert honest.completeness_error < 0.05
    blind = check_saliency(seeing(), blind_map, inputs, masks, seed=1, permuted=Toy().eval())
    assert "it stays the same when all weights are random" in blind.failures
    assert "a model of permuted labels gives the same" in blind.failures


def test_cascade_goes_from_the_answer_down_and_leaves_the_network() -> None:
    net, (x, _) = seeing(), spot(2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = cascading_randomisation(net, class_activation, [x], seed=0)
    assert [name for name, _ in found] == ["head", "first"]
    assert found == cascading_randomisation(net, class_activation, [x], seed=0)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(value == 1.0 for _, value in cascading_randomisation(net, blind_map, [x], seed=0))


def test_a_distractor_that_attracts_is_named() -> None:
    x, mask = spot(1)
    found = check_saliency(seeing(), class_activation, [x], [~mask], seed=0, distractors=[mask])
    assert "a distractor attracts it" in found.failures
    assert "its maximum lies outside the lesion too often" in found.failures


def test_small_measures() -> None:
    heat = np.zeros((4, 4, 4))
    heat[1, 1, 1], heat[2, 2, 2] = 3.0, 1.0
    mask = np.zeros((4, 4, 4), bool)
    mask[1, 1, 1] = True
    assert pointing(heat, mask)
    assert energy_in(heat, mask) == 0.75
    assert energy_in(np.zeros((4, 4, 4)), mask) == 0.0
    assert similarity(heat, heat) == pytest.approx(1.0)
    assert similarity(heat, np.zeros((4, 4, 4))) == 0.0


def test_completeness_fails_for_a_step_that_gradients_do_not_see() -> None:
    class Step(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            mean = x.amax(dim=(1, 2, 3, 4))
            return torch.stack([torch.zeros_like(mean), torch.sign(mean - 0.5) + 0.0 * mean], dim=1)

    x, _ = spot(1)
    assert completeness_error(Step(), x) == pytest.approx(1.0, abs=0.1)
    assert completeness_error(seeing(), x) < 0.05


def test_deletion_starts_at_the_answer_and_ends_at_the_baseline() -> None:
    x, mask = spot(3)
    by_mask = deletion_insertion(seeing(), x, mask.astype(float), 1)
    inverted = deletion_insertion(seeing(), x, (~mask).astype(float), 1)
    assert by_mask[0] < inverted[0]
    assert by_mask[1] > inverted[1]
