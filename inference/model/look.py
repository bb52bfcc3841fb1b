"""From images to the network's input, whatever preset a bundle or a recipe names: the one way in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from inference.facts import Refused, Region, Volume
from inference.model.inputs import CanonicalRoi, FixedCrop, InputSettings, network_input
from inference.model.seen import NetworkInput
from inference.model.slices import AxialSlices, axial_slices
from inference.model.values import Value
from inference.model.whole_body import WholeBody, whole_body_input

NEEDS_REGION = "input-region-empty"


def needs_region(settings: InputSettings) -> bool:
    """Does it look at one lesion (or at the whole body)?"""
    return not isinstance(settings, WholeBody)


def see(
    suv: Volume | None,
    ct: Volume,
    region: Region | None,
    settings: InputSettings,
    values: Mapping[str, Value | None] | None = None,
) -> NetworkInput:
    """What the network sees of ``suv`` (SUVbw, None where it takes no PET) and ``ct`` (HU, its own grid).

    For presets of iodine maps ``ct`` is the map (mg/ml).  ``values``: of the subject, for presets that divide by one.

    ``region``: of the PET's grid, of the CT's for presets without PET; None for the whole body.
    Raises ``Refused`` as the presets do: ``inputs.network_input``, ``whole_body.whole_body_input``,
    ``slices.axial_slices``.
    """
    match settings:
        case CanonicalRoi() | FixedCrop():
            return network_input(_pet(suv), ct, _region(region), settings)
        case WholeBody():
            return whole_body_input(_pet(suv), ct, settings)
        case AxialSlices():
            return axial_slices(ct, _region(region), settings, values)
        case _:
            assert_never(settings)


def _pet(suv: Volume | None) -> Volume:
    if suv is None:
        raise Refused("input-without-pet", "The model looks at a PET, and there is none; use a model for CT alone.")
    return suv


def _region(region: Region | None) -> Region:
    if region is None:
        raise Refused(NEEDS_REGION, "The model looks at one lesion; give a region.")
    return region
