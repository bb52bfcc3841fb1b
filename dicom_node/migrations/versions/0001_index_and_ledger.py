"""Tables of the index and of the ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "associations",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("process", sa.Integer, nullable=False),
        sa.Column("calling_ae_title", sa.String, nullable=False),
        sa.Column("address", sa.String, nullable=False),
        sa.Column("opened", sa.Float, nullable=False),
        sa.Column("released", sa.Float),
    )
    op.create_table(
        "instances",
        sa.Column("sop_instance_uid", sa.String, primary_key=True),
        sa.Column("study_instance_uid", sa.String, nullable=False, index=True),
        sa.Column("series_instance_uid", sa.String, nullable=False, index=True),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("content", sa.String, nullable=False),
        sa.Column("received", sa.Float, nullable=False),
        sa.Column("association", sa.String, index=True),
    )
    op.create_table(
        "set_aside",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_instance_uid", sa.String, index=True),
        sa.Column("path", sa.String, unique=True),
        sa.Column("code", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("facts", sa.String, nullable=False),
        sa.Column("received", sa.Float, nullable=False),
    )
    op.create_table(
        "changes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_instance_uid", sa.String, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "pairs",
        sa.Column("run_id", sa.String, primary_key=True),
        sa.Column("study_instance_uid", sa.String, nullable=False, index=True),
        sa.Column("content", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("started_at", sa.String),
        sa.Column("code", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
    )
    op.create_table(
        "outbox",
        sa.Column("run_id", sa.String, primary_key=True),
        sa.Column("destination", sa.String, primary_key=True),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "receipts",
        sa.Column("run_id", sa.String, primary_key=True),
        sa.Column("destination", sa.String, primary_key=True),
        sa.Column("sop_instance_uid", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("how", sa.String, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "story",
        sa.Column("study_instance_uid", sa.String, primary_key=True),
        sa.Column("run_id", sa.String, primary_key=True),
        sa.Column("event", sa.String, primary_key=True),
        sa.Column("destination", sa.String, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("text", sa.String, nullable=False),
    )
    op.create_table(
        "settled",
        sa.Column("study_instance_uid", sa.String, primary_key=True),
        sa.Column("last_arrival", sa.Float, nullable=False),
    )


def downgrade() -> None:
    """Drop all tables: the index can be rebuilt from the spool, the ledger cannot."""
    for table in (
        "settled",
        "story",
        "receipts",
        "outbox",
        "pairs",
        "changes",
        "set_aside",
        "instances",
        "associations",
    ):
        op.drop_table(table)
