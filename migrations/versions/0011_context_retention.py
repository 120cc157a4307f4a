"""Let the contexts of decisions be forgotten with their prompts: the same text could be made of them again."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Allow the service that one column, and find the rows that still have it by their age."""
    op.create_index(
        "decisions_with_context", "decisions", ["decided_at"], postgresql_where=sa.text("context IS NOT NULL")
    )
    op.execute(
        "CREATE POLICY decisions_forget ON decisions FOR UPDATE TO propdesk_service USING (true) WITH CHECK (true)"
    )
    op.execute("GRANT UPDATE (context) ON decisions TO propdesk_service")


def downgrade() -> None:
    """Take both away; contexts that were forgotten stay so."""
    op.execute("REVOKE UPDATE (context) ON decisions FROM propdesk_service")
    op.execute("DROP POLICY decisions_forget ON decisions")
    op.drop_index("decisions_with_context", table_name="decisions")
