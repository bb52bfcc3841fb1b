"""The configuration: every key with its default, what is allowed, and what it means."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deploy.conformance.markdown import code, table
from dicom_node.config import Settings

LONGEST = 60  # characters of a default that are shown
BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "maxLength": "characters, at most"}


def settings() -> str:
    """All keys, a table of TOML after the other."""
    schema = Settings.model_json_schema()
    rows: list[Sequence[object]] = []
    for section, given in schema["properties"].items():
        if given.get("type") == "array":
            rows.append((code(f"[[{section}]]"), "", "", given.get("description", "")))
        rows.extend(_rows(section, given, schema["$defs"]))
    return table(("Key", "Default", "Allowed", "Meaning"), rows)


def _rows(place: str, given: Mapping[str, Any], defs: Mapping[str, Any]) -> Iterator[Sequence[object]]:
    for name, array in _tables(given):
        for key, field in defs[name]["properties"].items():
            where = f"{place}.{key}"
            if any(True for _ in _tables(field)):
                yield (
                    code(f"[[{where}]]" if field.get("type") == "array" else where),
                    "",
                    "",
                    field.get("description", ""),
                )
                if "When" not in str(field):
                    yield from _rows(where, field, defs)
                continue
            required = key in defs[name].get("required", ())
            kind = defs[name]["properties"].get("kind", {}).get("const", "")
            where = f"{where} ({kind})" if kind and array else where
            yield (
                code(where),
                "required" if required else _default(field),
                _allowed(field),
                field.get("description", ""),
            )


def _tables(field: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Names of the tables that a key holds, and whether as an array."""
    for each in (field, *field.get("anyOf", ()), *field.get("oneOf", ())):
        if "$ref" in each:
            yield each["$ref"].rsplit("/", 1)[1], False
    items = field.get("items", {})
    for each in (items, *items.get("anyOf", ()), *items.get("oneOf", ())):
        if "$ref" in each:
            yield each["$ref"].rsplit("/", 1)[1], True


def _default(field: Mapping[str, Any]) -> str:
    value = field.get("default", field.get("const"))
    if value is None or value == "":
        return "none" if value is None else "empty"
    text = json.dumps(value, ensure_ascii=False)
    return code(text) if len(text) <= LONGEST else "see `petct-node config`"


def _allowed(field: Mapping[str, Any]) -> str:
    """In words: the bounds and the choices of the schema."""
    for choices in (field.get("enum"), field.get("items", {}).get("enum")):
        if choices:
            return ", ".join(map(str, choices))
    bounds = [f"{text} {field[name]:g}" for name, text in BOUNDS.items() if name in field]
    return " ".join(bounds) or {"boolean": "true, false"}.get(field.get("type", ""), "")
