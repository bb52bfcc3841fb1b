"""`petct-node doctor`: what this machine has, what is missing, and what to do about it."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dicom_node.config import Settings
from dicom_node.sections import OrthancDestination

PACKAGES = (
    *("torch", "monai", "SimpleITK", "pydicom", "pynetdicom", "highdicom", "imagecodecs", "dbos"),
    "orthanc-api-client",
)
TOOLS = {
    "Orthanc": ("Orthanc", "demo and tests", "apt-get install orthanc orthanc-dicomweb orthanc-gdcm"),
    "DCMTK storescu": ("storescu", "tests", "apt-get install dcmtk"),
    "dciodvfy": ("dciodvfy", "tests", "apt-get install dicom3tools"),
}
CODECS = {
    "JPEG 2000": "JPEG2K",
    "JPEG-LS": "JPEGLS",
    "HTJ2K": "HTJ2K",
    "JPEG": "JPEG8",
    "JPEG lossless": "LJPEG",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: ``state`` ok, note (works, but know it) or fault (will not work); ``advice`` what to do."""

    thing: str
    state: Literal["ok", "note", "fault"]
    found: str
    advice: str = ""

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; nothing is changed and nothing is sent."""
    checks: tuple[Callable[[Settings], Iterable[Finding]], ...] = (
        _python,
        _packages,
        _processor,
        _codecs,
        _data_dir,
        _port,
        _bundle,
        _values,
        _segmenter,
        _reports,
        _destinations,
        _tools,
    )
    return [finding for check in checks for finding in _looked(check, settings)]


def _looked(check: Callable[[Settings], Iterable[Finding]], settings: Settings) -> Iterable[Finding]:
    try:
        yield from check(settings)
    except ImportError as error:  # the very thing a doctor is called for
        yield Finding("import", "fault", str(error), "make setup")


def _python(_: Settings) -> Iterable[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Finding("Python", "ok" if good else "fault", version, "" if good else "use Python 3.11 or newer")


def _packages(_: Settings) -> Iterable[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "fault", "not installed", "make setup")


def _processor(settings: Settings) -> Iterable[Finding]:
    cores = len(os.sched_getaffinity(0))
    yield Finding("CPU", "ok", f"{cores} core(s)")
    import torch

    if torch.cuda.is_available():
        yield Finding("GPU", "ok", torch.cuda.get_device_name(0))
    elif settings.infer.device == "cuda":
        advice = 'set infer.device = "auto", or install a CUDA build of torch and its driver'
        yield Finding("GPU", "fault", "infer.device is cuda, and torch sees no GPU", advice)
    else:
        yield Finding("GPU", "note", "none: the network runs on the CPU")


def _codecs(_: Settings) -> Iterable[Finding]:
    import imagecodecs

    for name, attribute in CODECS.items():
        present = bool(getattr(getattr(imagecodecs, attribute), "available", False))
        advice = "" if present else "make setup"
        yield Finding(f"codec {name}", "ok" if present else "fault", "imagecodecs" if present else "missing", advice)


def _data_dir(settings: Settings) -> Iterable[Finding]:
    folder = settings.node.data_dir
    existing = next(p for p in (folder, *folder.parents) if os.access(p, os.F_OK))
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield Finding("data folder", "fault", f"{folder}: cannot write in {existing}", "set node.data_dir")
        return
    free_mb = shutil.disk_usage(existing).free // 2**20
    reserve = settings.receive.disk_reserve_mb
    text = f"{folder}: {free_mb / 1024:.0f} GiB free"
    if free_mb <= reserve:
        advice = f"free some space: below {reserve} MiB every C-STORE is answered 0xA700"
        yield Finding("data folder", "fault", text, advice)
    else:
        yield Finding("data folder", "ok", text)


def _port(settings: Settings) -> Iterable[Finding]:
    address = f"{settings.receive.host}:{settings.receive.port}"
    family = socket.AF_INET6 if ":" in settings.receive.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.receive.host, settings.receive.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                advice = "stop what listens there (a running node is fine), or set receive.port"
                yield Finding("DICOM port", "note", f"{address}: {error.strerror}", advice)
            else:
                advice = "set receive.host to an address of this machine, receive.port to a port you may open"
                yield Finding("DICOM port", "fault", f"{address}: {error.strerror}", advice)
            return
    yield Finding("DICOM port", "ok", f"{address} is free")


def _bundle(settings: Settings) -> Iterable[Finding]:
    from inference.facts import Refused
    from inference.model.bundle import find_bundle, load_bundle

    of_infer = "infer.bundles" if settings.infer.bundles else "infer.bundle"
    key = "bundle of each [[route]]" if settings.route else of_infer
    for name in settings.bundles:
        try:
            bundle = load_bundle(find_bundle(name, search=[settings.bundles_dir]))
        except Refused as refused:
            yield Finding("model bundle", "fault", refused.reason, f"set {key} to an installed bundle")
            continue
        yield Finding("model bundle", "ok", f"{bundle.served.name} {bundle.served.version}, {bundle.digest[:12]}")


def _values(settings: Settings) -> Iterable[Finding]:
    """The table of clinical and laboratory values, and whether some model takes any."""
    from dicom_node.contracts import Contracts
    from dicom_node.values import site_table
    from inference.facts import Refused

    path = settings.values.table
    wanted = {v.name for served in Contracts.read(settings).by_name.values() for v in served.values}
    wanted -= {"age", "sex"}
    if path is None:
        if wanted:
            advice = "set values.table to the CSV that has them"
            yield Finding("values", "note", f"models take {', '.join(sorted(wanted))}, and there is no table", advice)
        return
    try:
        table = site_table(path)
    except OSError as error:
        yield Finding("values", "fault", f"{path}: {error.strerror}", "set values.table to a file the node may read")
    except Refused as refused:
        yield Finding("values", "fault", refused.reason, "correct the table")
    else:
        lacking = wanted - {name for row in table.rows for name in row.values}
        if lacking:
            text = f"{path.name} has no column {', '.join(sorted(lacking))}"
            yield Finding("values", "note", text, "models take these; name the columns so")
        else:
            yield Finding("values", "ok", f"{path.name}, {len(table.rows)} row(s)")


def _segmenter(settings: Settings) -> Iterable[Finding]:
    from inference.facts import Refused
    from inference.lesions.segmenter import installed_segmenters, load_segmenter

    name = settings.infer.segmenter
    if not name:
        others = ", ".join(sorted(installed_segmenters()))
        yield Finding("segmenter", "ok", "built in" + (f" (installed: {others})" if others else ""))
        return
    try:
        segmenter = load_segmenter(name)
    except Refused as refused:
        yield Finding("segmenter", "fault", refused.reason, "install its package, mend it, or empty infer.segmenter")
        return
    yield Finding("segmenter", "ok", f"{segmenter.name} {segmenter.version}")


def _reports(settings: Settings) -> Iterable[Finding]:
    """The language, in pictures too, and the objects beside the default set."""
    from dicom_node.report.pictures.lettering import readable
    from dicom_node.report.words.phrases import Phrases

    say = Phrases(settings.report.language)
    text = f"in {say.language}, the default set" + "".join(f", {kind}" for kind in settings.report.also)
    if readable(say) == say:
        yield Finding("reports", "ok", text)
    else:
        advice = "install petct-node anew, or `make fonts` where phrases were changed"
        yield Finding("reports", "note", f"{text}; pictures are in English, their fonts lack letters", advice)


def _destinations(settings: Settings) -> Iterable[Finding]:
    if not settings.deliver.destinations:
        yield Finding("destinations", "note", "none: results stay on disk", "add [[deliver.destinations]]")
    for destination in settings.deliver.destinations:
        name = f"destination {destination.name}"
        if isinstance(destination, OrthancDestination):
            yield _orthanc(name, destination)
        else:
            yield _echo(name, destination.host, destination.port, destination.ae_title, destination.timeout_s)


def _orthanc(name: str, destination: OrthancDestination) -> Finding:
    import httpx

    auth = (destination.username, _secret(destination)) if destination.username else None
    try:
        answer = httpx.get(f"{destination.url}/system", auth=auth, timeout=5.0)
        answer.raise_for_status()
        return Finding(name, "ok", f"Orthanc {answer.json()['Version']} at {destination.url}")
    except httpx.HTTPStatusError as error:
        return Finding(name, "fault", f"HTTP {error.response.status_code}", "check username and password")
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        advice = "start it, or mend deliver.destinations; results wait until it answers"
        return Finding(name, "fault", f"{destination.url}: {type(error).__name__}", advice)


def _secret(destination: OrthancDestination) -> str:
    return destination.password.get_secret_value() if destination.password else ""


def _echo(name: str, host: str, port: int, ae_title: str, timeout_s: float) -> Finding:
    from pynetdicom import AE
    from pynetdicom.sop_class import Verification

    entity = AE("PETCTNODE")
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = min(timeout_s, 5.0)
    entity.add_requested_context(Verification)
    association = entity.associate(host, port, ae_title=ae_title)
    if not association.is_established:
        return Finding(name, "fault", f"{ae_title} at {host}:{port} does not accept us", "check address and AE titles")
    association.send_c_echo()
    association.release()
    return Finding(name, "ok", f"{ae_title} at {host}:{port} answers C-ECHO")


def _tools(_: Settings) -> Iterable[Finding]:
    search = f"{os.environ.get('PATH', '')}:/usr/sbin"  # Debian's Orthanc lies where users do not look
    for name, (program, purpose, advice) in TOOLS.items():
        named = os.environ.get("ORTHANC") if name == "Orthanc" else None
        found = shutil.which(named or program, path=search)
        if found:
            yield Finding(name, "ok", found)
        else:
            yield Finding(name, "note", f"missing (for {purpose})", advice)


def print_findings(findings: Iterable[Finding], console: Console) -> None:
    """For people: one line each, with what to do."""
    mark = {"ok": "[green]ok[/green]", "note": "[yellow]note[/yellow]", "fault": "[red]fault[/red]"}
    table = Table(box=None, pad_edge=False)
    for heading in ("", "", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        table.add_row(mark[finding.state], *map(escape, (finding.thing, finding.found, finding.advice)))
    console.print(table)
