"""Create tenants, accounts, traders, schedules, books and positions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
TEXT = sa.Text()
MONEY = postgresql.DOMAIN("money_value", sa.Numeric(), create_type=False)
INSTANT = sa.DateTime(timezone=True)
JSON = postgresql.JSONB()
COUNT = sa.BigInteger()
REAL = sa.Float(53)


def upgrade() -> None:
    """Create the tables, parents first."""
    op.execute(
        "CREATE DOMAIN money_value AS numeric CONSTRAINT money_value_check "
        "CHECK (VALUE > '-Infinity'::numeric AND VALUE < 'Infinity'::numeric)"
    )
    _create_tenants()
    _create_accounts()
    _create_traders()
    _create_schedules()
    _create_books()
    _create_positions()


def _create_tenants() -> None:
    op.create_table(
        "tenants",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.CheckConstraint("tenant_id <> ''", name="tenants_named"),
        sa.PrimaryKeyConstraint("tenant_id"),
    )


def _create_accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("venue", TEXT, nullable=False),
        sa.Column("trading_state", TEXT, nullable=False),
        sa.Column("state_reason", TEXT, nullable=False),
        sa.Column("fencing_token", COUNT, nullable=False),
        sa.Column("holder", TEXT, nullable=False),
        sa.Column("equity", MONEY, nullable=False),
        sa.Column("fills_since", INSTANT, nullable=True),
        sa.Column("funding_since", INSTANT, nullable=True),
        sa.Column("rebalanced_at", INSTANT, nullable=True),
        sa.Column("rebalance_members", JSON, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        sa.PrimaryKeyConstraint("tenant_id", "account_id"),
    )


def _create_traders() -> None:
    op.create_table(
        "traders",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("trader_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("seq", COUNT, nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("state_reason", TEXT, nullable=False),
        sa.Column("trading_state", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["accounts.tenant_id", "accounts.account_id"], name="traders_account"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "trader_id"),
    )
    op.create_index("traders_by_account", "traders", ["tenant_id", "account_id"])


def _create_schedules() -> None:
    op.create_table(
        "schedules",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("trader_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("interval_s", COUNT, nullable=False),
        sa.Column("phase_s", COUNT, nullable=False),
        sa.Column("next_due_at", INSTANT, nullable=True),
        sa.Column("in_flight_due_at", INSTANT, nullable=True),
        sa.Column("claimed_at", INSTANT, nullable=True),
        sa.Column("last_decision_at", INSTANT, nullable=True),
        sa.Column("failed_decisions", COUNT, nullable=False),
        sa.CheckConstraint("interval_s > 0", name="schedules_interval"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "trader_id"],
            ["traders.tenant_id", "traders.trader_id"],
            name="schedules_trader",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "trader_id"),
    )
    op.create_index("schedules_by_account", "schedules", ["tenant_id", "account_id"])
    op.create_index("schedules_due", "schedules", ["next_due_at"], postgresql_where=sa.text("in_flight_due_at IS NULL"))
    op.create_index(
        "schedules_in_flight", "schedules", ["claimed_at"], postgresql_where=sa.text("in_flight_due_at IS NOT NULL")
    )


def _create_books() -> None:
    op.create_table(
        "books",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("trader_id", KEY, nullable=False),
        sa.Column("capital", MONEY, nullable=False),
        sa.Column("realized", MONEY, nullable=False),
        sa.Column("fees", MONEY, nullable=False),
        sa.Column("funding", MONEY, nullable=False),
        sa.Column("allocated", MONEY, nullable=False),
        sa.Column("open_positions", COUNT, nullable=False),
        sa.Column("last_stop_at", INSTANT, nullable=True),
        sa.Column("recent_entries", JSON, nullable=False),
        sa.Column("sharpe_at_rebalance", REAL, nullable=True),
        sa.Column("performance", JSON, nullable=False),
        sa.Column("sharpe", REAL, nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["accounts.tenant_id", "accounts.account_id"], name="books_account"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "account_id", "trader_id"),
    )


def _create_positions() -> None:
    op.create_table(
        "positions",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("trader_id", KEY, nullable=False),
        sa.Column("symbol", KEY, nullable=False),
        sa.Column("quantity", MONEY, nullable=False),
        sa.Column("cost", MONEY, nullable=False),
        sa.Column("leverage", COUNT, nullable=False),
        sa.Column("opened_at", INSTANT, nullable=False),
        sa.Column("contract_size", MONEY, nullable=False),
        sa.Column("stop_loss", MONEY, nullable=True),
        sa.Column("take_profit", MONEY, nullable=True),
        sa.Column("realized", MONEY, nullable=False),
        sa.Column("dust", sa.Boolean(), nullable=False),
        sa.Column("naked_since", INSTANT, nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id", "trader_id"],
            ["books.tenant_id", "books.account_id", "books.trader_id"],
            name="positions_book",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "account_id", "trader_id", "symbol"),
    )


def downgrade() -> None:
    """Drop the tables, children first."""
    for table in ("positions", "books", "schedules", "traders", "accounts", "tenants"):
        op.drop_table(table)
    op.execute("DROP DOMAIN money_value")
