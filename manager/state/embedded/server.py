"""Run a private PostgreSQL 18 under the data directory when no DATABASE_URL is set.

Its parts: `process` (who uses it, is it alive, the guard) and `cluster` (account, initdb, settings, errors).
"""

import atexit
import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from manager.state.embedded import process
from manager.state.embedded.cluster import Cluster, explain
from manager.state.embedded.environment import least
from manager.state.embedded.process import DataDirRefused, EmbeddedPostgresError, Home, Postmaster, User

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
        cluster = Cluster(Home(root=place / "postgres"))
        cluster.check_origin()
        cluster.check()
    except DataDirRefused:
        raise
    except EmbeddedPostgresError as error:
        raise DataDirRefused(str(error)) from error
    except OSError as error:
        raise DataDirRefused(str(_unusable(data_dir, error))) from error


@contextmanager
def attach(data_dir: Path, *, tcp_port: int | None = None) -> Iterator[EmbeddedServer]:
    """Start the server of a data directory or attach to it, and stop it when its last user leaves.

    Any number of processes may do so at once. A SIGTERM handler should unwind this context (raise SystemExit); where
    none does, and after `kill -9`, the guard stops the server a moment later. `tcp_port` adds loopback TCP for roles
    that have a password. Raises EmbeddedPostgresError, whose message names the mend.
    """
    try:
        home = Home(root=data_dir.expanduser().resolve() / "postgres")
        Cluster(home).make_room()
        with home.exclusive():
            user = User.enter(home)
            try:
                server = _Start(home, tcp_port).ensure_running()
            except BaseException:
                user.leave()  # what was started meanwhile is the guard's to stop
                raise
    except OSError as error:
        raise _unusable(data_dir, error) from error
    insiders = {os.getpid()}  # a forked child inherits the context, not the right to end it

    def leave() -> None:
        atexit.unregister(leave)
        if os.getpid() in insiders:
            insiders.clear()
            with home.exclusive():
                user.leave()
                if not home.users():
                    home.stop_server()

    atexit.register(leave)
    try:
        pid = server.process.pid
        yield EmbeddedServer(data_dir=home.root.parent, socket_dir=server.socket_dir, port=server.port, pid=pid)
    finally:
        leave()


class _Start:
    """Bring the server of one home up, and a guard beside it."""

    def __init__(self, home: Home, tcp_port: int | None) -> None:
        self._home = home
        self._cluster = Cluster(home)
        self._tcp_port = tcp_port

    def ensure_running(self) -> Postmaster:
        home, tcp_port = self._home, self._tcp_port
        self._cluster.check()
        self._ensure_guard()
        launched = False
        for _ in range(int(_START_TIMEOUT_S / process.POLL_S)):
            server = home.postmaster()
            if server is not None and server.status == "ready" and server.answers():
                if tcp_port is not None and (server.port != tcp_port or not server.tcp):
                    raise EmbeddedPostgresError(
                        f"the server in {home.root} runs without TCP port {tcp_port}; stop all its users and start "
                        "again"
                    )
                return server
            if server is None and not process.is_held(home.server_lock):
                if launched:
                    raise explain(f"the server in {home.root} did not start", self._cluster.log_tail())
                self._cluster.launch(tcp_port)
                launched = True
            time.sleep(process.POLL_S)
        raise EmbeddedPostgresError(
            f"the server in {home.root} is not ready after {_START_TIMEOUT_S} s; a recovery goes on by itself, "
            f"so start again in a minute; what it does is in {home.cluster}/log"
        )

    def _ensure_guard(self) -> None:
        root = self._home.root
        lock = process.open_lock(self._home.guard_lock)
        try:
            if process.try_lock(lock):
                program = [sys.executable, "-P", process.__file__, str(root), str(lock)]
                command = ["/bin/sh", "-c", '"$@" </dev/null >/dev/null 2>"$0" &', str(root / "guard.log"), *program]
                given = least(os.environ)
                subprocess.run(command, cwd="/", pass_fds=(lock,), start_new_session=True, check=True, env=given)
        finally:
            os.close(lock)


def _unusable(data_dir: Path, error: OSError) -> EmbeddedPostgresError:
    return explain(f"cannot use {error.filename or data_dir}", os.strerror(error.errno or errno.EIO))
