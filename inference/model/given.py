"""The values a model takes beside the images, each from where its bundle says: table, header, or the lesion itself.

What is not given is missing, and handled as in training.  What cannot be trusted (two rows for one study, another
patient's sex or age) is worse than missing: then the model is not asked at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from inference.facts import Instance, Lesion, Pair, Refused, TakenValue
from inference.model.value_names import number_text, same_unit
from inference.model.values import Value, ValueSpec
from inference.suv.patient import age_years

# Of the header's age and the table's: a laboratory may give the age at another day, or in completed years.
SAME_AGE_YEARS = 2.0
_OF_UPTAKE = ("suv_max", "suv_mean", "suv_peak", "mtv_ml", "tlg")


@dataclass(frozen=True, slots=True)
class Given:
    """What the site gives for one study: ``values`` by name, as numbers or text; None where missing.

    ``fault``: why nothing of it may be used.  ``units``: by name, where the table states one.  Patient data: none of it
    goes into a log.
    """

    values: Mapping[str, Value | None] = field(default_factory=dict)
    fault: Refused | None = None
    units: Mapping[str, str] = field(default_factory=dict)

    def digest(self, specs: Sequence[ValueSpec], study_instance_uid: str) -> str:
        """SHA-256 (hex) of what the model takes of it, "" where that is nothing."""
        taken = {spec.name: self.values.get(spec.name) for spec in specs if spec.source != "measured"}
        if not any(value is not None for value in taken.values()) and (self.fault is None or not taken):
            return ""
        code = self.fault.code if self.fault else ""
        said = [study_instance_uid, taken, code]
        if stated := {name: unit for name, unit in self.units.items() if name in taken}:
            said.append(stated)
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


NOTHING_GIVEN = Given()


@dataclass(frozen=True, slots=True)
class Taken:
    """``values``: for ``Model.look``; ``told``: for the report; ``why_not``: sentences, why the model is not asked."""

    values: Mapping[str, Value | None]
    told: tuple[TakenValue, ...]
    why_not: tuple[str, ...] = ()


def taken_values(specs: Sequence[ValueSpec], given: Given, pair: Pair, lesion: Lesion | None) -> Taken:
    """The values of ``specs`` for this study and its index lesion (None where there is none)."""
    if not specs:
        return Taken({}, ())
    header, measured = header_values(pair.reference.instances), measured_values(lesion)
    told = tuple(_taken(spec, given.values, header, measured) for spec in specs)
    why_not = []
    if given.fault is not None and any(spec.source != "measured" for spec in specs):
        why_not.append(given.fault.reason)
    why_not += _in_other_units(specs, told, given.units)
    why_not += _of_another(given.values, header)
    return Taken({value.name: value.value for value in told}, told, tuple(why_not))


def header_values(instances: Sequence[Instance]) -> dict[str, Value | None]:
    """``age`` (years) and ``sex`` (M, F) as the images' headers have them, None where they do not say it in one way."""
    sexes = {str(i.get("PatientSex", "")).strip().upper() for i in instances}
    sex = sexes.pop() if len(sexes) == 1 else ""
    return {"age": age_years(instances), "sex": sex if sex in ("M", "F") else None}


def measured_values(lesion: Lesion | None) -> dict[str, Value | None]:
    """Measures of the lesion by their names in ``facts.Lesion`` and ``facts.Uptake``."""
    if lesion is None:
        return {}
    found: dict[str, Value | None] = {"volume_ml": lesion.volume_ml, "mean_hu": lesion.mean_hu}
    found["mean_iodine"] = lesion.mean_iodine
    if lesion.uptake:
        found |= {name: getattr(lesion.uptake, name) for name in _OF_UPTAKE}
    return found


def _taken(
    spec: ValueSpec,
    given: Mapping[str, Value | None],
    header: Mapping[str, Value | None],
    measured: Mapping[str, Value | None],
) -> TakenValue:
    """The header stands in for a table without age and sex, and the table for a header without them."""
    places = {"table": given, "header": header, "measured": measured}
    order = {"table": ("table", "header"), "header": ("header", "table"), "measured": ("measured",)}[spec.source]
    source = next((name for name in order if places[name].get(spec.name) is not None), spec.source)
    value = places[source].get(spec.name)
    if isinstance(value, str) and not spec.levels and number_text(value, decimal_comma=False):
        value = float(value)
    return TakenValue(spec.name, spec.title, spec.unit, value, source)


def _in_other_units(specs: Sequence[ValueSpec], told: Sequence[TakenValue], units: Mapping[str, str]) -> list[str]:
    """Numbers of the table whose stated unit is not the model's; nothing is converted unseen."""
    found = []
    for spec, taken in zip(specs, told, strict=True):
        unit = units.get(spec.name, "")
        used = taken.source == "table" and taken.value is not None and not spec.levels
        if unit and used and not same_unit(unit, spec.unit):
            wanted = f"in {spec.unit}" if spec.unit else "without a unit"
            found.append(f"{spec.title} is given in {unit}, and the model takes it {wanted}")
    return found


def _of_another(given: Mapping[str, Value | None], header: Mapping[str, Value | None]) -> list[str]:
    """Sex or age of the table against the header's: where they differ, the row may be of another patient."""
    differing = []
    if given.get("sex") is not None and header["sex"] is not None and str(given["sex"]) != header["sex"]:
        differing.append("sex")
    age, stated = given.get("age"), header["age"]
    text = None if age is None else number_text(str(age), decimal_comma=False)
    if text is not None and stated is not None and abs(float(text) - float(stated)) > SAME_AGE_YEARS:
        differing.append("age")
    told = f"the patient's {' and '.join(differing)} in the given values is not the image header's"
    return [told] if differing else []
