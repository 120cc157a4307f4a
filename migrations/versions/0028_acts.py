"""Keep an operator's acts by their keys, the flattens under way, and which intents are an operator's."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
INSTANT = sa.DateTime(timezone=True)
OWN_TENANT = "tenant_id = current_setting('app.tenant', true)"
CHANGING = {"acts": "result", "flattens": "state, ended_at, remaining"}
TABLES = tuple(CHANGING)


def upgrade() -> None:
    """Create the tables with their policies; intents so far are taken for the traders' own."""
    op.add_column("intents", sa.Column("asked_by", sa.Text, nullable=False, server_default=""))
    op.alter_column("intents", "asked_by", server_default=None)
    op.create_table(
        "acts",
        sa.Column("tenant_id", KEY, sa.ForeignKey("tenants.tenant_id"), nullable=False),
        sa.Column("key", KEY, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("act", "arguments")),
        sa.Column("at", INSTANT, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("actor", "result")),
        sa.PrimaryKeyConstraint("tenant_id", "key"),
    )
    op.create_table(
        "flattens",
        *(sa.Column(name, KEY, nullable=False) for name in ("tenant_id", "account_id", "flatten_id")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("scope", "afterwards")),
        sa.Column("at", INSTANT, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("actor", "reason")),
        sa.Column("trader_id", KEY, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("ended_at", INSTANT, nullable=True),
        sa.Column("remaining", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["accounts.tenant_id", "accounts.account_id"], name="flattens_account"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "account_id", "flatten_id"),
    )
    op.create_index(
        "flattens_open", "flattens", ["tenant_id", "account_id"], postgresql_where=sa.text("state = 'open'")
    )
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY {table}_app ON {table} TO propdesk_app USING ({OWN_TENANT}) WITH CHECK ({OWN_TENANT})"
        )
        op.execute(f"CREATE POLICY {table}_service ON {table} FOR SELECT TO propdesk_service USING (true)")
        op.execute(f"GRANT SELECT, INSERT, UPDATE ({CHANGING[table]}) ON {table} TO propdesk_app")
        op.execute(f"GRANT SELECT ON {table} TO propdesk_service")


def downgrade() -> None:
    """Take them away."""
    for table in TABLES:
        op.drop_table(table)
    op.drop_column("intents", "asked_by")
