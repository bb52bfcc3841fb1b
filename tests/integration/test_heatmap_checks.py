"""The shipped model's heatmaps under the sanity checks of methods D6, on phantoms it has not seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inference.model.bundle import Bundle, find_bundle, load_bundle
from inference.model.look import see
from inference.model.predict import Model
from inference.model.torch_backend import TorchBackend
from training.evaluate.heatmaps import OfImage, grad_cam, heatmap_checks
from training.phantom.cohort import CohortSettings, Phantom, draw, render

COHORT = CohortSettings(4, seed=77, extent_mm=96.0)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(find_bundle("demo"))


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [render(subject, COHORT) for subject in draw(COHORT)]


def test_the_shipped_models_maps_hang_on_its_weights(bundle: Bundle, phantoms: list[Phantom]) -> None:
    torch.set_num_threads(1)
    arrays = np.stack([see(p.suv, p.ct, p.region, bundle.served.input).array for p in phantoms])
    found = heatmap_checks(bundle, arrays, None, seed=0)
    assert found is not None
    assert found.layers[0][0].endswith("fc")  # from the answer down
    assert found.layers[-1][1] < 0.5
    assert found.completeness_error < 0.05
    assert found.energy_in_mask > found.mask_share
    assert found.insertion > found.random_insertion


def test_the_map_that_is_checked_is_the_one_that_is_shown(bundle: Bundle, phantoms: list[Phantom]) -> None:
    one = phantoms[0]
    alone = Bundle(
        bundle.path, bundle.digest, bundle.served.model_copy(update={"members": 1}), bundle.members[:1], None
    )
    backend = TorchBackend(alone, device="cpu", threads=1)
    seen = see(one.suv, one.ct, one.region, bundle.served.input)
    (member,) = backend.forward(seen.array)
    cells = member.activation(int(member.score >= 0))
    checked = grad_cam(OfImage(backend._members[0], None), torch.from_numpy(seen.array)[None], backend.cell_voxels)
    assert cells is not None
    step = backend.cell_voxels
    np.testing.assert_allclose(checked[::step, ::step, ::step], cells[: len(checked[::step])], atol=1e-4)
    shown = Model(alone, backend).look(one.suv, one.ct, one.region).saliency
    assert shown is not None
    assert 0.0 < shown.raw_max <= float(checked.max()) * 1.0001  # the same map, met at the PET's coarser voxels


def test_other_inputs_have_no_checks(bundle: Bundle) -> None:
    assert heatmap_checks(bundle, np.empty((0, 3, 16, 16, 16), np.float32), None, seed=0) is None
