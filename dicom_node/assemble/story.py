"""What was chosen and what was left out, each with its reason: for ``petct-node explain``, the web page and the SR."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dicom_node.assemble.series import Fault, series_number
from inference.facts import Caution, Instance


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


@dataclass(slots=True)
class Record:
    """Choices and cautions as they are made."""

    choices: list[Choice] = field(default_factory=list)
    cautions: list[Caution] = field(default_factory=list)

    def chosen(self, series: Sequence[Instance], reason: str) -> None:
        """This series is used; ``reason`` ends the sentence "chosen, …"."""
        self.choices.append(_choice(series, True, "", reason))

    def left_out(self, series: Sequence[Instance], fault: Fault) -> None:
        """This series is not used."""
        self.choices.append(_choice(series, False, fault.code, fault.reason))


def _choice(series: Sequence[Instance], chosen: bool, code: str, reason: str) -> Choice:
    first = series[0]
    count = len({i.sop_instance_uid for i in series})
    return Choice(first.series_instance_uid, first.modality, series_number(series), count, chosen, code, reason)


def tell(choices: Iterable[Choice]) -> tuple[str, ...]:
    """The sentences, what was chosen first."""
    return tuple(c.sentence for c in sorted(choices, key=lambda c: (not c.chosen, c.modality, c.series_instance_uid)))
