"""Which runs a study gets: what it is looked at as, by which bundles, and what each run would be made with now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dicom_node.assemble.kinds import kinds_of
from dicom_node.assemble.regions import drawn_on, is_region
from dicom_node.assemble.routing import NO_CONTRACTS, Router
from dicom_node.assemble.series import is_ours
from dicom_node.config import Settings
from dicom_node.contracts import Contracts
from dicom_node.identity import Basis
from dicom_node.values import ValueTable
from dicom_node.work.job import Work
from inference.facts import Instance, Kind, Pair

Senders = Sequence[tuple[str, str]]


class Runs:
    """The configuration's answer for each study."""

    def __init__(self, settings: Settings, digests: Mapping[str, str], contracts: Contracts = NO_CONTRACTS) -> None:
        """``digests``: of every bundle that may be asked for (``Settings.bundles``), by its name there."""
        self._settings = settings
        self._digests = digests
        self._contracts = contracts
        self._router = Router.of(settings, contracts)
        self._values = ValueTable(settings.values.table)

    @property
    def awaits_pet(self) -> bool:
        """Whether some bundle looks at PET/CT."""
        return "PET/CT" in self._router.kinds

    def kinds(self, instances: Sequence[Instance]) -> tuple[Kind, ...]:
        """What the study is looked at as."""
        return kinds_of(instances, self._router.kinds, self._router.kinds_by_name)

    def works(self, pairs: Sequence[Pair], senders: Senders) -> tuple[list[Work], list[str]]:
        """One run for each bundle that looks at one of the pairs, and why it does or does not."""
        works: list[Work] = []
        told: list[str] = []
        for pair in pairs:
            routed = self._router.models(pair, senders)
            bundles = {self._digests[name]: name for name in reversed(routed.bundles)}  # one bundle, two names
            works += [Work.of_pair(pair, digest, name) for digest, name in reversed(bundles.items())]
            told += routed.why
        return works, told

    def basis(self, work: Work, instances: Sequence[Instance]) -> Basis:
        """What the run would be made with now; ``instances``: of its study."""
        served = self._contracts.by_name.get(work.bundle)
        values = ""
        if served and served.values:
            given = self._values.of(work.reference_images(instances))
            values = given.digest(served.values, work.study_instance_uid)
        return Basis.of(self._settings, self._digests[work.bundle], values)

    def is_drawn_on(self, instances: Sequence[Instance]) -> bool:
        """Whether a person drew a region for a model without PET: they wait for its answer as for a PET's."""
        if set(self._router.kinds) <= {"PET/CT"}:
            return False
        frames, _ = drawn_on([i for i in instances if is_region(i) and not is_ours(i)])
        return bool(frames)
