"""Requests to decide a study again; what each run was made with, and why it replaces another; objects left out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """What earlier runs were made with is not known: "" says so."""
    op.create_table(
        "requests",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_instance_uid", sa.String, nullable=False),
        sa.Column("because", sa.String, nullable=False),
        sa.Column("force", sa.Boolean, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("answered", sa.Float),
        sa.Column("answer", sa.String, nullable=False, server_default=""),
    )
    op.create_index("ix_requests_study_instance_uid", "requests", ["study_instance_uid"])
    op.add_column("pairs", sa.Column("made_with", sa.String, nullable=False, server_default=""))
    op.add_column("pairs", sa.Column("occasions", sa.String, nullable=False, server_default="[]"))
    op.add_column("receipts", sa.Column("taken", sa.Boolean, nullable=False, server_default=sa.true()))


def downgrade() -> None:
    """Requests that wait are forgotten."""
    op.drop_column("receipts", "taken")
    op.drop_column("pairs", "occasions")
    op.drop_column("pairs", "made_with")
    op.drop_index("ix_requests_study_instance_uid", "requests")
    op.drop_table("requests")
