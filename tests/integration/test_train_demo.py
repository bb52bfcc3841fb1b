"""Training: the same arguments give the same bundle, and what it writes can be served."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.facts import Region, Volume
from inference.model.bundle import METADATA, PACKAGED, load_bundle
from inference.model.network import RoiResNet, restore
from inference.model.predict import Model
from training.networks.supervised import FitSettings, answers, fit
from training.phantom.cohort import CohortSettings, draw, render
from training.recipes.bench import write_bench_bundle
from training.recipes.demo import DemoReport, fit_temperature, train_demo


def tiny(out: Path, seed: int = 3) -> DemoReport:
    return train_demo(
        out, seed=seed, n_train=40, n_validation=30, n_test=40, steps=4, members=2, extent_mm=48.0,
        truth=out.with_suffix(".truth.json"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> DemoReport:
    return tiny(tmp_path_factory.mktemp("trained") / "demo")


@pytest.mark.slow
def test_the_same_arguments_give_the_same_digest(trained: DemoReport, tmp_path: Path) -> None:
    again = tiny(tmp_path / "elsewhere")
    assert again.digest == trained.digest
    for file in trained.out.rglob("*"):
        if file.is_file():
            assert file.read_bytes() == (again.out / file.relative_to(trained.out)).read_bytes()


def test_what_is_trained_can_be_served(trained: DemoReport) -> None:
    model = Model.load(trained.out)
    assert model.facts.digest == trained.digest
    cohort = CohortSettings(1, seed=99)
    phantom = render(draw(cohort)[0], cohort)
    look = model.look(phantom.suv, phantom.ct, phantom.region)
    assert look.prediction.probability is not None
    assert look.saliency is not None


def test_the_bundle_tells_how_it_was_made(trained: DemoReport) -> None:
    metadata = json.loads((trained.out / METADATA).read_text())["petct_node"]
    assert metadata["training"]["subjects"] == {"train": 40, "validation": 30, "test": 40}
    assert [one["seed"] for one in metadata["training"]["fit"]] == [3000, 3001]
    assert metadata["evaluation"]["auc"] == trained.auc
    assert metadata["evaluation"]["bayes_auc"] == pytest.approx(0.8967)
    truth = json.loads(trained.out.with_suffix(".truth.json").read_text())
    assert len(truth["subjects"]) == 110


def test_an_untrained_model_is_not_called_near_the_optimum(trained: DemoReport) -> None:
    """Four steps do not train: the check must see it."""
    assert trained.near_optimum == (trained.bayes_auc - trained.auc <= 0.05)
    assert trained.auc < 0.85


def test_the_shipped_bundle_is_what_the_defaults_write() -> None:
    """Its own record of the arguments equals the defaults of ``train_demo``."""
    assert train_demo.__kwdefaults__ is not None
    defaults, made = train_demo.__kwdefaults__, load_bundle(PACKAGED / "demo").served.training
    assert made["subjects"] == {
        "train": defaults["n_train"],
        "validation": defaults["n_validation"],
        "test": defaults["n_test"],
    }
    fitted = made["fit"]
    assert isinstance(fitted, list)
    assert len(fitted) == defaults["members"]
    for member, one in enumerate(fitted):
        assert one == {
            "steps": defaults["steps"],
            "seed": 1000 * defaults["seed"] + member,
            "batch": FitSettings(1, 0).batch,
            "learning_rate": FitSettings(1, 0).learning_rate,
            "warm_up": FitSettings(1, 0).warm_up,
        }


@pytest.mark.slow
def test_fit_learns_a_planted_difference_and_not_a_permuted_one() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(300) < 0.5
    inputs = rng.normal(0, 0.3, (300, 3, 8, 8, 8)).astype(np.float32)
    inputs[labels, 0, 2:6, 2:6, 2:6] += 0.4
    how = FitSettings(steps=40, seed=1, batch=16, warm_up=5)
    threads = torch.get_num_threads()
    for truth, low, high in ((labels, 0.95, 1.0), (rng.permutation(labels), 0.3, 0.7)):
        weights = fit(inputs[:200], truth[:200], RoiResNet(), how)
        scores, embeddings = answers(restore(RoiResNet(), weights), inputs[200:])
        above = (scores[labels[200:]][:, None] > scores[~labels[200:]][None]).mean()
        assert low <= above <= high
        assert embeddings.shape == (100, 128)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_is_found_again(temperature: float) -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, 20000)
    labels = rng.random(20000) < 1 / (1 + np.exp(-logits))
    assert fit_temperature(temperature * logits, labels) == pytest.approx(temperature, rel=0.06)


@pytest.mark.slow
def test_the_timing_bundle_is_resnet18_on_96_cubed(tmp_path: Path) -> None:
    digest = write_bench_bundle(tmp_path / "bench")
    bundle = load_bundle(tmp_path / "bench")
    assert bundle.digest == digest
    assert len(bundle.members) == 1
    assert (bundle.served.input.size, bundle.served.input.preset) == (96, "fixed-crop")
    model = Model.load(tmp_path / "bench")
    affine = np.diag([3.0, 4.0, 4.0, 1.0])
    suv = Volume(np.full((30, 30, 30), 2.0, np.float32), affine, "2.25.1")
    ct = Volume(np.full((30, 30, 30), 40, np.int16), affine, "2.25.1")
    mask = np.zeros((30, 30, 30), bool)
    mask[12:18, 12:18, 12:18] = True
    look = model.look(suv, ct, Region.of(mask))
    assert look.prediction.status == "reported"
    assert look.prediction.applicability == "unknown"
    assert look.saliency is not None
    assert look.saliency.cell_mm == pytest.approx(32.0)
    assert {"saliency-coarse", "applicability-unknown"} <= {caution.code for caution in look.cautions}
