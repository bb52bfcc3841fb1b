"""The header that results copy from a source image: what is copied, and what becomes of values that break DICOM.

Who the patient is stays as it is or there is no result: a name or ID that was cut would be another's.  Everything else
that breaks its rules (PS3.5 6.2, the enumerated values of PS3.3) is left empty or out, and the report says so.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID
from pydicom.valuerep import DA, TM, validate_value

from inference.facts import Caution, Refused

# Type 2 in the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1): there even when the source has none.
ALWAYS = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
WHERE_PRESENT = (
    *("IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight", "StudyDescription", "InstitutionName"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("LongitudinalTemporalInformationModified", "TimezoneOffsetFromUTC", "BodyPartExamined"),
)
# For the SR alone.
ORDER = ("ProcedureCodeSequence", "RequestAttributesSequence", "ReferencedPerformedProcedureStepSequence")
IDENTITY = ("PatientName", "PatientID", "IssuerOfPatientID")
_UIDS = ("SOPInstanceUID", "StudyInstanceUID")  # referred to as they are: nothing else would find the study
_SEVERAL = ("DeidentificationMethod",)  # value multiplicity 1-n
_ENUMERATED = {
    "PatientSex": ("M", "F", "O"),
    "PatientIdentityRemoved": ("YES", "NO"),
    "LongitudinalTemporalInformationModified": ("UNMODIFIED", "MODIFIED", "REMOVED"),
    "Laterality": ("R", "L"),
}
_OFFSET = re.compile(r"\+(0\d|1[0-4])[0-5]\d|-(0\d|1[0-2])[0-5]\d")  # PS3.3 C.12.1.1.8; -0000 is not allowed
_CODE = ("CodeValue", "LongCodeValue", "URNCodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning")
_STEP = ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")
_REQUEST = ("RequestedProcedureID", "RequestedProcedureDescription")


def read_header(path: str | Path) -> tuple[Dataset, tuple[str, ...]]:
    """The attributes that results copy, decoded, and the keywords of those left out because they break DICOM.

    Nothing else of the file is parsed into values.  Text in a character set other than the declared one is kept as far
    as it can be read: such a name still travels.  Raises ``Refused``: "source-unreadable"; "source-identity-invalid"
    where results that name the patient as the source does would be invalid.
    """
    wanted = ["SpecificCharacterSet", *_UIDS, "Laterality", *ALWAYS, *WHERE_PRESENT, *ORDER]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that break their VR are judged here
        try:
            read = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=wanted, force=True)
        except (OSError, EOFError, ValueError, TypeError, AttributeError, NotImplementedError) as fault:
            raise _unreadable(path) from fault
        source, broken = Dataset(), []
        for keyword in wanted[1:]:
            if keyword not in read:
                continue
            element = _decoded(read, keyword)
            if element is None or (keyword not in _UIDS and _breaks(element)):
                broken.append(keyword)
                continue
            source.add(element)
        mended = list(_mend_sequences(source))
    if "StudyInstanceUID" in broken or "SOPInstanceUID" in broken:
        raise _unreadable(path)
    if names := [keyword for keyword in IDENTITY if keyword in broken]:
        raise Refused(
            "source-identity-invalid",
            f"{' and '.join(names)} of the images break DICOM's rules for their values (PS3.5 6.2: one value, at most "
            "64 characters, a name's five components, no control characters), so no result can carry the patient.",
            attributes=names,
        )
    source.SpecificCharacterSet = "ISO_IR 192"
    return source, (*broken, *mended)


def left_out_caution(left_out: Sequence[str]) -> tuple[Caution, ...]:
    """What to say of the attributes that ``read_header`` left out; nothing where there are none."""
    if not left_out:
        return ()
    text = f"The images' {', '.join(left_out)} break DICOM's rules for their values; the results leave them empty."
    return (Caution("source-values-left-out", text),)


def _unreadable(path: str | Path) -> Refused:
    return Refused(
        "source-unreadable",
        "A source image can no longer be read from its file, so no result can carry its patient; send it again.",
        file=Path(path).name,
    )


def _decoded(read: Dataset, keyword: str) -> DataElement | None:
    """The element with its text decoded; None where its bytes are no value of its VR."""
    alone = Dataset()
    try:
        if "SpecificCharacterSet" in read:
            alone.SpecificCharacterSet = read.SpecificCharacterSet
        alone[keyword] = read[keyword]
        alone.decode()
        return alone[keyword]
    except (ValueError, TypeError, AttributeError, LookupError, NotImplementedError, OverflowError, EOFError):
        return None


def _breaks(element: DataElement) -> bool:
    """Whether the element's value breaks its VR, its multiplicity or its enumerated values."""
    keyword, value = element.keyword, element.value
    if element.VR == "SQ":
        return False
    values = list(value) if isinstance(value, MultiValue | list) else [value]
    if len(values) > 1 and (keyword not in _SEVERAL or not all(str(one).strip() for one in values)):
        return True
    return any(_value_breaks(keyword, str(element.VR), str(one)) for one in values if one is not None and str(one))


def _value_breaks(keyword: str, vr: str, text: str) -> bool:
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
        return True
    if keyword == "TimezoneOffsetFromUTC":
        return _OFFSET.fullmatch(text) is None or text == "-0000"
    if keyword in _ENUMERATED and text not in _ENUMERATED[keyword]:
        return True
    if vr == "PN" and any(len(group.split("^")) > 5 for group in text.split("=")):
        return True
    try:
        validate_value(vr, text, pydicom.config.RAISE)
        {"DA": DA, "TM": TM}.get(vr, str)(text)
    except (ValueError, OverflowError):
        return True
    return vr == "DA" and len(text) != 8  # the old form with points


def _mend_sequences(source: Dataset) -> Iterator[str]:
    """Keep the items that are whole, of each the attributes that results need; yields the sequences that lost one."""
    for keyword in ("ProcedureCodeSequence", "DeidentificationMethodCodeSequence"):
        if keyword in source:
            yield from _replace(source, keyword, list(_whole(source[keyword].value, _CODE)))
    keyword = "ReferencedPerformedProcedureStepSequence"
    if keyword in source:
        yield from _replace(source, keyword, list(_whole(source[keyword].value, _STEP)))
    if "RequestAttributesSequence" in source:
        yield from _mend_requests(source)


def _replace(source: Dataset, keyword: str, items: list[Dataset]) -> Iterator[str]:
    if len(items) < len(source[keyword].value):
        yield keyword
    source[keyword].value = items


def _mend_requests(source: Dataset) -> Iterator[str]:
    requests = []
    for order in source.RequestAttributesSequence:
        request = Dataset()
        for keyword in _REQUEST:
            if keyword in order:
                element = _decoded(order, keyword)
                if element is None or _breaks(element):
                    yield keyword
                else:
                    request.add(element)
        if "RequestedProcedureCodeSequence" in order:
            request.RequestedProcedureCodeSequence = order.RequestedProcedureCodeSequence
            codes = list(_whole(order.RequestedProcedureCodeSequence, _CODE))
            yield from _replace(request, "RequestedProcedureCodeSequence", codes)
        requests.append(request)
    source.RequestAttributesSequence = requests


def _whole(items: Sequence[Dataset], keywords: Sequence[str]) -> Iterator[Dataset]:
    """Of each item that is a valid code or reference, a copy with ``keywords`` alone."""
    for item in items:
        copy = Dataset()
        for keyword in keywords:
            element = _decoded(item, keyword) if keyword in item else None
            if element is not None and element.value not in (None, "") and not _breaks(element):
                copy.add(element)
        if _is_whole(copy, keywords):
            yield copy


def _is_whole(item: Dataset, keywords: Sequence[str]) -> bool:
    """PS3.3 8.8 (one value, scheme, meaning; a URN needs no scheme) or 10.8 (both UIDs)."""
    if keywords is _STEP:
        return all(UID(str(item.get(keyword, ""))).is_valid for keyword in _STEP)
    values = [keyword for keyword in _CODE[:3] if keyword in item]
    named = "CodingSchemeDesignator" in item or values == ["URNCodeValue"]
    return len(values) == 1 and named and "CodeMeaning" in item
