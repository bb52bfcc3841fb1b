"""What one of our structured reports says: prediction, lesions, rule, warnings, refusal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from dicom_node import errors
from dicom_node.report.readback.summary import LesionSummary, Named, PredictionSummary, ValueSummary
from dicom_node.report.readback.tree import Item, groups, item
from dicom_node.report.words.verdict import original

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LANGUAGE, COMMENT, FINDING = "121049", "121106", "121071"
TRACKING_IDENTIFIER, TRACKING_UID = "112039", "112040"
REFERENCED_SEGMENT, IMAGE_REGION, DERIVATION = "121191", "111030", "121401"
ALGORITHM_NAME, ALGORITHM_VERSION, ALGORITHM_PARAMETERS = "111001", "111003", "111002"
_STATISTICS = {"max": "56851009", "mean": "373098007", "peak": "126031"}
_SUV = {"suv": "126401", "lbm-janma": "126405", "lbm-james": "126406", "bsa": "126403", "ibw": "126404"}
# (concept, derivation) → key of ``LesionSummary.measures``
MEASURES = {
    **{(code, _STATISTICS[which]): f"{kind}_{which}" for kind, code in _SUV.items() for which in _STATISTICS},
    **{(f"SUVBW-{which.upper()}", code): f"suv_{which}" for which, code in _STATISTICS.items()},  # for viewers
    ("118565006", ""): "volume_ml",
    ("112031", _STATISTICS["mean"]): "mean_hu",
    ("IODINE-CONC", _STATISTICS["mean"]): "mean_iodine",
    ("126032", ""): "mtv_ml",
    ("126033", ""): "tlg",
    ("MTV-THRESHOLD", ""): "mtv_threshold",
}


def said(ds: Dataset) -> dict[str, Any]:
    """The fields of ``ResultSummary`` that the content of the report ``ds`` gives."""
    root = item(ds)
    found = list(groups(root))
    texts = _Texts(found)
    rules = texts["SUV-RULE"]
    return {
        "members": tuple(_members(root, str(ds.StudyInstanceUID))),
        "counts": dict(_counts(root)),
        "values": tuple(_values(root)),
        "language": root.value_of(LANGUAGE),
        "model_parameters": _model_parameters(found),
        "prediction": _prediction(found, texts),
        "lesions": tuple(lesion for lesion in map(_lesion, found) if lesion is not None),
        "lesion_count": _lesion_count(found),
        "suv_rule": next(iter(rules), ""),
        "suv_also": rules[1:],
        "suv_inputs": texts["SUV-INPUT"],
        "warnings": texts["WARN"],
        "comments": tuple(dict.fromkeys(c.value for g in found if not _is_of_a_region(g) for c in g.find(COMMENT))),
        **_refusal(found, texts),
    }


def _members(root: Item, study_instance_uid: str) -> Iterator[Named]:
    """The other objects of the set, as the main report names them."""
    from dicom_node.report import codes

    kinds = {code.value: kind for kind, code in codes.RESULTS.items()}
    for container in root.find(codes.RESULT_SET.value):
        for member in container.children:
            for ref in member.references:
                sop_class_uid, uid = str(ref.ReferencedSOPClassUID), str(ref.ReferencedSOPInstanceUID)
                yield Named(kinds.get(member.code, member.meaning), sop_class_uid, uid, study_instance_uid)


def _counts(root: Item) -> Iterator[tuple[str, int]]:
    """Of kinds of which the report names three objects for many, how many there are: it stands behind the three."""
    from dicom_node.report import codes

    kinds = {code.value: kind for kind, code in codes.RESULTS.items()}
    for container in root.find(codes.RESULT_SET.value):
        for before, child in pairwise(container.children):
            if child.code == codes.RESULT_COUNT.value:
                yield kinds.get(before.code, before.meaning), int(_number(child.value))


def _values(root: Item) -> Iterator[ValueSummary]:
    """The values that the model took beside the images."""
    from dicom_node.report import codes

    sources = {code.value: name for name, code in codes.VALUE_SOURCES.items()}
    for container in root.find(codes.MODEL_VALUES.value):
        for child in container.children:
            if child.code not in (codes.MODEL_VALUE.value, codes.MISSING_VALUE.value):
                continue
            given = _number(child.value) if child.kind == "NUM" else child.value
            source = child.value_of(codes.VALUE_SOURCE.value)
            yield ValueSummary(
                name=child.value_of(codes.VALUE_NAME.value),
                title=child.value_of(codes.VALUE_TITLE.value),
                value=given if child.code == codes.MODEL_VALUE.value else None,
                unit=child.unit if child.unit != codes.NO_UNITS.value else "",
                source=sources.get(source, source),
            )


def is_for_viewers(fields: dict[str, Any]) -> bool:
    """Whether it is the report of contours, whatever its series is called."""
    return any(lesion.image_sop_instance_uid for lesion in fields["lesions"])


class _Texts:
    """The texts of all groups by their concept; in English, where a report in another language has that too."""

    def __init__(self, found: Sequence[Item]) -> None:
        self.found = found

    def __getitem__(self, code: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(original(item.value) for group in self.found for item in group.find(code)))


def _refusal(found: Sequence[Item], texts: _Texts) -> dict[str, Any]:
    code = next(iter(texts["REFUSAL-CODE"]), "")
    classes = [(c.value, c.said) for group in found for c in group.find("REFUSAL-CLASS")]
    return {
        "refusal_code": code,
        "refusal_class": next(iter(classes), None),
        "refusal_reason": next(iter(texts["REFUSAL-REASON"]), ""),
        "refusal_advice": _advice(code),
    }


def _advice(code: str) -> str:
    """In English, whatever language the report is in; none for a code that only another version knows."""
    row = errors.ROWS.get(code)
    return f"{row.who}: {row.advice}" if row else ""


def _number(text: str) -> float:
    """Raises ValueError for what is no finite number: JSON has no other."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no measured value")
    return value


def _lesion_count(found: Sequence[Item]) -> int | None:
    counts = [child.value for group in found for child in group.find("LESION-COUNT")]
    return int(_number(counts[0])) if counts else None


def _model_parameters(found: Sequence[Item]) -> tuple[str, ...]:
    """Of the group that says what became of the prediction: its algorithm is the model."""
    spoken = next((group for group in found if group.value_of("PRED-STATE")), None)
    return tuple(p.value for p in spoken.find(ALGORITHM_PARAMETERS)) if spoken else ()


def _prediction(found: Sequence[Item], texts: _Texts) -> PredictionSummary | None:
    from dicom_node.report import codes

    for group in found:
        state = group.value_of("PRED-STATE")
        if not state:
            continue
        lower, upper = group.value_of("PRED-LO95"), group.value_of("PRED-HI95")
        finding = group.value_of(FINDING)
        labels = {c.value: c.meaning for c in (codes.POSITIVE, codes.NEGATIVE, codes.INDETERMINATE)}
        verdict = next((child for child in group.children if child.code == finding), None)
        # the model's own concept: the one number that has no name of ours
        numbers = (child for child in group.children if child.kind == "NUM")
        probability = next((n for n in numbers if n.code not in ("LESION-COUNT", "PRED-LO95", "PRED-HI95")), None)
        return PredictionSummary(
            name=probability.meaning if probability else group.value_of(TRACKING_IDENTIFIER),
            status=next((key for key, c in codes.PREDICTION_STATES.items() if c.value == state), state),
            probability=_share(probability.value) if probability else None,
            interval=(_share(lower), _share(upper)) if lower and upper else None,
            label=labels.get(verdict.value) if verdict else None,
            applicability=_applicability(group.value_of("APPLIC")),
            applicability_reasons=texts["APPLIC-WHY"],
        )
    return None


def _share(percent: str) -> float:
    return round(_number(percent) / 100, 6)


def _applicability(code: str) -> str:
    from dicom_node.report import codes

    return next((key for key, concept in codes.APPLICABILITIES.items() if concept.value == code), code)


def _is_of_a_region(group: Item) -> bool:
    return any(child.code in (REFERENCED_SEGMENT, IMAGE_REGION) for child in group.children)


def _lesion(group: Item) -> LesionSummary | None:
    """A lesion's group; None for the study's own group, which refers to neither segment nor region."""
    if not _is_of_a_region(group):
        return None
    segments = [ref for child in group.find(REFERENCED_SEGMENT) for ref in child.references]
    images = [ref for region in group.find(IMAGE_REGION) for child in region.children for ref in child.references]
    number = segments[0].get("ReferencedSegmentNumber") if segments else None
    numbers = {MEASURES.get((child.code, child.value_of(DERIVATION))): child.value for child in group.children}
    algorithm = (group.value_of(ALGORITHM_NAME), group.value_of(ALGORITHM_VERSION))
    return LesionSummary(
        tracking_id=group.value_of(TRACKING_IDENTIFIER),
        tracking_uid=group.value_of(TRACKING_UID),
        segment_number=int(number) if number is not None else None,
        image_sop_instance_uid=str(images[0].ReferencedSOPInstanceUID) if images else None,
        source=group.value_of("REGION-SOURCE"),
        measures={name: _number(value) for name, value in numbers.items() if name is not None},
        algorithm=" ".join(part for part in algorithm if part),
        description=group.value_of(COMMENT),
    )
