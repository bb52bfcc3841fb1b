"""Which models look at a pair: what the routing rules (``[[route]]``) say of it, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dicom_node.assemble.series import values
from dicom_node.config import Settings
from dicom_node.contracts import Contracts
from dicom_node.rules import Route, Seen, ask
from inference.facts import Instance, Kind, Pair, Tracer
from inference.model.contract import IN_WORDS, Subject, breaches, subject_of
from inference.reading.header import number
from inference.suv.patient import age_years
from inference.suv.tracer import tracer_of

WITHOUT_RULES = "There are no routing rules: every pair goes to infer.bundle."
NO_CONTRACTS = Contracts()
# Keys of the rules → DICOM keywords of texts that both series carry.
_TEXTS = {
    "body_part_examined": "BodyPartExamined",
    "protocol_name": "ProtocolName",
    "study_description": "StudyDescription",
    "station_name": "StationName",
    "institution_name": "InstitutionName",
    "manufacturer": "Manufacturer",
    "manufacturer_model_name": "ManufacturerModelName",
    "patient_sex": "PatientSex",
}


@dataclass(frozen=True, slots=True)
class Assignment:
    """One rule's answer.  ``why``: a plain sentence without patient data."""

    bundle: str
    rule: str
    matched: bool
    why: str


@dataclass(frozen=True, slots=True)
class Routed:
    """``bundles``: names as the configuration gives them, each once, in the order of the rules; ``why``: sentences."""

    bundles: tuple[str, ...]
    why: tuple[str, ...]


class Router:
    """The rules, ready to be asked."""

    def __init__(self, rules: Sequence[Route], bundles: Sequence[str], contracts: Contracts = NO_CONTRACTS) -> None:
        """``bundles``: where a pair goes if there are no rules: to the one, or to those of several that admit it."""
        self._rules = rules
        self._bundles = bundles
        self._contracts = contracts

    @classmethod
    def of(cls, settings: Settings, contracts: Contracts = NO_CONTRACTS) -> Router:
        """From the configuration."""
        return cls(settings.route, settings.bundles, contracts)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What the bundles look at."""
        return self._contracts.kinds([rule.bundle for rule in self._rules] or self._bundles)

    @property
    def kinds_by_name(self) -> tuple[Kind, ...]:
        """What bundles look at to which somebody sends studies by a rule, or by naming no other (``kinds_of``)."""
        return self.kinds if self._rules or len(self._bundles) == 1 else ()

    def assignments(self, pair: Pair, senders: Sequence[tuple[str, str]]) -> tuple[Assignment, ...]:
        """What each rule says of the pair.  ``senders``: calling AE title and address of those who sent it."""
        if not self._rules:
            return self._by_contract(pair)
        seen = seen_of(pair, senders)
        answers: list[Assignment] = []
        stopped = ""
        for rule in self._rules:
            if (images := self._contracts.images(rule.bundle)) != pair.kind:
                why = f"Rule '{rule.name}' is not asked: its bundle is for {IN_WORDS[images]}."
                answers.append(Assignment(rule.bundle, rule.name, False, why))
                continue
            answers.append(_not_asked(rule, stopped) if stopped else _answer(rule, seen))
            if answers[-1].matched and rule.stop:
                stopped = rule.name
        return tuple(answers)

    def _by_contract(self, pair: Pair) -> tuple[Assignment, ...]:
        """Several bundles: to each that admits the pair; where none does, the first of its kind measures all the same.

        One bundle is asked in any case: it says itself why it withholds a verdict.
        """
        if len(self._bundles) == 1:
            return (Assignment(self._bundles[0], "", True, WITHOUT_RULES),)
        subject = subject_of(pair)
        reasons = {name: self._why_not(name, pair, subject) for name in self._bundles}
        stands_in = ""
        if all(reasons.values()):
            stands_in = next((name for name in self._bundles if self._contracts.images(name) == pair.kind), "")
        return tuple(_by_contract(name, why, name == stands_in) for name, why in reasons.items())

    def _why_not(self, bundle: str, pair: Pair, subject: Subject) -> tuple[str, ...]:
        images = self._contracts.images(bundle)
        if images != pair.kind:
            return (f"the model is for {IN_WORDS[images]}, and this is {IN_WORDS[pair.kind]}",)
        served = self._contracts.by_name.get(bundle)
        return breaches(served, subject) if served else ()

    def models(self, pair: Pair, senders: Sequence[tuple[str, str]]) -> Routed:
        """The bundles that shall look at the pair; none where no rule matches."""
        answers = self.assignments(pair, senders)
        return Routed(tuple(dict.fromkeys(a.bundle for a in answers if a.matched)), tuple(a.why for a in answers))


def seen_of(pair: Pair, senders: Sequence[tuple[str, str]]) -> Seen:
    """What the rules look at: the PET's values, where it has none the CT's."""
    pet, ct = pair.pet.instances if pair.pet else (), pair.ct.instances
    of_patient = pair.reference.instances
    tracer = tracer_of(pet) if pet else Tracer("", "")
    texts = {key: _texts(pet, keyword) or _texts(ct, keyword) for key, keyword in _TEXTS.items()}
    texts |= {
        "calling_ae_title": _each(title for title, _ in senders),
        "images": (pair.kind,),
        "contrast_agent": _texts(ct, "ContrastBolusAgent"),
        "tracer": _each([tracer.name]),
        "radionuclide": _each([tracer.nuclide]),
        "series_description": _texts(pet, "SeriesDescription"),
        "ct_series_description": _texts(ct, "SeriesDescription"),
    }
    numbers = {
        "patient_age": age_years(of_patient),
        "patient_weight": _one_number(of_patient, "PatientWeight"),
        "patient_size": _one_number(of_patient, "PatientSize"),
        "pet_slices": float(len(pet)) if pet else None,
        "ct_slices": float(len(ct)),
        "pet_slice_thickness": _one_number(pet, "SliceThickness"),
        "ct_slice_thickness": _one_number(ct, "SliceThickness"),
    }
    return Seen(texts, numbers)


def _by_contract(bundle: str, reasons: Sequence[str], stands_in: bool) -> Assignment:
    if not reasons:
        return Assignment(bundle, "", True, f"Bundle '{bundle}' looks: its contract admits the study.")
    said = "; ".join(reasons)
    if stands_in:
        why = f"Bundle '{bundle}' measures, and withholds its verdict: no bundle's contract admits the study ({said})."
        return Assignment(bundle, "", True, why)
    return Assignment(bundle, "", False, f"Bundle '{bundle}' does not look: {said}.")


def _answer(rule: Route, seen: Seen) -> Assignment:
    answer = ask(rule.when, seen)
    because = "; ".join(answer.why) or "it has no conditions"
    verdict = "matches" if answer.holds else "does not match"
    return Assignment(rule.bundle, rule.name, answer.holds is True, f"Rule '{rule.name}' {verdict}: {because}.")


def _not_asked(rule: Route, stopped: str) -> Assignment:
    return Assignment(rule.bundle, rule.name, False, f"Rule '{rule.name}' is not asked: '{stopped}' matched and stops.")


def _each(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(t for text in texts if (t := text.strip())))


def _texts(instances: Sequence[Instance], keyword: str) -> tuple[str, ...]:
    return _each(value for i in instances for value in values(i, keyword))


def _one_number(instances: Sequence[Instance], keyword: str) -> float | None:
    """The number all slices agree on."""
    found = {number(i.attributes, keyword) for i in instances}
    return found.pop() if len(found) == 1 else None
