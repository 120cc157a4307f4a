"""What servers, and what is none, answer on the wire to a DATABASE_URL: one line with what is wrong and the mend."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from typer.testing import CliRunner, Result

from config_files import write_config
from database_fixtures import Database
from manager.cli.app import app
from manager.state.database import DatabasePlace
from manager.state.embedded.server import EmbeddedServer, attach
from manager.state.errors import DatabaseAway, StoreUnavailable
from manager.state.postgres import upgrade
from manager.state.postgres.unreachable import unreached
from transaction_pooler import pooler

pytestmark = pytest.mark.database
_SET_UP = (
    "CREATE ROLE desk LOGIN PASSWORD 'right'",
    "CREATE ROLE sleeper PASSWORD 'right'",
    "CREATE ROLE one LOGIN PASSWORD 'right' CONNECTION LIMIT 0",
    "CREATE DATABASE locked",
    "REVOKE CONNECT ON DATABASE locked FROM PUBLIC",
    "CREATE DATABASE shut ALLOW_CONNECTIONS false",
)
_HBA = """
local all postgres peer map=propdesk
local all all peer
hostssl secret all 127.0.0.1/32 scram-sha-256
host nowhere all 127.0.0.1/32 reject
host trusting all 127.0.0.1/32 trust
host postgres,locked,shut,none all 127.0.0.1/32 scram-sha-256
"""
_ANSWERS = [
    ("desk:wrong-pw@{at}/postgres", "does not take this password of user desk", False),
    ("desk@{at}/postgres", "the server asks for a password and DATABASE_URL has none", False),
    ("ghost:wrong-pw@{at}/postgres", "user ghost, or has no such user", False),
    ("ghost@{at}/trusting", "the server has no user ghost; correct it in DATABASE_URL, or run: CREATE ROLE", False),
    ("sleeper@{at}/trusting", "role sleeper may not log in", False),
    ("desk:right@{at}/none", "the server has no database none; correct it in DATABASE_URL, or run: CREATE DA", False),
    ("desk:right@{at}/locked", "this user may not connect to database locked", False),
    ("desk:right@{at}/shut", 'database "shut" is not currently accepting connections', True),
    ("one:right@{at}/postgres", "the server has no connection left (too many connections)", True),
    ("desk:right@{at}/postgres?sslmode=require", "offers no TLS, and sslmode wants it", False),
    ("desk:right@{at}/secret", "only with TLS, or not at all; add ?sslmode=require", False),
    ("desk:right@{at}/nowhere", "lets this user into this database not from here", False),
    ("desk:right@127.0.0.1:1/d", "nothing listens at 127.0.0.1:1 (connection refused)", True),
    ("desk:right@no-such-host.invalid/d", "no machine is known by the name no-such-host.invalid", True),
    ("desk@/d?host=/no/such/folder", "there is no directory /no/such/folder for its Unix socket", True),
    ("desk@/d?host={folder}", "no server has a socket {folder}/.s.PGSQL.5432", False),
    ("desk@/postgres?host={socket}&port={port}", "lets only the system's own user desk in by this way (peer)", False),
]
_NO_POSTGRES = [
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is no PostgreSQL; its answer begins with 'H', as a web server's does"),
    (b"J\0\0\0\n8.0.36", "is no PostgreSQL; its answer begins with 'J', as MySQL's does"),
    (b"-ERR unknown command\r\n", "is no PostgreSQL; its answer begins with '-', as Redis's does"),
    (b"SSH-2.0-OpenSSH_10\r\n", "is no PostgreSQL"),
    (b"", "takes the connection and closes it without a word"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with attach(tmp_path_factory.mktemp("server"), tcp_port=port) as one:
        with psycopg.connect(one.dsn(user="postgres", database="postgres"), autocommit=True) as admin:
            for statement in _SET_UP:
                admin.execute(statement.encode())
            [hba] = admin.execute("SHOW hba_file").fetchone() or [""]
            Path(hba).write_text(_HBA)
            admin.execute("SELECT pg_reload_conf()")
        _await_reload(f"postgresql://desk@127.0.0.1:{port}/nowhere")
        yield one


def _await_reload(url: str) -> None:
    for _ in range(600):
        with pytest.raises(psycopg.OperationalError) as caught:
            psycopg.connect(url)
        if "rejects" in str(caught.value):
            return
        time.sleep(0.1)
    pytest.fail("the server never read its pg_hba.conf again")


@contextmanager
def _listening(answer: bytes, *, closes: bool = True) -> Iterator[int]:
    """Give a port on which every connection gets this answer to its first bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as kept:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.recv(1000)
                connection.sendall(answer)
                connection.close() if closes else kept.enter_context(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _run(*words: str, url: str) -> Result:
    return CliRunner(env={"DATABASE_URL": url}).invoke(app, list(words))


def _said(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    [line] = [line for line in result.stderr.splitlines() if "waiting" not in line and "upgrading" not in line]
    return line


@pytest.mark.parametrize(("url", "words", "waits"), _ANSWERS, ids=[url for url, _, _ in _ANSWERS])
def test_each_answer_is_told_in_plain_words(
    server: EmbeddedServer, tmp_path: Path, url: str, words: str, waits: bool
) -> None:
    places = {"folder": str(tmp_path), "socket": str(server.socket_dir), "port": str(server.port)}
    url = "postgresql://" + url.format(at=f"127.0.0.1:{server.port}", **places)
    for command in (["status"], ["db", "upgrade"]):
        line = _said(_run(*command, url=url))
        assert line.startswith("propdesk: the database cannot be reached: ")
        assert words.format(**places) in line
        assert "wrong-pw" not in line
    with pytest.raises(StoreUnavailable) as caught:
        upgrade.upgrade(url)
    assert isinstance(caught.value, DatabaseAway) == (waits or "{folder}" in words)


@pytest.mark.parametrize(("answer", "words"), _NO_POSTGRES, ids=[answer[:4].decode() for answer, _ in _NO_POSTGRES])
@pytest.mark.parametrize("mode", ["prefer", "disable", "require"])
def test_what_is_no_postgresql_is_told(answer: bytes, words: str, mode: str) -> None:
    with _listening(answer) as port:
        line = _said(_run("status", url=f"postgresql://u:hunter2@127.0.0.1:{port}/d?sslmode={mode}"))
    assert f"127.0.0.1:{port}" in line
    assert words in line or "is no PostgreSQL" in line
    assert "hunter2" not in line


def test_what_stays_silent_is_told() -> None:
    with _listening(b"", closes=False) as port:
        line = _said(_run("db", "upgrade", url=f"postgresql://u:hunter2@127.0.0.1:{port}/d?connect_timeout=2"))
    assert "nobody answers in time; see whether host and port in DATABASE_URL are right" in line


def test_a_server_that_is_too_old_is_told() -> None:
    ready = b"R\0\0\0\x08\0\0\0\0" + b"S\0\0\0\x19server_version\x0013.14\0" + b"K\0\0\0\x0c\0\0\0\x01\0\0\0\x02"
    with _listening(ready + b"Z\0\0\0\x05I") as port:
        line = _said(_run("db", "upgrade", url=f"postgresql://u:hunter2@127.0.0.1:{port}/d?sslmode=disable"))
    assert line == "propdesk: the server is PostgreSQL 13; Propdesk needs 15 or newer"


def test_a_login_without_rights_is_told_what_to_run(server: EmbeddedServer) -> None:
    line = _said(_run("db", "upgrade", url=f"postgresql://desk:right@127.0.0.1:{server.port}/postgres"))
    assert "role propdesk_owner is missing and desk may not create it; have an administrator run: CREATE ROLE" in line


def test_a_database_that_was_never_upgraded_is_told(server: EmbeddedServer) -> None:
    line = _said(_run("status", url=f"postgresql://desk:right@127.0.0.1:{server.port}/postgres"))
    assert line.endswith("run `propdesk db upgrade` with this login first")


async def _upgraded(database: Database, *, keeps: bool) -> None:
    async with pooler(database.owner_dsn, keeps=keeps) as port:
        url = make_conninfo(database.owner_dsn, host="127.0.0.1", port=port, sslmode="disable")
        await asyncio.to_thread(upgrade.upgrade, url)


async def test_a_pooler_by_transaction_is_refused(database: Database) -> None:
    with pytest.raises(StoreUnavailable, match="a pooler such as pgbouncer stands before the server") as caught:
        await _upgraded(database, keeps=False)
    assert not isinstance(caught.value, DatabaseAway)


async def test_a_pooler_that_keeps_sessions_will_do(database: Database) -> None:
    await _upgraded(database, keeps=True)


def test_the_settings_that_a_pooler_does_not_take_are_told() -> None:
    said = 'connection to server at "10.0.0.1", port 6432 failed: FATAL:  unsupported startup parameter: options'
    assert "a pooler at 10.0.0.1:6432 takes no session settings" in unreached(f"connection failed: {said}").words


def test_run_ends_where_waiting_mends_nothing_and_goes_on_where_it_may(server: EmbeddedServer, tmp_path: Path) -> None:
    url = f"postgresql://desk:wrong-pw@127.0.0.1:{server.port}/postgres"
    result = _run("run", "-c", str(write_config(tmp_path)), "--port", "0", url=url)
    assert result.exit_code == 1
    assert "does not take this password of user desk" in result.stderr
    DatabasePlace(data_dir=tmp_path, url="postgresql://u@127.0.0.1:1/d").knock()


@pytest.mark.parametrize("said", ["connection failed: ACHTUNG", "connection is bad: no\n\tsense"])
def test_words_that_nobody_knows_stay_as_they_are(said: str) -> None:
    assert unreached(said).words == " ".join(said.split())
    assert isinstance(unreached(said).error, DatabaseAway)
