"""The loop that all methods share: the same bytes, interrupted or not, and plain words when it cannot go on."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.facts import Refused
from inference.model.inputs import CanonicalRoi
from inference.model.network import RoiResNet
from training.recipe import Conditions, Stopped
from training.semi_supervised.augment import Channels
from training.semi_supervised.loop import Fitted, fit
from training.semi_supervised.method import Method
from training.semi_supervised.methods import NAMES, method
from training.semi_supervised.methods.pretext import FeaturePretext, RotationPretext
from training.semi_supervised.problem import Batches, Problem
from training.semi_supervised.settings import LoopSettings

NETWORK = RoiResNet(widths=(2, 4, 4, 4), strides=(1, 2, 1, 1))
CHANNELS = Channels.of(CanonicalRoi(size=8))
TINY = LoopSettings(steps=8, batch=4, unlabelled_batch=6, warm_up=2, refresh_every=3, save_every=3)


def problem(labelled: int = 12, unlabelled: int = 14) -> Problem:
    """Noise in which the label raises the first channel."""
    rng = np.random.default_rng(3)
    n = labelled + unlabelled
    labels = (np.arange(n) % 2).astype(np.int8)
    inputs = rng.uniform(0.1, 1.0, (n, 3, 8, 8, 8)).astype(np.float32)
    inputs[:, 0] += 0.8 * labels[:, None, None, None]
    known = labels.copy()
    known[labelled:] = -1
    rows = np.arange(n)
    targets = np.full(n, np.nan, np.float32)
    targets[labelled:-2] = 0.2 + 0.6 * labels[labelled:-2]
    train, validation = rows[: labelled - 4], rows[labelled - 4 : labelled]
    return Problem(inputs, known, [f"c{i % 3}" for i in range(n)], train, validation, rows[labelled:], targets)


def run(folder: Path, name: str = "supervised", settings: LoopSettings = TINY, stop: int | None = None) -> Fitted:
    calls = itertools.count()
    conditions = Conditions(7, folder, stop=lambda: stop is not None and next(calls) >= stop)
    return fit(problem(), method(name), NETWORK, settings, CHANNELS, conditions)


def same(a: Fitted, b: Fitted) -> bool:
    return a.weights.keys() == b.weights.keys() and all(np.array_equal(a.weights[k], b.weights[k]) for k in a.weights)


@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_and_resumed_fit_ends_with_the_bytes_of_one_that_ran_through(name: str, tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", name)
    with pytest.raises(Stopped):
        run(tmp_path / "cut", name, stop=5)
    resumed = run(tmp_path / "cut", name)
    assert same(whole, resumed)
    assert whole.losses == resumed.losses
    assert all(np.isfinite(value).all() for value in whole.weights.values())


def test_a_checkpoint_of_another_fit_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(tmp_path, stop=5)
    other = TINY.model_copy(update={"learning_rate": 1e-3})
    assert same(run(tmp_path, settings=other), run(tmp_path / "new", settings=other))


def test_a_damaged_checkpoint_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(tmp_path, stop=5)
    file = tmp_path / "fit_0.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    assert same(run(tmp_path), run(tmp_path / "new"))


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    first = run(tmp_path / "a")
    second = fit(problem(), method("supervised"), NETWORK, TINY, CHANNELS, Conditions(8, tmp_path / "b"))
    assert not same(first, second)


def test_the_best_look_is_kept_and_patience_ends_the_run(tmp_path: Path) -> None:
    settings = LoopSettings(steps=40, batch=4, warm_up=1, learning_rate=0.5, check_every=2, patience=3)
    found = run(tmp_path, settings=settings)
    losses = dict(found.validation)
    assert losses[found.chosen] == min(losses.values())
    assert found.steps == max(losses)
    assert found.steps - found.chosen == 2 * settings.patience or found.steps == settings.steps


def test_it_learns_what_is_planted(tmp_path: Path) -> None:
    settings = LoopSettings(steps=60, batch=8, warm_up=5, learning_rate=1e-2)
    found = run(tmp_path, settings=settings)
    assert found.losses[-1] < 0.4 * found.losses[0]


def test_a_loss_that_is_no_number_names_step_and_rows(tmp_path: Path) -> None:
    broken = problem()
    broken.inputs[broken.train[2]] = np.nan
    with pytest.raises(Refused) as refused:
        fit(broken, method("supervised"), NETWORK, TINY, CHANNELS, Conditions(7, tmp_path))
    assert refused.value.code == "training-loss-not-finite"
    assert "step" in refused.value.reason
    assert "2" in refused.value.reason


@pytest.mark.parametrize("choose_by", ["AUC", "log loss"])
def test_answers_that_are_no_numbers_end_the_fit_at_the_look(choose_by: str, tmp_path: Path) -> None:
    broken = problem()
    broken.inputs[broken.validation[1]] = np.nan
    looking = TINY.model_copy(update={"check_every": 2, "choose_by": choose_by})
    with pytest.raises(Refused, match="after step 2") as refused:
        fit(broken, method("supervised"), NETWORK, looking, CHANNELS, Conditions(7, tmp_path))
    assert refused.value.code == "training-loss-not-finite"


@pytest.mark.parametrize("task", [RotationPretext(), FeaturePretext(2)])
def test_a_pretraining_looks_at_no_label_and_is_what_the_next_fit_begins_with(task: Method, tmp_path: Path) -> None:
    pretext = np.random.default_rng(0).standard_normal((26, 2)).astype(np.float32)
    given = replace(problem(), pretext=pretext)
    other = replace(given, labels=np.where(given.labels >= 0, 1 - given.labels, -1).astype(np.int8))
    conditions = Conditions(7, tmp_path)
    first = fit(given, task, NETWORK, TINY, CHANNELS, conditions)
    assert same(first, fit(other, task, NETWORK, TINY, CHANNELS, conditions))
    plain = fit(given, method("supervised"), NETWORK, TINY, CHANNELS, conditions)
    assert not same(plain, fit(given, method("supervised"), NETWORK, TINY, CHANNELS, conditions, first.weights))


def test_one_class_is_refused(tmp_path: Path) -> None:
    given = problem()
    given.labels[given.train] = 1
    with pytest.raises(Refused) as refused:
        fit(given, method("supervised"), NETWORK, TINY, CHANNELS, Conditions(7, tmp_path))
    assert refused.value.code == "training-one-class"


def test_memory_that_does_not_suffice_names_the_setting(tmp_path: Path) -> None:
    greedy = LoopSettings(steps=1, batch=1024)
    shape = (4, 1, 128, 128, 128)  # without memory of its own: one value, shown everywhere
    inputs = np.broadcast_to(np.float32(0.5), shape)
    rows = np.arange(4)
    given = Problem(inputs, np.array([0, 1, 0, 1], np.int8), ["c"] * 4, rows)
    wide = RoiResNet(channels=1, widths=(2, 4, 4, 4))
    with pytest.raises(Refused) as refused:
        _limited(lambda: fit(given, method("supervised"), wide, greedy, _one_channel(), Conditions(7, tmp_path)))
    assert refused.value.code == "training-out-of-memory"
    assert "batch (now 1024)" in refused.value.reason


def _one_channel() -> Channels:
    return Channels(pet=(0,), ct=(), pet_zero=0.0, ct_per_hu=1.0, masked=True, shift=0)


def _limited(call: object) -> None:
    """With 6 GiB of address space more than now, so that no machine is filled by the test."""
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 6 * 1024**3, before[1]))
    try:
        call()  # type: ignore[operator]
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_batches_follow_from_seed_and_step_and_spread_the_strata() -> None:
    rows = np.arange(40)
    strata = [i < 10 for i in range(40)]
    batches = Batches(rows, strata, 8, [1, 0])
    taken = [batches.at(step) for step in range(5)]
    assert sorted(np.concatenate(taken).tolist()) == rows.tolist()
    assert [int((part < 10).sum()) for part in taken] == [2] * 5
    assert np.array_equal(Batches(rows, strata, 8, [1, 0]).at(3), taken[3])
    halves = np.concatenate([batches.at(3, part, 2) for part in (0, 1)])
    assert sorted(halves.tolist()) == sorted(taken[3].tolist())
