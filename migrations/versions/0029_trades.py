"""Keep with each part of a fill which position it is of, and with each book what it began with."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

_POSITIONS = """
WITH moved AS (
    SELECT *, sum(quantity) OVER (
        PARTITION BY tenant_id, account_id, trader_id, symbol ORDER BY at, realized = 0, trade_id, leg
        ROWS UNBOUNDED PRECEDING
    ) AS held
    FROM fill_parts
), counted AS (
    SELECT *, count(*) FILTER (WHERE held = 0 AND quantity <> 0) OVER (
        PARTITION BY tenant_id, account_id, trader_id, symbol ORDER BY at, realized = 0, trade_id, leg
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS number
    FROM moved
), told AS (
    SELECT *, min(at) OVER (PARTITION BY tenant_id, account_id, trader_id, symbol, number) AS first FROM counted
)
UPDATE fill_parts AS part SET opened_at = told.first,
    closed_at = CASE WHEN told.held = 0 AND told.quantity <> 0 AND told.trader_id <> 'EXTERNAL' THEN told.at END
FROM told
WHERE (part.tenant_id, part.account_id, part.trade_id, part.trader_id, part.leg)
    = (told.tenant_id, told.account_id, told.trade_id, told.trader_id, told.leg)
"""
_BEGINNINGS = """
UPDATE books AS book SET started_usd = first.amount, started_at = first.at
FROM (
    SELECT DISTINCT ON (tenant_id, account_id, trader_id) tenant_id, account_id, trader_id, amount, at FROM ledger
    WHERE kind NOT IN ('realized', 'fee', 'funding', 'rounding') AND amount <> 0
    ORDER BY tenant_id, account_id, trader_id, at, kind <> 'deposit', ref
) AS first
WHERE (book.tenant_id, book.account_id, book.trader_id) = (first.tenant_id, first.account_id, first.trader_id)
"""


def upgrade() -> None:
    """Add the columns, fill them from what was booked in the order of its instants, and index what views read by."""
    op.add_column("fill_parts", sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("fill_parts", sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("ALTER TABLE books ADD COLUMN started_usd money_value NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE books ALTER COLUMN started_usd DROP DEFAULT")
    op.add_column("books", sa.Column("started_at", sa.DateTime(timezone=True), nullable=True))
    tables = ("fill_parts", "books", "ledger")
    for table in tables:
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(_POSITIONS)
    op.execute(_BEGINNINGS)
    for table in tables:
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.create_index("fill_parts_by_position", "fill_parts", ["tenant_id", "trader_id", "opened_at"])
    closing = ["tenant_id", "account_id", "closed_at"]
    op.create_index("fill_parts_closing", "fill_parts", closing, postgresql_where=sa.text("closed_at IS NOT NULL"))


def downgrade() -> None:
    """Take them away."""
    op.drop_index("fill_parts_closing", table_name="fill_parts")
    op.drop_index("fill_parts_by_position", table_name="fill_parts")
    for table, column in (("fill_parts", "opened_at"), ("fill_parts", "closed_at"), ("books", "started_usd")):
        op.drop_column(table, column)
    op.drop_column("books", "started_at")
