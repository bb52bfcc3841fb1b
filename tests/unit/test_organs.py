"""Organs on the CT of phantoms: their volume and place are the planted ones, and a part of the body has none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inference.facts import Volume
from inference.lesions.body import Body, body_of
from inference.lesions.organs import organs_of, within
from training.phantom.whole_body import WholeBody, whole_body


# in 8068 and 9100 the skull reaches the edge of the box that is looked at
@pytest.fixture(scope="module", params=[7101, 8068, 9100])
def patient(request: pytest.FixtureRequest) -> WholeBody:
    return whole_body(request.param, healthy=True)


def outlined(ct: Volume) -> Body:
    body = body_of(ct)
    assert body is not None
    return body


def cut(ct: Volume, low_mm: float, high_mm: float) -> Volume:
    first, last = (int((z - float(ct.affine[2, 3])) / ct.spacing_mm[0]) for z in (low_mm, high_mm))
    return replace(ct, array=ct.array[first:last], affine=ct.part_affine([first, 0, 0]))


def test_the_cranium_is_found_whole(patient: WholeBody) -> None:
    body = outlined(patient.ct)
    cranium = organs_of(body).cranium
    assert cranium is not None
    assert 700.0 < cranium.sum() * body.cell_ml < 2000.0
    hot = np.argwhere(patient.suv.array > 0.6 * patient.uptake.brain)
    lps = patient.suv.to_lps(hot)
    brain = lps[lps[:, 2] > outlined(patient.ct).z_mm.max() - 260.0]
    assert body.at(within(cranium, body, 8.0), brain, outside=False).mean() > 0.97


def test_the_bladder_has_its_volume_and_place(patient: WholeBody) -> None:
    body = outlined(patient.ct)
    bladder = organs_of(body).bladder
    assert bladder is not None
    planted_ml = 4 / 3 * np.pi * 38 * 32 * 30 * patient.physiology.bladder**3 / 1000
    assert 0.4 * planted_ml < bladder.sum() * body.cell_ml < 1.7 * planted_ml + 20
    centre = body.volume.to_lps(np.argwhere(bladder)).mean(axis=0)
    assert abs(centre[0]) < 10.0
    assert centre[2] == pytest.approx(88.0 * patient.physiology.height, abs=12.0)


def test_a_pelvis_alone_shows_its_bladder_by_the_hips(patient: WholeBody) -> None:
    pelvis = outlined(cut(patient.ct, 20.0, 330.0 * patient.physiology.height))
    found = organs_of(pelvis)
    assert pelvis.lungs_mm is None
    assert found.bladder is not None
    assert found.liver_core is None
    assert found.kidneys is None
    assert found.heart is None


def test_a_thigh_has_no_organs(patient: WholeBody) -> None:
    found = organs_of(outlined(cut(patient.ct, 0.0, 35.0)))
    assert (found.cranium, found.bladder, found.heart, found.kidneys, found.liver) == (None,) * 5


def test_a_small_field_inside_the_body_has_no_organs(patient: WholeBody) -> None:
    """A crop has no outline, so nothing is known of left, right and middle."""
    k = int(100.0 * patient.physiology.height / 5.0)
    crop = Volume(patient.ct.array[k - 15 : k + 15, 50:75, 45:75], patient.ct.part_affine([k - 15, 50, 45]), "")
    found = organs_of(outlined(crop))
    assert (found.bladder, found.heart, found.kidneys, found.liver) == (None,) * 4


def test_the_liver_core_lies_in_the_liver(patient: WholeBody) -> None:
    body = outlined(patient.ct)
    core = organs_of(body).liver_core
    assert core is not None
    uptake = patient.suv.array[
        tuple(np.rint(patient.suv.to_index(body.volume.to_lps(np.argwhere(core)))).astype(int).T)
    ]
    assert np.median(uptake) == pytest.approx(patient.uptake.liver, rel=0.1)
