"""A cohort looked over before anything is trained: what is there, what lacks, what is wrong, without stopping early."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference.facts import Kind, Refused
from inference.model.given import SAME_AGE_YEARS
from inference.model.values import Value
from training.cohort.findings import Finding, errors_of
from training.cohort.leakage import leaks, same_images
from training.cohort.parallel import each
from training.cohort.seen import load_guarded, of_another, why_not
from training.cohort.study import Study
from training.cohort.table import Cohort, parse_cohort
from training.prepared import UNLABELLED
from training.recipe import Progress

if TYPE_CHECKING:
    from training.recipe import Recipe

USUAL_FOLDS = 5


@dataclass(frozen=True, slots=True)
class CentreCount:
    """``name``: "" where the table has none.  Counts are of rows."""

    name: str
    rows: int
    positive: int
    negative: int


@dataclass(frozen=True, slots=True)
class ColumnCount:
    """``missing``: among the labelled rows.  ``used``: by the recipe; None where none was named."""

    name: str
    header: str
    unit: str
    kind: str
    missing: int
    used: bool | None


@dataclass(frozen=True, slots=True)
class ImageCount:
    """``named``: rows of the table that name it; ``readable``: those whose images could be read, None if not tried."""

    kind: str
    named: int
    readable: int | None


@dataclass(frozen=True, slots=True)
class CohortCheck:
    """``prevalence``: positives among the labelled, None without a label.  ``regions``: source → rows.

    ``not_there``: values of the recipe that the table does not have.  ``digest``: of the table, "" where it has errors.
    """

    file: str
    rows: int = 0
    patients: int = 0
    labelled: int = 0
    unlabelled: int = 0
    prevalence: float | None = None
    sets: dict[str, int] = field(default_factory=dict)
    centres: tuple[CentreCount, ...] = ()
    columns: tuple[ColumnCount, ...] = ()
    set_aside: dict[str, str] = field(default_factory=dict)
    not_there: tuple[str, ...] = ()
    images: tuple[ImageCount, ...] = ()
    regions: dict[str, int] = field(default_factory=dict)
    digest: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def errors(self) -> list[Finding]:
        return errors_of(self.findings)


@dataclass(frozen=True, slots=True)
class _Looked:
    """``why``: what is wrong with the images, or ""."""

    why: str
    source: str = ""
    voxels: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    header: Mapping[str, Value | None] = field(default_factory=dict)
    patient: str = ""


def check_cohort(
    file: Path,
    recipe: Recipe | None = None,
    *,
    read_images: bool = True,
    processes: int = 1,
    tell: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> CohortCheck:
    """Everything that is wrong or odd with a cohort, and for ``recipe`` where one is named.

    Raises ``Refused`` where the file is no table; ``Stopped``.
    """
    cohort, findings = parse_cohort(file)
    if cohort is None:
        return CohortCheck(file.name, findings=findings)
    found = [*findings, *leaks(cohort, recipe), *_too_few(cohort.studies)]
    kinds: list[Kind | None] = [_kind(study, recipe) for study in cohort.studies]
    looked: list[_Looked] = []
    if read_images:
        look = partial(_look, region_names=cohort.region_names, region_needed=_region_needed(recipe))
        for one in each(look, list(zip(cohort.studies, kinds, strict=True)), processes, stop):
            looked.append(one)
            tell(Progress(len(looked), len(kinds), "images"))
        found += [*_about_images(cohort.studies, looked), *_against_headers(cohort, looked)]
    labels = [s.label for s in cohort.studies if s.label != UNLABELLED and s.set != "unlabelled"]
    return CohortCheck(
        file=file.name,
        rows=len(cohort.studies),
        patients=len({study.patient for study in cohort.studies}),
        labelled=len(labels),
        unlabelled=len(cohort.studies) - len(labels),
        prevalence=sum(labels) / len(labels) if labels else None,
        sets=dict(Counter(study.set for study in cohort.studies)),
        centres=_centres(cohort.studies),
        columns=_columns(cohort, recipe),
        set_aside=dict(cohort.set_aside),
        not_there=_not_there(cohort, recipe),
        images=_images(kinds, looked),
        regions=dict(Counter(one.source or "none" for one in looked if not one.why)),
        digest=cohort.digest,
        findings=tuple(found),
    )


def _kind(study: Study, recipe: Recipe | None) -> Kind | None:
    """What is looked at in a row: what the recipe wants, else the most that the row names."""
    if recipe is not None:
        wanted: Any = recipe.images
        return wanted  # type: ignore[no-any-return]
    if study.pet and study.ct:
        return "PET/CT"
    if study.iodine:
        return "iodine map"
    return "CT" if study.ct else None


def _region_needed(recipe: Recipe | None) -> bool:
    from inference.model.look import needs_region

    return recipe is not None and any(needs_region(look) for look in recipe.looks(recipe.settings()).values())


def _look(item: tuple[Study, Kind | None], region_names: tuple[str, ...], region_needed: bool) -> _Looked:
    study, kind = item
    if kind is None:
        return _Looked("a PET without a CT: no model looks at it.")
    try:
        images = load_guarded(study, kind, region_names, region_needed=region_needed)
        images.lesion()
    except Refused as refused:
        return _Looked(why_not(refused))
    cautions = tuple(c.text for c in images.cautions)
    return _Looked("", images.source, images.voxel_digests(), cautions, images.header, images.patient)


def _about_images(studies: Sequence[Study], looked: Sequence[_Looked]) -> list[Finding]:
    found = []
    said: Counter[str] = Counter()
    for study, one in zip(studies, looked, strict=True):
        if one.why:
            found.append(Finding("error", "image", f"(study {study.study}) {one.why}", study.row))
        said.update(set(one.cautions))
    found += [Finding("warning", "image", f"{text} ({count} row(s))") for text, count in said.items()]
    voxels = {study.study: one.voxels for study, one in zip(studies, looked, strict=True)}
    return [*found, *same_images(studies, voxels)]


def _against_headers(cohort: Cohort, looked: Sequence[_Looked]) -> list[Finding]:
    """Sex and age of the table against those of the images."""
    found = []
    for i, (study, one) in enumerate(zip(cohort.studies, looked, strict=True)):
        values = {column.name: column.values[i] for column in cohort.columns}
        if why := of_another(values, one.header):
            found.append(Finding("error", "another-patient", why, study.row, "sex"))
        age, stated = values.get("age"), one.header.get("age")
        if isinstance(age, float) and isinstance(stated, float) and abs(age - stated) > SAME_AGE_YEARS:
            text = "the age is not that of the DICOM header; is the row of another patient?"
            found.append(Finding("warning", "another-age", text, study.row, "age"))
    return [*found, *_one_patient_twice(cohort.studies, looked)]


def _one_patient_twice(studies: Sequence[Study], looked: Sequence[_Looked]) -> list[Finding]:
    """One DICOM Patient ID under several patients of the table: they would lie on both sides of a test.

    Silent where all images carry the same one, as de-identification leaves them.
    """
    rows: dict[str, list[Study]] = {}
    for study, one in zip(studies, looked, strict=True):
        if one.patient:
            rows.setdefault(one.patient, []).append(study)
    found = []
    for same in rows.values():
        if len(rows) > 1 and len({study.patient for study in same}) > 1:
            others = ", ".join(str(study.row) for study in same[1:])
            text = f"its images carry the same Patient ID as those of row {others}, under another patient of the table"
            found.append(Finding("warning", "one-patient-twice", text, same[0].row, "patient"))
    return found


def _too_few(studies: Sequence[Study]) -> list[Finding]:
    """Whether the usual cross-validation is possible."""
    learnt = [s for s in studies if s.set in ("train", "internal")]
    patients = {label: {s.patient for s in learnt if s.label == label} for label in (0, 1)}
    fewest = min(len(found) for found in patients.values())
    if fewest >= USUAL_FOLDS or not any(patients.values()):
        return []
    text = f"the rarer class has {fewest} patient(s) to learn from: at most {fewest} folds, not the usual {USUAL_FOLDS}"
    return [Finding("warning", "few-patients", text)]


def _centres(studies: Sequence[Study]) -> tuple[CentreCount, ...]:
    return tuple(
        CentreCount(
            name,
            sum(s.centre == name for s in studies),
            sum(s.centre == name and s.label == 1 for s in studies),
            sum(s.centre == name and s.label == 0 for s in studies),
        )
        for name in sorted({s.centre for s in studies})
    )


def _columns(cohort: Cohort, recipe: Recipe | None) -> tuple[ColumnCount, ...]:
    labelled = [i for i, s in enumerate(cohort.studies) if s.label != UNLABELLED and s.set != "unlabelled"]
    return tuple(
        ColumnCount(
            name=column.name,
            header=column.header,
            unit=column.unit,
            kind=column.kind,
            missing=sum(column.values[i] is None for i in labelled),
            used=None if recipe is None else column.name in recipe.values,
        )
        for column in cohort.columns
    )


def _not_there(cohort: Cohort, recipe: Recipe | None) -> tuple[str, ...]:
    has = {column.name for column in cohort.columns}
    measured = {"suv_max", "mtv_ml", "tlg", "volume_ml"}
    return tuple(name for name in (recipe.values if recipe else ()) if name not in has | measured)


def _images(kinds: Sequence[Kind | None], looked: Sequence[_Looked]) -> tuple[ImageCount, ...]:
    named = Counter(kind or "PET without CT" for kind in kinds)
    if not looked:
        return tuple(ImageCount(kind, count, None) for kind, count in named.items())
    readable = Counter(kind or "PET without CT" for kind, one in zip(kinds, looked, strict=True) if not one.why)
    return tuple(ImageCount(kind, count, readable[kind]) for kind, count in named.items())
