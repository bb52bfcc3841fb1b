"""The resident model, with the bundle that ships."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.facts import Refused, Region, Volume
from inference.geometry.volume import stack
from inference.load import load_ct, load_pet
from inference.model.applicability import Verdict
from inference.model.bundle import PACKAGED, find_bundle, load_bundle, save_bundle
from inference.model.inputs import CanonicalRoi
from inference.model.predict import Look, Model, predict
from inference.reading.instance import read_instance, scan_folder
from inference.regions.region import given_regions
from inference.suv.rule import suv_rule
from training.evaluate.discrimination import auc_with_interval
from training.phantom.cohort import CohortSettings, Phantom, Subject, draw, render

COHORT = CohortSettings(100, seed=20261121)  # not the seed the shipped bundle was trained with
SERVED = load_bundle(PACKAGED / "demo").served
INSIDE = Verdict("inside")


@pytest.fixture(scope="module")
def model() -> Model:
    torch.set_num_threads(1)
    return Model.load(find_bundle("demo"))


@pytest.fixture(scope="module")
def phantoms() -> list[tuple[Subject, Phantom]]:
    return [(subject, render(subject, COHORT)) for subject in draw(COHORT)]


@pytest.fixture(scope="module")
def looks(model: Model, phantoms: list[tuple[Subject, Phantom]]) -> list[Look]:
    return [model.look(p.suv, p.ct, p.region) for _, p in phantoms]


def labels_of(phantoms: list[tuple[Subject, Phantom]]) -> np.ndarray:
    return np.array([subject.label for subject, _ in phantoms])


def test_what_ships_says_what_it_is(model: Model) -> None:
    facts = model.facts
    assert facts.statement == "demonstration model: trained on phantoms, says nothing about patients"
    assert facts.demonstration
    assert facts.target == "demonstration label"
    assert facts.backend.startswith("torch c")
    assert facts.precision == "fp32"
    assert (facts.status_code.value, facts.status_code.scheme) == ("DEMO-PRED", "99PETCTNODE")
    assert facts.probability_code.meaning == "Predicted probability of demonstration label"
    card = (PACKAGED / "demo" / "docs" / "README.md").read_text()
    assert facts.statement in card
    everything = " ".join(f.read_text() for f in (PACKAGED / "demo").rglob("*") if f.suffix in {".json", ".md"})
    assert "PD-L1" not in everything
    assert "PDL1" not in everything


def test_what_ships_comes_near_the_best_there_is() -> None:
    result = SERVED.evaluation
    assert result is not None
    assert result.subjects >= 1000
    assert result.bayes_auc - result.auc <= 0.05
    assert result.auc_interval[0] <= result.auc <= result.auc_interval[1]
    assert SERVED.members == 5


def test_it_ranks_new_phantoms_nearly_as_the_hidden_score_does(
    looks: list[Look], phantoms: list[tuple[Subject, Phantom]]
) -> None:
    labels = labels_of(phantoms)
    found = auc_with_interval(labels, np.array([look.prediction.probability for look in looks], float))
    best = auc_with_interval(labels, np.array([subject.score for subject, _ in phantoms]))
    assert found.value > best.value - 0.06
    shuffled = np.random.default_rng(0).permutation(labels)
    chance = auc_with_interval(shuffled, np.array([look.prediction.probability for look in looks], float))
    assert chance.low < 0.5 < chance.high


def test_it_is_calibrated_on_new_phantoms(looks: list[Look], phantoms: list[tuple[Subject, Phantom]]) -> None:
    labels = labels_of(phantoms)
    probability = np.array([look.prediction.probability for look in looks], float)
    for low, high in ((0.0, 0.5), (0.5, 1.0)):
        chosen = (probability >= low) & (probability < high)
        standard_error = np.sqrt(0.25 / chosen.sum())
        assert labels[chosen].mean() == pytest.approx(probability[chosen].mean(), abs=3 * standard_error)


def test_every_prediction_is_whole(looks: list[Look]) -> None:
    for look in looks:
        p = look.prediction
        assert p.probability is not None
        assert p.interval is not None
        assert 0.0 <= p.interval[0] <= p.probability <= p.interval[1] <= 1.0
        assert len(p.member_probabilities) == 5
        crosses = p.interval[0] < SERVED.threshold <= p.interval[1]
        assert p.status == ("indeterminate" if crosses else "reported")
        assert p.label is (None if crosses else p.probability >= SERVED.threshold)
        assert (p.applicability == "outside") == ("demonstration-does-not-apply" in [c.code for c in look.cautions])
    assert np.mean([look.prediction.applicability == "inside" for look in looks]) > 0.88


def test_the_saliency_lies_on_the_lesion(looks: list[Look], phantoms: list[tuple[Subject, Phantom]]) -> None:
    """Methods D6: the pointing game, and more energy inside the lesion than its share of the box."""
    pointed, more_energy = [], []
    for look, (_, phantom) in zip(looks, phantoms, strict=True):
        saliency = look.saliency
        assert saliency is not None
        assert saliency.cell_mm <= 16.0
        box = tuple(slice(a, a + n) for a, n in zip(saliency.start, saliency.array.shape, strict=True))
        lesion = phantom.region.full(phantom.suv.array.shape)[box]
        hottest = np.unravel_index(saliency.array.argmax(), saliency.array.shape)
        pointed.append(
            np.linalg.norm((np.argwhere(lesion) - hottest) * phantom.suv.spacing_mm, axis=1).min() <= saliency.cell_mm
        )
        more_energy.append(saliency.array[lesion].sum() / saliency.array.sum() > lesion.mean())
    assert np.mean(pointed) >= 0.8
    assert np.mean(more_energy) >= 0.6


def test_a_repeat_is_the_same(model: Model, phantoms: list[tuple[Subject, Phantom]], looks: list[Look]) -> None:
    _, phantom = phantoms[0]
    before = phantom.suv.array.copy(), phantom.ct.array.copy(), phantom.region.mask.copy()
    again = model.look(phantom.suv, phantom.ct, phantom.region)
    fresh = Model.load(find_bundle("demo")).look(phantom.suv, phantom.ct, phantom.region)
    for other in (again, fresh):
        assert other.prediction == looks[0].prediction
        assert other.saliency is not None
        assert looks[0].saliency is not None
        assert np.array_equal(other.saliency.array, looks[0].saliency.array)
    assert all(map(np.array_equal, before, (phantom.suv.array, phantom.ct.array, phantom.region.mask)))


def unlike(kind: str, phantom: Phantom) -> Phantom:
    """The inputs of methods D7 that no model of this cohort should accept."""
    suv, ct, region = phantom.suv, phantom.ct, phantom.region
    rng = np.random.default_rng(1)
    match kind:
        case "SUV × 1000":
            suv = Volume(suv.array * 1000, suv.affine, suv.frame_of_reference_uid)
        case "pure noise":
            suv = Volume(rng.uniform(0, 12, suv.array.shape).astype(np.float32), suv.affine, suv.frame_of_reference_uid)
            ct = Volume(rng.integers(-1000, 1000, ct.array.shape, np.int16), ct.affine, ct.frame_of_reference_uid)
        case "CT of air":
            ct = Volume(np.full_like(ct.array, -1000), ct.affine, ct.frame_of_reference_uid)
        case "huge region":
            region = Region((0, 0, 0), np.ones(suv.array.shape, bool))
        case "mirrored":
            suv, ct = (Volume(v.array[:, :, ::-1], v.affine, v.frame_of_reference_uid) for v in (suv, ct))
            mask = phantom.region.full(suv.array.shape)
            region = Region.of(mask[:, :, ::-1])
    return Phantom(suv, ct, region)


@pytest.mark.parametrize("kind", ["SUV × 1000", "pure noise", "CT of air", "huge region"])
def test_what_is_unlike_the_training_is_outside(
    model: Model, phantoms: list[tuple[Subject, Phantom]], kind: str
) -> None:
    changed = [unlike(kind, phantom) for _, phantom in phantoms[:12]]
    verdicts = [model.look(p.suv, p.ct, p.region).prediction for p in changed]
    assert np.mean([v.applicability == "outside" for v in verdicts]) > 0.9
    assert all(v.applicability_reasons for v in verdicts if v.applicability == "outside")


def test_a_mirrored_lesion_is_not_unlike(model: Model, phantoms: list[tuple[Subject, Phantom]]) -> None:
    changed = [unlike("mirrored", phantom) for _, phantom in phantoms[:30]]
    verdicts = [model.look(p.suv, p.ct, p.region).prediction.applicability for p in changed]
    assert np.mean([v == "inside" for v in verdicts]) > 0.8


@pytest.mark.data
def test_a_real_patients_tumour_is_outside(model: Model, shared_data: Path) -> None:
    study = shared_data / "study_sts_001"
    pet = stack(scan_folder(study / "pet_bqml").instances)
    suv, ct = load_pet(pet, suv_rule(pet.instances)), load_ct(stack(scan_folder(study / "ct").instances))
    (given,) = given_regions(read_instance(study / "rtstruct_ct.dcm"), suv)
    look = model.look(suv, ct, given.region)
    assert look.prediction.applicability == "outside"
    assert any("365.6 ml" in reason for reason in look.prediction.applicability_reasons)
    assert "demonstration-does-not-apply" in [caution.code for caution in look.cautions]
    assert look.saliency is not None
    assert look.saliency.cell_mm <= 16.0


def test_only_a_demonstration_speaks_where_it_does_not_apply(
    tmp_path: Path, phantoms: list[tuple[Subject, Phantom]]
) -> None:
    bundle = load_bundle(find_bundle("demo"))
    clinical = bundle.served.model_copy(update={"demonstration": False, "name": "clinical"})
    save_bundle(tmp_path / "clinical", clinical, bundle.members, bundle.statistics, model_card="# clinical\n")
    strict, (_, phantom) = Model.load(tmp_path / "clinical"), phantoms[0]
    withheld = strict.look(*(getattr(unlike("SUV × 1000", phantom), part) for part in ("suv", "ct", "region")))
    assert withheld.prediction.status == "withheld"
    assert withheld.prediction.probability is None
    assert withheld.prediction.interval is None
    assert withheld.prediction.member_probabilities == ()
    assert withheld.saliency is None
    assert strict.look(phantom.suv, phantom.ct, phantom.region).prediction.status != "withheld"


@pytest.mark.parametrize(
    ("scores", "status", "label"),
    [
        ([2.0, 2.2, 1.8], "reported", True),
        ([-2.0, -2.2, -1.8], "reported", False),
        ([2.0, -2.0, 0.1], "indeterminate", None),
    ],
)
def test_the_interval_decides_what_may_be_said(scores: list[float], status: str, label: bool | None) -> None:
    served = SERVED.model_copy(update={"temperature": 2.0})
    found = predict(scores, INSIDE, served)
    assert (found.status, found.label) == (status, label)
    assert found.probability == pytest.approx(1 / (1 + np.exp(-np.mean(scores) / 2.0)))
    assert found.member_probabilities == pytest.approx([1 / (1 + np.exp(-s / 2.0)) for s in scores])
    spread = 1.96 * np.std(scores, ddof=1) / 2.0
    assert found.interval == pytest.approx([1 / (1 + np.exp(-(np.mean(scores) / 2.0 + s))) for s in (-spread, spread)])


def test_one_member_has_no_interval() -> None:
    found = predict([1.0], INSIDE, SERVED)
    assert (found.status, found.label, found.interval) == ("reported", True, None)
    assert found.probability == pytest.approx(1 / (1 + np.exp(-1.0 / SERVED.temperature)))


@pytest.mark.parametrize("state", ["outside", "unknown"])
def test_a_model_that_may_not_apply_is_silent(state: str) -> None:
    clinical = SERVED.model_copy(update={"demonstration": False})
    verdict = Verdict("outside" if state == "outside" else "unknown", ("why",))
    found = predict([3.0, 3.0], verdict, clinical)
    assert (found.status, found.probability, found.applicability_reasons) == ("withheld", None, ("why",))
    assert predict([3.0, 3.1], verdict, SERVED).status == "reported"


def test_scores_far_from_zero_do_not_overflow() -> None:
    assert predict([-900.0, -800.0], INSIDE, SERVED).probability == pytest.approx(0.0)
    assert predict([900.0, 800.0], INSIDE, SERVED).probability == pytest.approx(1.0)


def test_a_lesion_whose_cells_are_coarse_says_so(model: Model) -> None:
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    suv = Volume(np.full((40, 40, 40), 5.0, np.float32), affine, "2.25.1")
    ct = Volume(np.full((40, 40, 40), 40, np.int16), affine, "2.25.1")
    away = np.linalg.norm(np.indices(suv.array.shape) - 20.0, axis=0) * 4.0
    for radius_mm, coarse in ((50.0, False), (56.0, True)):
        look = model.look(suv, ct, Region.of(away <= radius_mm))
        assert look.saliency is not None
        assert (look.saliency.cell_mm > 16.0) is coarse
        assert ("saliency-coarse" in [caution.code for caution in look.cautions]) is coarse


def test_a_region_without_uptake_is_withheld_and_other_faults_are_refused(model: Model) -> None:
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    suv = Volume(np.zeros((20, 20, 20), np.float32), affine, "2.25.1")
    ct = Volume(np.full((20, 20, 20), 40, np.int16), affine, "2.25.1")
    region = Region((5, 5, 5), np.ones((6, 6, 6), bool))
    look = model.look(suv, ct, region)
    assert (look.prediction.status, look.prediction.applicability) == ("withheld", "outside")
    assert look.saliency is None
    with pytest.raises(Refused):
        model.look(suv, Volume(ct.array, affine, "2.25.2"), region)


def changed_bundle(tmp_path: Path, change: Callable[[dict[str, object]], dict[str, object]]) -> Path:
    bundle = load_bundle(find_bundle("demo"))
    served = bundle.served.model_copy(update=change(bundle.served.network))
    save_bundle(tmp_path / "changed", served, bundle.members, bundle.statistics, model_card="")
    return tmp_path / "changed"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda network: {"network": {**network, "network": "os.system"}}, "bundle-metadata"),
        (lambda network: {"network": {**network, "widths": [8, 16, 32, 48]}}, "bundle-weights"),
        (lambda network: {"network": {**network, "channels": 2}}, "bundle-metadata"),
    ],
)
def test_a_network_that_is_not_ours_is_refused(
    tmp_path: Path, change: Callable[..., dict[str, object]], code: str
) -> None:
    with pytest.raises(Refused) as refusal:
        Model.load(changed_bundle(tmp_path, change))
    assert refusal.value.code == code


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(Refused) as refusal:
        Model.load(find_bundle("demo"), device="cuda")
    assert refusal.value.code == "device-missing"


def test_torch_is_imported_only_when_a_model_is_loaded() -> None:
    program = (
        "import sys, inference.model.predict, inference.model.bundle\n"
        "inference.model.bundle.load_bundle(inference.model.bundle.find_bundle('demo'))\n"
        "heavy = {'torch', 'monai', 'SimpleITK', 'highdicom', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_shipped_settings_are_the_defaults() -> None:
    assert SERVED.input == CanonicalRoi()
