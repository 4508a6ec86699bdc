"""when a failed study is tried again"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("study", sa.Column("try_at", sa.DateTime(), nullable=True))
