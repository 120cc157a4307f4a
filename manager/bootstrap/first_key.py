"""The one key that the first start of a desk makes: on the terminal, else in a file, so that it enters no log."""

import asyncio
import sys
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog

from exchanges.clock import SystemClock
from manager.access.keys import Issued, Keys, NewKey
from manager.processes.logs import is_plain
from manager.processes.printable import broken
from manager.settings import Settings
from manager.state.embedded.process import EmbeddedPostgresError
from manager.state.errors import OtherServiceKey, StateError
from manager.state.kinds import Role
from manager.state.postgres.store import PostgresStore
from manager.state.secrets import ServiceKey, write_private

_LOG = structlog.get_logger(__name__)
_FIRST_PAUSE_S: Final = 1.0
_LAST_PAUSE_S: Final = 5.0
_NAME: Final = "first admin"
_FILE: Final = "first-admin.key"
_REASON: Final = "first start of the desk"


async def give_first_key(settings: Settings, key: ServiceKey) -> None:
    """Make the first key once the database is there, however long that takes; do nothing where there was one before."""
    pause_s = _FIRST_PAUSE_S
    while True:
        await asyncio.sleep(pause_s)
        try:
            made = await _made(settings, key)
        except OtherServiceKey as error:
            _LOG.error("service_key_differs", error=str(error))
            return
        except (StateError, EmbeddedPostgresError, OSError) as error:
            pause_s = min(pause_s * 2, _LAST_PAUSE_S)
            _LOG.debug("first_key_waits", error=str(error), again_in_s=pause_s)
        else:
            if made is not None:
                tell(made, settings, SystemClock().now())
            return


async def _made(settings: Settings, key: ServiceKey) -> Issued | None:
    async with settings.place().open(prepare=False) as database:
        store = PostgresStore.open(database.dsn, pool_size=1)
        try:
            wanted = NewKey(name=_NAME, role=Role.SERVICE_ADMIN)
            return await Keys(store, key, SystemClock()).first(wanted, actor="propdesk run", reason=_REASON)
        finally:
            await store.close()


def tell(made: Issued, settings: Settings, at: datetime) -> None:
    """Show the key on the terminal; where stdout is none, write it to a file and say where that is."""
    if sys.stdout.isatty():
        who = f"role {made.row.role} of tenant {made.row.tenant_id}"
        lines = (
            f"{at:%H:%M:%S}  The first API key of this desk ({who}), shown only this once; keep it safe:",
            f"          {made.text}",
        )
        sys.stdout.write("".join(f"{broken(line, sys.stdout)}\n" for line in lines))
        sys.stdout.flush()
        return
    try:
        path = _written(made, settings.data_dir)
    except OSError as error:
        mend = "`propdesk keys create --role service_admin --name TEXT` makes another"
        _say(settings, at, f"The first API key cannot be written to {settings.data_dir} ({error.strerror}); {mend}.")
        return
    _say(settings, at, f"The first API key of this desk is in {path}, which only you can read; keep it elsewhere.")


def _written(made: Issued, data_dir: Path) -> Path:
    path = data_dir / _FILE
    try:
        write_private(path, f"{made.text}\n")
    except FileExistsError:
        path = path.with_stem(f"first-admin-{made.row.key_id}")
        write_private(path, f"{made.text}\n")
    return path


def _say(settings: Settings, at: datetime, text: str) -> None:
    if is_plain(settings):
        sys.stderr.write(f"{broken(f'{at:%H:%M:%S}  {text}', sys.stderr)}\n")
        sys.stderr.flush()
    else:
        _LOG.warning("first_key", told=text)
