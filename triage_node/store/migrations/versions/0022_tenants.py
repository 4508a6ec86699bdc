"""tenants: every older store passes `tenancy.settle` once more, which does what no single revision could keep true"""

revision = "0022"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing here: `store.upgrade` settles every table after the newest revision."""
