"""Name things as the rest of the desk does: take_profit, unprotected, denied and denials."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_CONFLICT_CODES = ("DIRECTION", "DUPLICATE")
_TAKE_PROFITS = (("orders", "purpose"), ("fill_parts", "purpose"))
_DENIALS = (("intents", "status", "dropped", "denied"), ("verdicts", "kind", "dropped", "denial"))


def upgrade() -> None:
    """Rename the column and the values; which denials came of a conflict their codes still tell."""
    op.alter_column("positions", "naked_since", new_column_name="unprotected_since")
    for table, column in _TAKE_PROFITS:
        _rename(table, column, "target", "take_profit")
    for table, column, old, new in _DENIALS:
        _rename(table, column, old, new)


def downgrade() -> None:
    """Give the old names back, by code where two became one."""
    op.alter_column("positions", "unprotected_since", new_column_name="naked_since")
    for table, column in _TAKE_PROFITS:
        _rename(table, column, "take_profit", "target")
    for table, column, old, new in _DENIALS:
        _rename(table, column, new, old, codes=_CONFLICT_CODES)


def _rename(table: str, column: str, old: str, new: str, codes: tuple[str, ...] = ()) -> None:
    """Rename a value in the rows of all tenants, which the owner sees only while its tables are not FORCE."""
    rows = sa.table(table, sa.column(column), sa.column("code"))
    update = sa.update(rows).where(rows.c[column] == old).values({column: new})
    op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(update.where(rows.c.code.in_(codes)) if codes else update)
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
