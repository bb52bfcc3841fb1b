"""Lines of JSON that several processes append to and nobody rewrites: what an experiment has measured."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def append_line(file: Path, line: Mapping[str, Any]) -> None:
    """One measured cell, synced; two processes may append at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(line, sort_keys=True, allow_nan=False) + "\n"
    with file.open("ab+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0, os.SEEK_END)
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":  # a kill cut the last line in two
                text = "\n" + text
        stream.write(text.encode())
        stream.flush()
        os.fsync(stream.fileno())


def read_lines(file: Path) -> list[dict[str, Any]]:
    """All whole lines; one that a kill cut in two is left out."""
    if not file.is_file():
        return []
    found = []
    for line in file.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
