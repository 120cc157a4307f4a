"""Run a private PostgreSQL 18 under the data directory when no DATABASE_URL is set.

Its parts: `process` (who uses it, is it alive, the guard), `place` (account and places),
`cluster` (initdb, settings, errors).
"""

import atexit
import errno
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from manager.state.embedded import process as processes
from manager.state.embedded.cluster import (
    check_cluster,
    check_foreign,
    configure,
    create_cluster,
    explain,
    log_tail,
    run_tool,
)
from manager.state.embedded.place import Account, account_for
from manager.state.embedded.process import DataDirRefused, EmbeddedPostgresError, Home, Postmaster

__all__ = ["DataDirRefused", "EmbeddedPostgresError", "EmbeddedServer", "attach", "check_place"]

_START_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedServer:
    """Describe the running server; `port` names its unix socket, and its loopback TCP port where one was asked for."""

    data_dir: Path
    socket_dir: Path
    port: int
    pid: int

    def dsn(self, *, user: str, database: str) -> str:
        """Return the libpq URI of a database over the unix socket.

        It holds no password: the kernel tells the server who connects; the account that runs Propdesk may be any role.
        """
        host = quote(str(self.socket_dir), safe="")
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?host={host}&port={self.port}"


def check_place(data_dir: Path) -> None:
    """Raise DataDirRefused where `data_dir` is no directory or holds what Propdesk did not make; create nothing."""
    try:
        place = data_dir.expanduser().resolve()
        nearest = next(path for path in (place, *place.parents) if path.exists())
        if not nearest.is_dir():
            raise DataDirRefused(
                f"{data_dir} cannot hold a desk: {nearest} is a file; choose a --data-dir that is a directory or does "
                "not exist yet"
            )
        home = Home(root=place / "postgres")
        check_foreign(home)
        check_cluster(home)
    except DataDirRefused:
        raise
    except EmbeddedPostgresError as error:
        raise DataDirRefused(str(error)) from error
    except OSError as error:
        reason = os.strerror(error.errno or errno.EIO)
        raise DataDirRefused(str(explain(f"cannot use {error.filename or data_dir}", reason))) from error


@contextmanager
def attach(data_dir: Path, *, tcp_port: int | None = None) -> Iterator[EmbeddedServer]:
    """Start the server of a data directory or attach to it, and stop it when its last user leaves.

    Any number of processes may do so at once. A SIGTERM handler should unwind this context (raise SystemExit); where
    none does, and after `kill -9`, the guard stops the server a moment later. `tcp_port` adds loopback TCP for roles
    that have a password. Raises EmbeddedPostgresError, whose message names the mend.
    """
    try:
        home = _open_home(data_dir.expanduser().resolve())
        with processes.exclusive(home):
            user = processes.add_user(home)
            try:
                server = _ensure_running(home, tcp_port)
            except BaseException:
                processes.remove_user(*user)  # what was started meanwhile is the guard's to stop
                raise
    except OSError as error:
        raise explain(f"cannot use {error.filename or data_dir}", os.strerror(error.errno or errno.EIO)) from error
    insiders = {os.getpid()}  # a forked child inherits the context, not the right to end it

    def leave() -> None:
        atexit.unregister(leave)
        if os.getpid() in insiders:
            insiders.clear()
            _leave(home, user)

    atexit.register(leave)
    try:
        pid = server.process.pid
        yield EmbeddedServer(data_dir=home.root.parent, socket_dir=server.socket_dir, port=server.port, pid=pid)
    finally:
        leave()


def _open_home(data_dir: Path) -> Home:
    home = Home(root=data_dir / "postgres")
    check_foreign(home)
    mode = 0o711 if os.geteuid() == 0 else 0o700  # the account that root drops to passes through
    data_dir.mkdir(mode=mode, parents=True, exist_ok=True)
    home.root.mkdir(mode=mode, exist_ok=True)
    os.close(processes.open_lock(home.mutex))
    home.users.mkdir(mode=0o700, exist_ok=True)
    return home


def _ensure_running(home: Home, tcp_port: int | None) -> Postmaster:
    check_cluster(home)
    _ensure_guard(home)
    launched = False
    for _ in range(int(_START_TIMEOUT_S / processes.POLL_S)):
        server = processes.postmaster(home)
        if server is not None and server.status == "ready" and processes.answers(server):
            if tcp_port is not None and (server.port != tcp_port or not server.tcp):
                raise EmbeddedPostgresError(
                    f"the server in {home.root} runs without TCP port {tcp_port}; stop all its users and start again"
                )
            return server
        if server is None and not processes.is_held(home.server_lock):
            if launched:
                raise explain(f"the server in {home.root} did not start", log_tail(home))
            _launch(home, account_for(home), tcp_port)
            launched = True
        time.sleep(processes.POLL_S)
    raise EmbeddedPostgresError(
        f"the server in {home.root} is not ready after {_START_TIMEOUT_S} s; a recovery goes on by itself, "
        f"so start again in a minute; what it does is in {home.cluster}/log"
    )


def _ensure_guard(home: Home) -> None:
    lock = processes.open_lock(home.guard_lock)
    try:
        if processes.try_lock(lock):
            program = [sys.executable, "-P", processes.__file__, str(home.root), str(lock)]
            command = ["/bin/sh", "-c", '"$@" </dev/null >/dev/null 2>"$0" &', str(home.root / "guard.log"), *program]
            subprocess.run(command, cwd="/", pass_fds=(lock,), start_new_session=True, check=True)
    finally:
        os.close(lock)


def _launch(home: Home, account: Account, tcp_port: int | None) -> None:
    lock = processes.open_lock(home.server_lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.lexists(home.cluster):
            create_cluster(home, account, lock)
        configure(home, account, tcp_port)
        cluster = home.cluster.resolve()
        for stale in ("postmaster.pid", "start.log"):  # the lock was free, so no process of ours has this pid
            (cluster / stale).unlink(missing_ok=True)
        start = ["pg_ctl", "start", "-W", "-s", "-D", str(cluster), "-l", str(cluster / "start.log")]
        run_tool(home, account, start, lock)
    finally:
        os.close(lock)


def _leave(home: Home, user: tuple[Path, int]) -> None:
    with processes.exclusive(home):
        processes.remove_user(*user)
        if not processes.users(home):
            processes.stop_server(home)
