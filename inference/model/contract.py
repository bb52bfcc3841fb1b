"""A bundle's input contract as far as headers tell: for which tracer, patient and image was the model made?

It is checked before the network runs, and nothing overrides it: not even a demonstration speaks outside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inference.facts import Instance, Kind, Pair, Tracer
from inference.reading.header import listed
from inference.suv.patient import age_years
from inference.suv.tracer import tracer_of

if TYPE_CHECKING:
    from inference.model.served import Served


@dataclass(frozen=True, slots=True)
class Subject:
    """What the headers of a pair say of who and what was imaged.

    ``age_years``: None where unknown.  ``body_parts``, ``units``: all values of Body Part Examined (0018,0015; the
    PET's, where it has none the CT's) and of the PET's Units (0054,1001), in upper case.  ``kind``: as ``Pair.kind``.
    """

    tracer: Tracer
    age_years: float | None
    body_parts: frozenset[str]
    units: frozenset[str]
    kind: Kind = "PET/CT"


IN_WORDS: Mapping[Kind, str] = {"PET/CT": "PET/CT", "CT": "a CT alone", "iodine map": "an iodine map alone"}
NOBODY = Subject(Tracer("", ""), None, frozenset(), frozenset())
"""Nothing is known: no model with a contract speaks."""


def subject_of(pair: Pair) -> Subject:
    """From the slices of a pair; without a PET there is no tracer and no unit of it."""
    pet = pair.pet.instances if pair.pet else ()
    body_parts = _values(pet, "BodyPartExamined") or _values(pair.ct.instances, "BodyPartExamined")
    tracer = tracer_of(pet) if pet else Tracer("", "")
    return Subject(tracer, age_years(pair.reference.instances), body_parts, _values(pet, "Units"), pair.kind)


def breaches(served: Served, subject: Subject) -> tuple[str, ...]:
    """Why the model must not look at this subject, as sentences without patient data; none where it may."""
    if served.images != subject.kind:
        return (f"the model is for {IN_WORDS[served.images]}, and this is {IN_WORDS[subject.kind]}",)
    found = []
    tracers = served.admitted_tracers
    if tracers and subject.tracer.name not in tracers:
        told = f"was injected: {subject.tracer.name}" if subject.tracer.name else "was injected is not known"
        found.append(f"the model is for {' or '.join(tracers)}, and what {told}")
    if served.age_years is not None and not _inside(subject.age_years, served.age_years):
        low, high = served.age_years
        told = "is not known" if subject.age_years is None else "is another"
        found.append(f"the model is for patients of {low:g} to {high:g} years, and this patient's age {told}")
    for what, allowed, values in (
        ("Body Part Examined", served.body_parts, subject.body_parts),
        ("PET Units", served.units, subject.units),
    ):
        if allowed and not (values and values <= {one.upper() for one in allowed}):
            told = ", ".join(sorted(values)) or "not given"
            found.append(f"the model is for {what} {' or '.join(allowed)}, and here it is {told}")
    return tuple(found)


def _inside(value: float | None, allowed: tuple[float, float]) -> bool:
    return value is not None and allowed[0] <= value <= allowed[1]


def _values(instances: Sequence[Instance], keyword: str) -> frozenset[str]:
    texts = (str(value).strip().upper() for i in instances for value in listed(i.get(keyword)))
    return frozenset(text for text in texts if text)
