"""Create decisions, intents, rounds, orders and fills."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
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
    _create_decisions()
    _create_intents()
    _create_rounds()
    _create_orders()
    _create_fills()
    _create_fill_parts()


def _create_decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("decision_id", KEY, nullable=False),
        sa.Column("trader_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("due_at", INSTANT, nullable=False),
        sa.Column("decided_at", INSTANT, nullable=False),
        sa.Column("outcome", TEXT, nullable=False),
        sa.Column("decisions", JSON, nullable=False),
        sa.Column("errors", JSON, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("prompt_hash", TEXT, nullable=False),
        sa.Column("reasoning", TEXT, nullable=False),
        sa.Column("reply", TEXT, nullable=False),
        sa.Column("usage", JSON, nullable=False),
        sa.Column("latency_s", REAL, nullable=False),
        sa.Column("attempts", COUNT, nullable=False),
        sa.Column("context", JSON, nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["accounts.tenant_id", "accounts.account_id"], name="decisions_account"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "decision_id"),
    )
    op.create_index("decisions_by_trader", "decisions", ["tenant_id", "trader_id", "decided_at"])


def _create_intents() -> None:
    op.create_table(
        "intents",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("intent_id", KEY, nullable=False),
        sa.Column("decision_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("trader_id", KEY, nullable=False),
        sa.Column("decided_at", INSTANT, nullable=False),
        sa.Column("decision", JSON, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=True),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("round_id", TEXT, nullable=False),
        sa.Column("code", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["accounts.tenant_id", "accounts.account_id"], name="intents_account"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "intent_id"),
    )
    op.create_index("intents_by_decision", "intents", ["tenant_id", "decision_id"])
    op.create_index("intents_by_trader", "intents", ["tenant_id", "trader_id", "decided_at"])
    op.create_index(
        "intents_pending", "intents", ["tenant_id", "account_id"], postgresql_where=sa.text("status = 'pending'")
    )


def _create_rounds() -> None:
    op.create_table(
        "rounds",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("round_id", KEY, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("equity", MONEY, nullable=False),
        sa.Column("counts", JSON, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["accounts.tenant_id", "accounts.account_id"], name="rounds_account"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "account_id", "round_id"),
    )
    op.create_index("rounds_by_time", "rounds", ["tenant_id", "account_id", "at"])


def _create_orders() -> None:
    op.create_table(
        "orders",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("order_id", KEY, nullable=False),
        sa.Column("round_id", KEY, nullable=False),
        sa.Column("symbol", KEY, nullable=False),
        sa.Column("side", TEXT, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("purpose", TEXT, nullable=False),
        sa.Column("quantity", MONEY, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("shares", JSON, nullable=False),
        sa.Column("trigger_price", MONEY, nullable=True),
        sa.Column("reduce_only", sa.Boolean(), nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("filled", MONEY, nullable=False),
        sa.Column("venue_order_id", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("send_before", INSTANT, nullable=True),
        sa.Column("updated_at", INSTANT, nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["accounts.tenant_id", "accounts.account_id"], name="orders_account"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "account_id", "order_id"),
    )
    op.create_index("orders_by_round", "orders", ["tenant_id", "account_id", "round_id"])
    op.create_index("orders_by_time", "orders", ["tenant_id", "account_id", "created_at"])
    op.create_index(
        "orders_live",
        "orders",
        ["tenant_id", "account_id"],
        postgresql_where=sa.text("state IN ('pending', 'accepted', 'unknown')"),
    )


def _create_fills() -> None:
    op.create_table(
        "fills",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("trade_id", KEY, nullable=False),
        sa.Column("order_id", KEY, nullable=False),
        sa.Column("symbol", KEY, nullable=False),
        sa.Column("side", TEXT, nullable=False),
        sa.Column("quantity", MONEY, nullable=False),
        sa.Column("price", MONEY, nullable=False),
        sa.Column("fee", MONEY, nullable=False),
        sa.Column("liquidity", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["accounts.tenant_id", "accounts.account_id"], name="fills_account"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "account_id", "trade_id"),
    )
    op.create_index("fills_by_order", "fills", ["tenant_id", "account_id", "order_id"])
    op.create_index("fills_by_time", "fills", ["tenant_id", "account_id", "at"])


def _create_fill_parts() -> None:
    op.create_table(
        "fill_parts",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("trade_id", KEY, nullable=False),
        sa.Column("trader_id", KEY, nullable=False),
        sa.Column("leg", KEY, nullable=False),
        sa.Column("order_id", KEY, nullable=False),
        sa.Column("intent_id", KEY, nullable=False),
        sa.Column("symbol", KEY, nullable=False),
        sa.Column("quantity", MONEY, nullable=False),
        sa.Column("price", MONEY, nullable=False),
        sa.Column("fee", MONEY, nullable=False),
        sa.Column("realized", MONEY, nullable=False),
        sa.Column("purpose", TEXT, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["accounts.tenant_id", "accounts.account_id"], name="fill_parts_account"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "account_id", "trade_id", "trader_id", "leg"),
    )
    op.create_index("fill_parts_by_order", "fill_parts", ["tenant_id", "account_id", "order_id"])
    op.create_index("fill_parts_by_trader", "fill_parts", ["tenant_id", "account_id", "trader_id", "at"])


def downgrade() -> None:
    """Drop the tables, children first."""
    for table in ("fill_parts", "fills", "orders", "rounds", "intents", "decisions"):
        op.drop_table(table)
