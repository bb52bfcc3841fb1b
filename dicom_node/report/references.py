"""Naming the source images, and the guard that a volume lies where its images do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import PositronEmissionTomographyImageStorage

from dicom_node.report.source import ALWAYS
from inference.facts import Analysis, Instance, Refused, Volume

# A volume whose slices lie farther from where their headers put them belongs to other images: no result is written.
PLACE_TOLERANCE_MM = 0.5


def reference(instance: Instance) -> Dataset:
    """An item that names an instance as a whole (PS3.3 10.8 SOP Instance Reference)."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = instance.sop_class_uid, instance.sop_instance_uid
    return item


def frame_numbers(instance: Instance) -> list[int] | None:
    """Referenced Frame Number (0008,1160), from 1; None where the instance is no frame of a multi-frame object."""
    return [instance.frame + 1] if instance.frame >= 0 else None


def image_references(instances: Iterable[Instance]) -> list[Dataset]:
    """Items that name images (PS3.3 10.3 Image SOP Instance Reference): each object once, with its frames."""
    by_uid: dict[str, Dataset] = {}
    frames: dict[str, list[int]] = {}
    for instance in instances:
        by_uid.setdefault(instance.sop_instance_uid, reference(instance))
        frames.setdefault(instance.sop_instance_uid, []).extend(frame_numbers(instance) or [])
    for uid, numbers in frames.items():
        if numbers:
            by_uid[uid].ReferencedFrameNumber = numbers
    return list(by_uid.values())


def references_by_series(instances: Iterable[Instance]) -> dict[str, list[Dataset]]:
    """``reference`` of each object, grouped by Series Instance UID in the order they come."""
    by_series: dict[str, list[Dataset]] = {}
    for instance in {i.sop_instance_uid: i for i in instances}.values():
        by_series.setdefault(instance.series_instance_uid, []).append(reference(instance))
    return by_series


def shell(instance: Instance) -> Dataset:
    """What highdicom needs to refer to an instance: its UIDs, and no patient (``Evidence.stamp`` fills that in)."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = instance.sop_class_uid, instance.sop_instance_uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID = instance.study_instance_uid, instance.series_instance_uid
    ds.Modality = instance.modality
    for keyword in ALWAYS:
        setattr(ds, keyword, None)
    return ds


def shell_with_geometry(instance: Instance, volume: Volume, slice_index: int) -> Dataset:
    """``shell`` of a slice of ``volume``, placed by the volume's affine.

    A frame of a multi-frame object gets a name of its own as a single image: highdicom takes one such object at most,
    and that whole.  ``Sources.name_in`` puts this right.
    """
    ds = shell(instance)
    if instance.frame >= 0:
        ds.SOPClassUID, ds.SOPInstanceUID = PositronEmissionTomographyImageStorage, f"2.25.{slice_index + 1}"
    ds.FrameOfReferenceUID = volume.frame_of_reference_uid
    ds.Rows, ds.Columns = volume.array.shape[1:]
    thickness_mm, row_step_mm, column_step_mm = volume.spacing_mm
    ds.PixelSpacing, ds.SliceThickness = decimals((row_step_mm, column_step_mm)), decimals((thickness_mm,))[0]
    ds.ImageOrientationPatient = orientation(volume)
    ds.ImagePositionPatient = decimals(volume.to_lps((slice_index, 0, 0)))
    return ds


@dataclass(frozen=True, slots=True)
class Sources:
    """Slices of the PET that an object is derived from, frame by frame.

    ``shells``: as highdicom takes them, for ``source_images``; ``instances``: what those stand for.
    """

    shells: tuple[Dataset, ...]
    instances: tuple[Instance, ...]

    @classmethod
    def of(cls, analysis: Analysis, slices: Sequence[int]) -> Sources:
        """``slices``: indices in the PET grid."""
        instances = tuple(analysis.pair.reference.instances[k] for k in slices)
        shells = tuple(shell_with_geometry(i, analysis.grid, k) for i, k in zip(instances, slices, strict=True))
        for each in shells:  # highdicom takes one series only; a PET joined of two is put right by name_in
            each.SeriesInstanceUID = analysis.pair.reference.series_instance_uid
        return cls(shells, instances)

    def name_in(self, ds: Dataset) -> None:
        """Name the instances where highdicom named their shells: for the whole, for each frame, and by their series."""
        uids = [shell.SOPInstanceUID for shell in self.shells]
        meant = {uid: image_references([i])[0] for uid, i in zip(uids, self.instances, strict=True)}
        for group in ds.PerFrameFunctionalGroupsSequence:
            for derivation in group.get("DerivationImageSequence") or []:
                for source in derivation.SourceImageSequence:  # one item for all segments of a slice: named once
                    source.update(meant.get(source.ReferencedSOPInstanceUID, {}))
        ds.SourceImageSequence = image_references(self.instances)
        ds.ReferencedSeriesSequence = []
        for series_instance_uid, references in references_by_series(self.instances).items():
            series = Dataset()
            series.SeriesInstanceUID, series.ReferencedInstanceSequence = series_instance_uid, references
            ds.ReferencedSeriesSequence.append(series)


def orientation(volume: Volume) -> list[str]:
    """Image Orientation (Patient): direction of growing column index, then of growing row index (C.7.6.2.1.1)."""
    columns, rows = volume.affine[:3, 2], volume.affine[:3, 1]
    return decimals((*(columns / np.linalg.norm(columns)), *(rows / np.linalg.norm(rows))))


def decimals(values: Iterable[float]) -> list[str]:
    """Numbers as DS text of at most 16 characters, to a hundred-millionth; -0 is 0."""
    return [f"{round(float(value), 8) + 0.0:.10g}" for value in values]


def check_places(volume: Volume, instances: Sequence[Instance]) -> None:
    """Raise ``Refused`` unless slice k of ``volume`` lies where the header of ``instances[k]`` puts it.

    The last guard against a result drawn on the wrong image: whatever went wrong before, nothing is written.
    """
    if len(instances) != volume.array.shape[0]:
        raise Refused(
            "report-slices-differ",
            "The volume analysed has another number of slices than its series has images; no result is written.",
            slices=int(volume.array.shape[0]),
            images=len(instances),
        )
    rows, columns = volume.array.shape[1:]
    for k, instance in enumerate(instances):
        position, spacing = instance.get("ImagePositionPatient"), instance.get("PixelSpacing")
        cosines = instance.get("ImageOrientationPatient")
        if position is None or spacing is None or cosines is None:
            continue
        first = np.asarray(position, float)
        across, down = np.asarray(cosines, float).reshape(2, 3)
        last = first + across * (columns - 1) * float(spacing[1]) + down * (rows - 1) * float(spacing[0])
        ours = volume.to_lps(((k, 0, 0), (k, rows - 1, columns - 1)))
        if np.abs(ours - (first, last)).max() > PLACE_TOLERANCE_MM:
            raise Refused(
                "report-place-differs",
                "A slice of the volume analysed does not lie where its image's header puts it; no result is written.",
                sop_instance_uid=instance.sop_instance_uid,
                slice=k,
            )
