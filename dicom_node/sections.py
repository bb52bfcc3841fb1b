"""The sections of the configuration: each key with its default, its limits and what it means."""

from __future__ import annotations

import difflib
import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from dicom_node import errors
from inference.regions.region_names import TUMOUR_NAMES


def is_loopback(host: str) -> bool:
    """True for localhost and the loopback ranges; a name other than localhost counts as outside."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def valid_ae_title(value: str) -> str:
    """The title without padding; ValueError says what an AE title is."""
    if not 1 <= len(value.strip()) <= 16 or "\\" in value or not value.isascii() or not value.isprintable():
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash (DICOM PS3.5 6.2)")
    return value.strip()


def _http_url(value: str) -> str:
    parts = urlsplit(value)  # raises ValueError for brackets that do not match; .port for what is no port
    if not parts.hostname or parts.port == 0:
        raise ValueError("it names no host, or port 0; wanted is a URL such as http://127.0.0.1:8042")
    if parts.username is not None:
        raise ValueError("user and password belong in the keys username and password: the URL is written to the log")
    return value.rstrip("/")


def _regular_expression(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"it is no regular expression ({error})") from None
    return value


AETitle = Annotated[str, AfterValidator(valid_ae_title)]
Pattern = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_regular_expression)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400)]


class Section(BaseModel):
    """Base of all: unknown keys are refused, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Node(Section):
    """Who this node is and where it keeps its state."""

    data_dir: Path = Field(Path("~/.local/share/petct-node"), description="spool, database and results live below it")
    serial: str = Field("1", max_length=64, description="Device Serial Number in every result")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severity that is logged")
    log_json: bool = Field(False, description="one JSON object a line instead of text")

    @model_validator(mode="after")
    def _expand(self) -> Node:
        object.__setattr__(self, "data_dir", self.data_dir.expanduser().absolute())
        return self


class Peer(Section):
    """One modality or archive that may send to us."""

    ae_title: AETitle = Field(description="its calling AE title")
    address: str | None = Field(None, description="its IP address or network (CIDR); empty: any address")


class Receive(Section):
    """The DICOM Storage SCP."""

    host: str = Field("127.0.0.1", description="address to listen on; beyond loopback needs [[receive.peers]]")
    port: Port = Field(11112, description="TCP port; 0 picks a free one")
    ae_title: AETitle = Field("PETCTNODE", description="our AE title")
    peers: tuple[Peer, ...] = Field((), description="who may send; empty: anyone on loopback")
    processes: int = Field(2, ge=1, le=64, description="receiver processes on the listening socket")
    max_associations: int = Field(50, ge=1, le=1000, description="open associations per process")
    idle_timeout_s: Seconds = Field(60.0, description="an association silent for so long is aborted")
    acse_timeout_s: Seconds = Field(10.0, description="time to negotiate an association")
    disk_reserve_mb: int = Field(1024, ge=0, description="below this much free space C-STORE answers 0xA700")
    max_instance_mb: int = Field(2048, ge=1, description="largest data set taken")
    decoded_mb: int = Field(
        4096, ge=0, description="space for images decoded as they arrive, for the analysis; 0: none are"
    )


class Assemble(Section):
    """When a study is complete (design: evidence first, timers last)."""

    ct_quiet_s: Seconds = Field(0.3, description="shortest pause after the last CT slice before the pair is tested")
    quiet_s: Seconds = Field(
        15.0, description="pause after release where no evidence says complete, or before it where all does"
    )
    quiet_open_s: Seconds = Field(60.0, description="pause before release, where no evidence says complete")
    give_up_s: Seconds = Field(600.0, description="a study with holes is refused after this pause")
    margin_mm: float = Field(
        20.0, ge=0, le=500, description="CT slices this far beyond the PET still belong to the pair"
    )
    two_studies: bool = Field(
        False, description="pair a PET with the CT of another study of the same patient and Frame of Reference"
    )
    region_names: Annotated[tuple[Pattern, ...], Field(min_length=1, max_length=32)] = Field(
        TUMOUR_NAMES,
        description="regular expressions of the names of lesions in RTSTRUCT and SEG; the first that fits any decides",
    )


class Infer(Section):
    """The model, where lesions come from, and what both run on."""

    bundle: str = Field("demo", description="a bundle's name, or the path of its folder")
    bundles: Annotated[tuple[str, ...], Field(max_length=8)] = Field(
        (),
        description="several, in place of bundle: each study goes to those whose contract (images, tracer, age, body "
        "part) admits it; where there are routing rules, these decide",
    )
    segmenter: str = Field(
        "", max_length=64, description="name of an installed segmenter that finds lesions; empty: the built-in proposal"
    )
    also_suv: tuple[Literal["lbm-janma", "lbm-james", "bsa", "ibw"], ...] = Field(
        (), description="other kinds of SUV to report of each lesion, beside SUVbw"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is one")
    threads: int = Field(0, ge=0, le=256, description="CPU threads of the network; 0: all cores")
    time_limit_s: Seconds = Field(900.0, description="an analysis that takes longer is stopped")
    memory_limit_mb: int = Field(8192, ge=512, description="an analysis that takes more memory is stopped")
    attempts: int = Field(3, ge=1, le=10, description="tries of an analysis that crashed before it is set aside")


class Values(Section):
    """Clinical and laboratory values that models take beside the images."""

    table: Path | None = Field(
        None,
        description="CSV whose columns study_instance_uid, accession_number, or patient_id and study_date say whose "
        "row it is; read again when it changes",
    )

    @model_validator(mode="after")
    def _expand(self) -> Values:
        if self.table is not None:
            object.__setattr__(self, "table", self.table.expanduser().absolute())
        return self


OptionalObject = Literal["label_map", "parametric_map", "rtstruct", "captures", "mip", "pdf", "ko"]


class Report(Section):
    """What is written of an analysis, and in which language people read it.

    In other languages than English a structured report gives a warning or refusal by its code's sentence, and behind it
    the English with its values ("[en: …]"); what comes with a model stays as its bundle has it.
    """

    language: Literal["en", "de", "fr", "es", "ja", "zh"] = Field(
        "en", description="of texts for people in reports and pictures; codes, logs and the command line stay English"
    )
    also: tuple[OptionalObject, ...] = Field((), max_length=16, description="objects to write beside the default set")


class Database(Section):
    """Index and workflow state."""

    url: str = Field(
        "",
        pattern=r"^$|^[a-z0-9+]+://",
        description="SQLAlchemy URL of the workflow database; empty: SQLite below data_dir",
    )


class OrthancDestination(Section):
    """An Orthanc, through its REST API."""

    kind: Literal["orthanc"] = "orthanc"
    name: str = Field(description="used in logs and receipts", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    url: Annotated[str, AfterValidator(_http_url)] = Field(
        description="for example http://127.0.0.1:8042", pattern=r"^https?://"
    )
    username: str | None = Field(None, description="Orthanc user, where it asks for one")
    password: SecretStr | None = Field(None, description="its password; better as an environment variable")
    timeout_s: Seconds = Field(30.0, description="per request")
    allow_demonstration: bool = Field(False, description="let demonstration models deliver beyond loopback")


class DimseDestination(Section):
    """Any archive, by C-STORE; confirmed by the C-STORE status (and C-FIND where it answers)."""

    kind: Literal["dimse"] = "dimse"
    name: str = Field(description="used in logs and receipts", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    host: str = Field(description="its address")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(description="its DICOM port")
    ae_title: AETitle = Field(description="its AE title")
    timeout_s: Seconds = Field(30.0, description="for connecting, negotiating and each answer")
    allow_demonstration: bool = Field(False, description="let demonstration models deliver beyond loopback")


Destination = Annotated[OrthancDestination | DimseDestination, Field(discriminator="kind")]


RefusalChoice = Literal["expected", "all", "none"]


def _in_words(value: object) -> object:
    """It was true or false before: those still say the same, in a file and in the environment."""
    return {"true": "expected", "false": "none"}.get(str(value).lower(), value)


def _known_code(value: str) -> str:
    if value not in errors.ROWS:
        near = difflib.get_close_matches(value, errors.ROWS, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; a refusal's report names its own"
        raise ValueError(f"there is no refusal of this code{hint}")
    return value


RefusalCode = Annotated[str, AfterValidator(_known_code)]


class Deliver(Section):
    """Where results go, and how long we go on trying."""

    destinations: tuple[Destination, ...] = Field((), description="where results go; none: they stay on disk")
    retry_first_s: Seconds = Field(1.0, description="first pause after a destination did not answer; doubles")
    retry_longest_s: Seconds = Field(60.0, description="longest pause between tries; we never give up")
    refusals: Annotated[RefusalChoice, BeforeValidator(_in_words)] = Field(
        "expected",
        description="which 'not analysed because …' become results: those of studies a person expects an answer for, "
        "all, or none",
    )
    refusals_except: Annotated[tuple[RefusalCode, ...], Field(max_length=200)] = Field(
        (), description="codes of refusals that stay without one all the same"
    )
