"""Keep why a trader is in its state as a code where that decides, so that no text of an operator does."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_REMOVED = "no longer in the config"
_STOPPED_BY = (
    "SELECT actor FROM events WHERE events.tenant_id = traders.tenant_id AND events.trader_id = traders.trader_id"
    " AND events.kind = 'trader_state' ORDER BY events.xact DESC, events.seq DESC LIMIT 1"
)


def upgrade() -> None:
    """Add the code, and give it to the traders that a config stopped, not to those whose operator wrote the same words.

    The owner sees the rows of all tenants only while the tables are not FORCE.
    """
    op.add_column("traders", sa.Column("state_code", sa.Text, nullable=False, server_default=""))
    op.alter_column("traders", "state_code", server_default=None)
    rows = sa.table("traders", *map(sa.column, ("state", "state_reason", "state_code")), sa.column("spec", sa.JSON))
    removed = sa.update(rows).where(
        rows.c.state == "stopped",
        rows.c.state_reason == _REMOVED,
        rows.c.spec["managed_by"].as_string() == "config",
        sa.text(f"({_STOPPED_BY}) = 'config'"),
    )
    for table in ("traders", "events"):
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(removed.values(state_code="removed_from_config"))
    for table in ("traders", "events"):
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    """Drop the code; the reason says it again."""
    op.drop_column("traders", "state_code")
