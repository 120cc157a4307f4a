"""Keep with each account the terms it trades on and the config they are from."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COLUMNS = ("terms", "config")


def upgrade() -> None:
    """Add both columns; the next start of a desk fills them."""
    for name in COLUMNS:
        op.add_column("accounts", sa.Column(name, sa.Text(), nullable=False, server_default=""))
        op.alter_column("accounts", name, server_default=None)


def downgrade() -> None:
    """Take both away."""
    for name in reversed(COLUMNS):
        op.drop_column("accounts", name)
