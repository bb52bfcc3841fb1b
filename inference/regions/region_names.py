"""Which of the regions in an RTSTRUCT or SEG are lesions: by their names, types and codes.

Reads a header either as a pydicom data set or as ``Instance.attributes``: both answer ``get(keyword)``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from inference.facts import Caution, Refused

# Regular expressions in order of preference, upper and lower case alike: the first that any region matches decides.
# GTV is radiotherapy's word (ICRU 83); where it is used, "node" or "mass" beside it name something else.
TUMOUR_NAMES = (
    "gtv",
    "tumou?r|neoplasm|lesion|mass|primary|metasta|node|cancer|carcinoma|sarcoma|lymphoma",
)
# Names that planning systems give to margins and outlines, whatever else stands in them ("PTV tumour").
PLANNING_AID = re.compile(r"^[\W_]*((ptv|ctv|itv|prv|oar)(?![a-z])|(external|body|skin|couch|bolus)\W*$)", re.I)
# Organs and references, where no type says so and nothing in the name says tumour.
ORGAN = re.compile(
    r"(?<![a-z])(liver|heart|lungs?|kidneys?|bladder|brain(stem)?|spleen|aorta|bowel|colon|rectum|stomach|pancreas|"
    r"prostate|spinal|cord|o?esophagus|parotids?|thyroid|larynx|trachea|bones?|femurs?|mandible|eyes?|lens|optic|"
    r"chiasm|cochlea|mediastinum|muscles?|blood|background|reference|phantom)(?![a-z])",
    re.I,
)
# RT ROI Interpreted Types (PS3.3 C.8.8.8.1) that are no tumour: organs, margins, aids of planning.
NOT_A_TUMOUR = frozenset(
    [
        *("EXTERNAL", "PTV", "CTV", "TREATED_VOLUME", "IRRAD_VOLUME", "BOLUS", "AVOIDANCE", "ORGAN", "MARKER"),
        *("REGISTRATION", "ISOCENTER", "CONTRAST_AGENT", "CAVITY", "BRACHY_CHANNEL", "BRACHY_ACCESSORY"),
        *("BRACHY_SRC_APP", "BRACHY_CHNL_SHLD", "SUPPORT", "FIXATION", "DOSE_REGION", "DOSE_MEASUREMENT", "CONTROL"),
    ]
)
# Segmented Property Types that are a tumour (PS3.16 CID 7159: neoplasm, primary, secondary, lesion, mass, nodule, and
# gross tumor volume), and categories (CID 7150) of anatomy; SNOMED CT, and the retired SNOMED-RT codes of the same.
TUMOUR_TYPES = frozenset(
    [
        *("108369006", "86049000", "372087000", "14799000", "52988006", "4147007", "27925004", "228791009"),
        *("M-8FFFF", "M-80003", "M-80006", "M-01100", "M-03000"),
    ]
)
ANATOMY = frozenset(["123037004", "91723000", "T-D000A", "T-D0005"])
LONGEST = 64  # characters of a name, as a LO may have (PS3.5 6.2): expressions run over no more
SNOMED = frozenset(["SCT", "SRT", "SNM3", "99SDM"])


@dataclass(frozen=True, slots=True)
class Label:
    """What an object says of one of its regions.

    ``number``: ROI Number or Segment Number.  ``kind``: RT ROI Interpreted Type, or the meaning of the Segmented
    Property Type; "" where not stated.  ``role``: what type or codes say: a "tumour", "other" (never a lesion),
    "anatomy" (a lesion only if the name says so), "" where they say nothing.  ``automatic``: made by an algorithm.
    """

    number: int
    name: str
    kind: str = ""
    role: Literal["tumour", "other", "anatomy", ""] = ""
    automatic: bool = False


def labels_of(header: Any) -> tuple[Label, ...]:
    """The regions of an RTSTRUCT or SEG, in its order.

    Raises ValueError or TypeError where a number is none.
    """
    return _structures(header) or _segments(header)


def lesions_among(
    labels: Sequence[Label], names: Sequence[str] = TUMOUR_NAMES
) -> tuple[tuple[Label, ...], tuple[Caution, ...]]:
    """The regions that are tumours, in their order; what is plainly something else is left out, and said.

    ``names``: regular expressions in order of preference; all regions that match the first one that matches any are
    lesions.  Without a match those are that their codes call a tumour, or the only region that is no organ and no
    planning aid.  Raises ``Refused`` where several are left and none says that it is a tumour.
    """
    possible = [label for label in labels if label.role != "other" and not PLANNING_AID.match(label.name)]
    named = _named(possible, names)
    chosen = named or [label for label in possible if label.role == "" and not ORGAN.search(label.name)]
    if not chosen or (len(chosen) > 1 and not named):
        raise Refused(
            "region-ambiguous",
            f"The study's region object has {len(labels)} regions and none is named as a tumour (GTV, tumour, lesion; "
            "assemble.region_names); which one is meant cannot be known. Name it so, or send only that one.",
            regions=len(labels),
        )
    cautions = []
    if left_out := len(labels) - len(chosen):
        text = f"{left_out} region(s) of the RTSTRUCT or SEG are not named as a tumour and were not measured."
        cautions.append(Caution("regions-set-aside", text))
    if not named:
        text = "The region taken is named neither as a tumour nor as anything else; that it is the lesion is assumed."
        cautions.append(Caution("region-not-named-tumour", text))
    return tuple(chosen), tuple(cautions)


def names_a_lesion(labels: Sequence[Label], names: Sequence[str] = TUMOUR_NAMES) -> bool:
    """Whether ``lesions_among`` would find a lesion that a person drew."""
    try:
        return bool(lesions_among([label for label in labels if not label.automatic], names)[0])
    except Refused:
        return False


def _named(possible: Sequence[Label], names: Sequence[str]) -> list[Label]:
    for name in names:
        rule = re.compile(name, re.IGNORECASE)
        found = [g for g in possible if rule.search(g.name) or (g.role != "anatomy" and rule.search(g.kind))]
        if found:
            return found
    return [label for label in possible if label.role == "tumour"]


def _structures(header: Any) -> tuple[Label, ...]:
    kinds = {
        _number(item, "ReferencedROINumber"): str(item.get("RTROIInterpretedType") or "").strip()
        for item in _items(header, "RTROIObservationsSequence")
    }
    labels = []
    for item in _items(header, "StructureSetROISequence"):
        number = _number(item, "ROINumber")
        kind = kinds.get(number, "")
        name = str(item.get("ROIName") or "")[:LONGEST] or f"ROI {number}"
        role: Literal["other", ""] = "other" if kind.upper() in NOT_A_TUMOUR else ""
        labels.append(Label(number, name, kind, role, _is_automatic(item, "ROIGenerationAlgorithm")))
    return tuple(labels)


def _segments(header: Any) -> tuple[Label, ...]:
    labels = []
    for item in _items(header, "SegmentSequence"):
        number = _number(item, "SegmentNumber")
        if number == 0:
            continue  # the background of a label map (PS3.3 C.8.20.2)
        name = str(item.get("SegmentLabel") or "")[:LONGEST] or f"segment {number}"
        kinds = _items(item, "SegmentedPropertyTypeCodeSequence")
        kind = str(kinds[0].get("CodeMeaning") or "")[:LONGEST] if kinds else ""
        role: Literal["tumour", "anatomy", ""] = ""
        if _is_one_of(kinds, TUMOUR_TYPES):
            role = "tumour"
        elif _is_one_of(_items(item, "SegmentedPropertyCategoryCodeSequence"), ANATOMY):
            role = "anatomy"
        labels.append(Label(number, name, kind, role, _is_automatic(item, "SegmentAlgorithmType")))
    return tuple(labels)


def _number(item: Any, keyword: str) -> int:
    """-1, the number of nothing, where it is absent."""
    value = item.get(keyword)
    return -1 if value is None else int(value)


def _items(holder: Any, keyword: str) -> list[Any]:
    return list(holder.get(keyword) or [])


def _is_one_of(codes: Sequence[Any], wanted: frozenset[str]) -> bool:
    return any(str(c.get("CodeValue")) in wanted and str(c.get("CodingSchemeDesignator")) in SNOMED for c in codes)


def _is_automatic(item: Any, keyword: str) -> bool:
    return str(item.get(keyword) or "").strip().upper() == "AUTOMATIC"
