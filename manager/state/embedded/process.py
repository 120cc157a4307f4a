"""Know which processes use an embedded server, and stop it when none is left.

Run as a program (`python process.py HOME DESCRIPTOR`) it is the guard: a detached process that sleeps on the
users' locks and stops the server when the last user has gone without a word (`kill -9`, an unhandled SIGTERM).
"""

import fcntl
import os
import shutil
import signal
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil  # type: ignore[import-untyped]  # ships no types; its values are annotated where they enter

POLL_S = 0.02
SOCKETS_PREFIX = "propdesk-"
_ANSWER_TIMEOUT_S = 5
_SSL_REQUEST = bytes.fromhex("0000000804d2162f")  # length 8, code 80877103: PostgreSQL protocol 3.0
_START_TIME_TOLERANCE_S = 3
_STOP_POLLS = int(60 / POLL_S)
_BUSY_POLLS = int(240 / POLL_S)  # a start may wait 120 s, a stop 60 s


class EmbeddedPostgresError(Exception):
    """Say what keeps the embedded server from running and how to mend it."""


class DataDirRefused(EmbeddedPostgresError):
    """Say why no server of Propdesk can have its files in this data directory."""


def open_lock(path: Path) -> int:
    """Return the descriptor of a lock file, made if absent; the directory's owner owns it, even when root made it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def try_lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Take the lock if it is free and say whether it was."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(path: Path) -> bool:
    """Say whether a living process holds this lock; the kernel frees the locks of the dead."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Postmaster:
    """Hold what a verified postmaster says about itself in postmaster.pid."""

    process: psutil.Process
    port: int
    socket_dir: Path
    tcp: bool
    status: str

    def answers(self) -> bool:
        """Say whether it reacts to a client; one that was killed an instant ago still looks alive but does not."""
        with closing(socket.socket(socket.AF_UNIX)) as client:
            client.settimeout(_ANSWER_TIMEOUT_S)
            try:
                client.connect(str(self.socket_dir / f".s.PGSQL.{self.port}"))
                client.sendall(_SSL_REQUEST)
                return client.recv(1) in (b"N", b"S")
            except OSError:
                return False


class Home:
    """Name every path of one embedded server, and know who uses it and whether it lives.

    Nothing outside `root` belongs to it but the targets of its symlinks. `cluster` is the PostgreSQL data directory,
    renamed into place when initdb in `stage` is done; `sockets` holds the unix socket. `users` has one locked file for
    each user; `mutex` is locked while users come, go, start or stop the server, `guard_lock` while a guard watches.
    initdb and all server processes inherit the lock of `server_lock`: free means that none of them lives.
    """

    def __init__(self, *, root: Path) -> None:
        self.root = root
        self.cluster = root / "data"
        self.stage = root / "init"
        self.sockets = root / "run"
        self.user_files = root / "users"
        self.mutex = root / "mutex.lock"
        self.server_lock = root / "server.lock"
        self.guard_lock = root / "guard.lock"

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the mutex; raise EmbeddedPostgresError when another keeps it longer than a start may take."""
        descriptor = open_lock(self.mutex)
        try:
            for _ in range(_BUSY_POLLS):
                if try_lock(descriptor):
                    break
                time.sleep(POLL_S)
            else:
                raise EmbeddedPostgresError(
                    f"another process has been starting or stopping the server in {self.root} for minutes; "
                    f"find it with `fuser {self.mutex}`, end it if it hangs, then try again"
                )
            yield
        finally:
            os.close(descriptor)

    def users(self) -> list[Path]:
        """Return the files of the living users and remove those of the dead; call it under the mutex."""
        living = []
        for path in sorted(self.user_files.iterdir()):
            if is_held(path):
                living.append(path)
            else:
                path.unlink(missing_ok=True)
        return living

    def postmaster(self) -> Postmaster | None:
        """Return the running postmaster, or None.

        A process counts only if its name, its data directory and its start time (or the inherited lock, which survives
        a change of the clock) are those of postmaster.pid; a recycled pid never does.
        """
        cluster = self.cluster.resolve()
        try:
            lines = (cluster / "postmaster.pid").read_text().splitlines()
            pid, directory, started, port, sockets, listen, *rest = lines
            process = psutil.Process(int(pid))
            if process.name() != "postgres" or process.status() == psutil.STATUS_ZOMBIE or directory != str(cluster):
                return None
            same_start = abs(process.create_time() - int(started)) <= _START_TIME_TOLERANCE_S
            if not same_start and not (is_held(self.server_lock) and str(cluster) in process.cmdline()):
                return None
            status = rest[1].strip() if len(rest) > 1 else "starting"
            return Postmaster(
                process=process, port=int(port), socket_dir=Path(sockets), tcp=bool(listen), status=status
            )
        except (FileNotFoundError, ValueError, psutil.Error):
            return None  # absent, half-written (a start in progress) or of a process that is gone

    def is_starting(self) -> bool:
        """Say whether a server or an initdb lives that does not accept connections yet."""
        server = self.postmaster()
        return is_held(self.server_lock) if server is None else server.status == "starting"

    def stop_server(self) -> None:
        """Shut the server down fast and wait up to 60 s until all its processes are gone; call it under the mutex."""
        for _ in range(_STOP_POLLS):
            server = self.postmaster()
            if server is not None:
                with suppress(psutil.NoSuchProcess):
                    server.process.send_signal(signal.SIGINT)
                break
            if not is_held(self.server_lock):
                break
            time.sleep(POLL_S)
        for _ in range(_STOP_POLLS):
            if not is_held(self.server_lock) and self.postmaster() is None:
                self.remove_sockets()
                return
            time.sleep(POLL_S)
        raise EmbeddedPostgresError(
            f"the server in {self.root} was told to stop and is still writing after 60 s; it ends by itself, "
            f"see {self.cluster}/log"
        )

    def remove_sockets(self) -> None:
        """Remove the socket directory of a server that is gone, and what the link leads to if it is ours."""
        if self.sockets.is_symlink():
            linked = self.sockets.resolve()
            ours = linked.is_dir() and linked.name.startswith(SOCKETS_PREFIX)
            if ours and stat.S_IMODE(linked.stat().st_mode) == 0o700:
                shutil.rmtree(linked, ignore_errors=True)
            self.sockets.unlink()
        elif self.sockets.exists():
            shutil.rmtree(self.sockets)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Hold one use of a server: its file and the descriptor that locks it."""

    path: Path
    descriptor: int

    @classmethod
    def enter(cls, home: Home) -> Self:
        """Register a user of the server; call it under the mutex."""
        descriptor, name = tempfile.mkstemp(prefix=f"{os.getpid()}-", dir=home.user_files)
        os.close(descriptor)
        descriptor = open_lock(Path(name))
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return cls(path=Path(name), descriptor=descriptor)

    def leave(self) -> None:
        """Release the lock, even if a forked child still has a copy of the descriptor, and remove the file."""
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        os.close(self.descriptor)
        self.path.unlink(missing_ok=True)


def guard(home: Home, descriptor: int) -> None:
    """Sleep until the last user is gone, then stop the server; a recovery without users is left to finish first.

    `descriptor` holds the guard lock, released under the mutex: the next user sees at once that it needs a new guard.
    """
    while True:
        with home.exclusive():
            living = home.users()
            if not living and not home.is_starting():
                try:
                    home.stop_server()
                finally:
                    os.close(descriptor)
                return
        if living:
            with suppress(FileNotFoundError), closing(living[0].open("rb")) as user:
                fcntl.flock(user, fcntl.LOCK_SH)
        else:
            time.sleep(POLL_S * 10)


if __name__ == "__main__":
    guard(Home(root=Path(sys.argv[1])), int(sys.argv[2]))
