"""What an archive says of an object, and the one way in which a delivery does not work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """What the archive answered to one object, in words.  ``final``: not stored, and it would say so again."""

    stored: bool
    how: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """The archive has this object; or does without it, where ``taken`` is False.

    ``how`` says by what we know it; ``same`` is False where it holds, and keeps, another object under the same UID.
    """

    sop_instance_uid: str
    kind: str
    how: str
    same: bool = True
    taken: bool = True


class Undelivered(Exception):  # noqa: N818 - a state to wait in, not a fault of the program
    """The destination did not answer, or did not take an object: try again later.

    ``reason``: a sentence for the operator, without patient data.  ``receipts``: of the objects that it did take.
    """

    def __init__(self, reason: str, receipts: tuple[Receipt, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.receipts = receipts
