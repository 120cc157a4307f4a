"""Keep in columns what code read out of ids and reasons; let a worker see for which version a database is."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
COUNT = sa.BigInteger()
_BRACKET = "CASE WHEN position('~' IN {0}) > 0 THEN split_part({0}, '~', 1) END"
_PLACE = (
    "coalesce(CASE WHEN position('~' IN order_id) > 0 THEN substring(order_id FROM '\\.([0-9]{1,18})$') "
    "ELSE substring(order_id FROM '^[0-9]+\\.([0-9]{1,18})\\.') END, '0')::bigint"
)
_ADDED = (
    ("orders", "n", COUNT, _PLACE),
    ("orders", "bracket", KEY, _BRACKET.format("order_id")),
    ("orders", "fired", sa.Boolean(), "reason = 'fired'"),
    ("intents", "n", COUNT, "coalesce(substring(intent_id FROM '#([0-9]{1,18})$'), '0')::bigint"),
    ("paper_orders", "bracket", KEY, _BRACKET.format("client_order_id")),
)


def upgrade() -> None:
    """Add the columns and fill them from ids of the form `trader.symbol~purpose.round.n`, which stay as they are."""
    for table, column, kind, old in _ADDED:
        op.add_column(table, sa.Column(column, kind, nullable=True))
        _fill(table, column, old)
        if column != "bracket":
            op.alter_column(table, column, nullable=False)
    op.execute("GRANT SELECT ON alembic_version TO propdesk_app, propdesk_service")


def downgrade() -> None:
    """Take the columns away; the ids still say what they said, those made meanwhile nothing."""
    op.execute("REVOKE SELECT ON alembic_version FROM propdesk_app, propdesk_service")
    for table, column, _, _ in reversed(_ADDED):
        op.drop_column(table, column)


def _fill(table: str, column: str, old: str) -> None:
    """Fill a column in the rows of all tenants, which the owner sees only while its tables are not FORCE."""
    op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(sa.update(sa.table(table, sa.column(column))).values({column: sa.text(old)}))
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
