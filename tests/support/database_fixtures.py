"""Databases for tests: a migrated template, cloned for each test, on the embedded server or on DATABASE_URL's."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from manager.state.embedded.server import attach
from manager.state.memory.store import MemoryStore
from manager.state.postgres.roles import LOGIN, MIGRATOR, OWNER, close_wall, provision
from manager.state.postgres.store import PostgresStore
from manager.state.postgres.upgrade import upgrade
from manager.state.records import DEFAULT_TENANT
from manager.state.store import Store

_END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename = current_user"
)
_FILLED_TABLES = (
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
    "AND relname NOT IN ('alembic_version', 'procrastinate_applied')"
)
_QUICK = ("fsync = off", "full_page_writes = off", "synchronous_commit = off")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseServer:
    """Say how tests reach a server: who creates databases, who migrates, who runs the desk."""

    admin_dsn: str
    migrator_dsn: str
    login_dsn: str
    external: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Hold the DSNs of one database: the desk's login, its owner, and who may drop it."""

    dsn: str
    owner_dsn: str
    admin_dsn: str
    name: str


@contextmanager
def _shared_server(lock_file: Path) -> Iterator[DatabaseServer]:
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}")
    home = Path(tempfile.gettempdir()) / f"propdesk-tests-{run}"
    with lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        with attach(home) as server:
            admin = server.dsn(user="postgres", database="postgres")
            with psycopg.connect(admin, autocommit=True) as connection:
                for setting in _QUICK:
                    connection.execute(sql.SQL("ALTER SYSTEM SET " + setting))
                connection.execute("SELECT pg_reload_conf()")
            yield DatabaseServer(
                admin_dsn=admin,
                migrator_dsn=server.dsn(user=MIGRATOR, database="postgres"),
                login_dsn=server.dsn(user=LOGIN, database="postgres"),
                external=False,
            )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        data = home / "postgres" / "data"
        if data.is_symlink():
            shutil.rmtree(data.resolve(), ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def database_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    """Give the server of this test run: DATABASE_URL's, else one embedded server for all workers of the run."""
    if url := os.environ.get("DATABASE_URL"):
        url = url.replace("+psycopg", "")
        yield DatabaseServer(admin_dsn=url, migrator_dsn=url, login_dsn=url, external=True)
        return
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with _shared_server(base / "database.lock") as server:
        yield server


@contextmanager
def _named_database(server: DatabaseServer, name: str, template: str = "") -> Iterator[Database]:
    create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template:
        create += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
    if not server.external:
        create += sql.SQL(" OWNER {}").format(sql.Identifier(MIGRATOR))
    with psycopg.connect(server.admin_dsn, autocommit=True) as admin:
        admin.execute(create)
        try:
            yield Database(
                dsn=make_conninfo(server.login_dsn, dbname=name),
                owner_dsn=make_conninfo(server.migrator_dsn, dbname=name),
                admin_dsn=make_conninfo(server.admin_dsn, dbname=name),
                name=name,
            )
        finally:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def empty_database(database_server: DatabaseServer) -> Iterator[Database]:
    """Give an empty database with roles and logins, not migrated."""
    if not database_server.external:
        provision(database_server.admin_dsn, "postgres")
    with _named_database(database_server, f"test_{uuid4().hex}") as database:
        yield database


@pytest.fixture(scope="session")
def database_template(database_server: DatabaseServer) -> Iterator[str]:
    """Migrate one database for this worker and give its name."""
    if not database_server.external:
        provision(database_server.admin_dsn, "postgres")
    with _named_database(database_server, f"template_{uuid4().hex}") as database:
        upgrade(database.owner_dsn)
        if not database_server.external:
            close_wall(database.admin_dsn)
        yield database.name


@pytest.fixture(scope="session")
def _clones(database_server: DatabaseServer, database_template: str) -> Iterator[list[Database]]:
    with ExitStack() as stack:

        class Pool(list[Database]):
            def lease(self) -> Database:
                clone = _named_database(database_server, f"test_{uuid4().hex}", database_template)
                return self.pop() if self else stack.enter_context(clone)

        yield Pool()


@pytest.fixture
def database(_clones: Any) -> Iterator[Database]:
    """Give a clone of the migrated template without rows; a test's clone is emptied and used again."""
    leased = _clones.lease()
    yield leased
    _empty(leased)
    _clones.append(leased)


def _empty(database: Database) -> None:
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        connection.execute(_END_OTHERS)
        connection.execute(f"SET ROLE {OWNER}")
        names = [sql.Identifier(name) for (name,) in connection.execute(_FILLED_TABLES).fetchall()]
        connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(sql.SQL(", ").join(names)))


@pytest.fixture
async def postgres_store(database: Database) -> AsyncIterator[PostgresStore]:
    """Give a store on a fresh database, its default tenant created."""
    store = PostgresStore.open(database.dsn, pool_size=4)
    async with store.service() as service:
        await service.ensure_tenant(DEFAULT_TENANT)
    yield store
    await store.close()


@pytest.fixture
async def memory_store() -> MemoryStore:
    """Give a store in memory, its default tenant created."""
    store = MemoryStore()
    async with store.service() as service:
        await service.ensure_tenant(DEFAULT_TENANT)
    return store


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.database)])
def store(request: Any) -> Store:
    """Give each implementation of the store in turn."""
    found: Store = request.getfixturevalue(f"{request.param}_store")
    return found
