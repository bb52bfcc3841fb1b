"""Writing the result set: which objects, in which order, into which files.

Pictures and segmentations come first and the main report last but for the key object selection, since it is the root
that names them all (IHE AI Results).  An optional object that cannot be written is left out, and the main report says
so: nobody should go without the default set for it.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pydicom
from PIL import Image
from pydicom.dataset import Dataset

from dicom_node.report.evidence import Evidence
from dicom_node.report.lossy import Lossy
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
from inference.facts import Analysis, Caution, Instance, ModelFacts, Refused, Result, Run

log = logging.getLogger(__name__)  # where no node runs, this goes to standard error

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
    check_places(analysis.grid, pair.reference.instances)
    with _source_values_as_they_are():
        evidence = Evidence.of(pair.reference.instances[0], pair.digest, analysis.model, run)
        evidence = replace(evidence, lossy=Lossy.of(pair.images), images=pair.kind)
        analysis = replace(analysis, cautions=(*analysis.cautions, *evidence.cautions))
        folder.mkdir(parents=True, exist_ok=True)
        parts = segmentation.segments(verdict.shown_lesions(analysis.lesions), evidence)
        seg = segmentation.segmentation(analysis, evidence, parts) if parts else None
        replaces = bool(run.predecessors)
        pixels = drawn.key_image(analysis, evidence.say_in_pictures, replaces=replaces)
        writers: Mapping[str, Writer] = {**OPTIONAL, "pdf": partial(pdf.printed_report, key_image=pixels)}
        without = _without_basis(analysis)
        missed = (c for kind, said in without.items() if kind in (*DEFAULT, *run.also) for c in said)
        extra = _Extra(cautions=list(dict.fromkeys(missed)))
        for kind in (kind for kind in writers if kind in run.also and kind not in without):
            extra.add(kind, partial(writers[kind], analysis, evidence, parts), evidence, folder)
        analysis = replace(analysis, cautions=(*analysis.cautions, *extra.cautions))
        objects: dict[str, Sequence[Dataset]] = {
            "seg": [seg] if seg is not None else [],
            "key_image": [_key_image(pixels, analysis, evidence, folder)],
            "heatmap": [] if "heatmap" in without else [heatmap.heatmap_capture(analysis, evidence)],
            **extra.objects,
        }
        objects["sr_viewer"] = [sr_viewer.viewer_report(analysis, evidence, parts)] if parts else []
        objects["sr"] = [sr.main_report(analysis, evidence, parts, objects)]
        if "ko" in objects:
            objects["ko"] = objects.pop("ko")  # delivered last, since it flags the others
        written = tuple(
            result
            for kind, found in objects.items()
            for result in extra.written.get(kind) or _write_kind(kind, found, evidence, folder)
        )
    _remove_others(written, folder)
    return written


def _without_basis(analysis: Analysis) -> dict[str, tuple[Caution, ...]]:
    """The kinds of objects that show what these images or this model have not, and what is still to be said of it.

    Of a PET/CT all are made, unless its model never shows where it looked: the heatmap is worth reading without
    saliency too, where that is withheld or there is no lesion.
    """
    without_pet = analysis.pair.pet is None
    told = any(caution.code == "no-heatmap" for caution in analysis.cautions)
    found: dict[str, tuple[Caution, ...]] = {}
    if without_pet:
        text = "The rotating projection is left out: it shows a PET, and there is none."
        found["mip"] = (Caution("left-out-without-pet", text),)
    if told or (without_pet and verdict.shown_saliency(analysis) is None):
        text = "Heatmap and saliency map are left out: the model gives no saliency for this study, or it is withheld."
        saying = () if told else (Caution("left-out-without-saliency", text),)
        found |= dict.fromkeys(("heatmap", "captures", "parametric_map"), saying)
    return found


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
        capture.RecognizableVisualFeatures = "NO"  # text alone
        objects = {"key_image": [capture]}
        objects["sr"] = [refusal.refusal_report(why, evidence, images, objects)]
        written = tuple(r for kind, found in objects.items() for r in _write_kind(kind, found, evidence, folder))
    _remove_others(written, folder)
    return written


@dataclass(frozen=True, slots=True)
class _Extra:
    """The optional objects and their files, by kind, as far as they could be written."""

    objects: dict[str, Sequence[Dataset]] = field(default_factory=dict)
    written: dict[str, list[Result]] = field(default_factory=dict)
    cautions: list[Caution] = field(default_factory=list)

    def add(self, kind: str, write: Callable[[], Sequence[Dataset]], evidence: Evidence, folder: Path) -> None:
        """Write one kind, or note that it is missing.

        Raises what speaks against the whole set: a refusal, or a fault of disk or memory.
        """
        try:
            found = write()
            self.written[kind] = _write_kind(kind, found, evidence, folder)
        except Refused:
            raise
        except Exception as error:
            if _is_of_the_machine(error):
                raise
            # not what the exception says, which may be a patient's value
            fault = type(error).__name__
            log.error("an optional object could not be written: %s, %s at %s", kind, fault, _place(error))
            text = f"The optional object '{kind}' could not be written ({fault}); the default results are complete."
            self.cautions.append(Caution("optional-object-missing", text))
        else:
            self.objects[kind] = found


def _is_of_the_machine(error: BaseException) -> bool:
    """pydicom wraps what writing raises; an OSError of its own, for a value that cannot be encoded, has no number."""
    cause = error.__cause__
    machine = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None)
    return machine or (cause is not None and _is_of_the_machine(cause))


def _place(error: BaseException) -> str:
    """Where it was raised, for whoever mends it: the innermost three calls."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return " > ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)


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
    projection = "PET projection, " if analysis.pair.pet else ""
    what = f"Key image of {analysis.pair.kind}: axial, coronal and sagittal cuts, {projection}result as text"
    sources = [analysis.pair.reference.instances[views.key_slice(analysis)]]
    return key_image.key_image_capture(_save_png(pixels, folder), evidence, sources, what)


def _save_png(pixels: Pixels, folder: Path) -> Pixels:
    """Save the picture beside the results; returns it at the size that the capture holds."""
    unfinished = folder / f".{KEY_IMAGE_PNG}.part"
    Image.fromarray(pixels).save(unfinished, format="PNG", compress_level=1)
    unfinished.replace(folder / KEY_IMAGE_PNG)
    return drawn.halved(pixels)


def _write_kind(kind: str, found: Sequence[Dataset], evidence: Evidence, folder: Path) -> list[Result]:
    """One data set of a kind is ``kind.dcm``; several are numbered."""
    names = [kind] if len(found) == 1 else [f"{kind}_{number:03d}" for number in range(1, len(found) + 1)]
    return [evidence.write(ds, kind, folder, name) for ds, name in zip(found, names, strict=True)]


def _remove_others(written: Sequence[Result], folder: Path) -> None:
    """What an earlier run left in the folder is not of this result set."""
    ours = {result.path.name for result in written}
    for kind in (*DEFAULT, *OPTIONAL):
        unfinished = folder.glob(f".{kind}*.dcm.part")  # of an object that could not be written
        for path in (folder / f"{kind}.dcm", *folder.glob(f"{kind}_[0-9][0-9][0-9].dcm"), *unfinished):
            if path.name not in ours:
                path.unlink(missing_ok=True)
