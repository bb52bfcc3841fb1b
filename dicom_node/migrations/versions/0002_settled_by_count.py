"""A study is settled up to a count of arrivals: rows can reach the index later than their time of arrival says."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

COUNT = """
    INSERT INTO settled_by_count SELECT study_instance_uid,
      (SELECT count(*) FROM instances i
        WHERE i.study_instance_uid = settled.study_instance_uid AND i.received <= settled.last_arrival)
    + (SELECT count(*) FROM set_aside a
        WHERE a.study_instance_uid = settled.study_instance_uid AND a.received <= settled.last_arrival)
    FROM settled
"""


def upgrade() -> None:
    """Count what had arrived by the time on record."""
    op.create_table(
        "settled_by_count",
        sa.Column("study_instance_uid", sa.String, primary_key=True),
        sa.Column("arrived", sa.Integer, nullable=False),
    )
    op.execute(COUNT)
    op.drop_table("settled")
    op.rename_table("settled_by_count", "settled")


def downgrade() -> None:
    """Every study is judged anew, which gives the same runs."""
    op.drop_table("settled")
    op.create_table(
        "settled",
        sa.Column("study_instance_uid", sa.String, primary_key=True),
        sa.Column("last_arrival", sa.Float, nullable=False),
    )
