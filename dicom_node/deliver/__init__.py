"""Result files to an archive, and the archive's word that it has them.

One destination at a time; the caller repeats what ``Undelivered`` interrupts.  Everything here may be repeated: an
archive that has an object already answers as if it had just come.
"""

from dicom_node.deliver.confirm import Receipt, confirm, deliver, why_withheld
from dicom_node.deliver.errors import Undelivered
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
