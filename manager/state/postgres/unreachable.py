"""What a server, or what is in its place, answers to who connects: in plain words, with the mend.

libpq gives no code for a connection that fails, so its words and the server's are read. Those of a server that speaks
another language stay as they are.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from manager.state.errors import DatabaseAway, StoreUnavailable
from manager.state.postgres.roles import ROLES

Words = Callable[[re.Match[str]], str]
_PLACE: Final = re.compile(r'connection to server at "([^"]*)"(?: \([^)]*\))?, port (\d+)')
_OPENING: Final = ("connection failed", "connection is bad", "connection timeout", "failed to resolve")
_SEVERAL: Final = "Multiple connection attempts failed"
_AT: Final = "{place}"


@dataclass(frozen=True, slots=True)
class _Answer:
    """Name one answer by a pattern; `waits` is one that may be another after a while, without anybody's doing."""

    pattern: str
    words: Words | str
    waits: bool = False


def _no_socket(match: re.Match[str]) -> str:
    if not Path(match[1]).is_dir():
        return (
            f"there is no directory {match[1]} for its Unix socket; correct host= in DATABASE_URL, or start the server"
        )
    return f"no server has a socket {match[0]}; start it, or correct host= and port= in DATABASE_URL"


def _no_role(match: re.Match[str]) -> str:
    if match[1] in ROLES:
        return f"the server has no role {match[1]}; run `propdesk db upgrade` with this login first"
    name = match[1] or match[2]
    return f"the server has no user {name}; correct it in DATABASE_URL, or run: CREATE ROLE {name} LOGIN PASSWORD '...'"


def _no_database(match: re.Match[str]) -> str:
    name = next(filter(None, match.groups()))
    return f"the server has no database {name}; correct it in DATABASE_URL, or run: CREATE DATABASE {name}"


def _no_postgres(match: re.Match[str]) -> str:
    first = next(filter(None, match.groups()), "")
    guess = {"H": ", as a web server's does", "J": ", as MySQL's does", "-": ", as Redis's does"}.get(first, "")
    begins = f"; its answer begins with {first!r}{guess}" if first else ""
    return f"what answers at {_AT} is no PostgreSQL{begins}; correct host and port in DATABASE_URL"


_ANSWERS: Final = (
    _Answer(
        r"failed to resolve host '([^']*)'",
        lambda match: (
            f"no machine is known by the name {match[1]}; correct the host in DATABASE_URL, or see to the DNS"
        ),
        waits=True,
    ),
    _Answer(r'could not parse network address "([^"]*)"', "hostaddr is no IP address; write one, or host= with a name"),
    _Answer(
        r'definition of service "([^"]*)" not found',
        lambda match: f"there is no service {match[1]} in pg_service.conf; correct DATABASE_URL, or define it there",
    ),
    _Answer(
        "Connection refused",
        f"nothing listens at {_AT} (connection refused); start the server, or correct host and port in DATABASE_URL",
        waits=True,
    ),
    _Answer(
        "timeout expired|timed out",
        "nobody answers in time; see whether host and port in DATABASE_URL are right, no firewall is between, and what "
        "listens there is PostgreSQL",
        waits=True,
    ),
    _Answer(
        "No route to host|Network is unreachable", f"the network has no way to {_AT}; correct the host", waits=True
    ),
    _Answer(r"(?<=on socket \")(.*)/[^/]*(?=\" failed: (?:No such file|Connection refused))", _no_socket, waits=True),
    _Answer(
        r"on socket \"(.*)/[^/]*\" failed: Permission denied",
        lambda match: f"this user may not open the server's socket in {match[1]}; use another login, or host=127.0.0.1",
    ),
    _Answer(
        r'password authentication failed for user "([^"]*)"',
        lambda match: (
            f"the server does not take this password of user {match[1]}, or has no such user (password authentication "
            "failed); correct it in DATABASE_URL, signs such as @ and % as %40 and %25"
        ),
    ),
    _Answer(
        "no password supplied", "the server asks for a password and DATABASE_URL has none; write user:password@host"
    ),
    _Answer(
        r'(Peer|Ident) authentication failed for user "([^"]*)"',
        lambda match: (
            f"the server lets only the system's own user {match[2]} in by this way ({match[1].lower()}); name a host "
            "and a password in DATABASE_URL, or map the user in pg_ident.conf"
        ),
    ),
    _Answer(r'role "([^"]*)" does not exist|no such user: (\S+)', _no_role),
    _Answer(
        r'role "([^"]*)" is not permitted to log in',
        lambda match: f"role {match[1]} may not log in; use another user, or run: ALTER ROLE {match[1]} LOGIN",
    ),
    _Answer(r'database "([^"]*)" does not exist|no such database: (\S+)', _no_database),
    _Answer(
        r'permission denied for database "([^"]*)"',
        lambda match: (
            f"this user may not connect to database {match[1]}; have its owner run: "
            f"GRANT CONNECT, CREATE ON DATABASE {match[1]} TO the user"
        ),
    ),
    _Answer(
        "no pg_hba.conf entry.*no encryption",
        "the server takes this user from here only with TLS, or not at all; add ?sslmode=require to DATABASE_URL, or a "
        "line to its pg_hba.conf",
    ),
    _Answer(
        "pg_hba.conf",
        "the server lets this user into this database not from here; add a line to its pg_hba.conf",
    ),
    _Answer(
        "server does not support SSL",
        f"the server at {_AT} offers no TLS, and sslmode wants it; switch ssl on there, or write sslmode=prefer where "
        "the network may read along",
    ),
    _Answer(
        r'root certificate file "([^"]*)" does not exist',
        lambda match: (
            f"sslmode wants the certificates of {match[1]}, which is not there; name a file with sslrootcert="
        ),
    ),
    _Answer(
        "certificate verify failed|does not match host name",
        f"the certificate of {_AT} is not one that sslmode trusts; name its authority with sslrootcert=, or the host "
        "as the certificate does",
    ),
    _Answer(
        r"invalid response to SSL negotiation: (.)|expected authentication request from server, but received (.)",
        _no_postgres,
    ),
    _Answer("unexpected eof while reading|wrong version number|packet length too long", _no_postgres),
    _Answer(
        "closed the connection unexpectedly",
        f"what listens at {_AT} takes the connection and closes it without a word; a proxy without a server behind it "
        "does so, and what is no PostgreSQL",
        waits=True,
    ),
    _Answer(
        "unsupported startup parameter",
        f"a pooler at {_AT} takes no session settings (unsupported startup parameter), which the desk needs; point "
        "DATABASE_URL at the server itself, or let the pooler keep sessions",
    ),
    _Answer(
        "too many connections|too many clients|remaining connection slots|no more connections allowed",
        "the server has no connection left (too many connections); raise max_connections there, or end others",
        waits=True,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreached:
    """Say why a connection failed, in plain words with the mend; `waits` where a later try may do."""

    words: str
    waits: bool

    @property
    def error(self) -> StoreUnavailable:
        """Return it as the store's error: DatabaseAway where a later try may do."""
        return (DatabaseAway if self.waits else StoreUnavailable)(f"the database cannot be reached: {self.words}")


def is_opening(said: str) -> bool:
    """Tell whether the driver's words are of a connection that could not be opened."""
    return said.startswith(_OPENING)


def unreached(said: str) -> Unreached:
    """Return what the driver's words about a failed connection mean; of several hosts those about the last."""
    first = said.partition(_SEVERAL)[0].strip()
    place = _PLACE.search(first)
    where = f"{place[1]}:{place[2]}" if place else "the server"
    for answer in _ANSWERS:
        match = re.search(answer.pattern, first)
        if match is not None:
            words = answer.words if isinstance(answer.words, str) else answer.words(match)
            return Unreached(words=words.replace(_AT, where), waits=answer.waits)
    return Unreached(words=" ".join(first.split()), waits=True)
