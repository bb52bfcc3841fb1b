"""What was chosen and what was left out, each with its reason: for ``petct-node explain``, the web page and the SR."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    """One series (or one region object) of the study, and what became of it.

    ``code`` is "" where it was chosen, else the kebab-case reason for machines; ``reason`` is a plain sentence without
    patient data.  ``series_number`` is None where the header has none.
    """

    series_instance_uid: str
    modality: str
    series_number: int | None
    instances: int
    chosen: bool
    code: str
    reason: str

    @property
    def sentence(self) -> str:
        """For people: "PT series 4 (59 instances): chosen, …"."""
        number = "without number" if self.series_number is None else str(self.series_number)
        count = "1 instance" if self.instances == 1 else f"{self.instances} instances"
        verdict = "chosen" if self.chosen else "left out"
        return f"{self.modality} series {number} ({count}): {verdict}, {self.reason}."


def tell(choices: Iterable[Choice]) -> tuple[str, ...]:
    """The sentences, what was chosen first."""
    return tuple(c.sentence for c in sorted(choices, key=lambda c: (not c.chosen, c.modality, c.series_instance_uid)))
