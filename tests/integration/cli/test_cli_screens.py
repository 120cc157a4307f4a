"""The screens of a crowded desk on real terminals: nothing wider than the window, nothing cut, colour where wanted."""

import asyncio
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from crowded_desk import LONG_IDS, crowd
from database_fixtures import Database
from desk_history import BTC, ENTRY, STOP, fill_history
from manager.state.postgres.store import PostgresStore
from manager.state.records import DEFAULT_TENANT, AccountId, AccountRow, TenantId

pytestmark = [pytest.mark.database, pytest.mark.processes]

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 120
MAIN = """
import sys
from manager.cli.app import app
for command in sys.argv[1].split(";"):
    try:
        app(command.split(), prog_name="propdesk")
    except SystemExit as end:
        print(f"exit {end.code}")
"""
COMMANDS = f"status;operations;operations --full --kind order;why {ENTRY[:6]};why {STOP};traders list"
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@pytest.fixture
def dsn(database: Database) -> str:
    async def fill() -> None:
        store = PostgresStore.open(database.dsn)
        await fill_history(store, *crowd())
        await store.close()

    asyncio.run(fill())
    return database.dsn


def environment(dsn: str, **values: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    return {**kept, "PYTHONPATH": str(ROOT), "DATABASE_URL": dsn, "TERM": "xterm", **values}


@contextmanager
def on_terminal(dsn: str, commands: str, columns: int, **values: str) -> Iterator["Terminal"]:
    leader, follower = pty.openpty()
    ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    child = subprocess.Popen(
        [sys.executable, "-c", MAIN, commands],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment(dsn, **values),
        start_new_session=True,
    )
    os.close(follower)
    try:
        yield Terminal(leader, child)
    finally:
        child.kill()
        child.wait()
        os.close(leader)


class Terminal:
    """Read what a child writes on its terminal."""

    def __init__(self, leader: int, child: subprocess.Popen[bytes]) -> None:
        self.leader = leader
        self.child = child
        self.text = ""

    def read(self, until: Callable[[str], bool] = lambda text: False) -> str:
        """Return all that was written when `until` holds, or at the child's end."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and not until(self.text):
            if not select.select([self.leader], [], [], 1)[0]:
                continue
            try:
                found = os.read(self.leader, 65_536)
            except OSError:
                break
            self.text += found.decode()
        return self.text.replace("\r\n", "\n")

    def resize(self, columns: int) -> None:
        ioctl(self.leader, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        os.kill(self.child.pid, signal.SIGWINCH)


def check(shown: str, columns: int) -> None:
    bare = ESCAPES.sub("", shown)
    wide = [line for line in bare.splitlines() if len(line) > columns]
    assert not wide
    assert bare.count("exit 0\n") == len(COMMANDS.split(";")), bare
    assert "..." not in bare
    words = set(re.split(r"[\s,;()]+", bare))
    assert not {*LONG_IDS, BTC, ENTRY, "98765.43", "12.34568", "NAKED_POSITION"} - words


@pytest.mark.parametrize("columns", [80, 100, 140])
def test_nothing_is_wider_than_the_terminal_and_nothing_is_cut(dsn: str, columns: int) -> None:
    with on_terminal(dsn, COMMANDS, columns) as terminal:
        shown = terminal.read()
    check(shown, columns)
    assert "\x1b[2mpaper (paper): stopped\x1b[0m" in shown


@pytest.mark.parametrize(("columns", "given"), [(80, "80"), (140, "")])
def test_a_pipe_is_as_wide_as_it_says_and_without_colour(dsn: str, columns: int, given: str) -> None:
    command = [sys.executable, "-c", MAIN, COMMANDS]
    values = {"COLUMNS": given} if given else {}
    done = subprocess.run(
        command, env=environment(dsn, **values), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
    )
    check(done.stdout, columns)
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("unwanted", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_it_is_not_wanted(dsn: str, unwanted: dict[str, str]) -> None:
    with on_terminal(dsn, "status", 100, **unwanted) as terminal:
        shown = terminal.read()
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 100
    assert shown.endswith("exit 0\n")


def test_watching_follows_the_width_survives_its_database_and_ends_well(dsn: str, database: Database) -> None:
    with on_terminal(dsn, "status --watch 0.3", 100) as terminal:
        terminal.read(lambda text: text.count("\x1b[H") >= 2)
        assert max(len(line) for line in ESCAPES.sub("", terminal.text).replace("\r", "").split("\n")) <= 100
        drawn = len(terminal.text)
        terminal.resize(70)
        terminal.read(lambda text: text[drawn:].count("\x1b[H") >= 3)
        last = ESCAPES.sub("", terminal.text.rpartition("\x1b[H")[2]).replace("\r", "").split("\n")
        assert max(map(len, last)) <= 70
        rename(database, database.name, f"{database.name}_away")
        try:
            terminal.read(lambda text: "The database has been away since" in text)
        finally:
            rename(database, f"{database.name}_away", database.name)
        drawn = len(terminal.text)
        terminal.read(lambda text: "paper (paper)" in text[drawn:] and "been away" not in text.rpartition("\x1b[H")[2])
        os.kill(terminal.child.pid, signal.SIGINT)
        assert "exit 0" in terminal.read(lambda text: "exit " in text)


def rename(database: Database, old: str, new: str) -> None:
    with psycopg.connect(make_conninfo(database.admin_dsn, dbname="postgres"), autocommit=True) as server:
        server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(old)))
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [old])
        rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
        server.execute(rename.format(sql.Identifier(old), sql.Identifier(new)))
        server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(new)))


def test_all_tenants_are_shown_each_with_its_own(dsn: str) -> None:
    async def second() -> None:
        store = PostgresStore.open(dsn)
        async with store.service() as service:
            await service.ensure_tenant(TenantId("acme"))
        async with store.transaction(TenantId("acme")) as tx:
            await tx.insert([AccountRow(tenant_id=TenantId("acme"), account_id=AccountId("own"), venue="paper")])
        await store.close()

    asyncio.run(second())
    command = [sys.executable, "-c", MAIN, "status --all-tenants;status --all-tenants --tenant acme;status 5"]
    done = subprocess.run(command, env=environment(dsn), capture_output=True, text=True, timeout=300)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("acme/", f"{DEFAULT_TENANT}/"))] == [
        "acme/own",
        "default/paper",
    ]
    assert {"Tenant acme", "Tenant default"} <= set(lines)
    assert [line for line in lines if line.startswith("exit")] == ["exit 0", "exit 2", "exit 2"]
    assert "--watch 5" in done.stderr
