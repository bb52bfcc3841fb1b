"""One settings object, read once at the start, validated as a whole.

A TOML file (``--config FILE``, or ``$PETCT_NODE_CONFIG``, or ``petct-node.toml`` in the working folder) and the
environment: ``PETCT_NODE__SECTION__KEY`` overrides ``[section] key``.  Nothing else reads the environment.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from dicom_node.rules import MOST_RULES, Route, allowed_keys
from dicom_node.sections import Assemble, Database, Deliver, Infer, Node, Receive, Report, Values, is_loopback

ENVIRONMENT_PREFIX = "PETCT_NODE__"
MOST_BUNDLES = 8  # every one is kept warm in the analysing process
DEFAULT_FILE = Path("petct-node.toml")
TABLES = ("receive.peers", "deliver.destinations")  # beside route: written [[…]]


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    node: Node = Node()
    receive: Receive = Receive()
    assemble: Assemble = Assemble()
    infer: Infer = Infer()
    values: Values = Values()
    report: Report = Report()
    database: Database = Database()
    deliver: Deliver = Deliver()
    route: tuple[Route, ...] = Field(
        (), max_length=MOST_RULES, description="which model looks at what; none: infer.bundle"
    )

    @model_validator(mode="after")
    def _outside_needs_peers(self) -> Settings:
        if not is_loopback(self.receive.host) and not self.receive.peers:
            raise ValueError(
                f"receive.host = {self.receive.host} is beyond loopback, and receive.peers is empty: "
                "name who may send, with [[receive.peers]] ae_title = …"
            )
        names = [d.name for d in self.deliver.destinations]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"deliver.destinations: name used twice: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _routes_are_told_apart(self) -> Settings:
        names = [rule.name for rule in self.route]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"route: name used twice: {', '.join(twice)}")
        if len(self.bundles) > MOST_BUNDLES:
            raise ValueError(
                f"route: {len(self.bundles)} different bundles, all kept in memory: at most {MOST_BUNDLES} may be "
                "named. Run another node for the others"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file over default; no .env files, no secret folders."""
        file = _file_being_read
        toml = (TomlConfigSettingsSource(settings_cls, toml_file=file),) if file else ()
        return (init_settings, env_settings, *toml)

    @property
    def spool_dir(self) -> Path:
        """Received instances."""
        return self.node.data_dir / "spool"

    @property
    def decoded_dir(self) -> Path:
        """Pixels decoded on arrival: a cache that may be removed at any time."""
        return self.node.data_dir / "decoded"

    @property
    def results_dir(self) -> Path:
        """One folder per pair and model: its result set."""
        return self.node.data_dir / "results"

    @property
    def index_file(self) -> Path:
        """SQLite file of the index."""
        return self.node.data_dir / "index.sqlite"

    @property
    def bundles_dir(self) -> Path:
        """Installed bundles, searched before the packaged ones."""
        return self.node.data_dir / "bundles"

    @property
    def bundles(self) -> tuple[str, ...]:
        """Every bundle that may be asked for, each once; the first also stands for the node where no model spoke."""
        named = tuple(rule.bundle for rule in self.route) or self.infer.bundles or (self.infer.bundle,)
        return tuple(dict.fromkeys(named))

    @property
    def workflow_url(self) -> str:
        """Where the workflow engine keeps its state."""
        return self.database.url or f"sqlite:///{self.node.data_dir / 'workflow.sqlite'}"


class ConfigError(Exception):
    """The configuration cannot be used; the message lists every fault with what is allowed."""


_file_being_read: Path | None = None


def config_file(given: Path | None = None) -> Path | None:
    """The file that applies: the given one, $PETCT_NODE_CONFIG, ./petct-node.toml, or none."""
    if given is None and (named := os.environ.get("PETCT_NODE_CONFIG")):
        given = Path(named)
    if given is not None:
        if not given.is_file():
            raise ConfigError(f"no configuration file at {given}")
        return given
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def read_settings(given: Path | None = None) -> Settings:
    """Read file and environment.

    Raises ConfigError with all faults together, each with its key, what was found and what is allowed.
    """
    global _file_being_read  # pydantic-settings builds its sources from the class, so the file goes by this door
    _file_being_read = config_file(given)
    try:
        return Settings()
    except ValidationError as error:
        where = str(_file_being_read or "the environment")
        faults = "\n".join(f"  {_fault(e)}" for e in error.errors())
        raise ConfigError(f"{error.error_count()} fault(s) in the configuration ({where}):\n{faults}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{_file_being_read} is not TOML: {error}") from None
    except SettingsError as error:  # its text names the key, and not what was found, which may be a secret
        example = f"""{ENVIRONMENT_PREFIX}REPORT__ALSO='["pdf"]'"""
        raise ConfigError(f"{error}: a list or table in the environment is JSON, such as {example}") from None
    except OSError as error:
        raise ConfigError(f"{_file_being_read} cannot be read: {error.strerror}") from None
    finally:
        _file_being_read = None


def _fault(error: Any) -> str:
    key = _place(error["loc"]) or "configuration"
    if error["type"] == "extra_forbidden":
        return f"{key}: no such key; {allowed_keys(error['loc']) or '`petct-node config` prints all keys'}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "tuple_type":
        tables = len(error["loc"]) == 1 or key in TABLES
        message = f"several are possible: write [[{key}]]" if tables else "a list is wanted: [ … ]"
    elif error["type"] in ("model_type", "model_attributes_type"):
        message = "a table is wanted: { key = value }"
    found = error.get("input")
    secret = "password" in key or "password" in message
    shown = "" if isinstance(found, dict | BaseModel) or secret else f" (found {found!r})"
    return f"{key}: {message}{shown}"


def _place(location: Sequence[str | int]) -> str:
    """As people count: ``route #1.when.tracer``."""
    return "".join(f" #{part + 1}" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
