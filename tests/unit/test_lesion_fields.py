"""Any part of a patient, any orientation of the slices, any tracer: an answer, never an exception or a wrong voxel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.facts import Tracer, Volume
from inference.lesions.body import body_of
from inference.lesions.lesion import find_lesions
from inference.lesions.organs import organs_of
from inference.lesions.reference import reference_uptake
from training.phantom.whole_body import WholeBody, whole_body


@pytest.fixture(scope="module")
def patient() -> WholeBody:
    return whole_body(7301)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    box=st.tuples(*[st.tuples(st.integers(0, 90), st.integers(1, 190)) for _ in range(3)]),
    turned=st.permutations([0, 1, 2]),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    tracer=st.sampled_from(["fdg", "", "psma-1007", "dotatoc", "fet"]),
)
def test_every_field_gets_an_answer(
    patient: WholeBody,
    box: tuple[tuple[int, int], ...],
    turned: list[int],
    flips: tuple[bool, ...],
    tracer: str,
) -> None:
    start = [min(a, n - 1) for (a, _), n in zip(box, patient.suv.array.shape, strict=True)]
    part = tuple(slice(s, s + n) for s, (_, n) in zip(start, box, strict=True))
    suv, ct = (_seen(volume, part, start, turned, flips) for volume in (patient.suv, patient.ct))
    body = body_of(ct)
    organs = None if body is None else organs_of(body)
    references = reference_uptake(suv, body, organs)
    proposal = find_lesions(suv, body, organs, Tracer(tracer, "F-18"), references)
    codes = [c.code for c in proposal.cautions]
    assert ("no-lesion-found" in codes) == (not proposal.regions)
    assert ("region-automatic" in codes) == bool(proposal.regions)
    for region in proposal.regions:
        assert region.mask.any()
        assert suv.array[region.slices].shape == region.mask.shape
    taken = sum((r.full(suv.array.shape).astype(int) for r in proposal.regions), np.zeros(suv.array.shape, int))
    assert taken.max(initial=0) <= 1


def _seen(
    volume: Volume, part: tuple[slice, ...], start: list[int], turned: list[int], flips: tuple[bool, ...]
) -> Volume:
    """A part of the volume with its axes in another order and direction; every voxel stays where it is in space."""
    array, affine = volume.array[part], volume.part_affine(start)
    for axis, flip in enumerate(flips):
        if flip:
            affine = affine.copy()
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
            array = np.flip(array, axis)
    return Volume(np.ascontiguousarray(array.transpose(turned)), affine[:, [*turned, 3]], "")


@pytest.mark.parametrize(
    ("turned", "flips"),
    [
        ([0, 1, 2], (True, False, False)),
        ([0, 1, 2], (False, True, True)),
        ([0, 1, 2], (True, True, True)),
        ([0, 2, 1], (False, True, False)),
    ],
    ids=["descending", "prone", "both", "on a side"],
)
def test_the_order_of_slices_rows_and_columns_changes_nothing(
    patient: WholeBody, turned: list[int], flips: tuple[bool, ...]
) -> None:
    """Stacks of the same patient in space have the same lesions there, whatever the posture they were made for."""
    centres = []
    for order, flip in (([0, 1, 2], (False,) * 3), (turned, flips)):
        part = (slice(None),) * 3
        suv, ct = (_seen(volume, part, [0, 0, 0], order, flip) for volume in (patient.suv, patient.ct))
        body = body_of(ct)
        assert body is not None
        organs = organs_of(body)
        found = find_lesions(suv, body, organs, Tracer("fdg", "F-18"), reference_uptake(suv, body, organs))
        first = found.regions[0]
        centres.append(suv.to_lps(np.argwhere(first.mask).mean(axis=0) + first.start))
    assert centres[0] == pytest.approx(centres[1], abs=1.5)


def test_slices_turned_in_their_plane_show_no_organs(patient: WholeBody) -> None:
    """Left and front are then no axes of the grid, and an organ would be looked for beside its place."""
    cosine, sine = np.cos(np.radians(10.0)), np.sin(np.radians(10.0))
    turn = np.array([[cosine, -sine, 0, 0], [sine, cosine, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert body_of(Volume(patient.ct.array, turn @ patient.ct.affine, "")) is None
    found = find_lesions(Volume(patient.suv.array, turn @ patient.suv.affine, ""), None, None, Tracer("fdg", "F-18"))
    assert "physiologic-uptake-not-assessed" in [c.code for c in found.cautions]
