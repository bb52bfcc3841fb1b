"""Work that survives: the one module that knows the workflow engine (DBOS Transact).

Two workflows.  ``analyse``: begin → analyse → one ``deliver`` per destination.  ``deliver``: send → confirm, and where
that does not succeed the next ``deliver``, after growing pauses, until the archive confirms.  Each destination has a
queue of its own, so that one that is away holds up nobody else.  About two in a hundred steps run twice when processes
are killed, so every step may be repeated.  Arguments and results are ids and short words: no arrays, no patient data.
"""

from __future__ import annotations

import functools
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import structlog
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer, SetEnqueueOptions, SetWorkflowID, StepOptions
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.config import Settings
from dicom_node.steps import Steps
from dicom_node.work.analyst import Analyst
from dicom_node.work.patience import patiently
from dicom_node.work.result_set import sweep

log = structlog.get_logger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

APPLICATION = "petct-node"
# Raised when the order or meaning of steps changes.  Not the node's version: an update must finish what it finds.
WORKFLOW_VERSION = "petct-node-workflow-1"
EXECUTOR = "worker-1"  # fixed: a restarted worker takes up what its predecessor left
ANALYSIS_QUEUE = "analysis"
POLL_S = 0.1
DELIVERIES_AT_ONCE = 4
DELIVER_POLL_S = 0.2
STEP_ATTEMPTS = 3  # of a step with a fault of its own; what is the machine's (a full disk) is waited out: patience.py


class WorkQueue:
    """The coordinator's side: puts runs on the queue, and runs nothing itself."""

    def __init__(self, settings: Settings) -> None:
        prepare_database(settings.workflow_url)
        _quiet_engine_log()
        self._client = DBOSClient(
            system_database_url=settings.workflow_url,
            serializer=DBOSPortableJSONSerializer(),
            application_name=APPLICATION,
            lazy=True,
        )

    def submit(self, run_id: str) -> bool:
        """Queue a run; one that is or was queued stays as it is.  False where the engine cannot be reached yet."""
        try:
            self._client.enqueue(
                {
                    "queue_name": ANALYSIS_QUEUE,
                    "workflow_name": "analyse",
                    "workflow_id": run_id,
                    "app_version": WORKFLOW_VERSION,
                },
                run_id,
            )
        except SQLAlchemyError as error:  # the worker makes the tables when it starts
            log.debug("the run cannot be queued yet", run_id=run_id, error=type(error).__name__)
            return False
        return True

    def close(self) -> None:
        """Close its connections."""
        self._client.destroy()


def serve_worker(settings: Settings, stop: threading.Event) -> None:
    """Take runs off the queues until ``stop`` is set.

    Nothing is wound up then: the process should end at once, as after a kill, and its successor goes on where the
    engine's records stop.  Ending the analysis in order would only be recorded as a failed attempt.
    """
    prepare_database(settings.workflow_url)
    settings.results_dir.mkdir(parents=True, exist_ok=True)
    sweep(settings.results_dir)
    analyst = Analyst(settings)
    start_engine(settings.workflow_url)
    _define(Steps(settings, analyst))
    analyst.warm_up()
    open_queues([d.name for d in settings.deliver.destinations])
    log.info("worker ready", analyst=analyst.pid)
    stop.wait()


def start_engine(url: str) -> None:
    """The engine of this process, on the database ``url``; it runs nothing before ``open_queues``."""
    config: DBOSConfig = {
        "name": APPLICATION,
        "system_database_url": url,
        "application_version": WORKFLOW_VERSION,
        "executor_id": EXECUTOR,
        "serializer": DBOSPortableJSONSerializer(),
        "enable_otlp": False,
        "log_level": "WARNING",
    }
    DBOS(config=config)
    _quiet_engine_log()


def open_queues(destinations: Sequence[str]) -> None:
    """Take up what a predecessor left, then take runs, and deliveries to each of ``destinations``, off their queues."""
    DBOS.launch()
    DBOS.register_queue(ANALYSIS_QUEUE, worker_concurrency=1, polling_interval_sec=POLL_S, on_conflict="always_update")
    for destination in destinations:
        DBOS.register_queue(
            _queue_of(destination),
            worker_concurrency=DELIVERIES_AT_ONCE,
            polling_interval_sec=DELIVER_POLL_S,
            on_conflict="always_update",
        )


def _queue_of(destination: str) -> str:
    return f"deliver-{destination}"


def prepare_database(url: str) -> None:
    """Write-ahead logging for an SQLite file, which stays with the file; full syncs are SQLite's own default."""
    where = make_url(url)
    if where.get_backend_name() == "sqlite" and where.database:
        connection = sqlite3.connect(where.database, timeout=30.0)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()


def _quiet_engine_log() -> None:
    """The engine's log goes the way of all others."""
    engine_log = logging.getLogger("dbos")
    engine_log.handlers.clear()
    engine_log.propagate = True
    engine_log.setLevel(logging.WARNING)


def _define(steps: Steps) -> None:
    """Tell the engine the two workflows: which steps, in which order."""
    deliver_settings, attempts = steps.settings.deliver, steps.settings.infer.attempts

    @DBOS.workflow(name="deliver", max_recovery_attempts=None)
    @_recorded_or_ended
    def deliver_workflow(run_id: str, destination: str, attempt: int) -> None:
        if _step(steps.deliver, run_id, destination) or _step(steps.confirm, run_id, destination):
            enqueue_delivery(run_id, destination, attempt + 1)

    def enqueue_delivery(run_id: str, destination: str, attempt: int) -> None:
        """Each attempt is a workflow of its own: while it waits it keeps no place in the queue, and no long record."""
        doubled = deliver_settings.retry_first_s * 2.0 ** min(attempt - 1, 30)
        pause_s = min(doubled, deliver_settings.retry_longest_s) if attempt else None
        with SetWorkflowID(f"{run_id}:{destination}:{attempt}"), SetEnqueueOptions(delay_seconds=pause_s):
            DBOS.enqueue_workflow(_queue_of(destination), deliver_workflow, run_id, destination, attempt)

    @DBOS.workflow(name="analyse", max_recovery_attempts=None)
    @_recorded_or_ended
    def analyse_workflow(run_id: str) -> None:
        try:
            run_steps(run_id)
        except SQLAlchemyError:
            raise  # of the engine
        except Exception as error:  # noqa: BLE001 - a step's fault, now or as it was recorded: it must not go unseen
            _step(steps.give_up, run_id, f"a step failed: {error}")

    def run_steps(run_id: str) -> None:
        started_at = _step(steps.begin, run_id)
        ended = ""
        for _ in range(attempts):
            ended = _step(steps.analyse, run_id, started_at, "")
            if not ended:
                break
        if ended and _step(steps.analyse, run_id, started_at, ended):
            _step(steps.give_up, run_id, ended)
            return
        for destination in _step(steps.destinations, run_id):
            enqueue_delivery(run_id, destination, 0)


def _recorded_or_ended(workflow: Callable[P, R]) -> Callable[P, R]:
    """Where the engine cannot record what happens (a full disk), its process ends; the successor goes on from there.

    Else the engine would take its own fault for the workflow's, and record that as the end of it.
    """

    @functools.wraps(workflow)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return workflow(*args, **kwargs)
        except SQLAlchemyError:
            log.exception("the workflow database cannot be written; the worker ends and is started again")
            os._exit(1)

    return run


def _step(method: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a step; what it returns is recorded, and a repeat of the workflow reads it from there."""
    options: StepOptions = {
        "name": method.__name__,
        "retries_allowed": True,
        "interval_seconds": 1.0,
        "max_attempts": STEP_ATTEMPTS,
        "backoff_rate": 2.0,
    }
    return DBOS.run_step(options, patiently(method), *args, **kwargs)
