"""The embedded server starts, is shared, survives kills and never touches what is not its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types
import psycopg
import pytest

from manager.state.embedded import cluster
from manager.state.embedded.process import Home, is_held
from manager.state.embedded.server import EmbeddedPostgresError, EmbeddedServer, attach

pytestmark = [pytest.mark.database, pytest.mark.processes]

ROOT = Path(__file__).parents[3]
USER = """
import signal, sys
from pathlib import Path
from manager.state.embedded.server import attach
if "unwind" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with attach(Path(sys.argv[1])) as server:
    print(server.pid, flush=True)
    sys.stdin.read()
"""


class User:
    """A real process that attaches until its input is closed."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        command = [sys.executable, "-c", USER, str(data_dir), *options]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def server_pid(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def end(self, number: signal.Signals | None = None) -> int:
        if number is not None:
            self.process.send_signal(number)
            self.process.wait(30)
        self.process.communicate(timeout=30)
        return self.process.returncode


def eventually(condition: Callable[[], bool]) -> bool:
    for _ in range(1000):
        if condition():
            return True
        time.sleep(0.02)
    return False


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def query(server: EmbeddedServer, statement: str) -> str:
    with psycopg.connect(server.dsn(user="postgres", database="postgres"), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
        return "" if row is None else str(row[0])


def guard_pids(home: Home) -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if str(home.root) in command and any(part.endswith("embedded/process.py") for part in command):
            found.append(process.pid)
    return found


@pytest.fixture
def base() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="embedded-")).resolve()
    directory.chmod(0o755)
    yield directory
    # A server that is stopping takes folders away meanwhile, which `os.walk` passes over.
    homes = [Home(root=Path(folder)) for folder, _, files in os.walk(directory) if "mutex.lock" in files]
    for home in homes:
        assert eventually(lambda home=home: not is_held(home.server_lock)), "a server was left running"  # type: ignore[misc]  # the bound default
        assert eventually(lambda home=home: not is_held(home.guard_lock)), "a guard was left running"  # type: ignore[misc]  # the bound default
        if home.cluster.is_symlink():
            shutil.rmtree(home.cluster.resolve(), ignore_errors=True)
    shutil.rmtree(directory)


@pytest.fixture
def data_dir(base: Path) -> Path:
    return base / "desk"


@pytest.fixture
def start_user(data_dir: Path) -> Iterator[Callable[..., User]]:
    started: list[User] = []

    def start(*options: str) -> User:
        started.append(User(data_dir, *options))
        return started[-1]

    yield start
    for user in started:
        if user.process.returncode is None:
            user.end(signal.SIGKILL)


@pytest.fixture
def home(data_dir: Path) -> Home:
    return Home(root=data_dir / "postgres")


def test_it_starts_durable_and_private_and_keeps_its_data(data_dir: Path, home: Home) -> None:
    with attach(data_dir) as server:
        query(server, "CREATE TABLE kept AS SELECT 42 AS value")
        query(server, "CREATE ROLE desk_app LOGIN")
        with psycopg.connect(server.dsn(user="desk_app", database="postgres")) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("desk_app",)
        assert query(server, "SHOW fsync") == "on"
        assert query(server, "SHOW server_version_num").startswith("18")
        assert query(server, "SHOW listen_addresses") == ""
        assert query(server, "SHOW max_connections") == "200"
        assert server.socket_dir.stat().st_mode & 0o777 == 0o700
        assert server.data_dir == data_dir
    assert not is_alive(server.pid)
    assert not home.sockets.exists()
    with attach(data_dir) as server:
        assert query(server, "SELECT value FROM kept") == "42"


def test_one_process_may_attach_twice(data_dir: Path) -> None:
    with attach(data_dir) as outer:
        with attach(data_dir) as inner:
            assert inner == outer
        assert query(outer, "SELECT 1") == "1"
    assert not is_alive(outer.pid)


def test_three_processes_share_one_server_and_the_last_out_stops_it(start_user: Callable[..., User]) -> None:
    users = [start_user() for _ in range(3)]
    pids = {user.server_pid() for user in users}
    assert len(pids) == 1
    server_pid = pids.pop()
    assert users[0].end() == 0
    assert users[1].end() == 0
    assert is_alive(server_pid)
    assert users[2].end() == 0
    assert not is_alive(server_pid)


def test_a_killed_owner_leaves_no_server_and_no_gap(start_user: Callable[..., User], data_dir: Path) -> None:
    owner = start_user()
    server_pid = owner.server_pid()
    with attach(data_dir) as server:
        assert server.pid == server_pid
        query(server, "CREATE TABLE kept AS SELECT 42 AS value")
        owner.end(signal.SIGKILL)
        assert query(server, "SELECT value FROM kept") == "42"
    assert not is_alive(server_pid)
    owner = start_user()
    server_pid = owner.server_pid()
    owner.end(signal.SIGKILL)
    assert eventually(lambda: not is_alive(server_pid))
    with attach(data_dir) as server:
        assert query(server, "SELECT value FROM kept") == "42"


def test_a_server_whose_owner_and_guard_were_killed_is_taken_over(
    start_user: Callable[..., User], data_dir: Path, home: Home
) -> None:
    owner = start_user()
    server_pid = owner.server_pid()
    assert eventually(lambda: len(guard_pids(home)) == 1)
    os.kill(guard_pids(home)[0], signal.SIGKILL)
    owner.end(signal.SIGKILL)
    assert is_alive(server_pid)
    with attach(data_dir) as server:
        assert server.pid == server_pid
        assert eventually(lambda: len(guard_pids(home)) == 1)
    assert not is_alive(server_pid)


def test_a_killed_postmaster_is_recovered_by_the_next_start(start_user: Callable[..., User], data_dir: Path) -> None:
    owner = start_user()
    server_pid = owner.server_pid()
    with attach(data_dir) as server:
        query(server, "CREATE TABLE kept AS SELECT 42 AS value")
        os.kill(server_pid, signal.SIGKILL)
    with attach(data_dir) as server:
        assert server.pid != server_pid
        assert query(server, "SELECT value FROM kept") == "42"
        assert owner.end() == 0
        assert query(server, "SELECT 1") == "1"


def test_a_start_killed_at_any_moment_is_repaired(start_user: Callable[..., User], data_dir: Path, home: Home) -> None:
    moments: list[Callable[[], bool]] = [
        home.mutex.exists,
        (home.stage / "PG_VERSION").exists,
        (home.stage / "global" / "pg_control").exists,
        home.cluster.exists,
        (home.cluster / "postmaster.pid").exists,
    ]
    for moment in moments:
        owner = start_user()
        assert eventually(moment)
        owner.end(signal.SIGKILL)
    with attach(data_dir) as server:
        assert query(server, "SELECT 1") == "1"
    assert not home.stage.exists()


@pytest.mark.parametrize("name", ["sleep", "postgres"])
def test_a_stale_pid_file_does_not_harm_another_process(name: str, base: Path, data_dir: Path, home: Home) -> None:
    with attach(data_dir) as server:
        pid_file = home.cluster / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
    program = base / name
    shutil.copy("/bin/sleep", program)
    account = home.cluster.stat().st_uid
    with subprocess.Popen([program, "60"], user=account if os.geteuid() == 0 else None) as other:
        started = int(psutil.Process(other.pid).create_time()) if name == "sleep" else 1_700_000_000
        lines[0], lines[2] = str(other.pid), str(started)
        pid_file.write_text("\n".join(lines) + "\n")
        with attach(data_dir) as server:
            assert server.pid != other.pid
            assert query(server, "SELECT 1") == "1"
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("options", [(), ("unwind",)])
def test_sigterm_of_the_last_user_stops_the_server(options: tuple[str, ...], start_user: Callable[..., User]) -> None:
    owner = start_user(*options)
    server_pid = owner.server_pid()
    assert owner.end(signal.SIGTERM) == (0 if options else -signal.SIGTERM)
    if options:
        assert not is_alive(server_pid)
    assert eventually(lambda: not is_alive(server_pid))


@pytest.mark.parametrize("place", ["desk", "desk/postgres", "desk/postgres/data"])
def test_the_cluster_of_others_is_refused_and_left_alone(place: str, base: Path) -> None:
    others = base / place
    others.mkdir(parents=True)
    (others / "PG_VERSION").write_text("18\n")
    with pytest.raises(EmbeddedPostgresError, match=r"Propdesk did not make.*--data-dir"), attach(base / "desk"):
        pass
    assert [path.name for path in others.iterdir()] == ["PG_VERSION"]


def test_a_file_instead_of_a_directory_is_refused(data_dir: Path) -> None:
    data_dir.write_text("not a directory")
    with pytest.raises(EmbeddedPostgresError, match=r"choose a --data-dir that is a directory"), attach(data_dir):
        pass


def test_another_major_version_is_refused(data_dir: Path, home: Home) -> None:
    with attach(data_dir):
        pass
    (home.cluster / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedPostgresError, match=r"made by PostgreSQL 17.*runs PostgreSQL 18"), attach(data_dir):
        pass
    (home.cluster / "PG_VERSION").write_text("18\n")
    with attach(data_dir) as server:
        assert query(server, "SELECT 1") == "1"


def test_a_start_that_fails_tells_why_and_does_no_harm(data_dir: Path, home: Home) -> None:
    with attach(data_dir):
        pass
    control = home.cluster / "global" / "pg_control"
    control.rename(control.with_suffix(".away"))
    with pytest.raises(EmbeddedPostgresError, match=r"did not start: (?s:.)*pg_control"), attach(data_dir):
        pass
    control.with_suffix(".away").rename(control)
    with attach(data_dir) as server:
        assert query(server, "SELECT 1") == "1"


def test_a_full_disk_is_named_and_the_next_start_repairs(base: Path, data_dir: Path, home: Home) -> None:
    tools = base / "tools"
    tools.mkdir()
    (tools / "initdb").write_text(
        '#!/bin/sh\ntouch "$2/half"\necho "could not write: No space left on device"\nexit 1\n'
    )
    (tools / "initdb").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster.Account, "binaries", lambda account: tools)
        with pytest.raises(EmbeddedPostgresError, match=r"the disk is full: free at least"), attach(data_dir):
            pass
    assert not home.cluster.exists()
    with attach(data_dir) as server:
        assert query(server, "SELECT 1") == "1"


def test_a_long_and_odd_path_works(base: Path) -> None:
    data_dir = base / ("a long, odd 'path' % " * 6) / "désk"
    data_dir.parent.mkdir()
    assert len(str(data_dir)) > 107
    with attach(data_dir) as server:
        assert query(server, "SELECT 1") == "1"
        sockets = server.socket_dir
        assert len(str(sockets)) < 60
    assert not sockets.exists()


def test_loopback_tcp_is_optional_and_wants_a_password(data_dir: Path) -> None:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"host=127.0.0.1 port={port} dbname=postgres connect_timeout=5"
    with attach(data_dir, tcp_port=port) as server:
        query(server, "CREATE ROLE visitor LOGIN PASSWORD 'pass word'")
        with psycopg.connect(f"{address} user=visitor password='pass word'") as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("visitor",)
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(f"{address} user=postgres")
        with pytest.raises(EmbeddedPostgresError, match="without TCP port"), attach(data_dir, tcp_port=port + 1):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another account")
def test_below_a_directory_for_root_only_it_moves_and_never_starts_empty(
    base: Path, data_dir: Path, home: Home
) -> None:
    base.chmod(0o700)
    with attach(data_dir) as server:
        query(server, "CREATE TABLE kept AS SELECT 42 AS value")
    with attach(data_dir) as server:
        assert query(server, "SELECT value FROM kept") == "42"
    cluster = home.cluster.resolve()
    away = cluster.with_name(cluster.name + "-away")
    cluster.rename(away)
    with pytest.raises(EmbeddedPostgresError, match="which is gone"), attach(data_dir):
        pass
    away.rename(cluster)
