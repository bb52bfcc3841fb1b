"""What the bundles that may be asked for say of themselves: whom they are for.  Read without their weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dicom_node.config import Settings
from inference.facts import Kind, Refused

if TYPE_CHECKING:
    from inference.model.served import Served


@dataclass(frozen=True, slots=True)
class Contracts:
    """``by_name``: of each bundle as the configuration names it.  One that is not there is taken as for any PET/CT.

    ``digests``: SHA-256 of their manifests.
    """

    by_name: Mapping[str, Served] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, settings: Settings, names: Sequence[str] = ()) -> Contracts:
        """Of ``names``, else of all bundles of the configuration; those that cannot be read are left out."""
        from inference.model.bundle import find_bundle, read_contract

        by_name, digests = {}, {}
        for name in names or settings.bundles:
            with suppress(Refused):  # whoever loads it says why
                by_name[name], digests[name] = read_contract(find_bundle(name, search=[settings.bundles_dir]))
        return cls(by_name, digests)

    @classmethod
    def of_json(cls, checked: Mapping[str, tuple[str, str]]) -> Contracts:
        """From digest and contract (as Python's JSON: ranges may be infinite) by name, of bundles checked before."""
        from inference.model.served import Served

        served = {name: Served.model_validate(json.loads(text)) for name, (_, text) in checked.items()}
        return cls(served, {name: digest for name, (digest, _) in checked.items()})

    def images(self, bundle: str) -> Kind:
        """What the bundle looks at."""
        return self.by_name[bundle].images if bundle in self.by_name else "PET/CT"

    def kinds(self, bundles: Sequence[str]) -> tuple[Kind, ...]:
        """What these bundles look at, each kind once."""
        return tuple(dict.fromkeys(self.images(bundle) for bundle in bundles))
