"""Make, check and configure the cluster of the embedded server, and put its failures into words."""

import os
import pwd
from pathlib import Path

from manager.state.embedded.place import Account, binaries_for, make_sockets, make_stage, run_as
from manager.state.embedded.process import EmbeddedPostgresError, Home

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


def check_foreign(home: Home) -> None:
    """Refuse a data directory whose PostgreSQL files Propdesk did not make."""
    data_dir = home.root.parent
    if set('"$`\\\n') & set(str(data_dir)):
        raise EmbeddedPostgresError(
            f"{data_dir} holds a character that pg_ctl cannot pass on; choose a plain --data-dir"
        )
    foreign = home.root.exists() and any(home.root.iterdir()) and not home.mutex.exists()
    if foreign or (data_dir / "PG_VERSION").exists():
        raise EmbeddedPostgresError(
            f"{home.root if foreign else data_dir} holds files that Propdesk did not make; choose another --data-dir, "
            "or set DATABASE_URL if you want to use that server"
        )


def check_cluster(home: Home) -> None:
    """Refuse a cluster that is gone, foreign, damaged or of another major version; pass where there is none yet."""
    if not os.path.lexists(home.cluster):
        return
    cluster = home.cluster.resolve()
    if not cluster.exists():
        raise EmbeddedPostgresError(
            f"{home.cluster} points to {cluster}, which is gone; restore it, or remove the link to start empty"
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


def create_cluster(home: Home, account: Account, lock: int) -> None:
    """Run initdb beside the final place and rename, so that a cluster is there whole or not at all."""
    stage = make_stage(home, account)
    options = ["--username=postgres", "--auth=reject", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin"]
    run_tool(home, account, ["initdb", "-D", str(stage), *options, "--builtin-locale=C.UTF-8"], lock)
    (stage / _MARKER).touch()
    _sync(stage)
    home.stage.rename(home.cluster)
    _sync(home.root)


def configure(home: Home, account: Account, tcp_port: int | None) -> None:
    """Write the settings, and access rules by which root, the owner and this account may be any role."""
    cluster = home.cluster.resolve()
    sockets = str(make_sockets(home, account)).replace("'", "''")
    listen = "" if tcp_port is None else "127.0.0.1"
    address = f"listen_addresses = '{listen}'\nport = {tcp_port or 5432}\nunix_socket_directories = '\"{sockets}\"'\n"
    (cluster / "postgresql.conf").write_text(_SETTINGS + address)
    (cluster / "pg_hba.conf").write_text(_ACCESS)
    people = sorted({pwd.getpwuid(uid).pw_name for uid in (0, os.geteuid(), home.root.stat().st_uid)})
    (cluster / "pg_ident.conf").write_text("".join(f'propdesk "{name}" all\n' for name in people))
    account.own(cluster)


def run_tool(home: Home, account: Account, command: list[str], lock: int) -> None:
    """Run a program of PostgreSQL; raise EmbeddedPostgresError with its last words and the mend when it fails."""
    program = binaries_for(account) / command[0]
    result = run_as(account, [str(program), *command[1:]], lock=lock)
    if result.returncode:
        raise explain(f"{command[0]} failed in {home.root}", result.stdout)


def explain(what: str, output: str) -> EmbeddedPostgresError:
    """Return the error for an output of PostgreSQL or the system, with the mend where the cause is known."""
    last = max(_ADVICE, key=output.rfind)  # older words of the same log may tell of an older cause
    mend = _ADVICE[last] if last in output else "see the words above"
    words = "\n".join(output.strip().splitlines()[-_LOG_TAIL_LINES:]) or "it said nothing"
    return EmbeddedPostgresError(f"{what}: {words}\n{mend}")


def log_tail(home: Home) -> str:
    """Return the last words of the server, from before and after it opened its log."""
    logs = sorted((home.cluster / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
    files = [path for path in (home.cluster / "start.log", *logs[-1:]) if path.exists()]
    return "\n".join(
        line for path in files for line in path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
    )


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
