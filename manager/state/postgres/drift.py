"""Whether a database is what the tables say; also how Alembic compares the two for a new migration."""

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Connection, Text
from sqlalchemy.dialects.postgresql import DOMAIN

from manager.state.tables import METADATA


def _include_name(name: str | None, kind: str, parents: Any) -> bool:
    return kind != "table" or not (name or "").startswith("procrastinate_")


def _compare_type(
    context: Any, inspected_column: Column[Any], metadata_column: Column[Any], inspected: Any, wanted: Any
) -> bool | None:
    if isinstance(wanted, DOMAIN):
        return not isinstance(inspected, DOMAIN) or _domain(inspected) != _domain(wanted)
    if isinstance(wanted, Text):
        return not isinstance(inspected, Text) or inspected.collation != wanted.collation
    return None


def _domain(domain: DOMAIN) -> tuple[str | None, str, str]:
    check = str(domain.check).replace("(", "").replace(")", "")
    return domain.name, str(domain.data_type), " ".join(check.split())


COMPARISON: dict[str, Any] = {"include_name": _include_name, "compare_type": _compare_type}


def drift(connection: Connection) -> list[Any]:
    """Return the differences between the database and the tables as Alembic's operations; there should be none."""
    context = MigrationContext.configure(connection, opts=COMPARISON)
    return list(compare_metadata(context, METADATA))
