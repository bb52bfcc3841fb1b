"""Writing the result set: which objects, in which order, into which files.

Pictures and segmentations come first and the main report last but for the key object selection, since it is the root
that names them all (IHE AI Results).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pydicom
from PIL import Image
from pydicom.dataset import Dataset

from dicom_node.report.document import ResultObjects
from dicom_node.report.evidence import Evidence
from dicom_node.report.objects import (
    captures,
    heatmap,
    key_image,
    ko,
    label_map,
    mip,
    parametric_map,
    pdf,
    refusal,
    rtstruct,
    segmentation,
    sr,
    sr_viewer,
)
from dicom_node.report.objects.segmentation import Segment
from dicom_node.report.pictures import key_image as drawn
from dicom_node.report.pictures import not_analysed, views
from dicom_node.report.pictures.colours import Pixels
from dicom_node.report.references import check_places
from dicom_node.report.words import verdict
from inference.facts import Analysis, Instance, ModelFacts, Refused, Result, Run

DEFAULT = ("seg", "key_image", "heatmap", "sr_viewer", "sr")
KEY_IMAGE_PNG = "key_image.png"

Writer: TypeAlias = Callable[[Analysis, Evidence, Sequence[Segment]], Sequence[Dataset]]
# Kind → its data sets, none where it would be empty.  In the order they are written; the setting is report.also.
OPTIONAL: Mapping[str, Writer] = {
    "label_map": label_map.label_maps,
    "parametric_map": parametric_map.parametric_map,
    "rtstruct": rtstruct.structure_set,
    "captures": captures.captures,
    "mip": mip.rotating_projection,
    "pdf": pdf.printed_report,
    "ko": ko.key_objects,
}


def results(analysis: Analysis, run: Run, folder: Path) -> tuple[Result, ...]:
    """See ``dicom_node.report.write_results``."""
    pair = analysis.pair
    check_places(analysis.suv, pair.pet.instances)
    with _source_values_as_they_are():
        evidence = Evidence.of(pair.pet.instances[0], pair.digest, analysis.model, run)
        analysis = replace(analysis, cautions=(*analysis.cautions, *evidence.cautions))
        folder.mkdir(parents=True, exist_ok=True)
        parts = segmentation.segments(verdict.shown_lesions(analysis.lesions), evidence)
        seg = segmentation.segmentation(analysis, evidence, parts) if parts else None
        replaces = bool(run.predecessors)
        pixels = drawn.key_image(analysis, evidence.say_in_pictures, replaces=replaces)
        optional: Mapping[str, Writer] = {**OPTIONAL, "pdf": partial(pdf.printed_report, key_image=pixels)}
        objects: dict[str, Sequence[Dataset]] = {
            "seg": [seg] if seg is not None else [],
            "key_image": [_key_image(pixels, analysis, evidence, folder)],
            "heatmap": [heatmap.heatmap_capture(analysis, evidence)],
            **{kind: write(analysis, evidence, parts) for kind, write in optional.items() if kind in run.also},
        }
        objects["sr_viewer"] = [sr_viewer.viewer_report(analysis, evidence, parts)] if parts else []
        objects["sr"] = [sr.main_report(analysis, evidence, parts, objects)]
        if "ko" in objects:
            objects["ko"] = objects.pop("ko")  # delivered last, since it flags the others
        written = _write_all(objects, evidence, folder)
    _remove_others(written, folder)
    return written


def refused(
    instances: Sequence[Instance], why: Refused, model: ModelFacts | None, run: Run, folder: Path
) -> tuple[Result, ...]:
    """See ``dicom_node.report.write_refusal``."""
    with _source_values_as_they_are():
        evidence, images = refusal.refusal_evidence(instances, why, model, run)
        folder.mkdir(parents=True, exist_ok=True)
        replaces = bool(run.predecessors)
        picture = not_analysed.refusal_image(why, model, evidence.say_in_pictures, replaces=replaces)
        pixels = _save_png(picture, folder)
        what = "Not analysed: the reason as text"
        capture = key_image.key_image_capture(pixels, evidence, images[:1], what)
        objects = {"key_image": [capture]}
        objects["sr"] = [refusal.refusal_report(why, evidence, images, objects)]
        written = _write_all(objects, evidence, folder)
    _remove_others(written, folder)
    return written


@contextmanager
def _source_values_as_they_are() -> Iterator[None]:
    """A source's UID or name that breaks its VR (leading zeros, say) is referred to unchanged.

    pydicom would warn, and its log would show the value, which may be a patient's.
    """
    settings = pydicom.config.settings
    before = settings.reading_validation_mode, settings.writing_validation_mode
    settings.reading_validation_mode = settings.writing_validation_mode = pydicom.config.IGNORE
    try:
        yield
    finally:
        settings.reading_validation_mode, settings.writing_validation_mode = before


def _key_image(pixels: Pixels, analysis: Analysis, evidence: Evidence, folder: Path) -> Dataset:
    what = "Key image: axial, coronal and sagittal cuts through the index lesion, PET projection, result as text"
    sources = [analysis.pair.pet.instances[views.key_slice(analysis)]]
    return key_image.key_image_capture(_save_png(pixels, folder), evidence, sources, what)


def _save_png(pixels: Pixels, folder: Path) -> Pixels:
    """Save the picture beside the results; returns it at the size that the capture holds."""
    unfinished = folder / f".{KEY_IMAGE_PNG}.part"
    Image.fromarray(pixels).save(unfinished, format="PNG", compress_level=1)
    unfinished.replace(folder / KEY_IMAGE_PNG)
    return drawn.halved(pixels)


def _write_all(objects: ResultObjects, evidence: Evidence, folder: Path) -> tuple[Result, ...]:
    """One data set of a kind is ``kind.dcm``; several are numbered."""
    written: list[Result] = []
    for kind, found in objects.items():
        names = [kind] if len(found) == 1 else [f"{kind}_{number:03d}" for number in range(1, len(found) + 1)]
        written += [evidence.write(ds, kind, folder, name) for ds, name in zip(found, names, strict=True)]
    return tuple(written)


def _remove_others(written: Sequence[Result], folder: Path) -> None:
    """What an earlier run left in the folder is not of this result set."""
    ours = {result.path.name for result in written}
    for kind in (*DEFAULT, *OPTIONAL):
        for path in (folder / f"{kind}.dcm", *folder.glob(f"{kind}_[0-9][0-9][0-9].dcm")):
            if path.name not in ours:
                path.unlink(missing_ok=True)
