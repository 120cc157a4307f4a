"""Keep with each account's sampled equity how much of it was dealt, used and held back."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; the next sample fills it."""
    op.add_column("accounts", sa.Column("utilization", postgresql.JSONB(), nullable=True))


def downgrade() -> None:
    """Take it away."""
    op.drop_column("accounts", "utilization")
