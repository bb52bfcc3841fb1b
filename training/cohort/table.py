"""A cohort: a table of studies, one a row, with paths of their images; read from CSV or XLSX, every fault named.

Columns (other names: ``roles``)::

    patient   who; all studies of a patient stay together                                          needed
    study     name of the row, unique; without the column it is the patient
    centre    where it was scanned; without the column all are of one
    label     1 or 0 (true/false, yes/no, positive/negative), empty: unlabelled                    needed
    pet, ct, iodine, region   paths, relative to the table: a folder of one DICOM series, one DICOM file, or a volume
              (NIfTI, MHA) as SUVbw, HU, mg/ml; region: RTSTRUCT, SEG, or a mask volume
    months, event   time to the event (1) or to censoring (0)
    set       train (or empty), internal (validation), external (tested, never learnt from), unlabelled

Every other column is a clinical or laboratory value (``columns``), unless its name says that it is known only after the
scan.  ``sex``, ``age`` and the scanner's columns also make subgroups.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from inference.model.value_names import is_missing, slug
from inference.model.values import Value
from training.cohort.columns import Column, read_columns
from training.cohort.findings import Finding, errors_of, refuse_errors
from training.cohort.roles import ALIASES, ROLES, Roles, read_roles
from training.cohort.sheet import Sheet, read_sheet
from training.cohort.study import IMAGES, LABELS, Reading, Study
from training.prepared import UNLABELLED

AGE_BANDS = ((40.0, "below 40"), (60.0, "40 to 59"), (75.0, "60 to 74"), (math.inf, "75 and above"))
NOT_BINARY = 2  # more different labels than these are no labels


@dataclass(frozen=True, slots=True)
class Cohort:
    """A table without a fault.

    ``columns``: values that models are offered; ``groups``: by name, one text a row.  ``set_aside``: header → why no
    model is offered it.  ``findings``: warnings.  ``label_header``: of the column that holds the label.  ``baseline``:
    headers that the table's description says are known at the scan.
    """

    file: Path
    studies: tuple[Study, ...]
    columns: tuple[Column, ...]
    groups: Mapping[str, tuple[str, ...]]
    set_aside: Mapping[str, str]
    findings: tuple[Finding, ...]
    region_names: tuple[str, ...]
    label_header: str = "label"
    baseline: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what the table says, its paths apart: the images have digests of their own."""
        rows = [
            study.model_dump(mode="json", exclude={"row", *IMAGES}) | {"values": [c.values[i] for c in self.columns]}
            for i, study in enumerate(self.studies)
        ]
        groups = {name: list(texts) for name, texts in self.groups.items()}
        said = {
            "rows": rows,
            "groups": groups,
            "columns": [(c.name, c.unit) for c in self.columns],
            "region_names": self.region_names,
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def read_cohort(file: Path) -> Cohort:
    """The cohort in a table.

    Raises ``Refused``: ``cohort-faults`` naming every fault with row and column, ``cohort-unreadable``,
    ``cohort-too-large``, ``no-such-folder``.
    """
    cohort, findings = parse_cohort(file)
    refuse_errors(findings, file.name)
    assert cohort is not None  # without errors there is a cohort
    return cohort


def parse_cohort(file: Path) -> tuple[Cohort | None, tuple[Finding, ...]]:
    """The cohort, None where the table has errors, and all findings.  Raises ``Refused`` where it is no table."""
    sheet, roles = read_sheet(file), read_roles(file)
    place, findings = _places(sheet, roles)
    findings = [*sheet.findings, *findings]
    columns = read_columns(sheet, list(place.values()), roles)
    findings += columns.findings
    if errors_of(findings) and "patient" not in place:
        return None, tuple(findings)
    studies, faults = _studies(file.absolute().parent, sheet, place, roles)
    findings += [*faults, *_about_all(studies, sheet, place)]
    if errors_of(findings):
        return None, tuple(findings)
    cohort = Cohort(
        file=file,
        studies=tuple(studies),
        columns=columns.offered,
        groups=_groups(columns.groups, columns.offered),
        set_aside=columns.set_aside,
        findings=tuple(findings),
        region_names=roles.region_names,
        label_header=sheet.header[place["label"]] if "label" in place else "",
        baseline=roles.baseline,
    )
    return cohort, tuple(findings)


def _places(sheet: Sheet, roles: Roles) -> tuple[dict[str, int], list[Finding]]:
    """Role → index of its column."""
    findings = []
    by_name: dict[str, int] = {}
    for index, header in enumerate(sheet.header):
        if not header:
            findings.append(Finding("error", "column-without-header", f"column {index + 1} has no header"))
        elif by_name.setdefault(slug(header), index) != index:
            findings.append(Finding("error", "column-twice", "two columns have this name", column=header))
    place = {}
    for role in ROLES:
        header = getattr(roles, role)
        names = [header, *(ALIASES.get(role, ()) if header == role else ())]
        found = [by_name[slug(name)] for name in names if slug(name) in by_name]
        if found:
            place[role] = found[0]
        elif header != role:
            text = f"the table's description names it as {role}, and the table has no such column"
            findings.append(Finding("error", "column-missing", text, column=header))
    if "patient" not in place:
        text = "the table has no such column; name the one that tells the patients apart in its description (patient =)"
        findings.append(Finding("error", "column-missing", text, column="patient"))
    return place, findings


def _studies(folder: Path, sheet: Sheet, place: dict[str, int], roles: Roles) -> tuple[list[Study], list[Finding]]:
    how = Reading(folder, roles.positive, sheet.decimal_comma)
    about_labels = _about_labels(sheet, place, roles)
    studies: list[Study] = []
    findings: list[Finding] = list(about_labels)
    for number, cells in sheet.rows:
        raw: dict[str, Any] = {role: cells[index] for role, index in place.items()}
        if about_labels:
            raw.pop("label", None)  # said once for the whole column
        raw.setdefault("study", raw["patient"])
        try:
            studies.append(Study.model_validate({"row": number, **raw}, context=how))
        except ValidationError as error:
            for fault in error.errors(include_input=False, include_url=False):
                role = str(fault["loc"][0]) if fault["loc"] else ""
                header = sheet.header[place[role]] if role in place else role
                text = str(fault["msg"]).removeprefix("Value error, ")
                findings.append(Finding("error", "cell", text, number, header))
    return studies, findings


def _about_labels(sheet: Sheet, place: dict[str, int], roles: Roles) -> list[Finding]:
    """One finding where the column as a whole holds something else than labels."""
    if "label" not in place:
        every = "set" in place and all(cells[place["set"]].lower() == "unlabelled" for _, cells in sheet.rows)
        text = "the table has no such column; name the label's column in its description (label =)"
        return [] if every else [Finding("error", "column-missing", text, column="label")]
    if roles.positive:
        return []
    header = sheet.header[place["label"]]
    distinct = {cells[place["label"]].lower() for _, cells in sheet.rows if not is_missing(cells[place["label"]])}
    if len(distinct) <= NOT_BINARY or len(distinct - LABELS.keys() - {"0.0", "1.0"}) <= 1:
        return []
    text = (
        f"it holds {len(distinct)} different values and is no label. Name the label's column in the table's "
        'description (label =), or say what of it is positive (positive = ">= 1")'
    )
    return [Finding("error", "label-column", text, column=header)]


def _about_all(studies: Sequence[Study], sheet: Sheet, place: dict[str, int]) -> list[Finding]:
    """Study names, and labels that nobody may use."""

    def header(role: str) -> str:
        return sheet.header[place[role]] if role in place else role

    findings = []
    names = Counter(study.study for study in studies)
    for study in studies:
        if names[study.study] > 1:
            text = f"{names[study.study]} rows have this name; give each study one of its own (column study)"
            findings.append(Finding("error", "study-twice", text, study.row, header("study")))
        if study.set == "unlabelled" and study.label != UNLABELLED:
            findings.append(
                Finding("warning", "label-unused", "unlabelled by its set: the label is not used", study.row)
            )
        if study.set in ("internal", "external") and study.label == UNLABELLED:
            text = f"{study.set}, and without a label: it is not used"
            findings.append(Finding("warning", "not-tested", text, study.row))
    return findings


def _groups(groups: Sequence[Column], offered: Sequence[Column]) -> dict[str, tuple[str, ...]]:
    """Subgroups as texts; the age in bands."""
    found = {column.name: tuple(_text(value) for value in column.values) for column in groups}
    for column in offered:
        if column.name == "age" and column.kind == "number":
            found["age"] = tuple("" if v is None else _age_band(float(v)) for v in column.values)
    return found


def _age_band(age: float) -> str:
    return next(name for limit, name in AGE_BANDS if age < limit)


def _text(value: Value | None) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else value
