"""Which database the desk uses: DATABASE_URL's, or an embedded server under the data directory."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from manager.errors import DatabaseUrlRefused
from manager.state.embedded.server import attach, check_place
from manager.state.postgres.roles import LOGIN, MIGRATOR, provision, queue_dsn

DATABASE: Final = "propdesk"
_SUPERUSER: Final = "postgres"
_NOT_A_URI: Final = "DATABASE_URL is not a PostgreSQL URI; write postgresql://user:password@host/db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Name the database by the libpq URIs of its two users; they may hold a password, so they are never shown."""

    dsn: str = field(repr=False)
    queue_dsn: str = field(repr=False)


def external_url(environment: Mapping[str, str]) -> str:
    """Return DATABASE_URL as a libpq URI, empty when it is not set; libpq's own `host=... dbname=...` will do too.

    Raises DatabaseUrlRefused for anything else; the message never holds the value, which may hold a password.
    """
    url = environment.get("DATABASE_URL", "").replace("postgresql+psycopg://", "postgresql://", 1)
    if url and not _is_libpqs(url):
        raise DatabaseUrlRefused(_NOT_A_URI)
    return url


def check_database(data_dir: Path, environment: Mapping[str, str]) -> None:
    """Raise DatabaseUrlRefused or DataDirRefused where no start could succeed; nothing is opened or created."""
    if not external_url(environment):
        check_place(data_dir)


def _is_libpqs(url: str) -> bool:
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        return False
    ports = str(parts.get("port", "")).split(",")
    return all(not port or (port.isascii() and port.isdigit() and 0 < int(port) < 65536) for port in ports)


@contextmanager
def reach_database(data_dir: Path, environment: Mapping[str, str], *, prepare: bool) -> Iterator[Database]:
    """Give the database; the embedded server runs at least until the end of the block.

    With `prepare`, roles, tables and the queue are brought to this version first. Blocks for as long as a recovery
    takes. Raises DatabaseUrlRefused, EmbeddedPostgresError or StoreUnavailable, whose messages name the mend.
    """
    url = external_url(environment)
    if url:
        if prepare:
            _upgrade(url)
        yield Database(dsn=url, queue_dsn=queue_dsn(url))
        return
    check_place(data_dir)
    with attach(data_dir) as server:
        if prepare:
            provision(server.dsn(user=_SUPERUSER, database=_SUPERUSER), DATABASE)
            _upgrade(server.dsn(user=MIGRATOR, database=DATABASE))
        dsn = server.dsn(user=LOGIN, database=DATABASE)
        yield Database(dsn=dsn, queue_dsn=queue_dsn(dsn))


def _upgrade(dsn: str) -> None:
    from manager.state.postgres.upgrade import upgrade

    upgrade(dsn)


@asynccontextmanager
async def open_database(
    data_dir: Path, environment: Mapping[str, str], *, prepare: bool = True
) -> AsyncIterator[Database]:
    """Give the database as `reach_database` does, without blocking the event loop."""
    stack = ExitStack()
    reach = asyncio.create_task(
        asyncio.to_thread(stack.enter_context, reach_database(data_dir, environment, prepare=prepare))
    )
    try:
        yield await asyncio.shield(reach)
    finally:
        await asyncio.wait({reach})
        await asyncio.to_thread(stack.close)
