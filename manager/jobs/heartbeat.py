"""How long ago any worker gave a sign of life, for those outside the trading processes."""

from typing import Final

from manager.state.postgres.limits import BoundedConnection, bounded

SILENT_S: Final = 10.0
NEWEST_BEAT: Final = "SELECT extract(epoch FROM now() - max(last_heartbeat))::float FROM procrastinate_workers"
_TIMEOUT_S = 3


async def heartbeat_age_s(dsn: str) -> float | None:
    """Return the age of the newest heartbeat in seconds, None where no worker is registered.

    The DSN is one of the queue's role; raises psycopg.Error when the database does not answer.
    """
    async with await BoundedConnection.connect(bounded(dsn), connect_timeout=_TIMEOUT_S, autocommit=True) as connection:
        with connection.promptly(_TIMEOUT_S):
            row = await (await connection.execute(NEWEST_BEAT.encode())).fetchone()
    return None if row is None else row[0]


async def is_worker_alive(dsn: str) -> bool:
    """Tell whether any worker has given a sign of life within SILENT_S seconds; raises as `heartbeat_age_s`."""
    return is_recent(await heartbeat_age_s(dsn))


def is_recent(age_s: float | None) -> bool:
    """Tell whether a heartbeat of this age is one of a worker that lives."""
    return age_s is not None and age_s < SILENT_S
