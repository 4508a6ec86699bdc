"""what one of several processes does, which host serves an association, which host gave a sign of life"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "turn",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=False),
        sa.Column("until", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_turn")),
    )
    op.add_column("association", sa.Column("receiver", sa.String(length=64), nullable=False, server_default=""))
    # signs of life are given anew every two seconds
    op.drop_table("heartbeat")
    op.create_table(
        "heartbeat",
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("host", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("role", "host", name=op.f("pk_heartbeat")),
    )
