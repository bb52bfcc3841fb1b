"""A run of the analysis, what it replaces, and what it writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Predecessor:
    """An SR of the result set that a run replaces, by its UIDs.

    ``kind``: "sr", the main report, or "sr_viewer".  For people: ``created``, ISO 8601, and ``model``, its name and
    version; "" where nobody wrote it down.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    kind: str = "sr"
    created: str = ""
    model: str = ""


OccasionKind = Literal[
    "content", "choice", "model", "software", "segmenter", "settings", "values", "unsuccessful", "asked"
]


@dataclass(frozen=True, slots=True)
class Occasion:
    """One reason why a run replaces another.

    ``kind``: "content" (more of the study has come), "choice" (other images or another region are chosen now), "model",
    "software", "segmenter", "settings", "values" (each another now), "unsuccessful" (the run before was refused or
    failed), "asked" (a person asked for it, in the words of ``text``; "" where they gave no reason).
    """

    kind: OccasionKind
    text: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the analysis, recorded once at its start so that a repeat writes the same bytes.

    ``started_at``: DICOM DT text with offset, e.g. "20260101120000.000000+0000".  ``device_uid`` is stable per
    installation; ``serial`` is the node's own; ``settings_digest`` covers the settings that change results.
    ``predecessors``: what this run replaces, none for a study's first; several where a refusal replaces the results
    of several models.  ``names_model``: several models look at this node's studies, so series descriptions name theirs.
    ``series_block``: times 100, what is added to every series number, so that each model has numbers of its own.
    ``language``: of texts for people, RFC 5646.  ``also``: kinds of objects to write beside the default set.
    ``occasions``: why the run replaces its predecessors; none where nobody wrote it down.
    """

    started_at: str
    device_uid: str
    serial: str
    node_version: str
    settings_digest: str
    predecessors: tuple[Predecessor, ...] = ()
    names_model: bool = False
    series_block: int = 0
    language: str = "en"
    also: tuple[str, ...] = ()
    occasions: tuple[Occasion, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """One finished DICOM file of a result set.

    ``kind``: seg, sr, sr_viewer, key_image, heatmap; optional: label_map, parametric_map, rtstruct, captures (one
    result for each of its files), mip, pdf, ko.
    """

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    path: Path
    sha256: str
