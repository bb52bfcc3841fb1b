"""A CT that does not lie on a regular, upright grid comes onto one: its HU stay where they were in the patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from inference.facts import FloatArray, Refused, Region, Volume
from inference.geometry.regrid import NOT_MEASURED_HU
from inference.geometry.volume import Stack, stack
from inference.lesions.measure import measure, without_ct
from inference.load import load_ct, load_pet
from inference.model.inputs import CanonicalRoi, network_input
from inference.reading.instance import scan_folder
from inference.reading.pixels import stored_slices
from inference.regions.region import given_regions
from inference.suv.rule import suv_rule
from tests.images import ball, grid, image, structures, with_pixels

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
EDGE = 48  # pixels of 1 mm


def tilted(degrees: float) -> tuple[float, ...]:
    """Orientation of slices of a gantry tilted about the patient's x axis."""
    a = np.radians(degrees)
    return (1.0, 0.0, 0.0, 0.0, float(np.cos(a)), float(-np.sin(a)))


def sampled(
    folder: Path,
    field: Callable[[FloatArray], FloatArray],
    places: Sequence[Sequence[float]],
    orientation: Sequence[float] = AXIAL,
) -> Stack:
    """CT slices of a field of LPS mm, taken where they say they are; the table moves, the gantry may be tilted."""
    row, column = np.reshape(orientation, (2, 3))
    r, c = np.mgrid[:EDGE, :EDGE]
    images = []
    for number, place in enumerate(places):
        points = np.asarray(place) + c[..., None] * row + r[..., None] * column
        values = np.rint(field(points)).astype(np.int16)
        made = image(number, place, ImageOrientationPatient=list(orientation), PixelSpacing=[1.0, 1.0])
        images.append(with_pixels(made, values, folder))
    return stack(images[::-1])


def blob(points: FloatArray) -> FloatArray:
    """A smooth lump of 1000 HU round the middle, width (sigma) 8 mm; its second derivative is 1000/64 at most."""
    squared = ((points - (EDGE / 2, EDGE / 2, 30.0)) ** 2).sum(axis=-1)
    return np.asarray(1000 * np.exp(-squared / 128))


def ramp(points: FloatArray) -> FloatArray:
    return np.asarray(points @ np.array((5.0, -7.0, 11.0)))


def errors(volume: Volume, field: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Difference to the field of every voxel that was measured."""
    index = np.moveaxis(np.indices(volume.array.shape), 0, -1)
    wanted = field(volume.to_lps(index))
    return np.abs(volume.array - wanted)[volume.array > NOT_MEASURED_HU]


ROUNDING = 1.0  # half a unit where the slice was stored, half where it was interpolated


@pytest.mark.parametrize("degrees", [-25.0, 10.0, 18.5, 30.0])
def test_a_tilted_gantry(tmp_path: Path, degrees: float) -> None:
    places = [(0.0, 0.0, 3.0 * n) for n in range(20)]  # the table moves along z, the slices lean
    linear = load_ct(sampled(tmp_path, ramp, places, tilted(degrees)))
    assert errors(linear, ramp).max() <= ROUNDING
    made = sampled(tmp_path, blob, places, tilted(degrees))
    found = load_ct(made)
    # linear interpolation is off by at most step² / 8 × the second derivative, here in one direction of 1 mm pixels
    assert errors(found, blob).max() <= 1000 / 64 / 8 + ROUNDING
    assert [c.code for c in made.cautions] == ["gantry-tilt-regridded"]
    assert np.count_nonzero(found.array > NOT_MEASURED_HU) >= 20 * EDGE * (EDGE - 1)  # nothing measured is lost
    # stacking the slices as if upright would have been wrong by much
    upright = np.array(made.affine)
    upright[:3, 3] = made.instances[0].attributes["ImagePositionPatient"]
    naive = Volume(np.stack(list(stored_slices(made.instances))), upright, found.frame_of_reference_uid)
    assert errors(naive, blob).max() > 100


@pytest.mark.parametrize("step_mm", [1.5, 4.0])
def test_uneven_slices(tmp_path: Path, step_mm: float) -> None:
    heights = np.cumsum([step_mm * f for f in (1, 1.6, 1, 1.3, 1, 1.7, 1, 1, 1.45, 1, 1.2, 1)])
    places = [(0.0, 0.0, float(h)) for h in heights]
    linear = load_ct(sampled(tmp_path, ramp, places))
    assert errors(linear, ramp).max() <= ROUNDING
    made = sampled(tmp_path, blob, places)
    found = load_ct(made)
    widest = float(np.diff(heights).max())
    assert errors(found, blob).max() <= widest**2 / 8 * 1000 / 64 + ROUNDING
    assert [c.code for c in made.cautions] == ["irregular-spacing-interpolated"]
    assert found.to_lps((0, 0, 0)).tolist() == pytest.approx(list(places[0]))
    assert found.to_lps((found.array.shape[0] - 1, 0, 0)).tolist() == pytest.approx(list(places[-1]))
    assert (found.array > NOT_MEASURED_HU).all()


def test_tilted_and_uneven_at_once(tmp_path: Path) -> None:
    heights = [0.0, 3, 6, 9, 14, 19, 24, 29]
    made = sampled(tmp_path, ramp, [(0.0, 0.0, h) for h in heights], tilted(15.0))
    assert errors(load_ct(made), ramp).max() <= ROUNDING
    assert [c.code for c in made.cautions] == ["gantry-tilt-regridded", "irregular-spacing-interpolated"]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lean=st.tuples(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4)),
    steps=st.lists(st.floats(2.0, 3.9), min_size=3, max_size=9),
    turn=st.floats(-3, 3),
)
def test_any_lean_and_any_steps_keep_a_ramp(
    tmp_path: Path, lean: tuple[float, float], steps: list[float], turn: float
) -> None:
    orientation = (np.cos(turn), np.sin(turn), 0.0, -np.sin(turn), np.cos(turn), 0.0)
    row, column = np.reshape(orientation, (2, 3))
    heights = np.concatenate([[0.0], np.cumsum(steps)])
    places = [lean[0] * h * row + lean[1] * h * column + (0, 0, h) for h in heights]
    try:
        made = sampled(tmp_path, ramp, places, orientation)
    except Refused:
        assume(False)  # a step is a whole number of others
    assert errors(load_ct(made), ramp).max() <= ROUNDING + 11 * 0.1  # slices within 0.1 mm of a grid count as on it


def test_voxels_beside_every_slice_do_not_count(tmp_path: Path) -> None:
    """A region that reaches into the corner of the grid where no slice lies: its mean is of what was measured."""

    def forty(points: FloatArray) -> FloatArray:
        return np.full(points.shape[:-1], 40.0)

    ct = load_ct(sampled(tmp_path, forty, [(0.0, 0.0, 3.0 * n) for n in range(12)], tilted(20.0)))
    edge = int(np.flatnonzero(ct.array[6, :, 24] > NOT_MEASURED_HU)[0])
    assert edge > 0
    suv = grid((30, 40, 40), (3.0, 2.0, 2.0), fill=1.0)
    suv.affine[:3, 3] = -20.0
    half = ball(suv, ct.to_lps((6, edge, 24)), 6.0)
    suv.array[half] = 5.0
    assert measure(1, Region.of(half), "SEG", suv, ct).mean_hu == 40.0
    seen = network_input(suv, ct, Region.of(half), CanonicalRoi())
    assert 0.2 < seen.without_ct_fraction < 0.8
    (caution,) = without_ct([measure(1, Region.of(half), "SEG", suv, ct)], suv, ct)
    assert caution.code == "region-without-ct"
    nowhere = Volume(np.full_like(ct.array, NOT_MEASURED_HU), ct.affine, ct.frame_of_reference_uid)
    with pytest.raises(Refused, match="region-outside-ct"):
        measure(1, Region.of(half), "SEG", suv, nowhere)


@pytest.mark.data
def test_a_contour_drawn_on_tilted_slices_is_where_it_was_drawn(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "geometry" / "gantry_tilt_pair"
    made, pet = (stack(scan_folder(folder / part).instances) for part in ("ct", "pet"))
    contours = []
    for instance in made.instances:
        row, column = np.reshape(instance.attributes["ImageOrientationPatient"], (2, 3))
        corners = [(10, 10), (10, 24), (24, 24), (24, 10)]
        points = [0.976562 * (c * row + r * column) + instance.attributes["ImagePositionPatient"] for r, c in corners]
        contours.append(np.ravel(points).tolist())
    drawn = structures(tmp_path / "drawn.dcm", contours, frame=made.frame_of_reference_uid)
    suv = load_pet(pet, suv_rule(pet.instances))
    (found,) = given_regions(drawn, suv, (), load_ct(made))
    assert found.on_ct is not None
    assert np.count_nonzero(found.on_ct.mask) == 8 * 14 * 14
    assert np.count_nonzero(found.region.mask) > 50  # on the PET's upright slices too


@pytest.mark.data
def test_the_real_tilted_head(shared_data: Path) -> None:
    """GE HiSpeed: 18.5 degrees, 4 mm slices below and 7 mm above.  Every slice is found again where it was taken."""
    folder = shared_data / "geometry" / "gantry_tilt_real_ge"
    made = stack(scan_folder(folder).instances)
    ct = load_ct(made)
    assert [c.code for c in made.cautions] == ["gantry-tilt-regridded", "irregular-spacing-interpolated"]
    spread: list[Any] = []
    for instance in made.instances[:14]:  # planes coincide with slices as long as the spacing is the usual one
        own = load_ct(stack_of_two(instance, made)).array[0].astype(float)
        place = np.array(instance.attributes["ImagePositionPatient"])
        row, column = np.reshape(instance.attributes["ImageOrientationPatient"], (2, 3))
        r, c = np.mgrid[8:88:4, 8:88:4]
        points = place + 0.4882812 * (c[..., None] * row + r[..., None] * column)
        k, y, x = np.rint(np.moveaxis(ct.to_index(points), -1, 0)).astype(int)
        spread.append(np.corrcoef(ct.array[k, y, x].ravel(), own[8:88:4, 8:88:4].ravel())[0, 1])
    assert min(spread) > 0.9


def stack_of_two(instance: Any, made: Stack) -> Stack:
    """The image itself as a stack, with a twin of it one step further, untilted."""
    place = np.array(instance.attributes["ImagePositionPatient"]) + made.affine[:3, 0]
    twin = {**instance.attributes, "ImagePositionPatient": place.tolist()}
    return stack([instance, replace(instance, sop_instance_uid="1.2.3.99", sha256="0" * 64, attributes=twin)])
