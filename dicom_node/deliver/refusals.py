"""Which refusals become results that people see (deliver.refusals), and which are told by the story alone."""

from __future__ import annotations

from dicom_node import errors
from dicom_node.sections import Deliver


def is_answered(code: str, settings: Deliver, *, has_pet: bool) -> bool:
    """Whether a study refused for the reason ``code`` gets an answer.

    ``has_pet``: somebody who sends a PET expects one; a CT alone is everyday business of an archive.
    """
    if code in settings.refusals_except:
        return False
    return settings.refusals == "all" or (has_pet and not errors.row(code).routine)


def why_refusal_withheld(code: str, settings: Deliver, *, replaces: bool) -> str:
    """Why the answer goes nowhere; "" where it goes out.

    ``replaces``: earlier results are out, which must not be used any more: whoever has them must hear of it, unless
    there are to be no refusals at all.
    """
    if settings.refusals == "none":
        return "deliver.refusals is none"
    if replaces or is_answered(code, settings, has_pet=True):
        return ""
    if code in settings.refusals_except:
        return f"deliver.refusals_except names {code}"
    return f"{code} is routine, and deliver.refusals is {settings.refusals}"
