"""Keep the budgets of a config where `propdesk status` finds them, and let old sums of costs be forgotten."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import DOMAIN

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
MONEY = DOMAIN("money_value", sa.Numeric(), create_type=False)
OWN_TENANT = "tenant_id = current_setting('app.tenant', true)"


def upgrade() -> None:
    """Create the table with its policies; the next start of a desk fills it."""
    op.create_table(
        "budgets",
        sa.Column("tenant_id", KEY, sa.ForeignKey("tenants.tenant_id"), nullable=False),
        sa.Column("scope", KEY, nullable=False),
        sa.Column("name", KEY, nullable=False),
        sa.Column("usd", MONEY, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "scope", "name"),
    )
    op.execute("ALTER TABLE budgets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY budgets_app ON budgets TO propdesk_app USING ({OWN_TENANT}) WITH CHECK ({OWN_TENANT})")
    op.execute("CREATE POLICY budgets_service ON budgets FOR SELECT TO propdesk_service USING (true)")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON budgets TO propdesk_app")
    op.execute("GRANT SELECT ON budgets TO propdesk_service")
    op.execute("CREATE POLICY spending_forget ON spending FOR DELETE TO propdesk_service USING (true)")
    op.execute("GRANT DELETE ON spending TO propdesk_service")


def downgrade() -> None:
    """Take both away; the config has the budgets still."""
    op.execute("REVOKE DELETE ON spending FROM propdesk_service")
    op.execute("DROP POLICY spending_forget ON spending")
    op.drop_table("budgets")
