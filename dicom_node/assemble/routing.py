"""Which models look at a pair: what the routing rules (``[[route]]``) say of it, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dicom_node.assemble.series import values
from dicom_node.config import Settings
from dicom_node.rules import Route, Seen, ask
from inference.facts import Instance, Pair
from inference.reading.header import number
from inference.suv.patient import age_years
from inference.suv.tracer import tracer_of

WITHOUT_RULES = "There are no routing rules: every pair goes to infer.bundle."
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

    def __init__(self, rules: Sequence[Route], bundle: str) -> None:
        """``bundle``: where everything goes if there are no rules."""
        self._rules = rules
        self._bundle = bundle

    @classmethod
    def of(cls, settings: Settings) -> Router:
        """From the configuration; without rules every pair goes to ``infer.bundle``."""
        return cls(settings.route, settings.infer.bundle)

    def assignments(self, pair: Pair, senders: Sequence[tuple[str, str]]) -> tuple[Assignment, ...]:
        """What each rule says of the pair.  ``senders``: calling AE title and address of those who sent it."""
        if not self._rules:
            return (Assignment(self._bundle, "", True, WITHOUT_RULES),)
        seen = seen_of(pair, senders)
        answers: list[Assignment] = []
        stopped = ""
        for rule in self._rules:
            answers.append(_not_asked(rule, stopped) if stopped else _answer(rule, seen))
            if answers[-1].matched and rule.stop:
                stopped = rule.name
        return tuple(answers)

    def models(self, pair: Pair, senders: Sequence[tuple[str, str]]) -> Routed:
        """The bundles that shall look at the pair; none where no rule matches."""
        answers = self.assignments(pair, senders)
        return Routed(tuple(dict.fromkeys(a.bundle for a in answers if a.matched)), tuple(a.why for a in answers))


def seen_of(pair: Pair, senders: Sequence[tuple[str, str]]) -> Seen:
    """What the rules look at: the PET's values, where it has none the CT's."""
    pet, ct = pair.pet.instances if pair.pet else (), pair.ct.instances
    tracer = tracer_of(pet)
    texts = {key: _texts(pet, keyword) or _texts(ct, keyword) for key, keyword in _TEXTS.items()}
    texts |= {
        "calling_ae_title": _each(title for title, _ in senders),
        "tracer": _each([tracer.name]),
        "radionuclide": _each([tracer.nuclide]),
        "series_description": _texts(pet, "SeriesDescription"),
        "ct_series_description": _texts(ct, "SeriesDescription"),
    }
    numbers = {
        "patient_age": age_years(pet),
        "patient_weight": _one_number(pet, "PatientWeight"),
        "patient_size": _one_number(pet, "PatientSize"),
        "pet_slices": float(len(pet)),
        "pet_slice_thickness": _one_number(pet, "SliceThickness"),
        "ct_slice_thickness": _one_number(ct, "SliceThickness"),
    }
    return Seen(texts, numbers)


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
