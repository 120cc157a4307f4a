"""How long anything waits for PostgreSQL: the server's limits, and ours above them for a server that says nothing.

A proxy that forwards no more, or a pooler that hangs, acknowledges all that is sent and never answers: neither the
server's limits nor TCP's notice it. So a connection that waits longer than its server may work is closed.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import _WaitTimeout  # what psycopg 3.3 raises in `wait`; its public errors have other causes, too
from psycopg.pq import TransactionStatus

R = TypeVar("R")
CONNECT_S: Final = 8
STATEMENT_S: Final = 20
ANSWER_S: Final = 24.0
PROMPT_S: Final = 4.0
LOCK_S: Final = 10
IDLE_S: Final = 5
LIMITS: Final = (
    f"SET lock_timeout = '{LOCK_S}s'; SET statement_timeout = '{STATEMENT_S}s'; "
    f"SET idle_in_transaction_session_timeout = '{IDLE_S}s'"
).encode()
_POLL_S: Final = 0.1
_DSN: Final[Mapping[str, int]] = MappingProxyType(
    {
        "connect_timeout": CONNECT_S,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
    }
)


def bounded(dsn: str) -> str:
    """Return `dsn` with a limit for connecting and for a silent network; what it says of them itself stays."""
    given = conninfo_to_dict(dsn)
    return make_conninfo(dsn, **{name: value for name, value in _DSN.items() if name not in given})


def _silent(answer_s: float) -> psycopg.OperationalError:
    return psycopg.OperationalError(f"the server said nothing for {answer_s:g} s; the connection was closed")


class BoundedConnection(psycopg.AsyncConnection[Any]):
    """Close the connection whose server says nothing for `answer_s` seconds while a command is under way."""

    answer_s: float = ANSWER_S

    @contextmanager
    def promptly(self, answer_s: float) -> Iterator[None]:
        """Wait less for what the server does at once, so that one of a pool that is dead is soon known."""
        usual, self.answer_s = self.answer_s, min(self.answer_s, answer_s)
        try:
            yield
        finally:
            self.answer_s = usual

    async def wait(self, gen: PQGen[R], interval: float = _POLL_S, timeout: float | None = None) -> R:  # noqa: ASYNC109 - psycopg's name
        """Wait for what psycopg does on the connection; raise OperationalError when the limit is passed."""
        if timeout is not None:
            return await super().wait(gen, interval, timeout)
        try:
            return await super().wait(gen, interval, self.answer_s)
        except _WaitTimeout:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
                raise _silent(self.answer_s) from None
        # Who only listens has no command under way.
        return await super().wait(gen, interval)


class BoundedSyncConnection(psycopg.Connection[Any]):
    """Do the same for who upgrades; one that may work long raises `answer_s`."""

    answer_s: float = ANSWER_S

    def wait(self, gen: PQGen[R], interval: float = _POLL_S, timeout: float | None = None) -> R:
        """Wait for what psycopg does on the connection; raise OperationalError when the limit is passed."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.answer_s)
        except _WaitTimeout:
            self.pgconn.finish()
            raise _silent(self.answer_s) from None
