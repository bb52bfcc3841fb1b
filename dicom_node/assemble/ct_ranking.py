"""Which of several CTs is taken, beside a PET or alone: a table for each, read from the top."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_node.assemble.series import extent_mm, is_original, normal, series_number, values
from inference.facts import Instance

Group = Sequence[Instance]

SOFT, UNKNOWN, SHARP = 0, 1, 2
# Convolution Kernel (0018,1210) is free text of the maker.  Listed is what makers' manuals and the literature agree on;
# a name that fits no row ranks between soft and sharp.  First match wins; case is ignored.
KERNELS: tuple[tuple[str, str, int], ...] = (
    ("words of any maker", r".*(LUNG|BONE|SHARP|EDGE|HIGH.?RES|ULTRA).*", SHARP),
    ("words of any maker", r".*(SOFT|STANDARD|STND|SMOOTH|BODY|CHEST|ABDOMEN).*", SOFT),
    ("GE", r"DETAIL|HD ?(STND|STANDARD)", SOFT),
    # Siemens: letters for region and family, then the sharpness: B31f, I30f, Br40d, Hr36, Qr40; from 50 on for lung and
    # bone (B50 to B80).  Second letter l: lung.
    ("Siemens, lung", r"[A-Z]l\d\d.*", SHARP),
    ("Siemens, below 50", r"[A-Z][a-z]?[0-4]\d[a-z]{0,2}(/\d)?(\\.*)?", SOFT),
    ("Siemens, from 50", r"[A-Z][a-z]?[5-9]\d[a-z]{0,2}(/\d)?(\\.*)?", SHARP),
    ("Canon and Toshiba, body and head", r"FC[0-2]\d.*", SOFT),
    ("Canon and Toshiba, bone and lung", r"FC(3[0-5]|5\d|8\d).*", SHARP),
    ("Philips, smooth and standard", r"I?[ABC]", SOFT),
    ("Philips, lung and bone", r"I?(D|E|L|Y[A-E]?)", SHARP),
)

# An attenuation CT has 2 to 5 mm; thicker ones blur the mean HU of a small lesion.
THICKEST_MM = 5.0
AXIAL_COS = 0.7  # a CT whose slices lie more than 45 degrees off the axial plane shows another plane


@dataclass(frozen=True, slots=True)
class Criterion:
    """One row: least is best.  ``worse``: why a CT is left out for which the number is greater."""

    worse: str
    number: Callable[[Group, Group], Any]


def rank(ct: Group, pet: Group) -> tuple[Any, ...]:
    """The CT's numbers in the order of the table, and at last what only makes the order certain."""
    number = series_number(ct)
    return (*(row.number(ct, pet) for row in TABLE), 0 if number is None else number, ct[0].series_instance_uid)


def why_worse(ct: Group, chosen: Group, pet: Group) -> str:
    """In what the chosen CT is better: the first row in which they differ."""
    return _why_worse(TABLE, rank(chosen, pet), rank(ct, pet))


def rank_alone(ct: Group) -> tuple[Any, ...]:
    """As ``rank``, where there is no PET."""
    number = series_number(ct)
    return (*(row.number(ct, ()) for row in TABLE_ALONE), 0 if number is None else number, ct[0].series_instance_uid)


def why_worse_alone(ct: Group, chosen: Group) -> str:
    """As ``why_worse``, where there is no PET."""
    return _why_worse(TABLE_ALONE, rank_alone(chosen), rank_alone(ct))


def _why_worse(table: Sequence[Criterion], ours: Sequence[Any], theirs: Sequence[Any]) -> str:
    for row, best, found in zip(table, ours, theirs, strict=False):
        if found != best:
            return row.worse
    return "as good as the chosen one, but a later series"


def _uncovered_cm(ct: Group, pet: Group) -> float:
    along = normal(pet[0])
    reach_ct, reach_pet = extent_mm(ct, along), extent_mm(pet, along)
    if not reach_ct or not reach_pet:
        return 0.0
    return round((max(0.0, reach_ct[0] - reach_pet[0]) + max(0.0, reach_pet[1] - reach_ct[1])) / 10.0)


def kernel_class(ct: Group) -> int:
    """SOFT, UNKNOWN or SHARP, by the maker's name of the kernel."""
    for name in (v.strip() for v in values(ct[0], "ConvolutionKernel")):
        for _, pattern, kind in KERNELS:
            flags = 0 if pattern.startswith("[A-Z]") else re.IGNORECASE
            if re.fullmatch(pattern, name, flags):
                return kind
    return UNKNOWN


def _thickness_mm(group: Group) -> float | None:
    try:
        thickness = float(group[0].get("SliceThickness"))
    except (TypeError, ValueError):
        return None
    return thickness if 0 < thickness < math.inf else None


def _is_thick(ct: Group, _pet: Group) -> bool:
    thickness = _thickness_mm(ct)
    return thickness is not None and thickness > THICKEST_MM


def _off_the_pets_thickness_mm(ct: Group, pet: Group) -> float:
    ours, theirs = _thickness_mm(pet), _thickness_mm(ct)
    return round(abs(ours - theirs), 1) if ours and theirs else 0.0


def _missing_field_cm(ct: Group, pet: Group) -> float:
    """By how much the CT's field of view is narrower than the PET's: what lies outside has no CT."""
    return max(0.0, round((_field_mm(pet[0]) - _field_mm(ct[0])) / 10.0))


def _field_mm(instance: Instance) -> float:
    try:
        field = float(instance.get("PixelSpacing")[0]) * float(instance.get("Rows"))
    except (TypeError, ValueError, IndexError, KeyError):
        return 0.0
    return field if math.isfinite(field) else 0.0


def _is_not_axial(ct: Group, _pet: Group) -> bool:
    along = normal(ct[0])
    return along is not None and abs(float(along[2])) < AXIAL_COS


def _shorter_by_cm(ct: Group, _pet: Group) -> float:
    """How much it shows, so that more is less."""
    reach = extent_mm(ct, normal(ct[0]))
    return -round((reach[1] - reach[0]) / 10.0) if reach else 0.0


def _has_contrast(ct: Group, _pet: Group) -> bool:
    return any(str(v).strip() for v in values(ct[0], "ContrastBolusAgent") if v)


TABLE: tuple[Criterion, ...] = (
    Criterion("it leaves more of the PET uncovered", _uncovered_cm),
    Criterion("derived images, and an original CT is there", lambda ct, _: not is_original(ct[0])),
    Criterion("its kernel is sharper (lung, bone) or unknown", lambda ct, _: kernel_class(ct)),
    Criterion(f"its slices are thicker than {THICKEST_MM:g} mm", _is_thick),
    Criterion("its field of view is narrower, and cuts off more of what the PET shows", _missing_field_cm),
    Criterion("with a contrast agent, which changes the HU of the tissue", _has_contrast),
    Criterion("its slice thickness is farther from the PET's", _off_the_pets_thickness_mm),
)
"""What matters, the most important first.

Coverage before all: where there is no CT nothing can be said.  Kernel and thickness decide the noise of the HU values
and the network's input; a soft-tissue kernel is what the PET's attenuation is corrected with, and what models are
trained on.
"""

TABLE_ALONE: tuple[Criterion, ...] = (
    Criterion("its slices lie in another plane, and an axial CT is there", _is_not_axial),
    Criterion("derived images, and an original CT is there", lambda ct, _: not is_original(ct[0])),
    Criterion("its kernel is sharper (lung, bone) or unknown", lambda ct, _: kernel_class(ct)),
    Criterion(f"its slices are thicker than {THICKEST_MM:g} mm", _is_thick),
    Criterion("it shows less of the body", _shorter_by_cm),
)
"""For a CT alone.  Contrast agent and phase are not ranked: which of them a model wants, only a rule can say."""
