"""Keep with each recent entry whose intent it carried out, so that several of one instant count one by one."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_NAMED = """
UPDATE books SET recent_entries = (
    SELECT jsonb_agg(jsonb_build_object('at', made, 'intent_id', '') ORDER BY place)
    FROM jsonb_array_elements(recent_entries) WITH ORDINALITY AS entries (made, place)
) WHERE recent_entries <> '[]'
"""
_PLAIN = """
UPDATE books SET recent_entries = (
    SELECT jsonb_agg(made -> 'at' ORDER BY place)
    FROM jsonb_array_elements(recent_entries) WITH ORDINALITY AS entries (made, place)
) WHERE recent_entries <> '[]'
"""


def upgrade() -> None:
    """Name the intent of each entry, empty for those made before it was kept."""
    _rewrite(_NAMED)


def downgrade() -> None:
    """Keep the instants alone."""
    _rewrite(_PLAIN)


def _rewrite(update: str) -> None:
    """Change the rows of all tenants, which the owner sees only while the table is not FORCE."""
    op.execute("ALTER TABLE books NO FORCE ROW LEVEL SECURITY")
    op.execute(update)
    op.execute("ALTER TABLE books FORCE ROW LEVEL SECURITY")
