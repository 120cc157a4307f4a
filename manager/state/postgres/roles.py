"""The database roles, what each is for, and the logins that become them (docs/decisions/database-roles.md).

The four roles cannot log in. A login is a member of some and takes one for a transaction, so what it may do is what
the role may do. Memberships work the same on PostgreSQL 15 and on 16 and later, where a role's creator administers it.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from manager.state.errors import StoreUnavailable

OWNER = "propdesk_owner"
APP = "propdesk_app"
SERVICE = "propdesk_service"
QUEUE = "propdesk_queue"
ROLES = (OWNER, APP, SERVICE, QUEUE)

LOGIN = "propdesk"
MIGRATOR = "propdesk_migrator"
_ATTEMPTS = 20
_SET_CONFIG = "pg_catalog.set_config(text, text, boolean)"

Connection = psycopg.Connection[Any]


def queue_dsn(dsn: str) -> str:
    """Return `dsn` with every session of it in the role of the queue."""
    return make_conninfo(dsn, options=f"-c role={QUEUE}")


def provision(superuser_dsn: str, database: str) -> None:
    """Create the roles, the logins `propdesk` and `propdesk_migrator`, and a database for them; what exists stays.

    The logins get no password: the embedded server asks the kernel who connects. Raises StoreUnavailable.
    The server is ours, so the tenant wall of the database is closed, too (`close_wall`).
    """
    with psycopg.connect(superuser_dsn, autocommit=True) as connection:
        ensure_roles(connection)
        _run_raced(connection, _create_role(LOGIN, "LOGIN NOINHERIT"))
        _run_raced(connection, _create_role(MIGRATOR, "LOGIN"))
        for role in (APP, SERVICE, QUEUE):
            _run_raced(connection, _grant(role, LOGIN))
        _run_raced(connection, _grant(OWNER, MIGRATOR))
        if not _exists(connection, "SELECT 1 FROM pg_database WHERE datname = %s", database):
            _run_raced(
                connection,
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(MIGRATOR)),
            )
    close_wall(make_conninfo(superuser_dsn, dbname=database))


def close_wall(superuser_dsn: str) -> None:
    """Leave `set_config` to who migrates and dumps, so that no expression of a query moves to another tenant."""
    with psycopg.connect(superuser_dsn, autocommit=True) as connection:
        if _exists(connection, "SELECT 1 WHERE has_function_privilege('public', %s, 'EXECUTE')", _SET_CONFIG):
            _run_raced(connection, sql.SQL("REVOKE EXECUTE ON FUNCTION " + _SET_CONFIG + " FROM PUBLIC").format())
        for role in (OWNER, MIGRATOR):
            if not _exists(connection, "SELECT 1 WHERE has_function_privilege(%s, %s, 'EXECUTE')", role, _SET_CONFIG):
                grant = "GRANT EXECUTE ON FUNCTION " + _SET_CONFIG + " TO {}"
                _run_raced(connection, sql.SQL(grant).format(sql.Identifier(role)))


def ensure_roles(connection: Connection, roles: Sequence[str] = ROLES) -> None:
    """Create the roles that are missing; raise StoreUnavailable with the SQL to run if this login may not."""
    for role in roles:
        if not _exists(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", role):
            try:
                _run_raced(connection, _create_role(role, "NOLOGIN"))
            except psycopg.errors.InsufficientPrivilege:
                statements = "; ".join(f"CREATE ROLE {name} NOLOGIN" for name in roles)
                raise StoreUnavailable(
                    f"role {role} is missing and {connection.info.user} may not create it; have an administrator run: "
                    f"{statements}; GRANT {', '.join(roles)} TO {connection.info.user};"
                ) from None


def ensure_memberships(connection: Connection) -> None:
    """Make this login a member of the roles as far as it may; raise StoreUnavailable if it cannot become the owner."""
    login = connection.info.user
    for role in ROLES:
        if _can_become(connection, role):
            continue
        try:
            _run_raced(connection, _grant(role, login))
        except psycopg.errors.InsufficientPrivilege:
            if role == OWNER:
                raise StoreUnavailable(
                    f"{login} is no member of {OWNER}; have an administrator run: GRANT {', '.join(ROLES)} TO {login};"
                ) from None


def ensure_schema_access(connection: Connection) -> None:
    """Let the owner create in schema public and the others use it; raise StoreUnavailable if this login may not."""
    missing = "SELECT 1 WHERE NOT (has_schema_privilege(%s, 'public', 'CREATE'))"
    if _exists(connection, missing, OWNER):
        with suppress(psycopg.errors.InsufficientPrivilege):
            _run_raced(connection, sql.SQL("GRANT CREATE, USAGE ON SCHEMA public TO {}").format(sql.Identifier(OWNER)))
        if _exists(connection, missing, OWNER):
            raise StoreUnavailable(
                f"{OWNER} may not create tables; have the database's owner run: "
                f"GRANT CREATE, USAGE ON SCHEMA public TO {OWNER};"
            )


def _can_become(connection: Connection, role: str) -> bool:
    kind = "SET" if connection.info.server_version >= 160000 else "MEMBER"
    return _exists(connection, "SELECT 1 WHERE pg_has_role(current_user, %s, %s)", role, kind)


def _exists(connection: Connection, query: str, *parameters: str) -> bool:
    return connection.execute(query, parameters).fetchone() is not None


def _create_role(role: str, attributes: str) -> sql.Composed:
    create = sql.SQL("CREATE ROLE {} " + attributes).format(sql.Identifier(role))
    return sql.SQL("DO $do$ BEGIN {}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $do$").format(
        create
    )


def _grant(role: str, member: str) -> sql.Composed:
    return sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(member))


def _run_raced(connection: Connection, statement: sql.Composed) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            connection.execute(statement)
        except psycopg.errors.DuplicateDatabase:
            return
        except (psycopg.errors.InternalError_, psycopg.errors.UniqueViolation) as error:
            if attempt == _ATTEMPTS - 1:
                raise StoreUnavailable(f"other processes keep changing the roles: {error}; try again") from error
        else:
            return
