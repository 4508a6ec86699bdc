"""what retention has still to remove is found without reading what it removed long ago"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    is_left = sa.text("source_removed_at IS NULL")
    op.create_index(
        "ix_instance_source_left", "instance", ["study_instance_uid"], sqlite_where=is_left, postgresql_where=is_left
    )


def downgrade() -> None:
    op.drop_index("ix_instance_source_left", "instance")
