"""The SQLite file of index and ledger, brought to the present form (Alembic)."""

from __future__ import annotations

import fcntl
import sqlite3
from pathlib import Path

HEAD = "0004"  # the newest revision in versions/


def upgrade(path: Path) -> None:
    """Create or upgrade the file; processes that start together wait for the first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _revision(path) == HEAD:
            return  # the common case, without importing Alembic

        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.set_main_option("sqlalchemy.url", f"sqlite:///{path}".replace("%", "%%"))
        command.upgrade(config, "head")


def _revision(path: Path) -> str | None:
    if not path.is_file():
        return None
    connection = sqlite3.connect(path)
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(row[0]) if row else None
    except sqlite3.OperationalError:
        return None
    finally:
        connection.close()
