"""One row through the looks of a recipe, from the cache where it is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inference.facts import Kind, Lesion, Refused
from inference.model.applicability import quantities
from inference.model.given import measured_values
from inference.model.inputs import CanonicalRoi, InputSettings, settings_digest
from inference.model.look import needs_region, see
from inference.model.radiomics import radiomics
from inference.model.seen import NetworkInput
from inference.model.slices import AxialSlices
from inference.model.values import Value
from training.cohort.cache import Entry, Facts, entry_path, read_entry, write_entry
from training.cohort.images import ROLES_OF, Images, content_digests, load_images
from training.cohort.study import Study

UNREADABLE = "cohort-image"


@dataclass(frozen=True, slots=True)
class Task:
    """One row to look at.  ``looks``: name → settings.  ``values``: of the row, for looks that divide by one."""

    study: Study
    kind: Kind
    looks: Mapping[str, InputSettings]
    values: Mapping[str, Value | None]
    region_names: tuple[str, ...]
    cache: Path


@dataclass(frozen=True, slots=True)
class Seen:
    """``entries``: look → its entry's file; ``content``: role → digest of its files.  ``why``: what is wrong, or ""."""

    entries: Mapping[str, Path]
    content: Mapping[str, str]
    why: str = ""


def kind_of(looks: Mapping[str, InputSettings]) -> Kind:
    """What the looks need of a study; all of a recipe's need the same."""
    kinds: set[Kind] = {look.images if isinstance(look, AxialSlices) else "PET/CT" for look in looks.values()}
    if len(kinds) != 1:
        raise ValueError(f"looks of one recipe must be of one kind of images, and these are of {len(kinds)}")
    return kinds.pop()


def look_at(task: Task) -> Seen:
    """Make sure that the row's entries are in the cache.  What is wrong with its images is said, never raised."""
    try:
        content = content_digests(task.study)
        paths = {name: _entry_path(task, settings, content) for name, settings in task.looks.items()}
        facts = [entry.facts for path in paths.values() if (entry := read_entry(path)) is not None]
        if len(facts) < len(paths):
            images = _loaded(task)
            lesion = images.lesion()
            for name, path in paths.items():
                entry = _entry(images, lesion, task.looks[name], task.values)
                write_entry(path, entry)
                facts.append(entry.facts)
        if why := of_another(task.values, facts[0].header):
            raise Refused(UNREADABLE, why)
    except Refused as refused:
        return Seen({}, {}, why_not(refused))
    except PermissionError as error:
        return Seen({}, {}, f"{Path(error.filename or '').name} may not be read; give the rights to read it.")
    return Seen(paths, content)


def of_another(values: Mapping[str, Value | None], header: Mapping[str, Value | None]) -> str:
    """Why the table's row may be of another patient than its images; "" where nothing says so.

    An age that differs is only told (``cohort check``): de-identification moves dates.
    """
    sexes = {str(one["sex"]) for one in (values, header) if one.get("sex") is not None}
    if len(sexes) < 2:  # noqa: PLR2004
        return ""
    return (
        "the sex in the table is not that in the DICOM header: the row may be of another patient. Correct it, or leave "
        "the cell empty"
    )


def read_or_remake(task: Task, name: str, path: Path) -> Entry:
    """The entry; made again where it was removed or damaged since.  Raises ``Refused`` as the images do."""
    entry = read_entry(path)
    if entry is None:
        images = _loaded(task)
        entry = _entry(images, images.lesion(), task.looks[name], task.values)
        write_entry(path, entry)
    return entry


def why_not(refused: Refused) -> str:
    """A refusal as the end of a sentence about a row."""
    return refused.reason if refused.code == UNREADABLE else f"({refused.code}) {refused.reason}"


def _entry_path(task: Task, settings: InputSettings, content: Mapping[str, str]) -> Path:
    divisor = settings.divide_by if isinstance(settings, AxialSlices) else ""
    said = {
        "content": " ".join(content[role] for role in ROLES_OF[task.kind]),
        "settings": settings_digest(settings),
        "kind": task.kind,
        "region_names": "\n".join(task.region_names),
        "divisor": repr(task.values.get(divisor)) if divisor else "",
    }
    return entry_path(task.cache, said)


def _loaded(task: Task) -> Images:
    needed = any(needs_region(look) for look in task.looks.values())
    return load_guarded(task.study, task.kind, task.region_names, region_needed=needed)


def load_guarded(study: Study, kind: Kind, region_names: tuple[str, ...], *, region_needed: bool) -> Images:
    """``load_images``; whatever a broken file makes a library raise becomes ``Refused`` ``cohort-image``."""
    try:
        return load_images(study, kind, region_names, region_needed=region_needed)
    except (Refused, MemoryError):
        raise
    except Exception as fault:  # noqa: BLE001 - of pydicom, a codec, SimpleITK
        raise Refused(UNREADABLE, f"its files are malformed ({type(fault).__name__}).") from fault


def _entry(images: Images, lesion: Lesion | None, settings: InputSettings, values: Mapping[str, Value | None]) -> Entry:
    seen = see(images.suv, images.image, images.region, settings, values)
    cautions = (*images.cautions, *seen.cautions)
    facts = Facts(
        quantities=quantities(seen, images.grid),
        measured={name: float(v) for name, v in measured_values(lesion).items() if v is not None},
        radiomics=_radiomics(seen, settings),
        source=images.source,
        voxels=images.voxel_digests(),
        cautions=tuple((caution.code, caution.text) for caution in cautions),
        header={name: value for name, value in images.header.items() if value is not None},
    )
    return Entry(np.ascontiguousarray(seen.array, np.float32), facts)


def _radiomics(seen: NetworkInput, settings: InputSettings) -> dict[str, float]:
    return radiomics(seen) if isinstance(settings, CanonicalRoi) else {}
