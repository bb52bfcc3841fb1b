"""Target: header values of a study → assembly, geometry, SUV rule.  The answer is a rule that is finite, or a refusal.

The bytes of the fuzzer choose which values of a good pair are replaced, and by what.  Values have the type that reading
a file gives them (``inference.reading.values``): a number where the dictionary says number, but any number.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag, tag_for_keyword

from dicom_node.assemble import assemble
from dicom_node.errors import ROWS
from inference.facts import Instance, Refused
from inference.geometry.volume import stack
from inference.reading.keywords import IDENTITY, KEYWORDS
from inference.suv.rule import suv_rule
from inference.suv.tracer import tracer_of
from tests.studies import ct, pet, rtstruct, seg

TEXTS = (
    "", "0", "1", "BQML", "GML", "CM2ML", "CNTS", "CPS", "PROPCPS", "START", "ADMIN", "NONE", "ATTN", "NORM", "DECY",
    "LBM", "IBW", "M", "F", "O", "STATIC", "WHOLE BODY", "DYNAMIC", "GATED", "IMAGE", "REPROJECTION", "ORIGINAL",
    "DERIVED", "LOCALIZER", "MIP", "AXIAL", "20260101", "20260102", "2026010", "99991231", "00010101",
    "235959.999999", "000000",
    "110000", "100000", "24", "20260101235959.999999+1400", "99991231235959-1200", "+", "-1", "+9999", "\x00", "é" * 70,
    "1.2.3.4", "1.2.3.5", "C-111A1", "C-131A3", "SRT", "HU", "US", "01", "00", "petct-node", "nan", "\\", "GTV",
    "MANUAL",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 3, 4, 8, 1000, 65535, 65536, -32768, 2**31, 10**15, 1e-300, -1e-300, 5e-324, 1e-9, 1e-3,
    0.5, 1.0, 1.5, 4.0, 70.0, 70000.0, 350.0, 3.5e8, 6586.2, 180000.0, 1e12, 1e15, -1e15, -0.0,
)  # fmt: skip
TABLE: tuple[str, ...] = (*(k for k in KEYWORDS if k not in IDENTITY), "PhilipsSUVScaleFactor",
                          "PhilipsActivityConcentrationScaleFactor", "GEScanDateTime")  # fmt: skip
PRIVATE_VR = {"GEScanDateTime": "DT"}
LONGEST_LIST = 7


class _Bytes:
    """Choices out of the fuzzer's bytes; 0 for ever after the last."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def below(self, limit: int) -> int:
        part = self._data[self._at : self._at + 2]
        self._at += 2
        return int.from_bytes(part, "little") % limit


def try_study(data: bytes) -> Refused | None:
    """Assemble the study that the bytes describe.  Any exception is a finding; the refusal is returned."""
    instances = _damaged(data)
    try:
        pair = assemble(instances)
        rule = suv_rule(stack(pair.pet.instances).instances)
        affine = stack(pair.ct.instances).affine
        tracer_of(pair.pet.instances)
    except Refused as refused:
        _check(refused)
        return refused
    assert len(rule.factors) == len(pair.pet.instances)
    assert all(math.isfinite(f) and f > 0 for f in rule.factors)
    assert np.isfinite(affine).all()
    json.dumps(dict(rule.inputs), allow_nan=False)  # as `analyse --json` prints it
    return None


def _check(refused: Refused) -> None:
    assert refused.code in ROWS, f"{refused.code} is not in the table"
    assert len(refused.reason) > 20
    json.dumps(refused.facts, default=str)


def _damaged(data: bytes) -> list[Instance]:
    choices = _Bytes(data)
    pets = pet(4, series=1, RescaleSlope=0.5, RescaleIntercept=0.0)
    cts = ct(5, series=2, start_mm=-1.0, RescaleSlope=1.0, RescaleIntercept=-1024.0)
    everything = [*pets, *cts, rtstruct(), seg()]
    series = (range(4), range(4, 9), range(1), range(4, 5), range(1, 3), range(11), (9,), (10,))
    changes: dict[int, dict[str, Any]] = {n: {} for n in range(len(everything))}
    while choices:
        keyword = TABLE[choices.below(len(TABLE))]
        value = _value(choices, keyword, 0)
        for n in series[choices.below(len(series))]:
            changes[n][keyword] = value
    return [_changed(i, changes[n]) for n, i in enumerate(everything)]


def _changed(instance: Instance, changes: dict[str, Any]) -> Instance:
    attributes = {k: v for k, v in {**instance.attributes, **changes}.items() if v is not ...}
    sha256 = hashlib.sha256(str(sorted(attributes.items(), key=str)).encode()).hexdigest()
    modality = attributes.get("Modality", instance.modality) or ""
    return replace(instance, attributes=attributes, sha256=sha256, modality=modality)


def _value(choices: _Bytes, keyword: str, depth: int) -> Any:
    """What reading can give for this keyword: absent (...), empty, or of the type of its VR."""
    kind = choices.below(8)
    if kind < 2:
        return (..., None)[kind]
    tag = tag_for_keyword(keyword)
    vr, many = ("DS", False) if tag is None else (dictionary_VR(tag)[:2], dictionary_VM(tag) != "1")
    vr = PRIVATE_VR.get(keyword, vr)
    if vr == "SQ":
        return [_item(choices, depth) for _ in range(choices.below(3))]
    one = _number if vr in ("DS", "FD", "FL", "IS", "SL", "SS", "UL", "US") else _text
    if not many:
        return one(choices, vr)
    return [one(choices, vr) for _ in range(1 + choices.below(LONGEST_LIST))]


def _text(choices: _Bytes, _: str) -> str:
    return TEXTS[choices.below(len(TEXTS))]


def _number(choices: _Bytes, vr: str) -> float | int:
    value = NUMBERS[choices.below(len(NUMBERS))]
    return int(value) if vr in ("IS", "SL", "SS", "UL", "US") else float(value)


ITEM_TAGS = (
    0x00181072, 0x00181074, 0x00181075, 0x00181078, 0x00540300, 0x00540304, 0x00080100, 0x00080102, 0x00080104,
    0x00180031, 0x30060022, 0x30060024, 0x30060026, 0x30060036, 0x00200052, 0x30060012, 0x00620004, 0x00620005,
    0x00620008, 0x0020000E,
)  # fmt: skip


def _item(choices: _Bytes, depth: int) -> dict[str, Any]:
    if depth > 3:
        return {}
    keywords = [keyword_for_tag(ITEM_TAGS[choices.below(len(ITEM_TAGS))]) for _ in range(choices.below(7))]
    item = {k: _value(choices, k, depth + 1) for k in keywords}
    return {k: v for k, v in item.items() if v is not ...}


def study_seeds() -> list[bytes]:
    """No change, and two changes of each keyword: absent, and another value."""
    keywords = [n.to_bytes(2, "little") for n in range(len(TABLE))]
    return [b"", *(k + bytes((0, 0, 0, 0)) for k in keywords), *(k + bytes((2, 0, 7, 0)) for k in keywords)]
