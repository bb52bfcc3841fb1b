"""Who writes the results: this installation's Device UID, the record of one run, and what it is made with."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node import NODE_VERSION
from dicom_node.config import Settings
from inference.facts import Occasion, OccasionKind, Predecessor, Run
from inference.regions.region_names import TUMOUR_NAMES

if TYPE_CHECKING:
    from inference.lesions.segmenter import Segmenter

# One for every association and every file of ours (PS3.7 D.3.3.2, PS3.10 7.1)
IMPLEMENTATION_CLASS_UID = "2.25.115929894722911297103447374421093374953"
IMPLEMENTATION_VERSION = "PETCTNODE"
MACHINE_ID = Path("/etc/machine-id")
RESULT_FORMAT = 4  # raised when the same input and model come out as other bytes: it changes every derived UID


def derived_uid(*parts: str) -> str:
    """A UID that is a digest of its parts: 2.25 and a version 8 UUID (DICOM PS3.5 B.2, RFC 9562)."""
    digest = bytearray(hashlib.sha256("\x1f".join(("petct-node", *parts)).encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(digest, 'big')}"


def is_derived(uid: str) -> bool:
    """Whether ``derived_uid`` may have made it: 2.25 and a UUID of version 8."""
    digits = uid.removeprefix("2.25.")
    if digits == uid or not digits.isascii() or not digits.isdecimal():
        return False
    return int(digits) >> 76 & 0xF == 8 and int(digits) >> 62 & 0b11 == 0b10


def device_uid(serial: str) -> str:
    """Stable per installation: of the machine's id (hashed, never shown) and the configured serial number."""
    machine = MACHINE_ID.read_text().strip() if MACHINE_ID.is_file() else platform.node()
    return derived_uid("device", machine, serial)


def settings_digest(
    *,
    use_given_region: bool,
    names_model: bool = False,
    also_suv: Sequence[str] = (),
    region_names: Sequence[str] = TUMOUR_NAMES,
    segmenter: str = "",
    language: str = "en",
    also: Sequence[str] = (),
    values: str = "",
) -> str:
    """SHA-256 of what, beside input and model, changes the results.

    ``segmenter``: name and version of a user's, "" where lesions are our own proposal.  ``values``: digest of clinical
    and laboratory values that were given (``Given.digest``), "" where none were.
    """
    settings: dict[str, object] = {"result_format": RESULT_FORMAT, "use_given_region": use_given_region}
    if names_model:  # absent else, so that a node with one model keeps its UIDs
        settings["names_model"] = True
    if also_suv:
        settings["also_suv"] = list(also_suv)
    if tuple(region_names) != TUMOUR_NAMES:
        settings["region_names"] = list(region_names)
    if segmenter:
        settings["segmenter"] = segmenter
    if language != "en":
        settings["language"] = language
    if also:  # the main report names every object of its set
        settings["also"] = sorted(set(also))
    if values:
        settings["values"] = values
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def now_dt() -> str:
    """The present time as DICOM DT with offset."""
    return datetime.now(UTC).astimezone().strftime("%Y%m%d%H%M%S.%f%z")


def make_run(
    settings: Settings,
    started_at: str,
    *,
    use_given_region: bool = True,
    predecessors: tuple[Predecessor, ...] = (),
    segmenter: Segmenter | None = None,
    occasions: tuple[Occasion, ...] = (),
    bundle: str = "",
    values: str = "",
) -> Run:
    """The record of a run that began at ``started_at`` (DICOM DT with offset).

    ``bundle``: as the configuration names it, "" where it is no one model's run.  Its place there is the run's block of
    series numbers; one that is named no more comes after the others.  ``values``: as ``settings_digest``.
    """
    block = (*settings.bundles, bundle).index(bundle) if bundle else 0
    return Run(
        started_at=started_at,
        device_uid=device_uid(settings.node.serial),
        serial=settings.node.serial,
        node_version=NODE_VERSION,
        settings_digest=_digest_of(
            settings,
            use_given_region=use_given_region,
            segmenter=f"{segmenter.name} {segmenter.version}" if segmenter else "",
            values=values,
        ),
        predecessors=predecessors,
        names_model=_names_model(settings),
        series_block=block,
        language=settings.report.language,
        also=settings.report.also,
        occasions=occasions,
    )


def _names_model(settings: Settings) -> bool:
    return len(settings.bundles) > 1


def _digest_of(settings: Settings, *, use_given_region: bool = True, segmenter: str = "", values: str = "") -> str:
    return settings_digest(
        use_given_region=use_given_region,
        names_model=_names_model(settings),
        also_suv=settings.infer.also_suv,
        region_names=settings.assemble.region_names,
        segmenter=segmenter,
        language=settings.report.language,
        also=settings.report.also,
        values=values,
    )


@dataclass(frozen=True, slots=True)
class Basis:
    """What a run is made with, beside its images: where all of it is the same, so are the results.

    ``software``: the node's version; ``model``: SHA-256 of the bundle's manifest, "" for a refusal before any model;
    ``segmenter``: name and installed version of the user's, "" without one; ``settings``: digest of the others;
    ``values``: digest of the clinical and laboratory values given for the study, "" where none were.
    """

    software: str
    model: str
    segmenter: str
    settings: str
    values: str = ""

    @classmethod
    def of(cls, settings: Settings, model_digest: str, values: str = "") -> Basis:
        """What a run of this node would be made with now."""
        release = ""
        if settings.infer.segmenter:
            from inference.lesions.segmenter import installed_release

            release = installed_release(settings.infer.segmenter)
        return cls(NODE_VERSION, model_digest, release, _digest_of(settings), values)

    @classmethod
    def from_json(cls, text: str) -> Basis | None:
        """None where nobody wrote it down: an older version of the node, or a run without results."""
        return cls(**json.loads(text)) if text else None

    def as_json(self) -> str:
        """For the ledger."""
        return json.dumps(asdict(self), sort_keys=True)

    def changes(self, before: Basis) -> tuple[OccasionKind, ...]:
        """What is another now than it was; of a refusal before any model nobody can say so of the model."""
        kinds: tuple[OccasionKind, ...] = ("software", "model", "segmenter", "settings", "values")
        differ = tuple(kind for kind in kinds if getattr(self, kind) != getattr(before, kind))
        return differ if self.model and before.model else tuple(kind for kind in differ if kind != "model")
