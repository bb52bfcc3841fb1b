"""The effective configuration as commented TOML: what `petct-node config` prints, and a valid file to start from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr

from dicom_node.config import Settings

EXAMPLES = {
    "route": (
        '# name = "FDG, adults"',
        '# bundle = "demo"',
        '# when = { tracer = "fdg", patient_age = { min = 18 } }',
    ),
}


def as_toml(settings: Settings) -> str:
    """TOML with each key's meaning as a comment; secrets masked."""
    lines = ["# petct-node, effective configuration; environment PETCT_NODE__SECTION__KEY overrides a key"]
    for name in type(settings).model_fields:
        section = getattr(settings, name)
        if isinstance(section, tuple):
            lines += ["", *_array(name, section, str(type(settings).model_fields[name].description))]
            continue
        summary = (type(section).__doc__ or "").strip().splitlines()[0]
        lines += ["", f"# {summary}", f"[{name}]", *_keys(section), *_tables(name, section)]
    return "\n".join(lines) + "\n"


def as_json(settings: Settings) -> dict[str, Any]:
    """The same as plain JSON types; pydantic masks secrets itself."""
    dumped: dict[str, Any] = settings.model_dump(mode="json")
    dumped["route"] = [rule.model_dump(mode="json", by_alias=True, exclude_unset=True) for rule in settings.route]
    return dumped


def _keys(section: BaseModel) -> Iterator[str]:
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if _holds_tables(field.annotation):
            continue
        parts = [field.description, _allowed(field.annotation)]
        comment = "  # " + "; ".join(part for part in parts if part) if any(parts) else ""
        if isinstance(value, SecretStr):  # masked, and out of force: a masked password would be taken for the real one
            yield f"# {key} = {_toml(value)}{comment}"
            continue
        yield f"# {key} ={comment}" if value is None else f"{key} = {_toml(value)}{comment}"


def _allowed(annotation: Any) -> str:
    """The values that may be chosen, for a key of few; "" for others."""
    if get_origin(annotation) is Literal:
        values = get_args(annotation)
        return f"one of {', '.join(map(str, values))}" if len(values) > 1 else ""
    inner = [_allowed(each) for each in get_args(annotation)]
    return next((f"any {each.removeprefix('one ')}" for each in inner if each), "")


def _tables(name: str, section: BaseModel) -> Iterator[str]:
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if _holds_tables(field.annotation):
            yield from _array(f"{name}.{key}", value, str(field.description))


def _holds_tables(annotation: Any) -> bool:
    return any((isinstance(a, type) and issubclass(a, BaseModel)) or _holds_tables(a) for a in get_args(annotation))


def _array(name: str, items: tuple[BaseModel, ...], meaning: str) -> Iterator[str]:
    if not items:
        yield f"# [[{name}]]  # {meaning}"
        yield from EXAMPLES.get(name, ())
    for item in items:
        yield ""
        yield f"[[{name}]]"
        yield from _keys(item)


def _toml(value: object) -> str:
    if isinstance(value, SecretStr):
        return '"**********"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False)  # a JSON string is a TOML basic string
    if isinstance(value, BaseModel):
        return _toml(value.model_dump(by_alias=True, exclude_unset=True))
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }" if value else "{}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return repr(value)
