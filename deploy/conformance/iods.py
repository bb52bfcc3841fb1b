"""The standard's modules: in which one an attribute stands, and of which type it is there (PS3.3).

The tables come with highdicom, taken from the DICOM standard of its day; an attribute that they do not name is one that
a newer edition added, or an extension of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map
from pydicom.uid import UID

from deploy.conformance.attributes import Row, rows
from deploy.conformance.origin import Path
from deploy.conformance.specimens import specimens
from dicom_node.receive.admission import STORAGE_CLASSES

SMALL = {"of", "and", "in", "to"}
LETTERS = {"sr": "SR", "sop": "SOP", "roi": "ROI", "rt": "RT", "sc": "SC", "voi": "VOI", "lut": "LUT", "icc": "ICC"}


def sop_class_of(kind: str) -> str:
    """SOP Class UID of the objects of this kind."""
    return str(specimens()[0].objects[kind][0].SOPClassUID)


def name_of(uid: str) -> str:
    """As in the UID dictionary; ours where that is older than the class."""
    name = str(UID(uid).name)
    return name if name != uid else f"{STORAGE_CLASSES[uid]} Storage"


@cache
def standard(sop_class_uid: str) -> Mapping[Path, tuple[str, str]]:
    """Path → (module, type) of every attribute of the class's IOD; the first module that has it counts."""
    found: dict[Path, tuple[str, str]] = {}
    iod = get_sop_class_iod_map()[sop_class_uid]
    for module in get_iod_module_map()[iod]:
        for attribute in get_module_attribute_map()[module["key"]]:
            path = (*attribute["path"], attribute["keyword"])
            found.setdefault(path, (_title(module["key"]), attribute["type"]))
    return found


def place(sop_class_uid: str, path: Path) -> tuple[str, str]:
    """(module, type), both "" where the class's IOD does not name the attribute."""
    return standard(sop_class_uid).get(path, ("", ""))


@cache
def extends(kind: str) -> tuple[Row, ...]:
    """The attributes of a kind of object that the tables of its IOD do not name; not those inside another of these."""
    known = standard(sop_class_of(kind))
    unknown = {row.path for row in rows(kind)} - set(known)
    return tuple(row for row in rows(kind) if row.path in unknown and row.path[:-1] not in unknown)


def _title(key: str) -> str:
    """``sr-document-series`` → SR Document Series."""
    return " ".join(LETTERS.get(word, word if word in SMALL else word.capitalize()) for word in key.split("-"))
