"""Create the ledger, conflicts, verdicts, incidents, events and equity curves."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
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
    _create_ledger()
    _create_conflicts()
    _create_verdicts()
    _create_incidents()
    _create_events()
    _create_equity()


def _create_ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("ref", KEY, nullable=False),
        sa.Column("trader_id", KEY, nullable=False),
        sa.Column("kind", KEY, nullable=False),
        sa.Column("amount", MONEY, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("symbol", KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["accounts.tenant_id", "accounts.account_id"], name="ledger_account"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "account_id", "ref", "trader_id", "kind"),
    )
    op.create_index("ledger_by_trader", "ledger", ["tenant_id", "account_id", "trader_id", "at"])


def _create_conflicts() -> None:
    op.create_table(
        "conflicts",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("round_id", KEY, nullable=False),
        sa.Column("n", COUNT, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("symbol", KEY, nullable=False),
        sa.Column("traders", JSON, nullable=False),
        sa.Column("confidences", JSON, nullable=False),
        sa.Column("severity", TEXT, nullable=False),
        sa.Column("outcome", TEXT, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["accounts.tenant_id", "accounts.account_id"], name="conflicts_account"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "account_id", "round_id", "n"),
    )
    op.create_index("conflicts_by_time", "conflicts", ["tenant_id", "account_id", "at"])


def _create_verdicts() -> None:
    op.create_table(
        "verdicts",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("round_id", KEY, nullable=False),
        sa.Column("n", COUNT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("code", TEXT, nullable=False),
        sa.Column("trader_id", KEY, nullable=False),
        sa.Column("symbol", KEY, nullable=False),
        sa.Column("intent_id", KEY, nullable=False),
        sa.Column("detail", TEXT, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("numbers", JSON, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["accounts.tenant_id", "accounts.account_id"], name="verdicts_account"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "account_id", "round_id", "n"),
    )
    op.create_index("verdicts_by_trader", "verdicts", ["tenant_id", "trader_id", "at"])


def _create_incidents() -> None:
    op.create_table(
        "incidents",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("incident_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("code", TEXT, nullable=False),
        sa.Column("severity", TEXT, nullable=False),
        sa.Column("detail", TEXT, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("trader_id", KEY, nullable=False),
        sa.Column("symbol", KEY, nullable=False),
        sa.Column("resolved_at", INSTANT, nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        sa.PrimaryKeyConstraint("tenant_id", "incident_id"),
    )
    op.create_index("incidents_by_time", "incidents", ["tenant_id", "at"])
    op.create_index(
        "incidents_open", "incidents", ["tenant_id", "account_id"], postgresql_where=sa.text("resolved_at IS NULL")
    )


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("event_id", KEY, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("trader_id", KEY, nullable=False),
        sa.Column("before", TEXT, nullable=False),
        sa.Column("after", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        sa.PrimaryKeyConstraint("tenant_id", "event_id"),
    )
    op.create_index("events_by_time", "events", ["tenant_id", "at"])


def _create_equity() -> None:
    op.create_table(
        "equity",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("trader_id", KEY, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("equity", MONEY, nullable=False),
        sa.Column("drawdown_pct", MONEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["accounts.tenant_id", "accounts.account_id"], name="equity_account"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "account_id", "trader_id", "at"),
    )


def downgrade() -> None:
    """Drop the tables, children first."""
    for table in ("equity", "events", "incidents", "verdicts", "conflicts", "ledger"):
        op.drop_table(table)
