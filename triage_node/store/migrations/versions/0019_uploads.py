"""what of the received instances lies in the store that hosts share"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("instance", sa.Column("upload", sa.String(length=8), nullable=False, server_default=""))
    op.add_column("study", sa.Column("awaits_blobs", sa.Boolean(), nullable=False, server_default=sa.false()))
    is_due = sa.text("upload = 'due'")
    op.create_index("ix_instance_upload", "instance", ["upload"], sqlite_where=is_due, postgresql_where=is_due)
