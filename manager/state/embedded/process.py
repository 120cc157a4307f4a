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


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Name every path of one embedded server; nothing outside `root` belongs to it but the targets of its symlinks."""

    root: Path

    @property
    def cluster(self) -> Path:
        """Return the PostgreSQL data directory, renamed into place only when initdb is done."""
        return self.root / "data"

    @property
    def stage(self) -> Path:
        """Return where initdb works before the rename."""
        return self.root / "init"

    @property
    def sockets(self) -> Path:
        """Return the directory of the unix socket."""
        return self.root / "run"

    @property
    def users(self) -> Path:
        """Return the directory with one locked file for each `attach` in progress."""
        return self.root / "users"

    @property
    def mutex(self) -> Path:
        """Return the file locked while users come, go, start or stop the server."""
        return self.root / "mutex.lock"

    @property
    def server_lock(self) -> Path:
        """Return the file whose lock initdb and all server processes inherit: free means that none of them lives."""
        return self.root / "server.lock"

    @property
    def guard_lock(self) -> Path:
        """Return the file locked while a guard watches."""
        return self.root / "guard.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Postmaster:
    """Hold what a verified postmaster says about itself in postmaster.pid."""

    process: psutil.Process
    port: int
    socket_dir: Path
    tcp: bool
    status: str


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


@contextmanager
def exclusive(home: Home) -> Iterator[None]:
    """Hold the mutex of a home; raise EmbeddedPostgresError when another keeps it longer than a start may take."""
    descriptor = open_lock(home.mutex)
    try:
        for _ in range(_BUSY_POLLS):
            if try_lock(descriptor):
                break
            time.sleep(POLL_S)
        else:
            raise EmbeddedPostgresError(
                f"another process has been starting or stopping the server in {home.root} for minutes; "
                f"find it with `fuser {home.mutex}`, end it if it hangs, then try again"
            )
        yield
    finally:
        os.close(descriptor)


def add_user(home: Home) -> tuple[Path, int]:
    """Register one user and return its file and locked descriptor; call it under the mutex."""
    descriptor, name = tempfile.mkstemp(prefix=f"{os.getpid()}-", dir=home.users)
    os.close(descriptor)
    path = Path(name)
    descriptor = open_lock(path)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return path, descriptor


def remove_user(path: Path, descriptor: int) -> None:
    """Free a user's lock, even if a forked child still has a copy of the descriptor, and remove its file."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
    path.unlink(missing_ok=True)


def users(home: Home) -> list[Path]:
    """Return the files of the living users and remove those of the dead; call it under the mutex."""
    living = []
    for path in sorted(home.users.iterdir()):
        if is_held(path):
            living.append(path)
        else:
            path.unlink(missing_ok=True)
    return living


def postmaster(home: Home) -> Postmaster | None:
    """Return the running postmaster of this home, or None.

    A process counts only if its name, its data directory and its start time (or the inherited lock, which survives a
    change of the clock) are those of postmaster.pid; a recycled pid never does.
    """
    cluster = home.cluster.resolve()
    try:
        pid, directory, started, port, sockets, listen, *rest = (cluster / "postmaster.pid").read_text().splitlines()
        process = psutil.Process(int(pid))
        if process.name() != "postgres" or process.status() == psutil.STATUS_ZOMBIE or directory != str(cluster):
            return None
        same_start = abs(process.create_time() - int(started)) <= _START_TIME_TOLERANCE_S
        if not same_start and not (is_held(home.server_lock) and str(cluster) in process.cmdline()):
            return None
        status = rest[1].strip() if len(rest) > 1 else "starting"
        return Postmaster(process=process, port=int(port), socket_dir=Path(sockets), tcp=bool(listen), status=status)
    except (FileNotFoundError, ValueError, psutil.Error):
        return None  # absent, half-written (a start in progress) or of a process that is gone


def answers(server: Postmaster) -> bool:
    """Say whether the server reacts to a client; one that was killed an instant ago still looks alive but does not."""
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.settimeout(_ANSWER_TIMEOUT_S)
        try:
            client.connect(str(server.socket_dir / f".s.PGSQL.{server.port}"))
            client.sendall(_SSL_REQUEST)
            return client.recv(1) in (b"N", b"S")
        except OSError:
            return False


def remove_sockets(home: Home) -> None:
    """Remove the socket directory of a server that is gone, and the target of the link if it is one of ours."""
    if home.sockets.is_symlink():
        target = home.sockets.resolve()
        if target.is_dir() and target.name.startswith(SOCKETS_PREFIX) and stat.S_IMODE(target.stat().st_mode) == 0o700:
            shutil.rmtree(target, ignore_errors=True)
        home.sockets.unlink()
    elif home.sockets.exists():
        shutil.rmtree(home.sockets)


def stop_server(home: Home) -> None:
    """Shut the server down fast and wait up to 60 s until all its processes are gone; call it under the mutex."""
    for _ in range(_STOP_POLLS):
        server = postmaster(home)
        if server is not None:
            with suppress(psutil.NoSuchProcess):
                server.process.send_signal(signal.SIGINT)
            break
        if not is_held(home.server_lock):
            break
        time.sleep(POLL_S)
    for _ in range(_STOP_POLLS):
        if not is_held(home.server_lock) and postmaster(home) is None:
            remove_sockets(home)
            return
        time.sleep(POLL_S)
    raise EmbeddedPostgresError(
        f"the server in {home.root} was told to stop and is still writing after 60 s; it ends by itself, "
        f"see {home.cluster}/log"
    )


def is_starting(home: Home) -> bool:
    """Say whether a server or an initdb lives that does not accept connections yet."""
    server = postmaster(home)
    return is_held(home.server_lock) if server is None else server.status == "starting"


def guard(home: Home, descriptor: int) -> None:
    """Sleep until the last user is gone, then stop the server; a recovery without users is left to finish first.

    `descriptor` holds the guard lock, given back under the mutex: the next user sees at once that it needs a new guard.
    """
    while True:
        with exclusive(home):
            living = users(home)
            if not living and not is_starting(home):
                try:
                    stop_server(home)
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
