"""Keep when a trader was taken on and when its definition or state changed last."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_TABLES = ("traders", "events")
_FROM_EVENTS = """
UPDATE traders SET created_at = told.first, updated_at = told.last
FROM (
    SELECT tenant_id, trader_id, min(at) FILTER (WHERE kind = 'trader_registered') AS first, max(at) AS last
    FROM events WHERE kind IN ('trader_registered', 'trader_updated', 'trader_state') GROUP BY 1, 2
) AS told
WHERE told.tenant_id = traders.tenant_id AND told.trader_id = traders.trader_id
"""


def upgrade() -> None:
    """Add both instants, as far as the events tell them.

    The owner sees the rows of all tenants only while the tables are not FORCE.
    """
    for name in ("created_at", "updated_at"):
        op.add_column("traders", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(_FROM_EVENTS)
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    """Drop both."""
    for name in ("updated_at", "created_at"):
        op.drop_column("traders", name)
