"""Read a result back from the DICOM file alone, for ``petct-node report``: what any other system can know of it.

pydicom is imported when a file is read, not before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from inference.facts import Refused

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

KINDS = {
    "1.2.840.10008.5.1.4.1.1.66.4": "seg",
    "1.2.840.10008.5.1.4.1.1.88.34": "sr",
    "1.2.840.10008.5.1.4.1.1.7": "key_image",
    "1.2.840.10008.5.1.4.1.1.7.4": "heatmap",
}
ORDER = ("sr", "sr_viewer", "seg", "key_image", "heatmap")


@dataclass(frozen=True, slots=True)
class PredictionSummary:
    """What the SR says of the model's target.  ``probability``, ``interval``: 0..1, None where not printed.

    ``status``: "reported", "indeterminate", "withheld", "none".  ``applicability``: "inside", "warning", "outside",
    "unknown".
    """

    name: str
    status: str
    probability: float | None
    interval: tuple[float, float] | None
    label: str | None
    applicability: str
    applicability_reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LesionSummary:
    """One measurement group: a segment of the SEG, or a contour on an image, with its own numbers.

    ``measures``: of suv_max, suv_mean, suv_peak (g/ml), volume_ml, mean_hu, mtv_ml, tlg (g), mtv_threshold those there,
    and lbm-janma_max and the like where other kinds of SUV were asked for.
    """

    tracking_id: str
    tracking_uid: str
    segment_number: int | None
    image_sop_instance_uid: str | None
    source: str
    measures: dict[str, float]


@dataclass(frozen=True, slots=True)
class ResultSummary:
    """One result file, without patient data.  ``content`` says in words what images and segmentations hold."""

    path: str
    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    series_description: str
    created: str
    node_version: str
    model: str
    model_statement: str
    research_use_only: bool
    content: str
    prediction: PredictionSummary | None = None
    lesions: tuple[LesionSummary, ...] = ()
    lesion_count: int | None = None
    suv_rule: str = ""
    suv_inputs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refusal_code: str = ""
    refusal_reason: str = ""


def summarise(paths: Iterable[Path]) -> tuple[ResultSummary, ...]:
    """Every result once, study by study, the main report of each first.

    A folder stands for the results below it; what else lies there is passed over.  Raises as ``read_result``, and
    "not-a-result" for a folder without any.
    """
    read = (result for path in paths for result in (_below(path) if path.is_dir() else [read_result(path)]))
    found = {result.sop_instance_uid: result for result in read}
    return tuple(sorted(found.values(), key=lambda r: (r.study_instance_uid, ORDER.index(r.kind), r.sop_instance_uid)))


def _below(folder: Path) -> list[ResultSummary]:
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and _is_dicom(p)):
        try:
            found.append(read_result(path))
        except Refused as refused:
            if refused.code != "not-a-result":  # a damaged result is not passed over
                raise
    if not found:
        raise Refused("not-a-result", f"{folder} holds no result written by petct-node.")
    return found


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return True  # nobody can know: reading it says why


def read_result(path: Path) -> ResultSummary:
    """Summary of one file written by this node.

    Raises ``Refused``: "unreadable-file" where it is not DICOM, "not-a-result" where this node did not write it.
    """
    ds = _read(path)
    if "SOPClassUID" not in ds and ds.file_meta.get("MediaStorageSOPClassUID") in (None, *KINDS):
        raise Refused("unreadable-file", f"{path.name} is cut short.", file=path.name)
    kind = KINDS.get(str(ds.get("SOPClassUID", "")))
    if kind is None or ds.get("ManufacturerModelName") != "petct-node":
        raise Refused("not-a-result", f"{path.name} is not a result written by petct-node.", file=path.name)
    groups = list(_groups(ds)) if kind == "sr" else []
    if any(group.image_sop_instance_uid for group in (_lesion(g) for g in groups) if group):
        kind = "sr_viewer"
    equipment = ds.get("ContributingEquipmentSequence") or []
    model = equipment[1] if len(equipment) > 1 else None
    texts = _Texts(groups)
    return ResultSummary(
        path=str(path),
        kind=kind,
        sop_class_uid=str(ds.SOPClassUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        series_instance_uid=str(ds.SeriesInstanceUID),
        study_instance_uid=str(ds.StudyInstanceUID),
        series_description=str(ds.get("SeriesDescription", "")),
        created=f"{ds.get('ContentDate', '')}{ds.get('ContentTime', '')}",
        node_version=_first(ds.get("SoftwareVersions")),
        model=f"{model.ManufacturerModelName} {_first(model.SoftwareVersions)}" if model else "",
        model_statement=_statement(model),
        research_use_only="research use only" in str(ds.get("SeriesDescription", "")).lower(),
        content=_content(ds, kind),
        prediction=_prediction(groups, texts),
        lesions=tuple(lesion for lesion in map(_lesion, groups) if lesion is not None),
        lesion_count=_lesion_count(groups),
        suv_rule=next(iter(texts["SUV-RULE"]), ""),
        suv_inputs=texts["SUV-INPUT"],
        warnings=texts["WARN"],
        refusal_code=next(iter(texts["REFUSAL-CODE"]), ""),
        refusal_reason=next(iter(texts["REFUSAL-REASON"]), ""),
    )


def _read(path: Path) -> Dataset:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError, EOFError) as fault:
        raise Refused(
            "unreadable-file", f"{path.name} cannot be read, or is not a DICOM file (PS3.10).", file=path.name
        ) from fault


def _first(value: object) -> str:
    return str(value if isinstance(value, str) or not isinstance(value, Iterable) else next(iter(value), ""))


def _statement(model: Dataset | None) -> str:
    """The model's statement, behind the "For research use only. " that opens every contribution."""
    return str(model.get("ContributionDescription", "")).partition(". ")[2] if model else ""


def _content(ds: Dataset, kind: str) -> str:
    if kind == "seg":
        labels = ", ".join(str(segment.SegmentLabel) for segment in ds.SegmentSequence)
        return f"{len(ds.SegmentSequence)} segments ({labels}) on {ds.NumberOfFrames} frames"
    if kind in ("key_image", "heatmap"):
        return (
            f"{ds.get('NumberOfFrames', 1)} frames of {ds.Columns} × {ds.Rows}: {ds.get('DerivationDescription', '')}"
        )
    return ""


@dataclass(frozen=True, slots=True)
class _Item:
    """A content item of an SR: its value type, what it is called, its value, and the items below it."""

    kind: str
    code: str
    meaning: str
    value: str
    children: tuple[_Item, ...]
    references: tuple[Dataset, ...] = field(default=())

    def find(self, code: str) -> Iterator[_Item]:
        return (child for child in self.children if child.code == code)

    def value_of(self, code: str) -> str:
        return next((child.value for child in self.find(code)), "")


def _item(ds: Dataset) -> _Item:
    name = (ds.get("ConceptNameCodeSequence") or [None])[0]
    return _Item(
        kind=str(ds.get("ValueType", "")),
        code=_code(name),
        meaning=str(name.CodeMeaning) if name else "",
        value=_value(ds),
        children=tuple(map(_item, ds.get("ContentSequence") or [])),
        references=tuple(ds.get("ReferencedSOPSequence") or []),
    )


def _code(item: Dataset | None) -> str:
    return str(item.get("CodeValue") or item.get("LongCodeValue") or "") if item is not None else ""


def _value(ds: Dataset) -> str:
    if ds.get("ConceptCodeSequence"):
        return _code(ds.ConceptCodeSequence[0])
    if ds.get("MeasuredValueSequence"):
        return str(ds.MeasuredValueSequence[0].NumericValue)
    return str(ds.get("TextValue") or ds.get("UID") or "")


def _groups(ds: Dataset) -> Iterator[_Item]:
    """The measurement groups (125007, DCM) of the report."""
    for measurements in _item(ds).find("126010"):
        yield from measurements.find("125007")


class _Texts:
    """The texts of all groups by their concept."""

    def __init__(self, groups: list[_Item]) -> None:
        self.groups = groups

    def __getitem__(self, code: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(item.value for group in self.groups for item in group.find(code)))


def _lesion_count(groups: list[_Item]) -> int | None:
    counts = [item.value for group in groups for item in group.find("LESION-COUNT")]
    return int(float(counts[0])) if counts else None


def _prediction(groups: list[_Item], texts: _Texts) -> PredictionSummary | None:
    from dicom_node.report import codes

    for group in groups:
        state = group.value_of("PRED-STATE")
        if not state:
            continue
        lower, upper = group.value_of("PRED-LO95"), group.value_of("PRED-HI95")
        finding = group.value_of("121071")
        labels = {c.value: c.meaning for c in (codes.POSITIVE, codes.NEGATIVE, codes.INDETERMINATE)}
        verdict = next((child for child in group.children if child.code == finding), None)
        # the model's own concept: the one number that has no name of ours
        numbers = (child for child in group.children if child.kind == "NUM")
        probability = next((n for n in numbers if n.code not in ("LESION-COUNT", "PRED-LO95", "PRED-HI95")), None)
        return PredictionSummary(
            name=probability.meaning if probability else group.value_of("112039"),
            status=next((key for key, c in codes.PREDICTION_STATES.items() if c.value == state), state),
            probability=round(float(probability.value) / 100, 6) if probability else None,
            interval=(round(float(lower) / 100, 6), round(float(upper) / 100, 6)) if lower and upper else None,
            label=labels.get(verdict.value) if verdict else None,
            applicability=_applicability(group.value_of("APPLIC")),
            applicability_reasons=texts["APPLIC-WHY"],
        )
    return None


def _applicability(code: str) -> str:
    from dicom_node.report import codes

    return next((key for key, concept in codes.APPLICABILITIES.items() if concept.value == code), code)


MEASURES = {
    ("126401", "56851009"): "suv_max",
    ("126401", "373098007"): "suv_mean",
    ("126401", "126031"): "suv_peak",
    **{
        (code, derivation): f"{kind}_{which}"
        for kind, code in {"lbm-janma": "126405", "lbm-james": "126406", "bsa": "126403", "ibw": "126404"}.items()
        for which, derivation in {"max": "56851009", "mean": "373098007", "peak": "126031"}.items()
    },
    ("118565006", ""): "volume_ml",
    ("112031", "373098007"): "mean_hu",
    ("126032", ""): "mtv_ml",
    ("126033", ""): "tlg",
    ("MTV-THRESHOLD", ""): "mtv_threshold",
}


def _lesion(group: _Item) -> LesionSummary | None:
    """A lesion's group; None for the study's own group, which refers to neither segment nor region."""
    segments = list(group.find("121191"))
    regions = list(group.find("111030"))
    if not segments and not regions:
        return None
    images = [ref for region in regions for child in region.children for ref in child.references]
    number = segments[0].references[0].ReferencedSegmentNumber if segments else None
    numbers = {MEASURES.get((item.code, item.value_of("121401"))): item.value for item in group.children}
    return LesionSummary(
        tracking_id=group.value_of("112039"),
        tracking_uid=group.value_of("112040"),
        segment_number=int(number) if number is not None else None,
        image_sop_instance_uid=str(images[0].ReferencedSOPInstanceUID) if images else None,
        source=group.value_of("REGION-SOURCE"),
        measures={name: float(value) for name, value in numbers.items() if name is not None},
    )
