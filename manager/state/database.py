"""Where the desk's database is: at DATABASE_URL, or on an embedded server under the data directory."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from manager.state.database_url import read_url
from manager.state.embedded.server import attach, check_place
from manager.state.errors import DatabaseAway
from manager.state.postgres.roles import LOGIN, MIGRATOR, provision, queue_dsn

DATABASE: Final = "propdesk"
_SUPERUSER: Final = "postgres"
_KNOCK_S: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Name the database by the libpq URIs of its two users; they may hold a password, so they are never shown."""

    dsn: str = field(repr=False)
    queue_dsn: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabasePlace:
    """Say where the database is: at `url`, or where that is empty on the embedded server of `data_dir`.

    `url` becomes a libpq URI; libpq's own `host=... dbname=...` will do too. Anything else raises DatabaseUrlRefused,
    whose message hides what may be a password.
    """

    data_dir: Path
    url: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Check the URL, of which a driver of SQLAlchemy and blanks around it may be a part."""
        object.__setattr__(self, "url", read_url(self.url))

    def check(self) -> None:
        """Raise DataDirRefused where no embedded server could start; nothing is opened or created."""
        if not self.url:
            check_place(self.data_dir)

    def knock(self) -> None:
        """Raise StoreUnavailable where the server at `url` says no in a way that no waiting mends."""
        if self.url:
            from manager.state.postgres.upgrade import reached

            with suppress(DatabaseAway), reached(self.url, connect_timeout=_KNOCK_S):
                return

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
                    from manager.state.postgres.translation import translated

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
