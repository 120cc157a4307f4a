"""Let incidents that ended long ago be forgotten; those that are open never are."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Allow the service to delete what has ended, and find it by when it did."""
    op.create_index(
        "incidents_ended", "incidents", ["resolved_at"], postgresql_where=sa.text("resolved_at IS NOT NULL")
    )
    op.execute(
        "CREATE POLICY incidents_forget ON incidents FOR DELETE TO propdesk_service USING (resolved_at IS NOT NULL)"
    )
    op.execute("GRANT DELETE ON incidents TO propdesk_service")


def downgrade() -> None:
    """Take both away; incidents that were forgotten stay so."""
    op.execute("REVOKE DELETE ON incidents FROM propdesk_service")
    op.execute("DROP POLICY incidents_forget ON incidents")
    op.drop_index("incidents_ended", table_name="incidents")
