"""Keep when an account was opened: it enters the ids of its orders, so that a database made anew repeats none."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the instant; accounts of before have none, and the ids that they gave stay theirs."""
    op.add_column("accounts", sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Take the instant away."""
    op.drop_column("accounts", "opened_at")
