"""thresholds belong to a model: those that are there, to the one that they were first used with"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("policy", sa.Column("bundle_digest", sa.String(64), nullable=False, server_default=""))
    said = "detail ->> 'bundle'" if op.get_bind().dialect.name == "postgresql" else "json_extract(detail, '$.bundle')"
    op.execute(
        "UPDATE policy SET bundle_digest = COALESCE("
        "(SELECT bundle_digest FROM result WHERE result.policy_version = policy.version ORDER BY result.id LIMIT 1), "
        # nothing was decided by it yet: it was made while this one ran
        f"(SELECT {said} FROM heartbeat WHERE role = 'analysis' ORDER BY at DESC LIMIT 1), '')"
    )


def downgrade() -> None:
    op.drop_column("policy", "bundle_digest")
