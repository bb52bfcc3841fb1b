"""The state of an unfinished fit as one safetensors file: tensors, and what is no tensor as JSON in its header.

Random numbers need no state: those of a step follow from seed and step alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

State = dict[str, dict[str, Tensor]]


def save(file: Path, parts: Mapping[str, Mapping[str, Tensor]], facts: Mapping[str, Any]) -> None:
    """Replace the file in one step.  ``parts``: name → tensors by name."""
    from safetensors.torch import save_file

    flat = {
        f"{part}/{name}": t.detach().cpu().contiguous().clone() for part, ts in parts.items() for name, t in ts.items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".partial")
    save_file(flat, partial, metadata={"facts": json.dumps(facts)})
    partial.replace(file)


def load(file: Path, identity: str, device: torch.device) -> tuple[State, dict[str, Any]] | None:
    """The parts and facts; None where there is no file, or one of another fit or one that cannot be read."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        return None
    try:
        with safe_open(file, "pt", device=str(device)) as content:
            facts = json.loads(content.metadata()["facts"])
            parts: State = {}
            for name in content.keys():  # noqa: SIM118 - it is no dictionary
                part, rest = name.split("/", 1)
                parts.setdefault(part, {})[rest] = content.get_tensor(name)
    except (SafetensorError, KeyError, TypeError, ValueError, OSError):
        return None
    return (parts, facts) if facts.get("identity") == identity else None
