"""Reference organs: liver and blood pool (PERCIST 1.0; Wahl 2009, O et al. 2016)."""

from __future__ import annotations

from inference.body import Body
from inference.facts import ReferenceUptake, Volume


def reference_uptake(suv: Volume, ct: Volume, body: Body | None) -> tuple[ReferenceUptake, ...]:
    """Liver and blood pool where they are in the field of view and can be told; PET ``suv`` (g/ml), ``ct`` (HU)."""
    del suv, ct, body
    return ()
