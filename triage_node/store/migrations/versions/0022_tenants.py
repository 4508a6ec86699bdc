"""what a hub has got; and tenants: every older store passes `tenancy.settle` once more, which no single revision could keep true"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("instance", sa.Column("forwarded_at", sa.DateTime(), nullable=True))
    op.add_column("instance", sa.Column("hub_refusal", sa.Text(), nullable=False, server_default=""))
    op.add_column("study", sa.Column("forwarded", sa.Integer(), nullable=False, server_default="0"))
