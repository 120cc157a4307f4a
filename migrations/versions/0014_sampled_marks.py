"""Keep with each account's sampled equity the marks that it was reckoned with."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; the next sample fills it."""
    op.add_column("accounts", sa.Column("marks", postgresql.JSONB(), nullable=False, server_default=sa.text("'{}'")))


def downgrade() -> None:
    """Take it away."""
    op.drop_column("accounts", "marks")
