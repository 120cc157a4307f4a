"""Keep when an account was opened: as part of its orders' ids, no database made anew repeats one."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the instant; the ids that were given before stay theirs."""
    op.add_column("accounts", sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Take the instant away."""
    op.drop_column("accounts", "opened_at")
