"""The results of a run as DICOM files: segmentation, two structured reports, key image, heatmap; or a refusal.

Nothing heavy is imported until something is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dicom_node.report.readback.collect import summarise
from dicom_node.report.readback.read import read_result
from dicom_node.report.readback.summary import LesionSummary, PredictionSummary, ResultSummary
from inference.facts import Analysis, Instance, ModelFacts, Refused, Result, Run

__all__ = [
    "LesionSummary",
    "PredictionSummary",
    "ResultSummary",
    "read_result",
    "summarise",
    "write_refusal",
    "write_results",
]


def write_results(analysis: Analysis, run: Run, folder: Path) -> tuple[Result, ...]:
    """Write the default set into ``folder`` (made if missing), ``kind.dcm`` each, and ``key_image.png`` beside it.

    seg, sr, sr_viewer, key_image, heatmap; without a lesion no seg and no sr_viewer, since they would be empty, and no
    heatmap where there is neither PET nor saliency.  The same analysis and run write the same bytes.

    Raises ``Refused`` where the volume does not lie on its source images ("report-slices-differ",
    "report-place-differs"), a source file is not what it was ("source-changed", "source-unreadable") or its patient
    cannot be named in valid DICOM ("source-identity-invalid").
    """
    from dicom_node.report import write

    return write.results(analysis, run, folder)


def write_refusal(
    instances: Sequence[Instance], refused: Refused, model: ModelFacts | None, run: Run, folder: Path
) -> tuple[Result, ...]:
    """Write sr and key_image that say why nothing was analysed, and ``key_image.png`` beside them.

    ``instances``: all that arrived of the study, in any order.  Raises ``Refused`` where no PET or CT among them
    can be read ("nothing-to-answer-to"), and "source-identity-invalid" as above.
    """
    from dicom_node.report import write

    return write.refused(instances, refused, model, run, folder)
