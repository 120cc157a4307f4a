"""Where the desk's database is: at DATABASE_URL, or on an embedded server under the data directory."""

import asyncio
from collections.abc import AsyncIterator, Iterator
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


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabasePlace:
    """Say where the database is: at `url`, or where that is empty on the embedded server of `data_dir`.

    `url` becomes a libpq URI; libpq's own `host=... dbname=...` will do too. Anything else raises DatabaseUrlRefused,
    whose message never holds the value, which may hold a password.
    """

    data_dir: Path
    url: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Check the URL, of which a driver of SQLAlchemy and blanks around it may be a part."""
        object.__setattr__(self, "url", self.url.strip().replace("postgresql+psycopg://", "postgresql://", 1))
        if self.url and not self._is_libpqs():
            raise DatabaseUrlRefused(_NOT_A_URI)

    def check(self) -> None:
        """Raise DataDirRefused where no embedded server could start; nothing is opened or created."""
        if not self.url:
            check_place(self.data_dir)

    @contextmanager
    def reach(self, *, prepare: bool) -> Iterator[Database]:
        """Give the database; the embedded server runs at least until the end of the block.

        With `prepare`, roles, tables and the queue are brought to this version first. Blocks for as long as a recovery
        takes. Raises EmbeddedPostgresError or StoreUnavailable, whose messages name the mend.
        """
        with ExitStack() as stack:
            owner = login = self.url
            if not self.url:
                check_place(self.data_dir)
                server = stack.enter_context(attach(self.data_dir))
                if prepare:
                    from manager.state.postgres.connection import translated

                    with translated():
                        provision(server.dsn(user=_SUPERUSER, database=_SUPERUSER), DATABASE)
                owner, login = (server.dsn(user=user, database=DATABASE) for user in (MIGRATOR, LOGIN))
            if prepare:
                from manager.state.postgres.upgrade import upgrade

                upgrade(owner)
            yield Database(dsn=login, queue_dsn=queue_dsn(login))

    @asynccontextmanager
    async def open(self, *, prepare: bool = True) -> AsyncIterator[Database]:
        """Give the database as `reach` does, without blocking the event loop."""
        stack = ExitStack()
        reach = asyncio.create_task(asyncio.to_thread(stack.enter_context, self.reach(prepare=prepare)))
        try:
            yield await asyncio.shield(reach)
        finally:
            await asyncio.wait({reach})
            await asyncio.to_thread(stack.close)

    def _is_libpqs(self) -> bool:
        try:
            parts = conninfo_to_dict(self.url)
        except psycopg.Error:
            return False
        ports = str(parts.get("port", "")).split(",")
        return all(not port or (port.isascii() and port.isdigit() and 0 < int(port) < 65536) for port in ports)
