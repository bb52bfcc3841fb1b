"""Result objects really written, again and again with one thing changed: what changes with it, comes from it.

No code says where an attribute's value comes from.  So the same study is written once as it is, and once more for each
origin a value may have: another header, other images, another analysis, another model, another node, another time,
another configuration.  A value that differs comes from what was changed; one that never differs is fixed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from dicom_node.report import write, write_refusal, write_results
from dicom_node.report.source import ALWAYS
from inference.facts import (
    Analysis,
    Caution,
    Code,
    Kind,
    Occasion,
    Predecessor,
    Prediction,
    ReferenceUptake,
    Refused,
    Result,
    Run,
    SuvScale,
    TakenValue,
    Tracer,
)
from tests.report_case import (
    MODEL,
    NO_LESION,
    REPORTED,
    RUN,
    VALUES,
    WITHHELD,
    make_analysis,
    oblique,
    without_pet,
)

GRID = {"size": (8, 24, 24), "spacing_mm": (8.0, 8.0, 8.0)}
OTHER_GRID: dict[str, Any] = {  # its lesions lie in slices side by side, as the others' do
    "size": (9, 28, 60),
    "spacing_mm": (7.0, 7.5, 7.5),
    "turn": oblique(60),
    "balls": (((5.0, -20.0, 12.0), 20.0, 8.0), ((-8.0, 12.0, -12.0), 14.0, 5.0)),
}
BALLS = (((30.0, -20.0, 12.0), 20.0, 8.0), ((-32.0, 12.0, -12.0), 12.0, 5.0))
# another number of lesions, of another size and height, so that no count is by chance the same; two of them overlap
OTHER_BALLS = (((-10.0, 20.0, 4.0), 14.0, 11.0), ((24.0, -10.0, 0.0), 28.0, 6.0), ((24.0, -10.0, 24.0), 14.0, 4.0))
APART = (((30.0, -20.0, 24.0), 8.0, 8.0), ((-32.0, 12.0, -24.0), 8.0, 5.0))  # slices without a lesion between them
MANY_SLICES: dict[str, Any] = {"size": (32, 24, 24), "spacing_mm": (4.0, 8.0, 8.0)}  # so many captures: three are named
OF_A_REFUSAL = " of a refusal"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "99SITE", meaning
    return item


def header(mark: str, digit: int) -> dict[str, Any]:
    """A header with everything that results copy; every value of another ``mark`` and ``digit`` is another."""
    order, step = Dataset(), Dataset()
    order.RequestedProcedureID, order.RequestedProcedureDescription = f"RP{mark}", f"procedure {mark}"
    order.RequestedProcedureCodeSequence = [_code(f"R{mark}", f"requested {mark}")]
    step.ReferencedSOPClassUID = f"1.2.840.10008.3.1.2.3.{digit}"
    step.ReferencedSOPInstanceUID = f"2.25.77{digit}"
    return {
        "StudyInstanceUID": f"2.25.88{digit}",
        "PatientName": f"Name{mark}^Given{mark}",
        "PatientID": f"ID{mark}",
        "IssuerOfPatientID": f"Issuer{mark}",
        "PatientBirthDate": f"195{digit}0102",
        "PatientSex": "MFO"[digit % 3],
        "PatientAge": f"06{digit}Y",
        "PatientSize": f"1.7{digit}",
        "PatientWeight": f"7{digit}",
        "StudyDate": f"2026022{digit}",
        "StudyTime": f"09300{digit}",
        "StudyID": f"S{mark}",
        "AccessionNumber": f"A{mark}",
        "ReferringPhysicianName": f"Referring{mark}",
        "StudyDescription": f"study {mark}",
        "InstitutionName": f"institution {mark}",
        "PatientIdentityRemoved": ("NO", "YES")[digit % 2],
        "DeidentificationMethod": f"method {mark}",
        "DeidentificationMethodCodeSequence": [_code(f"D{mark}", f"method {mark}")],
        "LongitudinalTemporalInformationModified": ("REMOVED", "MODIFIED", "UNMODIFIED")[digit % 3],
        "TimezoneOffsetFromUTC": f"+0{digit}00",
        "BodyPartExamined": ("BREAST", "LUNG", "KIDNEY")[digit % 3],
        "Laterality": "LR"[digit % 2],
        "ProcedureCodeSequence": [_code(f"P{mark}", f"performed {mark}")],
        "RequestAttributesSequence": [order],
        "ReferencedPerformedProcedureStepSequence": [step],
    }


BASE_HEADER, OTHER_HEADER = header("A", 1), header("B", 2)
# nothing but what an image cannot be without
BARE_HEADER: dict[str, Any] = {"StudyInstanceUID": "2.25.883", **dict.fromkeys(ALWAYS, "")}
UNPAIRED_HEADER = {keyword: value for keyword, value in BASE_HEADER.items() if keyword != "Laterality"} | {
    "BodyPartExamined": "WHOLEBODY"
}

ALSO_SUV = (SuvScale("lbm-janma", "LBMJANMA", 0.7, "James & Co"), SuvScale("bsa", "BSA", 0.02, "Du Bois"))
APPLIES = replace(REPORTED, applicability="unknown")  # "outside" would leave rows out
OTHER_MODEL = replace(
    MODEL,
    name="other",
    version="2.0",
    digest="fedcba9876543210" * 4,
    backend="torch cuda",
    precision="bf16",
    target="another target",
    demonstration=True,
    statement="another statement",
    status_code=Code("OTHER-PRED", "99OTHER", "Predicted other label"),
    probability_code=Code("OTHER-PROB", "99OTHER", "Predicted probability of other label"),
    preprocessing_digest="d" * 64,
)
KINDS_WITHOUT_PET: tuple[Kind, ...] = ("CT", "iodine map")
OTHER_VALUES = (
    TakenValue("other_age", "Other age", "a", 41.5, "table"),
    TakenValue("other_cga", "Other protein", "g/l", None, "measured"),
    TakenValue("other_grade", "Other grade", "", "G3", "header"),
)
SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"
EARLIER = Predecessor("2.25.871", "2.25.661", SR_CLASS, "2.25.662", "sr", "2026-02-28T10:00:00", "demo 0.9")
EARLIER_FOR_VIEWERS = replace(EARLIER, series_instance_uid="2.25.665", sop_instance_uid="2.25.666", kind="sr_viewer")
ANOTHER = Predecessor("2.25.872", "2.25.663", SR_CLASS, "2.25.664", "sr", "2026-02-27T10:00:00", "demo 0.8")
ANOTHER_FOR_VIEWERS = replace(ANOTHER, series_instance_uid="2.25.667", sop_instance_uid="2.25.668", kind="sr_viewer")
THIS_NODE = replace(RUN, predecessors=(EARLIER, EARLIER_FOR_VIEWERS), occasions=(Occasion("model"),))
OTHER_NODE = replace(
    RUN,
    device_uid="2.25.4712",
    serial="node-2",
    node_version="9.9.9",
    settings_digest="e" * 64,
    predecessors=(ANOTHER, ANOTHER_FOR_VIEWERS),
    occasions=(Occasion("asked", "the reader asked for it"),),
)
REFUSED = Refused("no-overlap", "PET and CT do not overlap.")
REFUSED_OTHERWISE = Refused("weight-missing", "The weight is missing.")


@dataclass(frozen=True, slots=True)
class Specimen:
    """One result set.

    ``changed``: the origin (a key of ``ORIGINS``) in which it differs from the first one, "" where it shows only what
    may be absent.  ``header``: of the source.  ``objects``: kind → its data sets; those of a refusal under a kind of
    their own.
    """

    changed: str
    header: Mapping[str, Any]
    objects: Mapping[str, tuple[Dataset, ...]]
    source_uids: frozenset[str]

    @property
    def source(self) -> Dataset:
        """The header of the source as a data set."""
        ds = Dataset()
        for keyword, value in self.header.items():
            setattr(ds, keyword, value)
        return ds


ORIGINS = {
    "header": "HEADER",
    "images": "IMAGES",
    "analysis": "ANALYSIS",
    "model": "MODEL",
    "node": "NODE",
    "time": "TIME",
    "configuration": "CONFIG",
}
"""What was changed → how the tables call a value that changes with it."""


@cache
def specimens() -> tuple[Specimen, ...]:
    """Every specimen, the one the others are compared with first."""
    with tempfile.TemporaryDirectory() as folder:
        return tuple(_specimens(Path(folder)))


def _specimens(folder: Path) -> Iterator[Specimen]:
    base = _made(folder / "base")
    other = _made(folder / "analysis", balls=OTHER_BALLS)
    images = _made(folder / "images", **OTHER_GRID)
    yield _write(folder, base)
    yield _write(folder, _made(folder / "header", OTHER_HEADER), "header", OTHER_HEADER)
    yield _write(folder, _other_images(images), "images")
    yield _write(folder, _other_analysis(other), "analysis", why=REFUSED_OTHERWISE)
    yield _write(folder, replace(base, model=OTHER_MODEL), "model")
    yield _write(folder, base, "node", run=OTHER_NODE)
    yield _write(folder, base, "time", run=replace(THIS_NODE, started_at="20260402111213.141516+0000"))
    yield _write(folder, base, "configuration", run=replace(THIS_NODE, language="de", names_model=True, series_block=1))
    # what may be absent
    yield _write(folder, _one_segment(_made(folder / "bare", BARE_HEADER)), header=BARE_HEADER, run=RUN)
    apart = _made(folder / "apart", balls=APART, prediction=WITHHELD)
    yield _write(folder, replace(apart, saliency=None))
    none = _made(folder / "none", UNPAIRED_HEADER, balls=(), prediction=NO_LESION)
    yield _write(folder, none, header=UNPAIRED_HEADER)
    yield _write(folder, base, run=RUN, also=())
    yield _write(folder, _made(folder / "many", **MANY_SLICES), also=("captures",))
    for kind in KINDS_WITHOUT_PET:
        alone = without_pet(folder / kind, kind, saliency=True, header=dict(BASE_HEADER))
        yield _write(folder, replace(alone, values=()))


def _made(folder: Path, header: Mapping[str, Any] = BASE_HEADER, **more: Any) -> Analysis:
    found = make_analysis(folder, **{**GRID, "balls": BALLS, "prediction": APPLIES, **more}, header=dict(header))
    return replace(
        found,
        tracer=Tracer("fdg", "F-18", "FDG"),
        references=(ReferenceUptake("liver", 2.1, 0.2, 14.1, (1.0, 2.0, 3.0)),),
        also_suv=ALSO_SUV,
        values=VALUES,
    )


def _write(
    folder: Path,
    analysis: Analysis,
    changed: str = "",
    header: Mapping[str, Any] = BASE_HEADER,
    run: Run = THIS_NODE,
    why: Refused = REFUSED,
    also: Sequence[str] = tuple(write.OPTIONAL),
) -> Specimen:
    """The results of ``analysis``, and what would be written had it been refused."""
    instances = analysis.pair.images
    with tempfile.TemporaryDirectory(dir=folder) as out:
        written = write_results(analysis, replace(run, also=tuple(also)), Path(out) / "results")
        refusal = write_refusal(instances, why, analysis.model, run, Path(out) / "refusal")
        objects = _read(written) | {f"{kind}{OF_A_REFUSAL}": found for kind, found in _read(refusal).items()}
    return Specimen(changed, header, objects, frozenset(_source_uids(analysis)))


def _other_images(analysis: Analysis) -> Analysis:
    frame = "2.25.999"
    return replace(
        analysis,
        suv=replace(analysis.pet, frame_of_reference_uid=frame),
        ct=replace(analysis.ct, frame_of_reference_uid=frame),
    )


def _other_analysis(analysis: Analysis) -> Analysis:
    return replace(
        analysis,
        lesions=tuple(
            replace(lesion, mean_hu=12.0, source=source)
            for lesion, source in zip(analysis.lesions, ("SEG", "automatic", "automatic"), strict=True)
        ),
        prediction=Prediction("indeterminate", 0.5, (0.3, 0.7), None, "inside", ("another reason",)),
        saliency=analysis.saliency and replace(analysis.saliency, cell_mm=12.0),
        cautions=(Caution("dose-in-mbq", "Another warning."),),
        tracer=Tracer("dotatoc", "Ga-68", "other"),
        references=(ReferenceUptake("blood pool", 1.4, 0.1, 3.0, (4.0, 5.0, 6.0)),),
        values=OTHER_VALUES,
        rule=analysis.rule
        and replace(analysis.rule, rule="another rule", inputs={"another_input": 1.0}, reference_time="20260301000000"),
    )


def _one_segment(analysis: Analysis) -> Analysis:
    """One lesion, all of it above the threshold: its region and its metabolic volume are the same voxels."""
    lesion = analysis.lesions[0]
    return replace(analysis, lesions=(replace(lesion, uptake=replace(lesion.on_pet, mtv=lesion.region)),))


def _read(results: tuple[Result, ...]) -> dict[str, tuple[Dataset, ...]]:
    objects: dict[str, tuple[Dataset, ...]] = {}
    for result in results:
        objects[result.kind] = (*objects.get(result.kind, ()), pydicom.dcmread(result.path))
    return objects


def _source_uids(analysis: Analysis) -> Iterator[str]:
    for series in analysis.pair.series:
        for instance in series.instances:
            yield from (instance.sop_instance_uid, instance.series_instance_uid, instance.study_instance_uid)
            yield instance.sop_class_uid
    yield analysis.grid.frame_of_reference_uid
