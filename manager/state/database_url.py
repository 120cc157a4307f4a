"""What DATABASE_URL may say: a libpq URI or libpq's key=value line, and one message for each way in which it is wrong.

A message shows the value with its password hidden. Whatever stands between the first : behind the scheme and the last @
may be one, and so may a port that is no number, where the @ was forgotten.
"""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from manager.errors import DatabaseUrlRefused

FORM: Final = "postgresql://user:password@host:5432/database"
_EMBEDDED: Final = "or unset it for the embedded PostgreSQL"
_SCHEMES: Final = ("postgresql", "postgres")
_SCHEME: Final = re.compile(r"((?:jdbc:)?[A-Za-z][\w+.-]*):(//)?", re.IGNORECASE)
_PAIR: Final = re.compile(r"([A-Za-z_]\w*)\s*=\s*('(?:[^'\\]|\\.)*'|\S*)")
_ASSIGNED: Final = re.compile(r"\s*(?:export\s+)?DATABASE_URL\s*=", re.IGNORECASE)
_UNFILLED: Final = re.compile(r"\$\{?\w+\}?|<[^>]*>|\{\{?[^}]*\}?\}")
_SECRET_PART: Final = re.compile(r"((?:pass|pwd|secret|token|key)\w*\s*=).*", re.IGNORECASE | re.DOTALL)
_BAD_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NAMED: Final = re.compile(r'(?:URI query parameter|connection option)[^"]*"([^"]*)"')
_PLAIN: Final = ("host", "hostaddr", "dbname", "user", "service")
_PORT_DIGITS: Final = 6
_LAST_PORT: Final = 65535
_OTHERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("mysql", "mariadb"), "MySQL"),
        **dict.fromkeys(("sqlite", "sqlite3", "file"), "SQLite"),
        **dict.fromkeys(("mssql", "sqlserver"), "SQL Server"),
        **dict.fromkeys(("mongodb", "mongodb+srv"), "MongoDB"),
        **dict.fromkeys(("redis", "rediss"), "Redis"),
        **dict.fromkeys(("http", "https", "ws", "wss"), "the web"),
        "oracle": "Oracle",
        "cockroachdb": "CockroachDB",
        "duckdb": "DuckDB",
    }
)
_WORDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
        "channel_binding": ("disable", "prefer", "require"),
        "gssencmode": ("disable", "prefer", "require"),
        "sslnegotiation": ("postgres", "direct"),
        "load_balance_hosts": ("disable", "random"),
        "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    }
)
_UNREAD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "not UTF-8": "what is written with % is not UTF-8; write each byte, such as %C3%A9 for an e with accent",
        "forbidden value %00": "it holds %00, which no name or password can have; remove it",
        "unterminated quoted string": "a single quote is opened and not closed; close it, and write \\' for one inside",
        "percent-encoded token": "a % stands before something else than two hexadecimal digits; write %25 for it",
    }
)
_COUNTS: Final = (
    *("connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
    "tcp_user_timeout",
)


def read_url(given: str) -> str:
    """Return the value as libpq takes it; raise DatabaseUrlRefused with the value, what is wrong and the mend."""
    url = re.sub(r"^postgres(ql)?\+psycopg://", "postgresql://", given.strip())
    if not url:
        return ""
    wrong = next(_faults(url), "")
    if wrong:
        value = shown_url(url)
        raise DatabaseUrlRefused(f"DATABASE_URL {f'is {value}' if value else '(not shown)'}: {wrong}")
    return url


def shown_url(url: str) -> str:
    """Return the value without what is or may be a password; empty where nothing tells what is one."""
    if _is_pairs(url):
        return " ".join(_shown_pair(name, value) for name, value in _PAIR.findall(url))
    scheme, colon, rest = url.partition("://")
    if not colon or (":" in scheme and not scheme.lower().startswith("jdbc:")):
        scheme, colon, rest = "", "", url
        if "@" not in url:
            return ""
    login, at, place = rest.rpartition("@")
    user, has_password, _ = login.partition(":")
    hosts, slash, path = re.fullmatch(r"([^/?]*)([/?]?)(.*)", place, re.DOTALL).groups()  # type: ignore[union-attr]  # matches all
    hosts = ",".join(_shown_host(one, sure=bool(at)) for one in hosts.split(","))
    whole = f"{scheme}{colon}{user}{':***' if has_password else ''}{at}{hosts}{slash}{path}"
    return _SECRET_PART.sub(r"\1***", whole)


def passwords_of(given: str) -> tuple[str, ...]:
    """Return all that may be the password in a value, sound or not, as written and decoded; for the log, to hide."""
    url = given.strip()
    rest = url.partition("://")[2]
    secrets = [match[0][len(match[1]) :] for match in _SECRET_PART.finditer(url)]
    found = {rest.rpartition("@")[0].partition(":")[2], *secrets, *(re.split(r"[&;\s]", one)[0] for one in secrets)}
    parts = _parts(url)
    if not isinstance(parts, str):
        found |= {str(value) for name, value in parts.items() if "password" in name or "secret" in name}
    return tuple(sorted(filter(None, found | {unquote(one) for one in found}), key=len, reverse=True))


def _is_pairs(url: str) -> bool:
    return re.match(r"\w+\s*=", url) is not None


def _shown_pair(name: str, value: str) -> str:
    if not get_close_matches(name, _options(), 1, 0.7):
        return "***"
    plain = name in _PLAIN or name in _WORDS
    if name == "port":
        plain = value.isdecimal() and len(value) <= _PORT_DIGITS
    return f"{name}={value if plain else '***'}"


def _options() -> list[str]:
    return [option.keyword.decode() for option in Conninfo.get_defaults()]


def _shown_host(one: str, *, sure: bool) -> str:
    if one.startswith("["):
        return one
    host, colon, port = one.rpartition(":")
    if not colon:
        return one
    numeric = port.isdecimal() and len(port) <= _PORT_DIGITS
    return one if numeric and (sure or int(port) <= _LAST_PORT) else f"{host}:***"


def _parts(url: str) -> dict[str, Any] | str:
    """Return what libpq reads; what it says where it cannot, which may hold a password."""
    try:
        return conninfo_to_dict(url)
    except UnicodeDecodeError:
        return "not UTF-8"
    except psycopg.Error as error:
        return str(error)


def _faults(url: str) -> Iterator[str]:
    yield from _unfinished(url)
    if not _is_pairs(url):
        yield from _scheme_faults(url)
        yield from _login_faults(url.partition("://")[2])
        yield from _host_faults(_place(url)[0])
    parts = _parts(url)
    if isinstance(parts, str):
        yield _unread(parts, url)
    else:
        yield from _part_faults(parts, is_uri=not _is_pairs(url))


def _unfinished(url: str) -> Iterator[str]:
    if _ASSIGNED.match(url):
        yield f"the name of the variable stands in its value; leave only {FORM}"
    if url[0] in "'\"`" or (url[-1] in "'\"`" and not _is_pairs(url)):
        yield "it has quotes around it, which the shell or the env file did not take away; write it without them"
    if any(not letter.isprintable() for letter in url):
        yield "it has a line break or another control character inside; write it on one line"
    if _UNFILLED.fullmatch(url):
        yield f"it is a placeholder that nothing has filled in; write {FORM}"
    if url.startswith("psql "):
        yield f"it is a command; leave only {FORM}"


def _scheme_faults(url: str) -> Iterator[str]:
    match = _SCHEME.match(url)
    if match is None or (not match[2] and match[1].lower() not in (*_SCHEMES, "jdbc")):
        yield f"it has no scheme; write {FORM}, {_EMBEDDED}"
        return
    scheme = match[1].removesuffix("://")
    low = scheme.lower()
    dialect, plus, driver = low.partition("+")
    if low.startswith("jdbc:"):
        yield f"it is a URL for Java's JDBC, whose user and password stand apart; write {FORM}"
    elif dialect in _SCHEMES and plus:
        yield f"it names {driver}, a driver of SQLAlchemy, and Propdesk has its own; begin with postgresql://"
    elif low in _OTHERS:
        yield f"it is an address of {_OTHERS[low]}, and Propdesk needs PostgreSQL; write {FORM}, {_EMBEDDED}"
    elif scheme in _SCHEMES and not match[2]:
        yield f"the // behind the scheme is missing; write {FORM}"
    elif low in _SCHEMES and scheme not in _SCHEMES:
        yield "the scheme is written in small letters; begin with postgresql://"
    elif low not in _SCHEMES:
        meant = "did you mean postgresql? " if get_close_matches(low, _SCHEMES, 1) else ""
        yield f"{scheme} is no scheme of PostgreSQL; {meant}write {FORM}"


def _place(url: str) -> tuple[str, str]:
    """Return the hosts and what follows them, as libpq cuts them: its login ends at the first @ before a slash."""
    rest = url.partition("://")[2]
    login, at, place = rest.partition("@")
    if not at or "/" in login:
        place = rest
    hosts = re.split(r"[/?]", place, maxsplit=1)[0]
    return hosts, place[len(hosts) :]


def _login_faults(rest: str) -> Iterator[str]:
    """Yield what is wrong before the last @ ahead of the options: there a password may have signs that cut it."""
    taken, at, left = rest.partition("@")
    before = left.partition("?")[0] if at and "/" not in taken else rest.partition("?")[0]
    inner, more, _ = before.rpartition("@")
    login = (f"{taken}@{inner}" if more else taken) if at and "/" not in taken else inner if more else ""
    user, colon, password = login.partition(":")
    if more and not colon:
        yield "an @ stands behind the host; in a user's or a database's name write it as %40"
    name = "password" if colon and not _escapes(user) else "user's name"
    which = _escapes(password if name == "password" else user)
    if which:
        codes = ", ".join(f"%{ord(one):02X} for {one!r}" for one in which)
        plainly = "as it is" if len(which) == 1 else "as they are"
        yield f"the {name} holds {' and '.join(map(repr, which))} {plainly}; write {codes}"
    if _BAD_PERCENT.search(rest):
        yield "a % stands before something else than two hexadecimal digits; write %25 for it"


def _escapes(text: str) -> list[str]:
    """Return the signs of a login that libpq would cut or refuse; # : and ? it takes as they are."""
    held = [sign for sign in "@/ []" if sign in text]
    return ["%", *held] if _BAD_PERCENT.search(text) else held


def _host_faults(hosts: str) -> Iterator[str]:
    for one in hosts.split(","):
        if one.startswith("[") and not re.fullmatch(r"\[[0-9A-Fa-f:.%\w]+\](:[^:]*)?", one):
            yield "an IPv6 address stands whole in brackets, with the port behind them: [::1]:5432"
        elif not one.startswith("[") and one.count(":") > 1:
            yield "an IPv6 address stands in brackets, or its : are taken for the port's: [::1]:5432"
        elif re.search(r"[\s<>{}$]", one):
            yield f"the host is no name of a machine, but has a blank or a placeholder inside; write {FORM}"


def _unread(said: str, url: str) -> str:
    for sign, mend in _UNREAD.items():
        if sign in said:
            return mend
    if 'missing "="' in said or "separator" in said:
        where = "pairs such as host=db dbname=desk" if _is_pairs(url) else "options such as ?sslmode=require"
        return f"a name stands without = and a value; write {where}, and a value with blanks in single quotes"
    named = _NAMED.search(said)
    if named is None or "unexpected spaces" in said:
        return f"it cannot be read as a PostgreSQL URI; write {FORM}, and a blank as %20"
    if _SECRET_PART.search(url.partition(named[1])[0]):
        return "PostgreSQL knows no option of the name behind the password; write & in a password as %26"
    near = get_close_matches(named[1], _options(), 1, 0.7)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"PostgreSQL knows no option {named[1]}; {meant}correct it, or remove it"


def _part_faults(parts: Mapping[str, Any], *, is_uri: bool) -> Iterator[str]:
    defaults = {option.keyword.decode(): option.val for option in Conninfo.get_defaults()}

    def has(*names: str) -> bool:
        return any(parts.get(name) or defaults.get(name) for name in names)

    for port in str(parts.get("port", "")).split(","):
        if port and not (port.isascii() and port.isdigit()):
            yield f"the port is no number; expected 1 to {_LAST_PORT}, such as :5432"
        elif port and not 0 < int(port) <= _LAST_PORT:
            yield f"the port is not from 1 to {_LAST_PORT}; PostgreSQL's own is 5432"
    ports, hosts = (str(parts.get(name) or "").split(",") for name in ("port", "host"))
    if len(ports) > 1 and len(ports) != len(hosts):
        yield f"it has {len(ports)} ports for {len(hosts)} hosts; write one port, or one for each host"
    if not has("host", "hostaddr", "service"):
        socket = "?host=/run/postgresql behind the database" if is_uri else "host=/run/postgresql"
        yield f"it names no host; write {FORM if is_uri else 'host=...'}, or {socket} for a Unix socket"
    if not has("dbname", "service"):
        yield f"it names no database; {'add /database behind the host' if is_uri else 'add dbname=...'}"
    for name, words in _WORDS.items():
        if name in parts and parts[name] not in words:
            near = get_close_matches(str(parts[name]), words, 1)
            meant = f"did you mean {near[0]}? " if near else ""
            yield f"{name} is {parts[name]!r}; {meant}expected one of {', '.join(words)}"
    for name in _COUNTS:
        if name in parts and not re.fullmatch(r"\s*-?\d{1,9}\s*", str(parts[name])):
            yield f"{name} is not a whole number; write one, such as {name}=10"
