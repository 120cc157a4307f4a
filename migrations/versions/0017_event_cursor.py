"""Give every event a place from which a reader can go on, also past one that was committed late."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the writing transaction and the order within it; the table is rewritten, so that all rows have both.

    Events stored so far count as those of this transaction, in the order in which they are stored, which is that of
    their writing: nothing of them was ever changed or deleted.
    """
    this = sa.text("pg_current_xact_id()::text::bigint")
    op.add_column("events", sa.Column("xact", sa.BigInteger(), nullable=False, server_default=this))
    op.add_column("events", sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False))
    op.create_index("events_by_place", "events", ["tenant_id", "xact", "seq"])


def downgrade() -> None:
    """Take the places away."""
    op.drop_index("events_by_place", "events")
    op.drop_column("events", "seq")
    op.drop_column("events", "xact")
