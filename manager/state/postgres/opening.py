"""How a session and a transaction on PostgreSQL begin: with their limits, as a role, in a tenant."""

import re
from functools import lru_cache
from typing import Any, Final

from psycopg import sql

from manager.state.errors import InvalidRow
from manager.state.postgres.limits import LIMITS, BoundedConnection, bounded
from manager.state.postgres.roles import APP, SERVICE
from manager.state.records import TenantId

_SESSION: Final = b"SET timezone = 'UTC'; SET jit = off; " + LIMITS
_SCOPE: Final = sql.SQL("BEGIN; SET LOCAL ROLE {role}; SET LOCAL app.tenant = {tenant}")
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


async def connected(dsn: str, **options: Any) -> BoundedConnection:
    """Return a session on a libpq URI; outside of a transaction each statement is its own."""
    connection = await BoundedConnection.connect(bounded(dsn), **{**options, "autocommit": True})
    await connection.execute(_SESSION, prepare=False)
    return connection


@lru_cache(maxsize=1024)
def beginning(tenant: TenantId | None) -> bytes:
    """Return the words that begin a transaction as the application in a tenant, or as the service across them.

    They set role and tenant for the transaction only, so that neither leaks to the next one on the connection. Raises
    InvalidRow.
    """
    if tenant is not None and not _TENANT.fullmatch(tenant):
        raise InvalidRow(f"{tenant!r} is no id of a tenant; expected 1 to 64 letters, digits, _ . or -")
    role = sql.Identifier(SERVICE if tenant is None else APP)
    return _SCOPE.format(role=role, tenant=sql.Literal(tenant or "")).as_bytes()
