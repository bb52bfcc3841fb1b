"""An automatic proposal of lesions where nobody gave a region; always "needs confirmation".

Method: connected uptake above a threshold, cut between its peaks; peaks in an organ's place with the organ's shape are
set aside (``.physiology``); each lesion is bounded at 41 % of its own maximum (EANM 2.0, Boellaard 2015), or
higher where that runs into warm surroundings.  Threshold: for FDG the least uptake that PERCIST 1.0 calls measurable
(Wahl 2009; O, Lodge & Wahl, Radiology 2016), 1.5 × liver mean + 2 SD, or 2 × blood pool mean + 2 SD without a liver.
PERCIST counts in SUL, but the factor from SUVbw to SUL is one number for the patient and cancels.  Else SUVbw 4.0 (as
Boellaard 2018 for lymphoma and lung), then 2.5 where nothing reaches 4.0.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from inference.facts import Caution, ReferenceUptake, Region, Tracer, Volume
from inference.lesions.body import Body
from inference.lesions.measure import MTV_FRACTION
from inference.lesions.organs import Organs, within
from inference.lesions.pattern import pattern_of
from inference.lesions.physiology import Judge, Verdict
from inference.lesions.uptake import LEAST_ML, Core, Grown, cores, cut_at_organs, grow, together

THRESHOLDS_SUV = (4.0, 2.5)
# In a limb, without an organ in sight, a tumour below that is looked for in the image smoothed (FWHM, mm), where noise
# has no peaks: uptake of this SUVbw and more, if that is so many times the field's median.
FAINT_SUV, FAINT_FWHM_MM, FAINT_CONTRAST, LIMB_MM2 = 1.3, 8.0, 3.0, 30_000.0
# Mean and standard deviation of the reference are taken so many times.
PERCIST = {"liver": (1.5, 2.0), "blood pool": (2.0, 2.0)}
# Faint uptake (below 4.0) larger than this is an organ's: livers reach 2.5 and more.
MOST_FAINT_ML = 200.0
# Of a proposal at most so much may lie outside the patient.
LEAST_INSIDE_BODY = 0.5
# More are not reported one by one.
MOST_LESIONS = 20
# Uptake set aside as an organ's that lies so far out of the organ's place on the CT is told, from this volume on.
BEYOND_MM, BEYOND_ML = 12.0, 2.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """Proposed lesions, the one for the model first (none: an empty tuple), with what must be said about them.

    ``unsure``: why the first may well be an organ's own uptake, of which no model may speak.
    """

    regions: tuple[Region, ...]
    cautions: tuple[Caution, ...]
    unsure: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Threshold:
    """SUVbw from which uptake is looked at, and why this one.  ``smoothed``: in the smoothed image."""

    suv: float
    why: str
    lowered: bool = False
    smoothed: bool = False


@dataclass(frozen=True, slots=True)
class _Candidate:
    grown: Grown
    suv_max: float
    suv_mean: float
    ml: float
    doubt: str

    @property
    def rank(self) -> tuple[int, float, tuple[int, int, int]]:
        """Certain before doubtful.  Certain ones by total lesion glycolysis, which weighs size and uptake.

        What is doubtful is often a piece of an organ, whose size says nothing: the hottest first, and urine, which is
        hotter than most lesions, last.
        """
        level = 2 if self.doubt in ("kidney", "ureter") else int(bool(self.doubt))
        return level, -(self.suv_max if self.doubt else self.ml * self.suv_mean), self.grown.region.start


def find_lesions(
    suv: Volume,
    body: Body | None,
    organs: Organs | None,
    tracer: Tracer,
    references: Sequence[ReferenceUptake] = (),
) -> Proposal:
    """Propose lesions in ``suv`` (SUVbw, g/ml).

    ``body``, ``organs``: of ``body_of`` and ``organs_of`` for the CT of the same Frame of Reference.
    ``references``: of ``reference_uptake``.
    """
    cautions = [*_not_assessed(body, organs), *_about_pattern(tracer, organs)]
    said: list[Caution] = []
    thresholds = _thresholds(tracer, references)
    for threshold in (*thresholds, *_faint(suv, body)):
        image = _smoothed(suv) if threshold.smoothed else suv
        found, said = _lesions_above(threshold, image, body, organs, tracer)
        if found:
            return _proposal(found, [*cautions, *said], threshold, _unsure(tracer, body))
    lowest = thresholds[-1]
    text = f"No lesion with an uptake of SUVbw {lowest.suv:.3g} ({lowest.why}) or more was found."
    return Proposal((), _once([*cautions, *said, Caution("no-lesion-found", text)]))


def _thresholds(tracer: Tracer, references: Sequence[ReferenceUptake]) -> tuple[Threshold, ...]:
    """Those to try in turn.  PERCIST is FDG's; below its threshold uptake does not differ from the patient's own."""
    first, second = THRESHOLDS_SUV
    by_site = {r.site: r for r in references}
    if tracer.name == "fdg":
        for site, (times, spreads) in PERCIST.items():
            if reference := by_site.get(site):  # type: ignore[call-overload]
                value = times * reference.suv_mean + spreads * reference.suv_sd
                why = (
                    f"PERCIST: {times:g} × {site} mean {reference.suv_mean:.2f} + {spreads:g} SD {reference.suv_sd:.2f}"
                )
                return (Threshold(value, why),)
    return Threshold(first, "fixed"), Threshold(second, "fixed", lowered=True)


def _faint(suv: Volume, body: Body | None) -> tuple[Threshold, ...]:
    """The last resort, in a limb or a small field whose median leaves room for it."""
    if body is None or body.lungs_mm is not None or float(body.area_mm2.max()) > LIMB_MM2:
        return ()
    enough = FAINT_CONTRAST * float(np.median(suv.array)) <= FAINT_SUV
    why = f"fixed, in the image smoothed to {FAINT_FWHM_MM:g} mm"
    return (Threshold(FAINT_SUV, why, lowered=True, smoothed=True),) if enough else ()


def _smoothed(suv: Volume) -> Volume:
    sigma = FAINT_FWHM_MM / 2.355 / np.asarray(suv.spacing_mm)
    return replace(suv, array=ndimage.gaussian_filter(suv.array, sigma, mode="nearest"))


def _lesions_above(
    threshold: Threshold, suv: Volume, body: Body | None, organs: Organs | None, tracer: Tracer
) -> tuple[list[_Candidate], list[Caution]]:
    """Lesions above one threshold, and what is to be said of what was not taken for one."""
    found, cautions = cores(suv, threshold.suv), []
    if body is not None:
        shares = [body.share_inside(c.points(suv)) for c in found]
        cautions += _outside([c for c, s in zip(found, shares, strict=True) if s < LEAST_INSIDE_BODY], suv)
        found = [c for c, s in zip(found, shares, strict=True) if s >= LEAST_INSIDE_BODY]
    verdicts = [Verdict()] * len(found)
    if body is not None and organs is not None:
        found = cut_at_organs(found, suv, body, organs)
        verdicts = Judge(found, threshold.suv, suv, body, organs, tracer).verdicts_in_order()
        cautions += _set_aside(found, verdicts, suv)
        cautions += _beyond(found, verdicts, suv, body, organs)
    lesions = _grown(found, verdicts, suv, follow=not threshold.smoothed)
    cut = {c.component for c, v in zip(found, verdicts, strict=True) if v.organ}
    if threshold.lowered:
        lesions = [c for c in lesions if (c.grown.share or threshold.smoothed) and c.ml <= MOST_FAINT_ML]
    elif any(c.component in cut and not v.organ for c, v in zip(found, verdicts, strict=True)) and lesions:
        text = "Uptake that runs into an organ's was cut from it at the valley between their peaks; check its border."
        cautions.append(Caution("lesion-touches-organ", text))
    return lesions, cautions


def _grown(found: Sequence[Core], verdicts: Sequence[Verdict], suv: Volume, *, follow: bool) -> list[_Candidate]:
    """Lesions grown from the cores that are no organ's, the hottest first; what one has reached is not another's.

    ``follow``: to 41 % of their maximum; else they end at the threshold.
    """
    closed = np.zeros(suv.array.shape, bool)
    by_component: dict[int, list[tuple[Core, Verdict]]] = defaultdict(list)
    for core, verdict in zip(found, verdicts, strict=True):
        if verdict.organ:
            closed[core.region.slices] |= core.region.mask
        else:
            by_component[core.component].append((core, verdict))
    starts: list[tuple[Core, str]] = []
    for parts in by_component.values():
        for doubt in sorted({v.doubt for _, v in parts}):
            alike = [c for c, v in parts if v.doubt == doubt]
            starts += [(core, doubt) for core in (*together(suv, alike), *alike)]
    candidates: list[_Candidate] = []
    for core, doubt in sorted(starts, key=lambda s: (-s[0].suv, -s[0].voxels(), s[0].peak)):
        if closed[core.peak]:
            continue
        grown = grow(suv, core, closed) if follow else Grown(core.region, 0.0, 0.0)
        closed[grown.region.slices] |= grown.region.mask
        ml = float(grown.region.mask.sum()) * suv.voxel_ml
        if ml >= LEAST_ML:
            mean = float(suv.array[grown.region.slices][grown.region.mask].mean())
            candidates.append(_Candidate(grown, core.suv, mean, ml, doubt))
    return candidates


def _proposal(lesions: list[_Candidate], cautions: list[Caution], threshold: Threshold, unsure: list[str]) -> Proposal:
    lesions = sorted(lesions, key=lambda c: c.rank)
    kept = lesions[:MOST_LESIONS]
    bounded = "there" if threshold.smoothed else "at 41 % of its maximum"
    text = (
        f"The regions were found automatically (SUVbw ≥ {threshold.suv:.3g}, {threshold.why}; each bounded {bounded}): "
        "a proposal that needs confirmation."
    )
    cautions.append(Caution("region-automatic", text))
    if threshold.lowered:
        text = f"No lesion reaches SUVbw {THRESHOLDS_SUV[0]:g}; {threshold.suv:g} ({threshold.why}) was used instead."
        cautions.append(Caution("threshold-lowered", text))
    stopped = [c.grown for c in kept if c.grown.share != MTV_FRACTION]
    if stopped and not threshold.smoothed:
        bounds = ", ".join(sorted({f"{g.share:.0%}" if g.share else f"SUVbw {g.bound:.3g}" for g in stopped}))
        text = f"At 41 % of its maximum a region ran into its surroundings; it was bounded higher: {bounds}."
        cautions.append(Caution("region-growth-stopped", text))
    if doubtful := [(n, c.doubt) for n, c in enumerate(kept, 1) if c.doubt]:
        organs = ", ".join(sorted({doubt for _, doubt in doubtful}))
        text = f"{len(doubtful)} of the proposed regions may be an organ's own uptake ({organs}); they come last."
        cautions.append(Caution("lesion-doubtful", text))
    if len(lesions) > MOST_LESIONS:
        text = f"{len(lesions)} lesions were found; {MOST_LESIONS} are reported, those of most uptake."
        cautions.append(Caution("lesions-left-out", text))
    if doubt := kept[0].doubt:
        unsure = [*unsure, f"the proposed lesion may be an organ's own uptake ({doubt})"]
    return Proposal(tuple(c.grown.region for c in kept), _once(cautions), tuple(unsure))


def _unsure(tracer: Tracer, body: Body | None) -> list[str]:
    """Why any lesion proposed here may as well be an organ."""
    why = []
    if tracer.name not in ("", "fdg"):
        why.append(f"the tracer is {tracer.name}, and lesions are told from organs by rules made for FDG")
    if body is None:
        why.append("organs could not be told from lesions, as the CT does not show the body in axial slices")
    return why


def _not_assessed(body: Body | None, organs: Organs | None) -> list[Caution]:
    """What the picture does not show, nothing can be told from."""
    if body is not None and body.base_seen and body.apex_seen:
        return []
    known = [name for name in ("cranium", "bladder") if organs is not None and getattr(organs, name) is not None]
    told = f" other than {' and '.join({'cranium': 'brain'}.get(n, n) for n in known)}" if known else ""
    if body is None:
        text = "The CT does not show the body in axial slices, so organs with uptake could not be told from lesions."
    elif body.lungs_mm is None:
        text = f"No lungs are seen on the CT, so organs{told} with uptake of their own could not be told from lesions."
    else:
        where = "below" if not body.base_seen else "above"
        if where == "above" and known:
            return []
        text = f"The lungs are not seen whole, so organs {where} them{told} could not be told from lesions."
    return [Caution("physiologic-uptake-not-assessed", text)]


def _about_pattern(tracer: Tracer, organs: Organs | None) -> list[Caution]:
    if tracer.name == "fdg" or organs is None:
        return []
    if not tracer.name:
        text = "The tracer is not known; organs were told from lesions as if it were FDG."
        return [Caution("physiologic-pattern-assumed", text)]
    kinds = ", ".join(pattern_of(tracer))
    text = (
        f"The tracer is not FDG: of its usual uptake only that in {kinds} is set aside, where FDG's rules see it. "
        "What is proposed may be an organ."
    )
    return [Caution("physiologic-pattern-differs", text)]


def _set_aside(found: Sequence[Core], verdicts: Sequence[Verdict], suv: Volume) -> list[Caution]:
    ml: Counter[str] = Counter()
    for core, verdict in zip(found, verdicts, strict=True):
        if verdict.organ:
            ml[verdict.organ] += core.voxels()
    named = ", ".join(f"{organ} ({count * suv.voxel_ml:.0f} ml)" for organ, count in sorted(ml.items()))
    text = f"Uptake taken as an organ's own and not proposed as a lesion: {named}. A lesion inside it is not seen."
    return [Caution("physiologic-uptake-set-aside", text)] if ml else []


def _beyond(
    found: Sequence[Core], verdicts: Sequence[Verdict], suv: Volume, body: Body, organs: Organs
) -> list[Caution]:
    """Brain and bladder are known by the CT: uptake that reaches out of them may hide a lesion."""
    cautions = []
    for name, place in (("brain", organs.cranium), ("bladder", organs.bladder)):
        points = [c.points(suv) for c, v in zip(found, verdicts, strict=True) if v.organ == name]
        if place is None or not points:
            continue
        far = ~body.at(within(place, body, BEYOND_MM), np.concatenate(points), outside=False).astype(bool)
        if (ml := float(far.sum()) * suv.voxel_ml) >= BEYOND_ML:
            text = f"{ml:.0f} ml of uptake taken as {name} lie beyond the {name} on the CT; a lesion may hide there."
            cautions.append(Caution("organ-uptake-beyond-organ", text))
    return cautions


def _outside(outside: Sequence[Core], suv: Volume) -> list[Caution]:
    count = len([c for c in outside if c.voxels() * suv.voxel_ml >= LEAST_ML])
    text = f"{count} hot spot(s) outside the patient on the CT, or where the CT does not reach, were not proposed."
    return [Caution("uptake-outside-body", text)] if count else []


def _once(cautions: Sequence[Caution]) -> tuple[Caution, ...]:
    return tuple(dict.fromkeys(cautions))
