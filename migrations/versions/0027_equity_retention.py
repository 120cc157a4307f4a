"""Let samples of equity be thinned and forgotten: at ten thousand traders they would fill any disk."""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Allow the service to delete them, and find the old ones by an index that costs next to nothing to keep."""
    op.create_index("equity_by_time", "equity", ["at"], postgresql_using="brin")
    op.execute("CREATE POLICY equity_forget ON equity FOR DELETE TO propdesk_service USING (true)")
    op.execute("GRANT DELETE ON equity TO propdesk_service")


def downgrade() -> None:
    """Take both away."""
    op.execute("REVOKE DELETE ON equity FROM propdesk_service")
    op.execute("DROP POLICY equity_forget ON equity")
    op.drop_index("equity_by_time", table_name="equity")
