"""Keep when an account's invariants were checked last and what was found: only what is found twice is an incident."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; the next check fills them."""
    op.add_column("accounts", sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "accounts", sa.Column("suspicions", postgresql.JSONB(), nullable=False, server_default=sa.text("'{}'"))
    )
    op.alter_column("accounts", "suspicions", server_default=None)


def downgrade() -> None:
    """Take them away."""
    op.drop_column("accounts", "suspicions")
    op.drop_column("accounts", "checked_at")
