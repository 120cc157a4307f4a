"""Keep API keys, tenants' data keys and secrets, and how far the service, each tenant and each trader may trade."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
INSTANT = sa.DateTime(timezone=True)
OWN_TENANT = "tenant_id = current_setting('app.tenant', true)"
KEYS = {"api_keys": ("key_id",), "tenant_keys": ("key_id",), "secrets": ("kind", "owner", "name")}
APP = {
    "api_keys": "SELECT, INSERT, UPDATE (last_used_at, revoked_at, revoked_by)",
    "tenant_keys": "SELECT, INSERT, UPDATE (wrapped, fingerprint)",
    "secrets": "SELECT, INSERT, UPDATE, DELETE",
}
SERVICE = {"api_keys": "SELECT", "tenant_keys": "SELECT (tenant_id, key_id, fingerprint)"}
SWITCH = ("trading_state", "state_reason", "switched_by", "switched_at")


def upgrade() -> None:
    """Create the tables with their policies; nothing is switched so far."""
    _keys()
    _switches()


def _keys() -> None:
    columns: dict[str, tuple[sa.Column[Any], ...]] = {
        "api_keys": (
            *(sa.Column(name, sa.Text, nullable=False) for name in ("name", "role", "hash", "fingerprint")),
            sa.Column("created_at", INSTANT, nullable=False),
            sa.Column("created_by", sa.Text, nullable=False),
            *(sa.Column(name, INSTANT, nullable=True) for name in ("expires_at", "last_used_at", "revoked_at")),
            sa.Column("revoked_by", sa.Text, nullable=False),
        ),
        "tenant_keys": (
            *(sa.Column(name, sa.Text, nullable=False) for name in ("wrapped", "fingerprint")),
            sa.Column("created_at", INSTANT, nullable=False),
        ),
        "secrets": (
            sa.Column("key_id", KEY, nullable=False),
            sa.Column("ciphertext", sa.Text, nullable=False),
            sa.Column("at", INSTANT, nullable=False),
            sa.Column("actor", sa.Text, nullable=False),
        ),
    }
    for table, keys in KEYS.items():
        op.create_table(
            table,
            sa.Column("tenant_id", KEY, sa.ForeignKey("tenants.tenant_id"), nullable=False),
            *(sa.Column(name, KEY, nullable=False) for name in keys),
            *columns[table],
            sa.PrimaryKeyConstraint("tenant_id", *keys),
        )
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY {table}_app ON {table} TO propdesk_app USING ({OWN_TENANT}) WITH CHECK ({OWN_TENANT})"
        )
        op.execute(f"CREATE POLICY {table}_service ON {table} FOR SELECT TO propdesk_service USING (true)")
        op.execute(f"GRANT {APP[table]} ON {table} TO propdesk_app")
        if table in SERVICE:
            op.execute(f"GRANT {SERVICE[table]} ON {table} TO propdesk_service")
    op.create_index("api_keys_by_id", "api_keys", ["key_id"])


def _switches() -> None:
    for name, default in (("trading_state", "active"), ("state_reason", ""), ("switched_by", "")):
        op.add_column("tenants", sa.Column(name, sa.Text, nullable=False, server_default=default))
    op.add_column("tenants", sa.Column("switched_at", INSTANT, nullable=True))
    op.execute(f"GRANT UPDATE ({', '.join(SWITCH)}) ON tenants TO propdesk_app")
    op.add_column("traders", sa.Column("trading_reason", sa.Text, nullable=False, server_default=""))
    op.alter_column("traders", "trading_reason", server_default=None)
    op.create_table(
        "service",
        sa.Column("one", sa.Boolean, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in SWITCH[:3]),
        sa.Column("switched_at", INSTANT, nullable=True),
        sa.Column("key_mark", sa.Text, nullable=False),
        sa.CheckConstraint("one", name="service_one"),
        sa.PrimaryKeyConstraint("one"),
    )
    op.execute("ALTER TABLE service ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY service_app ON service FOR SELECT TO propdesk_app "
        "USING (coalesce(current_setting('app.tenant', true), '') <> '')"
    )
    op.execute("CREATE POLICY service_service ON service TO propdesk_service USING (true) WITH CHECK (true)")
    op.execute(f"GRANT SELECT ({', '.join(SWITCH)}) ON service TO propdesk_app")
    op.execute("GRANT SELECT, INSERT, UPDATE ON service TO propdesk_service")
    op.execute(
        "CREATE POLICY events_service_switch ON events FOR INSERT TO propdesk_service "
        "WITH CHECK (kind = 'service_state')"
    )
    op.execute("GRANT INSERT ON events TO propdesk_service")


def downgrade() -> None:
    """Take them away."""
    op.execute("REVOKE INSERT ON events FROM propdesk_service")
    op.execute("DROP POLICY events_service_switch ON events")
    for table in ("service", *KEYS):
        op.drop_table(table)
    op.drop_column("traders", "trading_reason")
    for name in SWITCH:
        op.drop_column("tenants", name)
