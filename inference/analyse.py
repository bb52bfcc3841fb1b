"""From a pair to its analysis: the order of the steps, and how long each took."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from inference.facts import Analysis, Caution, Instance, Kind, Lesion, Pair, Prediction, Refused, Region, Volume
from inference.geometry.volume import Stack, stack
from inference.lesions.body import body_of
from inference.lesions.lesion import Proposal, find_lesions
from inference.lesions.measure import measure, measure_without_pet, without_ct
from inference.lesions.organs import organs_of
from inference.lesions.reference import reference_uptake
from inference.lesions.segmenter import Segmenter, segmented
from inference.load import load_ct, load_iodine, load_pet
from inference.model.contract import IN_WORDS, Subject, subject_of
from inference.model.given import NOTHING_GIVEN, Given, Taken, taken_values
from inference.reading.instance import reading_cautions
from inference.regions.region import GivenRegion, given_lesions
from inference.regions.region_names import TUMOUR_NAMES
from inference.suv.body_size import suv_scales
from inference.suv.calibration import calibration_cautions
from inference.suv.plausibility import plausibility_cautions
from inference.suv.rule import suv_rule
from inference.suv.tracer import tracer_cautions, tracer_of

if TYPE_CHECKING:
    from inference.model.predict import Look, Model

NOTHING_TO_LOOK_AT = Prediction("none", None, None, None, "unknown", ("no lesion was found",))


def analyse(
    pair: Pair,
    model: Model,
    progress: Callable[[str], None] | None = None,
    *,
    also_suv: Sequence[str] = (),
    segmenter: Segmenter | None = None,
    region_names: Sequence[str] = TUMOUR_NAMES,
    given: Given = NOTHING_GIVEN,
) -> Analysis:
    """Compute SUV, find or take the lesions, measure them, and let the model look at the first.

    ``progress`` is told each stage as it begins.  ``also_suv``: other kinds of SUV to give (``body_size.OFFERS``).
    Where no person drew a region, ``segmenter`` finds the lesions in place of our own proposal.  ``region_names``:
    which of a person's regions are lesions (``region_names.lesions_among``).  ``given``: clinical and laboratory
    values.  A study without a lesion is a result: no lesions, prediction "none".
    Raises ``Refused`` as the steps do.
    """
    clock = _Clock(progress)
    with clock.stage("geometry"):
        pet_stack, ct_stack = stacks(pair)
    if pet_stack is None:
        return _without_pet(pair, ct_stack, model, clock, region_names, given)
    with clock.stage("SUV rule"):
        rule = suv_rule(pet_stack.instances)
        scales, scale_cautions = suv_scales(also_suv, pet_stack.instances)
    with clock.stage("load PET"):
        tracer = tracer_of(pet_stack.instances)
        suv = load_pet(pet_stack, rule)
    with clock.stage("load CT"):
        ct = load_ct(ct_stack)
    with clock.stage("regions"):
        body = body_of(ct)
        organs = organs_of(body) if body is not None else None
        references = reference_uptake(suv, body, organs)
        propose = partial(find_lesions, suv, body, organs, tracer, references)
        if segmenter is not None:
            propose = partial(segmented, segmenter, suv, ct, tracer)
        present = frozenset(i.sop_instance_uid for i in (*pet_stack.instances, *ct_stack.instances))
        take = partial(given_lesions, grid=suv, present=present, ct=ct, names=region_names)
        chosen = _regions(pair.region, take, propose)
    with clock.stage("measures"):
        measured = [measure(n, r, chosen.source, suv, ct, on_ct) for n, (r, on_ct) in enumerate(chosen.regions, 1)]
        lesions = _in_order(measured)
    with clock.stage("model"):
        taken = taken_values(model.values, given, pair, lesions[0] if lesions else None)
        look, prediction = _verdict(model, subject_of(pair), chosen, lesions, (suv, ct), taken)
    cautions = (
        *pair.cautions,
        *reading_cautions(pair.images),
        *pet_stack.cautions,
        *ct_stack.cautions,
        *rule.cautions,
        *scale_cautions,
        *tracer_cautions(pet_stack.instances),
        *plausibility_cautions(rule, tracer, references),
        *calibration_cautions(pet_stack.instances, rule, suv),
        *chosen.cautions,
        *without_ct(lesions, suv, ct),
        *(look.cautions if look else ()),
    )
    return Analysis(
        pair=_sorted(pair, pet_stack, ct_stack),
        suv=suv,
        ct=ct,
        rule=rule,
        lesions=lesions,
        prediction=prediction,
        saliency=look.saliency if look else None,
        model=model.facts,
        cautions=tuple(dict.fromkeys(cautions)),
        tracer=tracer,
        references=references,
        also_suv=scales,
        timings_s=clock.seconds,
        values=taken.told,
    )


def _without_pet(
    pair: Pair, stacked: Stack, model: Model, clock: _Clock, region_names: Sequence[str], given: Given
) -> Analysis:
    """A CT or an iodine map alone: nothing is proposed there, a person must have drawn the lesion.

    Raises ``Refused``: region-needed, and as the steps do.
    """
    with clock.stage("load CT"):
        image = load_iodine(stacked) if pair.kind == "iodine map" else load_ct(stacked)
    with clock.stage("regions"):
        if pair.region is None:
            raise region_needed(pair.kind)
        present = frozenset(i.sop_instance_uid for i in stacked.instances)
        take = partial(given_lesions, grid=image, present=present, names=region_names)
        chosen = _regions(pair.region, take, _nothing_proposed)
    with clock.stage("measures"):
        measured = [
            measure_without_pet(n, region, chosen.source, image, pair.kind)
            for n, (region, _) in enumerate(chosen.regions, 1)
        ]
        lesions = _in_order(measured)
    with clock.stage("model"):
        taken = taken_values(model.values, given, pair, lesions[0] if lesions else None)
        look, prediction = _verdict(model, subject_of(pair), chosen, lesions, (None, image), taken)
    cautions = (
        *pair.cautions,
        *reading_cautions(pair.images),
        *stacked.cautions,
        *chosen.cautions,
        *(look.cautions if look else ()),
    )
    return Analysis(
        pair=_sorted(pair, None, stacked),
        suv=None,
        ct=image,
        rule=None,
        lesions=lesions,
        prediction=prediction,
        saliency=look.saliency if look else None,
        model=model.facts,
        cautions=tuple(dict.fromkeys(cautions)),
        timings_s=clock.seconds,
        values=taken.told,
    )


def region_needed(kind: Kind) -> Refused:
    """Why a CT or an iodine map without a region is not analysed."""
    return Refused(
        "region-needed",
        f"The study holds {IN_WORDS[kind]}, and lesions are not searched for there: a person must draw the lesion. "
        "Send an RTSTRUCT or SEG drawn on these images, in their Frame of Reference.",
        kind=kind,
    )


def _nothing_proposed() -> Proposal:
    raise AssertionError("a region was asked for before")


def _sorted(pair: Pair, pet: Stack | None, ct: Stack) -> Pair:
    """The pair with its slices in the order of the volumes."""
    return replace(
        pair,
        pet=replace(pair.pet, instances=pet.instances) if pair.pet and pet else None,
        ct=replace(pair.ct, instances=ct.instances),
    )


def _verdict(
    model: Model,
    subject: Subject,
    chosen: _Chosen,
    lesions: Sequence[Lesion],
    images: tuple[Volume | None, Volume],
    taken: Taken,
) -> tuple[Look | None, Prediction]:
    """What the model says of the first lesion, or of the whole body.

    It is not asked about what may well be an organ's own uptake, nor with values that may be of another study.
    """
    unsure = chosen.unsure if model.needs_region else ()
    if unsure or taken.why_not:
        reasons = (*model.admits(subject), *unsure, *taken.why_not)
        return None, Prediction("withheld", None, None, None, "outside", reasons)
    if model.needs_region and not lesions:
        return None, NOTHING_TO_LOOK_AT
    suv, ct = images
    look = model.look(suv, ct, lesions[0].region if model.needs_region else None, subject, taken.values)
    return look, look.prediction


def stacks(pair: Pair) -> tuple[Stack | None, Stack]:
    """PET (None without one) and CT as volumes in one space, by their headers alone.

    Raises ``Refused``: frame-of-reference-differs, and those of ``volume.stack``.
    """
    pet = stack(pair.pet.instances) if pair.pet else None
    ct = stack(pair.ct.instances, may_regrid=pair.pet is not None)
    if pet and pet.frame_of_reference_uid != ct.frame_of_reference_uid:
        raise Refused(
            "frame-of-reference-differs",
            "PET and CT have different Frames of Reference; how they lie to each other is unknown.",
            pet=pet.frame_of_reference_uid,
            ct=ct.frame_of_reference_uid,
        )
    return pet, ct


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The lesions' regions, the one for the model first, each on the reference grid and, where a person drew it on a
    PET/CT, the CT's.

    ``source``: as ``Lesion.source``.  ``unsure``: as ``Proposal.unsure``.
    """

    regions: tuple[tuple[Region, Region | None], ...]
    source: str
    cautions: tuple[Caution, ...]
    unsure: tuple[str, ...] = ()


def _regions(
    given: Instance | None,
    take: Callable[[Instance], tuple[tuple[GivenRegion, ...], tuple[Caution, ...]]],
    propose: Callable[[], Proposal],
) -> _Chosen:
    if given is None:
        proposal = propose()
        regions = tuple((region, None) for region in proposal.regions)
        return _Chosen(regions, "automatic", proposal.cautions, proposal.unsure)
    drawn, cautions = take(given)
    own = [caution for region in drawn for caution in region.cautions]
    return _Chosen(tuple((g.region, g.on_ct) for g in drawn), drawn[0].source, (*own, *cautions))


def _in_order(lesions: list[Lesion]) -> tuple[Lesion, ...]:
    """The first stays first; the others follow by metabolic volume (without a PET by volume), the largest first."""
    ordered = [*lesions[:1], *sorted(lesions[1:], key=_size_ml, reverse=True)]
    return tuple(replace(lesion, number=n, tracking_name=f"Lesion {n}") for n, lesion in enumerate(ordered, 1))


def _size_ml(lesion: Lesion) -> float:
    return lesion.uptake.mtv_ml if lesion.uptake else lesion.volume_ml


@dataclass(frozen=True, slots=True)
class _Clock:
    progress: Callable[[str], None] | None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        if self.progress is not None:
            self.progress(name)
        began = perf_counter()
        yield
        self.seconds[name] = perf_counter() - began
