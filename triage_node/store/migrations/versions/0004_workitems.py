"""reading workitems, who subscribed to them, and events that wait for their subscriber"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "workitem",
        sa.Column("uid", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("own_priority", sa.String(length=8), nullable=False),
        sa.Column("asked_priority", sa.String(length=8), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("input_ready", sa.Boolean(), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("performer", sa.String(length=128), nullable=False),
        sa.Column("ended", sa.String(length=64), nullable=True),
        sa.Column("performed", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_workitem")),
        sa.UniqueConstraint("study_instance_uid", "attempt", name=op.f("uq_workitem_study_instance_uid_attempt")),
    )
    op.create_index("ix_workitem_state", "workitem", ["state"])
    op.create_table(
        "workitem_subscription",
        sa.Column("ae_title", sa.String(length=16), nullable=False),
        sa.Column("scope", sa.String(length=64), nullable=False),
        sa.Column("subscribed", sa.Boolean(), nullable=False),
        sa.Column("deletion_lock", sa.Boolean(), nullable=False),
        sa.Column("keys", sa.JSON(), nullable=False),
        sa.Column("suspended_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("ae_title", "scope", name=op.f("pk_workitem_subscription")),
    )
    op.create_table(
        "workitem_event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("ae_title", sa.String(length=16), nullable=False),
        sa.Column("workitem_uid", sa.String(length=64), nullable=False),
        sa.Column("event_type", sa.Integer(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workitem_event")),
    )
    op.create_index(op.f("ix_workitem_event_ae_title"), "workitem_event", ["ae_title"])
