"""The document: its prose as it is, its tables made anew."""

from __future__ import annotations

from pathlib import Path

from deploy.conformance import limits, network, objects, settings, statuses, vocabulary
from deploy.conformance.markdown import Table, fill

DOCUMENT = Path(__file__).resolve().parents[2] / "conformance.md"

TABLES: dict[str, Table] = {
    "product": network.product,
    "sop-classes": network.sop_classes,
    "transfer-syntaxes": network.transfer_syntaxes,
    "services": network.services,
    "settings": settings.settings,
    "acceptor": network.acceptor,
    "initiator": network.initiator,
    "rejections": network.rejections,
    "contexts-accepted": network.contexts_accepted,
    "contexts-proposed": network.contexts_proposed,
    "statuses-given": statuses.given,
    "statuses-taken": statuses.taken,
    "statuses-of-find": statuses.of_find,
    "rest": statuses.of_rest,
    "limits": limits.limits,
    "created-objects": objects.created,
    "common-attributes": objects.common,
    "attributes": objects.each,
    "content-trees": objects.trees,
    "template-extensions": objects.extensions,
    "private-scheme": vocabulary.private_scheme,
    "private-codes": vocabulary.private_codes,
    "standard-codes": vocabulary.standard_codes,
    "refusals": vocabulary.refusals,
    "character-sets": vocabulary.character_sets,
}
"""What may stand between markers, by the marker's name."""


def page(text: str) -> str:
    """``text`` with every table as the code now gives it.  Raises ValueError where markers and tables differ."""
    return fill(text, TABLES)
