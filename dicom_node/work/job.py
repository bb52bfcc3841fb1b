"""One piece of work as it is stored: a pair to analyse, or a refusal to report, by UIDs and never by pixels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from inference.facts import Caution, Instance, Pair, Refused, Series
from inference.reading.frames import single_frames

RUN_ID_HEX = (40, 16)  # of the content's digest and of the bundle's: short enough for a folder, far from any collision


@dataclass(frozen=True, slots=True)
class Work:
    """What one run is about.  ``run_id`` names it everywhere: ledger, workflow, result folder.

    ``content`` is plain JSON.  A pair: its kind, series with their SOP Instance UIDs (and frames, from 0) in order
    (``pet`` null without one), region, cautions, story, digest, and the name of the bundle that looks at it.
    ``images_digest`` is the pair's without its region, ``studies`` where PET and CT come from.
    A refusal: code, reason, story, and the SOP Instance UIDs of the images it is about.
    """

    run_id: str
    study_instance_uid: str
    content: Mapping[str, Any]

    @property
    def is_refusal(self) -> bool:
        """True where nothing is to be analysed: the reason is the result."""
        return "refused" in self.content

    @property
    def bundle(self) -> str:
        """Name or path of the bundle, as the configuration gives it; "" where the node's first one is meant."""
        return str(self.content.get("bundle", ""))

    @property
    def subject(self) -> str:
        """What it is about: the pair's digest, or the reason for a refusal.  The same subject needs no second run."""
        if self.is_refusal:
            return f"{self.content['refused']['code']}: {self.content['refused']['reason']}"
        return str(self.content["digest"])

    @property
    def studies(self) -> tuple[str, ...]:
        """Study Instance UIDs of the instances it is about: the PET's, and the CT's where that is another one."""
        return tuple(dict.fromkeys((self.study_instance_uid, *self.content.get("studies", ()))))

    @classmethod
    def of_pair(cls, pair: Pair, bundle_digest: str, bundle: str = "") -> Work:
        """The same content and the same model are the same run, in whatever order the slices came."""
        content = {
            "bundle": bundle,
            "digest": pair.digest,
            "images_digest": replace(pair, region=None).digest,
            "studies": [i.study_instance_uid for i in (pair.pet, pair.ct, pair.region) if i],
            "pet": _series(pair.pet) if pair.pet else None,
            "ct": _series(pair.ct),
            "region": pair.region.sop_instance_uid if pair.region else None,
            "cautions": [asdict(c) for c in pair.cautions],
            "story": list(pair.story),
            "kind": pair.kind,
        }
        return cls(_run_id(pair.digest, bundle_digest), pair.reference.study_instance_uid, content)

    @classmethod
    def of_refusal(cls, images: Sequence[Instance], refused: Refused, bundle_digest: str) -> Work:
        """A study that became no pair; ``images`` are its PET and CT instances, at least one."""
        lines = sorted(f"{i.sop_instance_uid} {i.sha256}" for i in images)
        digest = hashlib.sha256("\n".join([refused.code, *lines]).encode()).hexdigest()
        content = {
            "refused": {"code": refused.code, "reason": refused.reason},
            "images": sorted(i.sop_instance_uid for i in images),
            "story": [c.sentence for c in refused.facts.get("choices", ())],  # type: ignore[attr-defined]
        }
        return cls(_run_id(digest, bundle_digest), images[0].study_instance_uid, content)

    def pair(self, instances: Iterable[Instance]) -> Pair:
        """The pair again, from the instances of the study.

        Raises Refused (content-changed) where they are not, byte for byte, those the run was made for.
        """
        by_uid = {i.sop_instance_uid: i for i in instances}
        content = self.content
        try:
            pet = self._stored(content["pet"], by_uid) if content["pet"] else None
            ct = self._stored(content["ct"], by_uid)
            region = by_uid[content["region"]] if content["region"] else None
        except KeyError:
            raise _changed() from None
        cautions = tuple(Caution(**c) for c in content["cautions"])
        pair = Pair(pet, ct, region, cautions, tuple(content["story"]), content.get("kind", "PET/CT"))
        if pair.digest != content["digest"]:
            raise _changed()
        return pair

    def reference_images(self, instances: Iterable[Instance]) -> list[Instance]:
        """Those of the series whose header speaks for the study: the PET's, without one the CT's or iodine map's."""
        reference = self.content["pet"] or self.content["ct"]
        return [i for i in instances if i.series_instance_uid == reference["series_instance_uid"]]

    def refusal(self) -> Refused:
        """The reason, as it was given."""
        return Refused(self.content["refused"]["code"], self.content["refused"]["reason"])

    def images(self, instances: Iterable[Instance]) -> list[Instance]:
        """The images that a refusal is about."""
        wanted = set(self.content["images"])
        return [i for i in instances if i.sop_instance_uid in wanted]

    def _stored(self, series: Mapping[str, Any], by_uid: Mapping[str, Instance]) -> Series:
        named = [(name, -1) if isinstance(name, str) else (name[0], name[1]) for name in series["instances"]]
        objects = [by_uid[uid] for uid in dict.fromkeys(uid for uid, _ in named)]
        images = {(i.sop_instance_uid, i.frame): i for i in single_frames(objects)}
        instances = tuple(images[name] for name in named)
        return Series(instances[0].study_instance_uid, series["series_instance_uid"], instances, series["why"])

    def as_json(self) -> str:
        """The content as text for the ledger."""
        return json.dumps(self.content, sort_keys=True)


def _series(series: Series) -> dict[str, Any]:
    return {
        "series_instance_uid": series.series_instance_uid,
        "instances": [i.sop_instance_uid if i.frame < 0 else [i.sop_instance_uid, i.frame] for i in series.instances],
        "why": series.why,
    }


def _run_id(digest: str, bundle_digest: str) -> str:
    return f"{digest[: RUN_ID_HEX[0]]}-{bundle_digest[: RUN_ID_HEX[1]]}"


def _changed() -> Refused:
    return Refused(
        "content-changed",
        "The stored instances of the study are not those the run was made for: the spool or the index was changed. "
        "Find out by what, and restore the node's data folder.",
    )
