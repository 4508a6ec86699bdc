"""the heartbeat's own studies, and what is followed of each scanner"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "synthetic_study",
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("written_at", sa.DateTime(), nullable=False),
        sa.Column("spoiled_at", sa.DateTime(), nullable=True),
        sa.Column("probability", sa.Float(), nullable=True),
        sa.Column("raise_probability", sa.Float(), nullable=True),
        sa.Column("decided_at", sa.DateTime(), nullable=True),
        sa.Column("checked_at", sa.DateTime(), nullable=True),
        sa.Column("passed", sa.Boolean(), nullable=True),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("erased_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("study_instance_uid", name=op.f("pk_synthetic_study")),
    )
    op.create_index("ix_synthetic_study_written_at", "synthetic_study", ["written_at"])
    op.create_table(
        "drift_sample",
        _id(),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("scanner", sa.String(length=160), nullable=False),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.Column("slice_thickness_mm", sa.Float(), nullable=False),
        sa.Column("noise_hu", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift_sample")),
        sa.UniqueConstraint("study_instance_uid", "revision", name=op.f("uq_drift_sample_study_instance_uid_revision")),
    )
    op.create_index("ix_drift_sample_scanner_id", "drift_sample", ["scanner", "id"])
    op.create_table(
        "drift_baseline",
        _id(),
        sa.Column("scanner", sa.String(length=160), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("by", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift_baseline")),
    )
    op.create_index("ix_drift_baseline_scanner", "drift_baseline", ["scanner"])


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False)
