"""studies judged again on demand, and by a second model beside the first"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trial",
        _id(),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("asked_by", sa.String(length=128), nullable=False),
        sa.Column("asked_at", sa.DateTime(), nullable=False),
        sa.Column("bundle", sa.Text(), nullable=False),
        sa.Column("policy_version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=128), nullable=False),
        sa.Column("lease_until", sa.DateTime(), nullable=True),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.Column("answer", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(["policy_version"], ["policy.version"], name=op.f("fk_trial_policy_version_policy")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trial")),
    )
    op.create_index("ix_trial_study_instance_uid", "trial", ["study_instance_uid"])
    op.create_table(
        "shadow_result",
        _id(),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.Column("hematoma_volume_ml", sa.Float(), nullable=False),
        sa.Column("shadow_name", sa.String(length=64), nullable=False),
        sa.Column("shadow_version", sa.String(length=32), nullable=False),
        sa.Column("shadow_digest", sa.String(length=64), nullable=False),
        sa.Column("shadow_probability", sa.Float(), nullable=True),
        sa.Column("shadow_flagged", sa.Boolean(), nullable=True),
        sa.Column("shadow_volume_ml", sa.Float(), nullable=True),
        sa.Column("shadow_raise_probability", sa.Float(), nullable=True),
        sa.Column("why_not", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shadow_result")),
        sa.UniqueConstraint("study_instance_uid", "revision", "shadow_digest", name="uq_shadow_result_of_model"),
    )
    op.create_index("ix_shadow_result_shadow_digest_at", "shadow_result", ["shadow_digest", "at"])


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False)
