"""`petct-node again`: ask the node to decide stored studies again.

The node decides, with the model and the settings it runs with; here the request is written down, and its answer waited
for where the node runs.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dicom_node.again import Request
from dicom_node.chronicle import Chronicle
from dicom_node.commands.explain import unknown_study, with_tables
from dicom_node.config import Settings
from dicom_node.index import Index
from dicom_node.ledger import Ledger

LOOK_EVERY_S = 0.2


def ask_again(
    studies: Sequence[str], settings: Settings, because: str, *, force: bool, wait_s: float
) -> list[dict[str, Any]]:
    """Each study with the state of its request, and the node's answer if it came within ``wait_s`` seconds.

    Raises ``Refused`` (nothing-stored, study-unknown); then nothing was asked.
    """

    def ask(index: Index, ledger: Ledger) -> list[dict[str, Any]]:
        chronicle = Chronicle(index.engine)
        wanted = list(dict.fromkeys(studies))
        for study in wanted:
            if not chronicle.series(study) and not chronicle.set_aside(study):
                raise unknown_study(study, chronicle)
        ids = ledger.ask_again(wanted, because, force, time.time())
        deadline = time.monotonic() + (wait_s if _is_decided_here(settings) else 0.0)
        requests = [_request(ledger, study, number) for study, number in zip(wanted, ids, strict=True)]
        while any(request.answered is None for request in requests) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
            requests = [_request(ledger, request.study_instance_uid, request.id) for request in requests]
        runs = _is_decided_here(settings)
        return [asdict(request) | {"state": _state(request, runs)} for request in requests]

    return with_tables(settings, ask)


def _request(ledger: Ledger, study: str, number: int) -> Request:
    return next(request for request in ledger.requests(study) if request.id == number)


def _state(request: Request, node_runs: bool) -> str:
    if request.answered is not None:
        return "answered"
    if node_runs:
        return "asked; the node has not answered yet, `petct-node explain` will tell"
    return "asked; the node does not run, and answers at its next start"


def _is_decided_here(settings: Settings) -> bool:
    """Whether a coordinator runs on this data folder: then it holds its lock."""
    path = settings.node.data_dir / "coordinate.lock"
    if not path.is_file():
        return False
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
