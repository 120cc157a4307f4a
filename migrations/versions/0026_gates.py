"""Name the endpoint that decides for each trader, so that no slow one is given all the slots."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the gate, and name it as the code does.

    The owner sees the rows of all tenants only while the table is not FORCE.
    """
    op.add_column("schedules", sa.Column("gate", sa.Text, nullable=False, server_default=""))
    op.alter_column("schedules", "gate", server_default=None)
    for table in ("schedules", "traders"):
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute("""
        UPDATE schedules s
        SET gate = CASE e.type WHEN 'remote' THEN e.url
                   ELSE e.model || CASE e.url WHEN '' THEN '' ELSE ' at ' || e.url END END
        FROM traders t, LATERAL (
            SELECT t.spec->'executor'->>'type' AS type, coalesce(t.spec->'executor'->>'model', '') AS model,
                   coalesce(t.spec->'executor'->>'base_url', '') AS url
        ) e
        WHERE t.tenant_id = s.tenant_id AND t.trader_id = s.trader_id AND e.type IN ('llm', 'remote')
    """)
    for table in ("schedules", "traders"):
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    """Drop the gate."""
    op.drop_column("schedules", "gate")
