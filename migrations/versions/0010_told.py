"""Keep apart when a trader was last told its refusals: not every decision reaches a model."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; an upgraded trader is told its newest refusals once more."""
    op.add_column("schedules", sa.Column("told_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Take it away."""
    op.drop_column("schedules", "told_at")
