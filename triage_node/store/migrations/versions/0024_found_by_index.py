"""what is asked many times a second, or of each study, is found by an index however much the store holds"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("study", sa.Column("patient_id", sa.Text(), nullable=False, server_default=""))
    op.add_column("study", sa.Column("listed", sa.Boolean(), nullable=False, server_default=sa.false()))
    patient_id = "identity ->> 'patient_id'" if _is_postgresql() else "json_extract(identity, '$.patient_id')"
    op.execute(
        f"UPDATE study SET patient_id = {patient_id}, listed = EXISTS "
        "(SELECT 1 FROM worklist_row WHERE worklist_row.study_instance_uid = study.study_instance_uid)"
    )
    op.create_index("ix_study_patient_id", "study", ["patient_id"])
    op.create_index("ix_study_arrived_at", "study", ["arrived_at"])
    _create_partial("ix_study_unlisted", "study", "arrived_at", "NOT listed" if _is_postgresql() else "listed = 0")
    _create_partial("ix_association_open", "association", "id", "closed_at IS NULL")
    op.drop_index("ix_worklist_row_reading_state", "worklist_row")
    op.create_index("ix_worklist_row_reading_state_flag_urgency", "worklist_row", ["reading_state", "flag_urgency"])


def downgrade() -> None:
    op.drop_index("ix_worklist_row_reading_state_flag_urgency", "worklist_row")
    op.create_index("ix_worklist_row_reading_state", "worklist_row", ["reading_state"])
    op.drop_index("ix_association_open", "association")
    for name in ("ix_study_unlisted", "ix_study_arrived_at", "ix_study_patient_id"):
        op.drop_index(name, "study")
    op.drop_column("study", "listed")
    op.drop_column("study", "patient_id")


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _create_partial(name: str, table: str, column: str, where: str) -> None:
    op.create_index(name, table, [column], sqlite_where=sa.text(where), postgresql_where=sa.text(where))
