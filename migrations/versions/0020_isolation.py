"""Keep since when a book is bankrupt, who recapitalised it, and what decides whether a trader is isolated."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; the next pass over an account marks its books, and counting begins anew."""
    op.add_column("books", sa.Column("bankrupt_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("books", sa.Column("last_entry_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("books", sa.Column("violations", postgresql.JSONB(), nullable=False, server_default=sa.text("'[]'")))
    op.alter_column("books", "violations", server_default=None)
    for name in ("actor", "reason"):
        op.add_column("ledger", sa.Column(name, sa.Text, nullable=False, server_default=""))
        op.alter_column("ledger", name, server_default=None)
    op.add_column("schedules", sa.Column("bad_replies", sa.BigInteger, nullable=False, server_default="0"))
    op.alter_column("schedules", "bad_replies", server_default=None)


def downgrade() -> None:
    """Take them away."""
    op.drop_column("schedules", "bad_replies")
    for name in ("reason", "actor"):
        op.drop_column("ledger", name)
    for name in ("violations", "last_entry_at", "bankrupt_at"):
        op.drop_column("books", name)
