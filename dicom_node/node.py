"""`petct-node serve`: which processes run, and their restart.

The supervisor binds the socket, then forks: receivers (never in the process that analyses), the decoder, the
coordinator, the worker.  It has no threads and opens no database, so a fork is safe at any time.  Whichever process
dies is started again under the same name; the pauses grow while it keeps dying.  None outlives the supervisor.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import multiprocessing
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import FrameType
from typing import TextIO

import structlog

from dicom_node.config import Settings
from dicom_node.log import set_up_log
from dicom_node.work.lifeline import end_with_parent
from inference.facts import Refused

log = structlog.get_logger(__name__)

ROLES = ("receive", "decode", "coordinate", "work")
STATE_FILE = "node.json"
LOCK_LIMIT_S = 30.0  # a predecessor that was killed leaves children that need a moment to end
STOP_LIMIT_S = 25.0  # longer than a receiver lets a C-STORE finish
STEADY_S = 10.0  # a process that lived so long has not died of its start
LONGEST_PAUSE_S = 30.0


_Checked = dict[str, tuple[str, str]]
"""Each bundle's digest, and what it says of itself as JSON: the supervisor itself stays without any model's code."""


@dataclass(slots=True)
class _Post:
    """One process to keep running."""

    name: str
    run: Callable[[], None]
    process: ForkProcess | None = None
    started: float = 0.0
    failures: int = 0
    start_at: float = 0.0


def serve(settings: Settings, role: str = "all") -> int:
    """Run the node, or one role of it, until SIGTERM or SIGINT.  Returns the exit code.

    Raises Refused: role-unknown, data-dir-unusable, node-already-running, those of the socket and of the bundle.
    """
    if role not in ("all", *ROLES):
        raise Refused("role-unknown", f"There is no role '{role}': choose all, {', '.join(ROLES)}.", role=role)
    set_up_log(settings.node, "supervisor")
    roles = ROLES if role == "all" else (role,)
    try:
        settings.node.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        locks = [_lock(settings.node.data_dir / f"{name}.lock") for name in roles]
    except OSError as error:
        raise _unusable(settings, error.strerror or str(error)) from None
    try:
        return _Supervisor(settings, roles, _prepare(settings)).run()
    finally:
        for lock in locks:
            lock.close()


def _unusable(settings: Settings, why: str) -> Refused:
    return Refused(
        "data-dir-unusable",
        f"The node cannot keep its state in node.data_dir = {settings.node.data_dir}: {why}. Give it a folder that its "
        "user may write, on a local disk.",
    )


def _lock(path: Path) -> TextIO:
    """One process group per role and data folder.  Children inherit the lock: it is free when the last has ended."""
    file = path.open("w")
    waited = False
    deadline = time.monotonic() + LOCK_LIMIT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.close()
                raise Refused(
                    "node-already-running",
                    f"Another node runs on {path.parent}: stop it, or give this one a node.data_dir of its own.",
                ) from None
            if not waited:
                log.warning("waiting for another node on this folder to end", path=str(path), limit_s=LOCK_LIMIT_S)
            waited = True
            time.sleep(0.1)


def _prepare(settings: Settings) -> _Checked:
    """Make the tables and check the models, in a process of its own.

    Raises Refused where a model cannot be served: better now than with the first study.
    """
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    process = fork.Process(target=_check, args=(settings, theirs), name="prepare")
    process.start()
    theirs.close()
    try:
        checked, code, reason = ours.recv()
    except EOFError:
        raise Refused(
            "node-not-started", "The node could not prepare its data folder; the lines above say why."
        ) from None
    finally:
        process.join()
        ours.close()
    if code:
        raise Refused(code, reason)
    return dict(checked)


def _check(settings: Settings, answer: Connection) -> None:
    from sqlalchemy.exc import DatabaseError

    from dicom_node.index import Index
    from inference.model.bundle import find_bundle, load_bundle

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor says it
    try:
        Index(settings.index_file).close()
        found = {name: find_bundle(name, search=[settings.bundles_dir]) for name in settings.bundles}
        checked = {name: load_bundle(path) for name, path in found.items()}
        answer.send(
            (
                {
                    n: (bundle.digest, json.dumps(bundle.served.model_dump(mode="json")))
                    for n, bundle in checked.items()
                },
                "",
                "",
            )
        )
    except Refused as refused:
        answer.send(({}, refused.code, refused.reason))
    except (OSError, sqlite3.DatabaseError, DatabaseError) as error:
        why = f"{settings.index_file.name} cannot be opened ({error}); moved away, it is made anew from the spool"
        unusable = _unusable(settings, why)
        answer.send(({}, unusable.code, unusable.reason))


@dataclass
class _Supervisor:
    settings: Settings
    roles: tuple[str, ...]
    bundles: _Checked
    stopping: bool = False
    posts: list[_Post] = field(default_factory=list)
    address: tuple[str, int] | None = None

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._appoint()
        try:
            self._start_due()
            self._announce()
            while not self.stopping:
                running = [p.process.sentinel for p in self.posts if p.process]
                wait(running, timeout=0.2)
                if self._bury() | self._start_due():
                    self._write_state()
        finally:  # without a supervisor nobody would start again what dies
            self._end()
        return 0

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def _appoint(self) -> None:
        """Bind, and list the processes."""
        settings = self.settings
        if "receive" in self.roles:
            from dicom_node.receive.scp import open_socket, serve_receivers

            listening = open_socket(settings)
            self.address = _address(listening)
            for number in range(settings.receive.processes):
                self._add(f"receiver-{number}", partial(serve_receivers, settings, listening, number))
        if "decode" in self.roles and settings.receive.decoded_mb:
            self._add("decoder", partial(_decode, settings))
        if "coordinate" in self.roles:
            self._add("coordinator", partial(_coordinate, settings, self.bundles))
        if "work" in self.roles:
            self._add("worker", partial(_work, settings))

    def _add(self, name: str, run: Callable[[], None]) -> None:
        self.posts.append(_Post(name, run))

    def _start_due(self) -> bool:
        """Start every process that should run and does not; True where there was one."""
        now = time.monotonic()
        due = [p for p in self.posts if p.process is None and now >= p.start_at]
        for post in due:
            process = multiprocessing.get_context("fork").Process(
                target=_child, args=(self.settings, post, os.getpid()), name=post.name
            )
            try:
                process.start()
            except OSError as error:  # no memory, too many processes: that may pass
                log.error("a process could not be started", name=post.name, error=str(error))
                post.start_at = now + LONGEST_PAUSE_S
                continue
            post.process, post.started = process, now
            log.info("started", name=post.name, pid=process.pid)
        return bool(due)

    def _bury(self) -> bool:
        """Take note of processes that died; True where there was one."""
        dead = [p for p in self.posts if p.process and not p.process.is_alive()]
        for post in dead:
            if post.process:
                log.error("a process died", name=post.name, exit_code=post.process.exitcode)
                post.process.join()
            now = time.monotonic()
            post.failures = 0 if now - post.started > STEADY_S else post.failures + 1
            post.start_at = now + (min(2.0 ** (post.failures - 1), LONGEST_PAUSE_S) if post.failures > 1 else 0.0)
            post.process = None
        return bool(dead)

    def _announce(self) -> None:
        """The one line that says where we are."""
        self._write_state()
        receive = self.settings.receive
        where = f"DICOM {receive.ae_title} at {self.address[0]}:{self.address[1]}, " if self.address else ""
        names = ", ".join(d.name for d in self.settings.deliver.destinations) or "nowhere (they stay on disk)"
        line = f"petct-node ready: {where}results to {names}, data in {self.settings.node.data_dir}"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def _write_state(self) -> None:
        """node.json: address and process ids, for scripts."""
        host, port = self.address or ("", 0)
        state = {
            "pid": os.getpid(),
            "host": host,
            "port": port,
            "ae_title": self.settings.receive.ae_title,
            "pids": {p.name: p.process.pid for p in self.posts if p.process},
        }
        file = self.settings.node.data_dir / STATE_FILE
        temporary = file.with_suffix(".writing")
        try:
            temporary.write_text(json.dumps(state, indent=1) + "\n")
            temporary.replace(file)
        except OSError as error:  # a full disk: the node goes on without
            log.error("node.json could not be written", error=str(error))

    def _end(self) -> None:
        """Ask all to end; after the limit end them."""
        log.info("stopping")
        running = [p.process for p in self.posts if p.process]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + STOP_LIMIT_S
        for process in running:
            process.join(max(0.1, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        with contextlib.suppress(OSError):
            (self.settings.node.data_dir / STATE_FILE).unlink()


def _address(listening: socket.socket) -> tuple[str, int]:
    host, port, *_ = listening.getsockname()
    return str(host), int(port)


def _child(settings: Settings, post: _Post, parent_pid: int) -> None:
    """What every forked process does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor ends us in order
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    set_up_log(settings.node, post.name)
    end_with_parent(parent_pid)
    post.run()


def _stop_event() -> threading.Event:
    """Set by SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    return stop


def _decode(settings: Settings) -> None:
    stop = _stop_event()
    from dicom_node.decode import serve_decoder

    serve_decoder(settings, stop)


def _coordinate(settings: Settings, bundles: _Checked) -> None:
    stop = _stop_event()
    from dicom_node.contracts import Contracts
    from dicom_node.coordinate import Coordinator

    contracts = Contracts.of_json(bundles)
    Coordinator(settings, contracts.digests, contracts).run(stop)


def _work(settings: Settings) -> None:
    stop = _stop_event()
    from dicom_node.workflow import serve_worker

    serve_worker(settings, stop)
    os._exit(0)  # see serve_worker; the engine's threads may sleep until their next delivery
