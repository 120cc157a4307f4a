"""Let the app neither delete nor rewrite decisions, verdicts and orders, but for what became of an order."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_ONCE = ("decisions", "verdicts")
_FIXED = (
    "tenant_id",
    "account_id",
    "order_id",
    "round_id",
    "symbol",
    "side",
    "type",
    "purpose",
    "quantity",
    "created_at",
    "shares",
    "n",
    "bracket",
    "trigger_price",
    "reduce_only",
    "fired",
)


def upgrade() -> None:
    """Leave INSERT and SELECT, and of orders the columns that are not fixed when one is made."""
    op.execute(f"REVOKE UPDATE, DELETE ON {', '.join(_ONCE)} FROM propdesk_app")
    op.execute("REVOKE UPDATE, DELETE ON orders FROM propdesk_app")
    columns = [column["name"] for column in sa.inspect(op.get_bind()).get_columns("orders")]
    changing = ", ".join(name for name in columns if name not in _FIXED)
    op.execute(f"GRANT UPDATE ({changing}) ON orders TO propdesk_app")


def downgrade() -> None:
    """Give it back."""
    op.execute(f"GRANT UPDATE, DELETE ON orders, {', '.join(_ONCE)} TO propdesk_app")
