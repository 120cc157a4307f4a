"""Sum what models cost, day by day, and keep what is set aside for calls under way."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import DOMAIN

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
COUNT = sa.BigInteger()
INSTANT = sa.DateTime(timezone=True)
MONEY = DOMAIN("money_value", sa.Numeric(), create_type=False)
OWN_TENANT = "tenant_id = current_setting('app.tenant', true)"


def upgrade() -> None:
    """Create both tables with their policies."""
    op.create_table(
        "spending",
        sa.Column("tenant_id", KEY, sa.ForeignKey("tenants.tenant_id"), nullable=False),
        sa.Column("day", INSTANT, nullable=False),
        sa.Column("scope", KEY, nullable=False),
        sa.Column("name", KEY, nullable=False),
        *(sa.Column(name, MONEY, nullable=False) for name in ("spent_usd", "reserved_usd", "unknown_usd")),
        *(sa.Column(name, COUNT, nullable=False) for name in ("calls", "input_tokens", "cached_tokens")),
        sa.Column("output_tokens", COUNT, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "day", "scope", "name"),
    )
    op.create_table(
        "holds",
        sa.Column("tenant_id", KEY, sa.ForeignKey("tenants.tenant_id"), nullable=False),
        sa.Column("hold_id", KEY, nullable=False),
        sa.Column("day", INSTANT, nullable=False),
        sa.Column("model", KEY, nullable=False),
        sa.Column("trader_id", KEY, nullable=False),
        sa.Column("usd", MONEY, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "hold_id"),
    )
    for table in ("spending", "holds"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY {table}_app ON {table} TO propdesk_app USING ({OWN_TENANT}) WITH CHECK ({OWN_TENANT})"
        )
        op.execute(f"CREATE POLICY {table}_service ON {table} FOR SELECT TO propdesk_service USING (true)")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO propdesk_app")
        op.execute(f"GRANT SELECT ON {table} TO propdesk_service")


def downgrade() -> None:
    """Take both away; the costs are lost, but for those of each decision."""
    op.drop_table("holds")
    op.drop_table("spending")
