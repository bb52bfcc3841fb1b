"""The SQLite file that the node's processes share: tables of the index, tables of the ledger, and how it is opened.

The tables are made and changed by ``dicom_node.migrations``; here stands what the queries are written with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()

# ------------------------------------------------------------------------------------------------------------ the index

associations = sa.Table(
    "associations",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("process", sa.Integer, nullable=False),
    sa.Column("calling_ae_title", sa.String, nullable=False),
    sa.Column("address", sa.String, nullable=False),
    sa.Column("opened", sa.Float, nullable=False),
    sa.Column("released", sa.Float),
)
instances = sa.Table(
    "instances",
    metadata,
    sa.Column("sop_instance_uid", sa.String, primary_key=True),
    sa.Column("study_instance_uid", sa.String, nullable=False, index=True),
    sa.Column("series_instance_uid", sa.String, nullable=False, index=True),
    sa.Column("sha256", sa.String, nullable=False),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("content", sa.String, nullable=False),
    sa.Column("received", sa.Float, nullable=False),
    sa.Column("association", sa.String, index=True),
    sa.Column("frame_of_reference_uid", sa.String, index=True),
    sa.Column("reading", sa.String, nullable=False, default=""),
)
set_aside = sa.Table(
    "set_aside",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_instance_uid", sa.String, index=True),
    sa.Column("path", sa.String, unique=True),
    sa.Column("code", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("facts", sa.String, nullable=False),
    sa.Column("received", sa.Float, nullable=False),
)
changes = sa.Table(
    "changes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_instance_uid", sa.String, nullable=False),
    sqlite_autoincrement=True,  # a cursor must never meet an id again
)

# ----------------------------------------------------------------------------------------------------------- the ledger

pairs = sa.Table(
    "pairs",
    metadata,
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("study_instance_uid", sa.String, nullable=False, index=True),
    sa.Column("content", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("started_at", sa.String),
    sa.Column("code", sa.String, nullable=False, default=""),
    sa.Column("reason", sa.String, nullable=False, default=""),
    sa.Column("lane", sa.String, nullable=False, default=""),
    sa.Column("generation", sa.Integer, nullable=False, default=1),
    sa.Column("superseded", sa.Float),
    sa.Column("replaces", sa.String, nullable=False, default="[]"),
    sa.Column("made_with", sa.String, nullable=False, default=""),
    sa.Column("occasions", sa.String, nullable=False, default="[]"),
)
outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("destination", sa.String, primary_key=True),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("reason", sa.String, nullable=False, default=""),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("begun", sa.Float),
)
receipts = sa.Table(
    "receipts",
    metadata,
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("destination", sa.String, primary_key=True),
    sa.Column("sop_instance_uid", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("how", sa.String, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("taken", sa.Boolean, nullable=False, default=True),
)
story = sa.Table(
    "story",
    metadata,
    sa.Column("study_instance_uid", sa.String, primary_key=True),
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("event", sa.String, primary_key=True),
    sa.Column("destination", sa.String, primary_key=True, default=""),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("text", sa.String, nullable=False, default=""),
)

settled = sa.Table(
    "settled",
    metadata,
    sa.Column("study_instance_uid", sa.String, primary_key=True),
    sa.Column("arrived", sa.Integer, nullable=False),
)
requests = sa.Table(
    "requests",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_instance_uid", sa.String, nullable=False, index=True),
    sa.Column("because", sa.String, nullable=False),
    sa.Column("force", sa.Boolean, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("answered", sa.Float),
    sa.Column("answer", sa.String, nullable=False, default=""),
)

# ----------------------------------------------------------------------------------------------------------- the engine


def open_engine(path: Path) -> sa.Engine:
    """An engine for the SQLite file: WAL, each commit synced, writers wait for each other.

    ``engine.execution_options(reading=True)`` gives one whose transactions take no write lock.
    """
    # parameters hold patients' data, and an error's text ends up in the log
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 60.0}, hide_parameters=True)
    sa.event.listen(engine, "connect", _configure)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late: a read before it would not be protected
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _begin(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
