"""What the index keeps of an instance's header, and how it is brought to what this version reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from inference.facts import Instance, Refused
from inference.reading.instance import read_instance
from inference.reading.keywords import READING


def identity(instance: Instance) -> tuple[str, ...]:
    """What two objects with one SOP Instance UID agree in, if they are the same."""
    uids = (instance.study_instance_uid, instance.series_instance_uid, instance.transfer_syntax_uid)
    return (*uids, instance.sha256)


def header_columns(instance: Instance) -> dict[str, Any]:
    """The columns that come of the header as we read it now."""
    return {
        "content": json.dumps({name: getattr(instance, name) for name in Instance.__slots__}, ensure_ascii=False),
        "reading": READING,
        "frame_of_reference_uid": str(instance.get("FrameOfReferenceUID", "")).strip() or None,
    }


def read_again(stored: Instance) -> Instance | None:
    """The instance as its file is read now; None where the file is gone or not what it was."""
    try:
        read = read_instance(Path(stored.path))
    except Refused:
        return None
    return read if read.sop_instance_uid == stored.sop_instance_uid and identity(read) == identity(stored) else None
