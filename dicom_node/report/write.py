"""Writing the result set: which objects, in which order, into which files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pydicom
from PIL import Image

from dicom_node.report.evidence import Evidence
from dicom_node.report.objects import refusal, secondary_capture, segmentation, sr, sr_viewer
from dicom_node.report.pictures import picture, views
from dicom_node.report.pictures.colours import Pixels
from dicom_node.report.references import check_places
from dicom_node.report.words import verdict
from inference.facts import Analysis, Instance, ModelFacts, Refused, Result, Run

KINDS = ("seg", "sr", "sr_viewer", "key_image", "heatmap")
KEY_IMAGE_PNG = "key_image.png"


def results(analysis: Analysis, run: Run, folder: Path) -> tuple[Result, ...]:
    """See ``dicom_node.report.write_results``."""
    pair = analysis.pair
    check_places(analysis.suv, pair.pet.instances)
    with _source_values_as_they_are():
        evidence = Evidence.of(pair.pet.instances[0], pair.digest, analysis.model, run)
        folder.mkdir(parents=True, exist_ok=True)
        parts = segmentation.segments(verdict.shown_lesions(analysis.lesions), evidence)
        seg = segmentation.segmentation(analysis, evidence, parts) if parts else None
        what = "Key image: axial, coronal and sagittal cuts through the index lesion, PET projection, result as text"
        key_images = [pair.pet.instances[views.key_slice(analysis)]]
        written = (
            *([evidence.write(seg, "seg", folder)] if seg is not None else []),
            evidence.write(sr.main_report(analysis, evidence, parts, seg), "sr", folder),
            *(
                [evidence.write(sr_viewer.viewer_report(analysis, evidence, parts), "sr_viewer", folder)]
                if parts
                else []
            ),
            _key_image(picture.key_image(analysis), evidence, key_images, what, folder),
            evidence.write(secondary_capture.heatmap_capture(analysis, evidence), "heatmap", folder),
        )
    _remove_others(written, folder)
    return written


def refused(
    instances: Sequence[Instance], why: Refused, model: ModelFacts | None, run: Run, folder: Path
) -> tuple[Result, ...]:
    """See ``dicom_node.report.write_refusal``."""
    with _source_values_as_they_are():
        evidence, images = refusal.refusal_evidence(instances, why, model, run)
        folder.mkdir(parents=True, exist_ok=True)
        pixels = picture.refusal_image(why, model)
        written = (
            evidence.write(refusal.refusal_report(why, evidence, images), "sr", folder),
            _key_image(pixels, evidence, images[:1], "Not analysed: the reason as text", folder),
        )
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


def _key_image(pixels: Pixels, evidence: Evidence, sources: Sequence[Instance], what: str, folder: Path) -> Result:
    unfinished = folder / f".{KEY_IMAGE_PNG}.part"
    Image.fromarray(pixels).save(unfinished, format="PNG", compress_level=1)
    unfinished.replace(folder / KEY_IMAGE_PNG)
    capture = secondary_capture.key_image_capture(picture.halved(pixels), evidence, sources, what)
    return evidence.write(capture, "key_image", folder)


def _remove_others(written: Sequence[Result], folder: Path) -> None:
    """What an earlier run left in the folder is not of this result set."""
    for kind in set(KINDS) - {result.kind for result in written}:
        (folder / f"{kind}.dcm").unlink(missing_ok=True)
