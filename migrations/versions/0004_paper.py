"""Create the accounts, orders, fills and funding of the paper venue."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
TEXT = sa.Text()
MONEY = postgresql.DOMAIN("money_value", sa.Numeric(), create_type=False)
INSTANT = sa.DateTime(timezone=True)
JSON = postgresql.JSONB()
COUNT = sa.BigInteger()


def upgrade() -> None:
    """Create the tables, parents first."""
    _create_paper_accounts()
    _create_paper_orders()
    _create_paper_fills()
    _create_paper_funding()


def _create_paper_accounts() -> None:
    op.create_table(
        "paper_accounts",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("account", KEY, nullable=False),
        sa.Column("cash", MONEY, nullable=False),
        sa.Column("advanced_to", INSTANT, nullable=False),
        sa.Column("positions", JSON, nullable=False),
        sa.Column("leverage", JSON, nullable=False),
        sa.Column("order_sequence", COUNT, nullable=False),
        sa.Column("trade_sequence", COUNT, nullable=False),
        sa.Column("revision", COUNT, nullable=False),
        sa.Column("liquidated_at", INSTANT, nullable=True),
        sa.Column("phase", COUNT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        sa.PrimaryKeyConstraint("tenant_id", "account"),
    )


def _create_paper_orders() -> None:
    op.create_table(
        "paper_orders",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("account", KEY, nullable=False),
        sa.Column("client_order_id", KEY, nullable=False),
        sa.Column("venue_order_id", KEY, nullable=False),
        sa.Column("symbol", KEY, nullable=False),
        sa.Column("side", TEXT, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("quantity", MONEY, nullable=False),
        sa.Column("limit_price", MONEY, nullable=True),
        sa.Column("trigger_price", MONEY, nullable=True),
        sa.Column("reduce_only", sa.Boolean(), nullable=False),
        sa.Column("time_in_force", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("filled", MONEY, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.Column("live_from", INSTANT, nullable=False),
        sa.Column("triggered", sa.Boolean(), nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account"],
            ["paper_accounts.tenant_id", "paper_accounts.account"],
            name="paper_orders_account",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "account", "client_order_id"),
    )
    op.create_index(
        "paper_orders_open", "paper_orders", ["tenant_id", "account"], postgresql_where=sa.text("status = 'open'")
    )


def _create_paper_fills() -> None:
    op.create_table(
        "paper_fills",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("account", KEY, nullable=False),
        sa.Column("trade_id", KEY, nullable=False),
        sa.Column("seq", COUNT, sa.Identity(always=True), nullable=False),
        sa.Column("client_order_id", KEY, nullable=True),
        sa.Column("venue_order_id", KEY, nullable=True),
        sa.Column("symbol", KEY, nullable=False),
        sa.Column("side", TEXT, nullable=False),
        sa.Column("quantity", MONEY, nullable=False),
        sa.Column("price", MONEY, nullable=False),
        sa.Column("fee", MONEY, nullable=False),
        sa.Column("liquidity", TEXT, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account"], ["paper_accounts.tenant_id", "paper_accounts.account"], name="paper_fills_account"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "account", "trade_id"),
    )
    op.create_index("paper_fills_by_time", "paper_fills", ["tenant_id", "account", "at"])


def _create_paper_funding() -> None:
    op.create_table(
        "paper_funding",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("account", KEY, nullable=False),
        sa.Column("seq", COUNT, sa.Identity(always=True), nullable=False),
        sa.Column("symbol", KEY, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("rate", MONEY, nullable=False),
        sa.Column("mark", MONEY, nullable=False),
        sa.Column("amount", MONEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account"],
            ["paper_accounts.tenant_id", "paper_accounts.account"],
            name="paper_funding_account",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "account", "seq"),
    )
    op.create_index("paper_funding_by_time", "paper_funding", ["tenant_id", "account", "at"])


def downgrade() -> None:
    """Drop the tables, children first."""
    for table in ("paper_funding", "paper_fills", "paper_orders", "paper_accounts"):
        op.drop_table(table)
