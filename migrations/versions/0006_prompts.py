"""Keep the text of prompts for a while, and with each decision how long its prompt was and what was cut from it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
TEXT = sa.Text()
COUNT = sa.BigInteger()
OWN_TENANT = "tenant_id = current_setting('app.tenant', true)"


def upgrade() -> None:
    """Create the table with its policies, and add the columns; decisions made before have nothing to tell."""
    op.create_table(
        "prompts",
        sa.Column("tenant_id", KEY, nullable=False),
        sa.Column("decision_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("trader_id", KEY, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("template", TEXT, nullable=False),
        sa.Column("version", COUNT, nullable=False),
        sa.Column("sha256", TEXT, nullable=False),
        sa.Column("body", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["accounts.tenant_id", "accounts.account_id"], name="prompts_account"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "decision_id"),
    )
    op.create_index("prompts_by_time", "prompts", ["at"])
    op.execute("ALTER TABLE prompts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY prompts_app ON prompts TO propdesk_app USING ({OWN_TENANT}) WITH CHECK ({OWN_TENANT})")
    op.execute("CREATE POLICY prompts_service ON prompts FOR SELECT TO propdesk_service USING (true)")
    op.execute("CREATE POLICY prompts_forget ON prompts FOR DELETE TO propdesk_service USING (true)")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON prompts TO propdesk_app")
    op.execute("GRANT SELECT, DELETE ON prompts TO propdesk_service")
    for column in (
        sa.Column("prompt_tokens", COUNT, nullable=False, server_default="0"),
        sa.Column("prompt_cuts", postgresql.JSONB(), nullable=False, server_default="[]"),
    ):
        op.add_column("decisions", column)
        op.alter_column("decisions", column.name, server_default=None)


def downgrade() -> None:
    """Take both away; the texts are lost."""
    op.drop_column("decisions", "prompt_cuts")
    op.drop_column("decisions", "prompt_tokens")
    op.drop_table("prompts")
