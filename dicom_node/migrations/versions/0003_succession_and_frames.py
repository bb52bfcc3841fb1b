"""Which run of a study counts and what it replaces; when a delivery began; the Frame of Reference of each instance.

Also how the header of each instance was read; studies with multi-frame images, which could not be, are judged again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

# Runs were registered one after the other: the last of a study counts.
NUMBER = """
    UPDATE pairs SET generation = (
        SELECT count(*) FROM pairs AS p
        WHERE p.study_instance_uid = pairs.study_instance_uid AND p.rowid <= pairs.rowid)
"""
SUPERSEDE = """
    UPDATE pairs SET superseded = CAST(strftime('%s', 'now') AS REAL)
    WHERE generation < (SELECT max(generation) FROM pairs AS p WHERE p.study_instance_uid = pairs.study_instance_uid)
"""
BEGUN = "UPDATE outbox SET begun = at WHERE state IN ('delivered', 'confirmed', 'kept-first')"
FRAME = """
    UPDATE instances
    SET frame_of_reference_uid = NULLIF(TRIM(json_extract(content, '$.attributes.FrameOfReferenceUID')), '')
"""
UNSETTLE = """
    DELETE FROM settled WHERE study_instance_uid IN (
        SELECT study_instance_uid FROM instances WHERE json_extract(content, '$.sop_class_uid') IN (
            '1.2.840.10008.5.1.4.1.1.2.1', '1.2.840.10008.5.1.4.1.1.2.2',
            '1.2.840.10008.5.1.4.1.1.128.1', '1.2.840.10008.5.1.4.1.1.130'))
"""


def upgrade() -> None:
    """Fill the new columns from what is known."""
    op.add_column("pairs", sa.Column("lane", sa.String, nullable=False, server_default=""))
    op.add_column("pairs", sa.Column("generation", sa.Integer, nullable=False, server_default="1"))
    op.add_column("pairs", sa.Column("superseded", sa.Float))
    op.add_column("pairs", sa.Column("replaces", sa.String, nullable=False, server_default="[]"))
    op.add_column("outbox", sa.Column("begun", sa.Float))
    op.add_column("instances", sa.Column("frame_of_reference_uid", sa.String))
    op.add_column("instances", sa.Column("reading", sa.String, nullable=False, server_default=""))
    for statement in (NUMBER, SUPERSEDE, BEGUN, FRAME, UNSETTLE):
        op.execute(statement)
    op.create_index("ix_instances_frame_of_reference_uid", "instances", ["frame_of_reference_uid"])


def downgrade() -> None:
    """What replaced what is forgotten; every run goes on to be known."""
    op.drop_index("ix_instances_frame_of_reference_uid", "instances")
    op.drop_column("instances", "reading")
    op.drop_column("instances", "frame_of_reference_uid")
    op.drop_column("outbox", "begun")
    for column in ("replaces", "superseded", "generation", "lane"):
        op.drop_column("pairs", column)
