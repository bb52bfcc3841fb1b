"""Which of our objects a data set is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


class Kind(NamedTuple):
    """A kind of ours: its name, its SOP class, and how its series description begins."""

    name: str
    sop_class_uid: str
    begins: str


_STORAGE = "1.2.840.10008.5.1.4.1.1"
# In the order a report prints them.  Of one SOP class the first stands for a series that an archive has named anew.
KINDS = (
    Kind("sr", f"{_STORAGE}.88.34", "AI PET/CT results"),
    Kind("sr_viewer", f"{_STORAGE}.88.34", "AI lesions for viewers"),
    Kind("seg", f"{_STORAGE}.66.4", "AI lesions SEG"),
    Kind("key_image", f"{_STORAGE}.7", "AI key image"),
    Kind("heatmap", f"{_STORAGE}.7.4", "AI heatmap"),
    Kind("label_map", f"{_STORAGE}.66.7", "AI lesions label map"),
    Kind("parametric_map", f"{_STORAGE}.30", "AI saliency"),
    Kind("rtstruct", f"{_STORAGE}.481.3", "AI lesions RTSTRUCT"),
    Kind("captures", f"{_STORAGE}.7", "AI heatmap"),
    Kind("mip", f"{_STORAGE}.7.4", "AI MIP"),
    Kind("pdf", f"{_STORAGE}.104.1", "AI report PDF"),
    Kind("ko", f"{_STORAGE}.88.59", "AI key objects"),
)
ORDER = tuple(kind.name for kind in KINDS)
CLASSES = frozenset(kind.sop_class_uid for kind in KINDS)
MODEL_NAME = "petct-node"  # Manufacturer's Model Name (0008,1090) of every result


def kind_of(ds: Dataset) -> str:
    """The kind of a data set that this node wrote; "" where it did not."""
    if ds.get("ManufacturerModelName") != MODEL_NAME:
        return ""
    description = str(ds.get("SeriesDescription", ""))
    found = kinds_of(str(ds.get("SOPClassUID", "")))
    return next((kind.name for kind in found if description.startswith(kind.begins)), found[0].name if found else "")


def kinds_of(sop_class_uid: str) -> tuple[Kind, ...]:
    """The kinds that are of one SOP class."""
    return tuple(kind for kind in KINDS if kind.sop_class_uid == sop_class_uid)
