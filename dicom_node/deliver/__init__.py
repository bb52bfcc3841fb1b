"""Result files to an archive, and the archive's word that it has them.

One destination at a time; the caller repeats what ``Undelivered`` interrupts.  Everything here may be repeated: an
archive that has an object already answers as if it had just come.

What an archive does not take must not keep the rest from it: every object is offered.  One of the default set is
offered again until it is taken; an optional one is done without where the archive says that it never takes such.
"""

from dicom_node.deliver.confirm import confirm, deliver, why_withheld
from dicom_node.deliver.errors import Receipt, Undelivered
from dicom_node.deliver.refusals import is_answered, why_refusal_withheld

__all__ = [
    "Receipt",
    "Undelivered",
    "confirm",
    "deliver",
    "is_answered",
    "why_refusal_withheld",
    "why_withheld",
]
