"""Let each role see what it may: the app its tenant's rows, the service what the scheduler and the checks need."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

APPEND_ONLY = ("fills", "fill_parts", "ledger", "events")
WRITABLE = (
    "accounts",
    "traders",
    "schedules",
    "books",
    "positions",
    "decisions",
    "intents",
    "rounds",
    "orders",
    "conflicts",
    "verdicts",
    "incidents",
    "equity",
    "paper_accounts",
    "paper_orders",
    "paper_fills",
    "paper_funding",
)
TENANT_TABLES = ("tenants", *WRITABLE, *APPEND_ONLY)
OWN_TENANT = "tenant_id = current_setting('app.tenant', true)"


def upgrade() -> None:
    """Force row-level security and grant."""
    op.execute("GRANT USAGE ON SCHEMA public TO propdesk_app, propdesk_service")
    for table in TENANT_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY {table}_app ON {table} TO propdesk_app USING ({OWN_TENANT}) WITH CHECK ({OWN_TENANT})"
        )
        op.execute(f"CREATE POLICY {table}_service ON {table} FOR SELECT TO propdesk_service USING (true)")
        op.execute(f"GRANT SELECT ON {table} TO propdesk_app, propdesk_service")
    op.execute(f"GRANT INSERT ON {', '.join(APPEND_ONLY)} TO propdesk_app")
    op.execute(f"GRANT INSERT, UPDATE, DELETE ON {', '.join(WRITABLE)} TO propdesk_app")
    op.execute(
        "CREATE POLICY schedules_claim ON schedules FOR UPDATE TO propdesk_service USING (true) WITH CHECK (true)"
    )
    op.execute("GRANT UPDATE ON schedules TO propdesk_service")
    op.execute("CREATE POLICY tenants_create ON tenants FOR INSERT TO propdesk_service WITH CHECK (true)")
    op.execute("GRANT INSERT ON tenants TO propdesk_service")


def downgrade() -> None:
    """Take back grants and policies."""
    op.execute("DROP POLICY tenants_create ON tenants")
    op.execute("DROP POLICY schedules_claim ON schedules")
    for table in TENANT_TABLES:
        op.execute(f"DROP POLICY {table}_service ON {table}")
        op.execute(f"DROP POLICY {table}_app ON {table}")
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY")
        op.execute(f"REVOKE ALL ON {table} FROM propdesk_app, propdesk_service")
    op.execute("REVOKE USAGE ON SCHEMA public FROM propdesk_app, propdesk_service")
