"""When a study is complete: by evidence first, by silence last.  A pure function of what arrived and the time.

PET: as many positions as Number of Slices (0054,0081) says (it fitted 86 of 92 real series).  CT has no such count: no
association of the study is open, Instance Numbers are without a hole, the spacing is even, the PET is covered.
Archives keep associations open for hours: where all else says complete, an open one costs a short silence.  Where
evidence is missing the study must be silent for a while; where slices are missing, for long, and then it is refused.
Part of a volume is never analysed.  Images that come after a decision were not foreseen: from then on silence is asked
for, and longer each time, so that a series that trickles in gives one successor and not ten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median

from dicom_node.assemble.kinds import ONLY_PET_CT
from dicom_node.assemble.pairing import SetAside, assemble, number_of_slices
from dicom_node.assemble.series import CT_CLASSES, is_iodine
from dicom_node.sections import Assemble
from inference.facts import Instance, Kind, Pair, Refused, Series

GAPS_OF_SILENCE = 5  # a series that is quiet for five of its usual gaps between slices has ended

# What more instances cannot mend: refused after the short silence, not after the long one.
FINAL = frozenset({"patient-mismatch", "several-studies", "sop-instance-conflict"})


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the receivers know of a study, in seconds of one clock (Unix time).

    ``last``: the last arrival of what others made.  ``by_series``: arrivals of each series, ascending.
    ``open_associations``: how many that sent something of this study are still open.
    """

    last: float
    by_series: Mapping[str, Sequence[float]] = field(default_factory=dict)
    open_associations: int = 0


@dataclass(frozen=True, slots=True)
class Before:
    """What was decided for the study so far.

    ``times``: how often a pair was; ``images``: digests of the last pairs without their regions.
    """

    times: int = 0
    images: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Complete:
    """Analyse this pair now, and ``further`` ones: what the same study is for models of another kind."""

    pair: Pair
    why: str
    further: tuple[Pair, ...] = ()

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All of them."""
        return (self.pair, *self.further)


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again at ``until`` (same clock), or when something arrives or an association ends.

    ``pair``: what the study is at the moment, None where it is none; ``further``: as ``Complete.further``.
    """

    until: float
    why: str
    pair: Pair | None = None
    further: tuple[Pair, ...] = ()

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All of them."""
        return (*((self.pair,) if self.pair else ()), *self.further)


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It will not become complete: the reason is an answer too."""

    refused: Refused


Verdict = Complete | Wait | GiveUp
FIRST = Before()


def judge(
    instances: Sequence[Instance],
    traffic: Traffic,
    now: float,
    rules: Assemble,
    set_aside: SetAside = (),
    before: Before = FIRST,
    kinds: Sequence[Kind] = ONLY_PET_CT,
    *,
    awaits_pet: bool = False,
) -> Verdict:
    """Is the study complete, is it worth waiting, or is it refused?

    ``kinds``: what it is looked at as (``kinds_of``).  Of several, all are waited for, and one that can be analysed is
    enough: why another cannot stands in ``Complete.why``.  ``awaits_pet``: the node looks at PET/CT, too, so that a CT
    alone may be one whose PET is still to come.
    """
    beside_pet = "PET/CT" in kinds
    situation = _Situation(instances, traffic, now, rules, set_aside, before, awaits_pet, beside_pet)
    found = [_judge_as(kind, situation) for kind in kinds]
    return found[0] if len(found) == 1 else _all_of(found)


def _all_of(found: Sequence[Verdict]) -> Verdict:
    waits = [verdict for verdict in found if isinstance(verdict, Wait)]
    ready = [verdict for verdict in found if isinstance(verdict, Complete)]
    if waits:
        pairs = tuple(pair for verdict in found if not isinstance(verdict, GiveUp) for pair in verdict.pairs)
        first = min(waits, key=lambda wait: wait.until)
        return Wait(first.until, first.why, pairs[0] if pairs else None, pairs[1:])
    if not ready:
        return found[0]
    lacking = [f"Beside it, {v.refused.code}: {v.refused.reason}" for v in found if isinstance(v, GiveUp)]
    return Complete(ready[0].pair, ". ".join([ready[0].why, *lacking]), tuple(verdict.pair for verdict in ready[1:]))


@dataclass(frozen=True, slots=True)
class _Situation:
    """The arguments of ``judge``.  ``beside_pet``: the study is looked at as a PET/CT, too, which must not wait."""

    instances: Sequence[Instance]
    traffic: Traffic
    now: float
    rules: Assemble
    set_aside: SetAside
    before: Before
    awaits_pet: bool
    beside_pet: bool


def _judge_as(kind: Kind, situation: _Situation) -> Verdict:
    instances, traffic, now, rules = situation.instances, situation.traffic, situation.now, situation.rules
    try:
        pair = assemble(
            instances,
            situation.set_aside,
            kind=kind,
            margin_mm=rules.margin_mm,
            two_studies=rules.two_studies,
            region_names=rules.region_names,
        )
    except Refused as refused:
        silence = _silence(traffic, rules) if refused.code in FINAL else rules.give_up_s
        return _after(traffic.last + silence, now, GiveUp(refused), f"not yet a pair ({refused.code})")
    patience = max(_patience(pair, situation.before, rules), _patience_without_pet(pair, situation))
    if doubt := _doubt(pair, instances):
        why = f"no evidence says complete ({doubt})"
        silence = max(patience, rules.quiet_open_s if _may_be_part(pair) else _silence(traffic, rules))
        until = max(traffic.last + silence, *(_end_of(series, traffic, rules) for series in pair.series))
        return _after(until, now, Complete(pair, f"{why}; silent long enough"), why, pair)
    evidence = "Number of Slices and an unbroken CT say complete" if pair.pet else "an unbroken series says complete"
    done = Complete(pair, evidence)
    if traffic.open_associations:
        why = "all slices are here, but an association is still open"
        silence = max(patience, _shortest_if_open(rules))
        done = Complete(pair, f"{evidence}; an association is still open, but nothing came for {silence:g} s")
        return _after(max(traffic.last + silence, _end_of(pair.ct, traffic, rules)), now, done, why, pair)
    if patience:
        why = "images came after the study was decided: more may"
        if pair.pet is None:
            why = "a person's region, or a PET, may still come"
        return _after(max(traffic.last + patience, _end_of(pair.ct, traffic, rules)), now, done, why, pair)
    return _after(_end_of(pair.ct, traffic, rules), now, done, "the CT may go on", pair)


def not_before(traffic: Traffic, rules: Assemble) -> float:
    """The time before which ``judge`` says Wait, whatever the images are: an open association may bring more."""
    return traffic.last + min(_shortest_if_open(rules), rules.give_up_s) if traffic.open_associations else 0.0


def _after(when: float, now: float, then: Verdict, why: str, pair: Pair | None = None) -> Verdict:
    return then if now >= when else Wait(when, why, pair)


def _patience(pair: Pair, before: Before, rules: Assemble) -> float:
    """How long a study must be silent whose images have changed since it was decided; a new region is not waited for.

    It doubles from decision to decision, up to the time after which a study with holes is refused.
    """
    if not before.times or replace(pair, region=None).digest in before.images:
        return 0.0
    return min(rules.quiet_s * 2.0 ** min(before.times - 1, 30), max(rules.give_up_s, rules.quiet_s))


def _patience_without_pet(pair: Pair, situation: _Situation) -> float:
    """How long a CT or iodine map must be silent: nothing in it says where it ends, its region is often sent apart, and
    the PET of a PET/CT comes long after its CT.  Whoever drew a region on a CT does not wait for its PET any more.
    """
    if pair.pet is not None or situation.beside_pet:
        return 0.0
    rules = situation.rules
    return rules.give_up_s if pair.region is None and situation.awaits_pet else rules.quiet_s


def _silence(traffic: Traffic, rules: Assemble) -> float:
    return rules.quiet_open_s if traffic.open_associations else rules.quiet_s


def _shortest_if_open(rules: Assemble) -> float:
    return min(rules.quiet_s, rules.quiet_open_s)


def _doubt(pair: Pair, instances: Sequence[Instance]) -> str:
    """What keeps the evidence from being enough; "" where nothing does."""
    if pair.pet and number_of_slices(pair.pet.instances) != len(pair.pet.instances):
        return "the PET's Number of Slices is missing or does not fit"
    if pair.ct.study_instance_uid != pair.reference.study_instance_uid:
        return "the CT is of another study, and the PET's may still get one"
    if part := _may_be_part(pair):
        return part
    series = pair.ct.series_instance_uid
    numbers = [i.get("InstanceNumber") for i in instances if i.series_instance_uid == series and _is_ct(i)]
    if pair.pet is None and is_iodine(pair.ct.instances[0]):  # it may share its series with other images
        numbers = [i.get("InstanceNumber") for i in pair.ct.instances]
    if not _unbroken(numbers):
        return "the CT's Instance Numbers are missing or have a hole"
    return ""


def _may_be_part(pair: Pair) -> str:
    """A CT that is short or uneven may be as it was scanned, or a transfer that broke off; "" where it is neither."""
    whys = {
        "ct-shorter-than-pet": "the CT does not reach the end of the PET",
        "irregular-spacing-interpolated": "the CT's slices lie unevenly: some may be missing",
    }
    return next((whys[c.code] for c in pair.cautions if c.code in whys), "")


def _is_ct(instance: Instance) -> bool:
    return instance.sop_class_uid in CT_CLASSES


def _unbroken(numbers: Sequence[object]) -> bool:
    """Every number from the least to the greatest is there; where it starts does not matter."""
    try:
        found = {int(str(n)) for n in numbers}
    except ValueError:
        return False
    return bool(found) and len(found) == max(found) - min(found) + 1


def _end_of(series: Series, traffic: Traffic, rules: Assemble) -> float:
    """When the series has been quiet for long enough: its last arrival and five of its usual gaps."""
    arrivals = sorted(traffic.by_series.get(series.series_instance_uid, ())) or [traffic.last]
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    usual = GAPS_OF_SILENCE * median(gaps) if gaps else 0.0
    return arrivals[-1] + max(rules.ct_quiet_s, min(usual, rules.give_up_s))
