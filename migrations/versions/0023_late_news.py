"""Keep funding payments as the venue told them, and how far its news is booked, so that late news finds its place."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import DOMAIN

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
INSTANT = sa.DateTime(timezone=True)
MONEY = DOMAIN("money_value", sa.Numeric(), create_type=False)
OWN_TENANT = "tenant_id = current_setting('app.tenant', true)"
_FORCED = ("accounts", "ledger", "funding")
_OPENED = (
    "UPDATE accounts a SET books_since = l.at, cash_since = l.at FROM ledger l "
    "WHERE l.tenant_id = a.tenant_id AND l.account_id = a.account_id AND l.ref = 'initial'"
)
# Of payments booked before this version rate and mark are not known: they are known again and never corrected.
_BOOKED = (
    "INSERT INTO funding SELECT tenant_id, account_id, substr(ref, 9), symbol, at, 0, 0, sum(amount::numeric), '{}' "
    "FROM ledger WHERE ref LIKE 'funding/%' GROUP BY tenant_id, account_id, ref, symbol, at"
)


def upgrade() -> None:
    """Create the table, add the columns, and fill both from the ledger.

    The owner sees the rows of all tenants only while a table is not FORCE.
    """
    for name in ("books_since", "cash_since"):
        op.add_column("accounts", sa.Column(name, INSTANT, nullable=True))
    op.add_column("accounts", sa.Column("newest_trade", sa.Text, nullable=False, server_default=""))
    op.alter_column("accounts", "newest_trade", server_default=None)
    op.create_index("fill_parts_by_symbol", "fill_parts", ["tenant_id", "account_id", "symbol", "at"])
    op.create_table(
        "funding",
        *(sa.Column(name, KEY, nullable=False) for name in ("tenant_id", "account_id", "payment", "symbol")),
        sa.Column("at", INSTANT, nullable=False),
        *(sa.Column(name, MONEY, nullable=False) for name in ("rate", "mark", "amount")),
        sa.Column("parts", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "account_id", "payment"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["accounts.tenant_id", "accounts.account_id"], name="funding_account"
        ),
    )
    op.create_index("funding_by_symbol", "funding", ["tenant_id", "account_id", "symbol", "at"])
    for table in _FORCED[:2]:
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(_OPENED)
    op.execute(_BOOKED)
    op.execute("ALTER TABLE funding ENABLE ROW LEVEL SECURITY")
    for table in _FORCED:
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY funding_app ON funding TO propdesk_app USING ({OWN_TENANT}) WITH CHECK ({OWN_TENANT})")
    op.execute("CREATE POLICY funding_service ON funding FOR SELECT TO propdesk_service USING (true)")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON funding TO propdesk_app")
    op.execute("GRANT SELECT ON funding TO propdesk_service")


def downgrade() -> None:
    """Take them away; the ledger still has every posting."""
    op.drop_table("funding")
    op.drop_index("fill_parts_by_symbol", "fill_parts")
    for name in ("newest_trade", "cash_since", "books_since"):
        op.drop_column("accounts", name)
