"""clinical facts and prognosis, each in revisions that are never changed; "not sure" on the list"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("worklist_row", sa.Column("unsure", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("worklist_row", sa.Column("apart", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "clinical_facts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("by", sa.String(length=128), nullable=False),
        sa.Column("via", sa.String(length=16), nullable=False),
        sa.Column("patient_digest", sa.String(length=64), nullable=False),
        sa.Column("entry", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clinical_facts")),
        sa.UniqueConstraint(
            "study_instance_uid", "revision", name=op.f("uq_clinical_facts_study_instance_uid_revision")
        ),
    )
    op.create_table(
        "prognosis",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("result_revision", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("clinical_revision", sa.Integer(), nullable=False),
        sa.Column("clinical_inputs_digest", sa.String(length=64), nullable=False),
        sa.Column("measured", sa.JSON(), nullable=False),
        sa.Column("predictions", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prognosis")),
        sa.UniqueConstraint(
            "study_instance_uid",
            "result_revision",
            "revision",
            name=op.f("uq_prognosis_study_instance_uid_result_revision_revision"),
        ),
    )
