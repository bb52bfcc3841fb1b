"""The results of a run as DICOM files: segmentation, two structured reports, key image, heatmap; or a refusal.

Nothing heavy is imported until something is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.report.read import LesionSummary, PredictionSummary, ResultSummary, read_result, summarise
from inference.facts import Analysis, Instance, ModelFacts, Refused, Result, Run

if TYPE_CHECKING:
    from dicom_node.report.colours import Pixels
    from dicom_node.report.evidence import Evidence

__all__ = [
    "LesionSummary",
    "PredictionSummary",
    "ResultSummary",
    "read_result",
    "summarise",
    "write_refusal",
    "write_results",
]

KEY_IMAGE_PNG = "key_image.png"


def write_results(analysis: Analysis, run: Run, folder: Path) -> tuple[Result, ...]:
    """Write the default set into ``folder`` (made if missing), ``kind.dcm`` each, and ``key_image.png`` beside it.

    seg, sr, sr_viewer, key_image, heatmap; without a lesion no seg and no sr_viewer, since they would be empty.  The
    same analysis and run write the same bytes.  Raises ``Refused`` where the volume does not lie on its source images
    ("report-slices-differ", "report-place-differs") or a source file has changed ("source-changed").
    """
    from dicom_node.report import picture, secondary_capture, segmentation, sr, sr_viewer, views
    from dicom_node.report.evidence import Evidence, check_places

    pair = analysis.pair
    check_places(analysis.suv, pair.pet.instances)
    evidence = Evidence.of(pair.pet.instances[0], pair.digest, analysis.model, run)
    folder.mkdir(parents=True, exist_ok=True)
    parts = segmentation.segments(segmentation.shown_lesions(analysis.lesions), evidence)
    seg = segmentation.segmentation(analysis, evidence, parts) if parts else None
    pixels = picture.key_image(analysis)
    what = "Key image: axial, coronal and sagittal cuts through the index lesion, PET projection, result as text"
    results = [
        *([evidence.write(seg, "seg", folder)] if seg is not None else []),
        evidence.write(sr.main_report(analysis, evidence, parts, seg), "sr", folder),
        *([evidence.write(sr_viewer.viewer_report(analysis, evidence, parts), "sr_viewer", folder)] if parts else []),
        _write_key_image(pixels, evidence, [pair.pet.instances[views.key_slice(analysis)]], what, folder),
        evidence.write(secondary_capture.heatmap_capture(analysis, evidence), "heatmap", folder),
    ]
    return tuple(results)


def write_refusal(
    instances: Sequence[Instance], refused: Refused, model: ModelFacts | None, run: Run, folder: Path
) -> tuple[Result, ...]:
    """Write sr and key_image that say why nothing was analysed, and ``key_image.png`` beside them.

    ``instances``: all that arrived of the study.  Raises ``Refused`` ("nothing-to-answer-to") where no PET or CT among
    them can be read.
    """
    from dicom_node.report import picture, refusal

    evidence, images = refusal.refusal_evidence(instances, refused, model, run)
    folder.mkdir(parents=True, exist_ok=True)
    pixels = picture.refusal_image(refused, model)
    return (
        evidence.write(refusal.refusal_report(refused, evidence, images), "sr", folder),
        _write_key_image(pixels, evidence, images[:1], "Not analysed: the reason as text", folder),
    )


def _write_key_image(
    pixels: Pixels, evidence: Evidence, sources: Sequence[Instance], what: str, folder: Path
) -> Result:
    from PIL import Image

    from dicom_node.report.secondary_capture import key_image_capture

    unfinished = folder / f".{KEY_IMAGE_PNG}.part"
    Image.fromarray(pixels).save(unfinished, format="PNG", compress_level=1)
    unfinished.replace(folder / KEY_IMAGE_PNG)
    return evidence.write(key_image_capture(pixels, evidence, sources, what), "key_image", folder)
