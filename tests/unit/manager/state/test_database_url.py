"""Which DATABASE_URL is wrong and how: each way has words and a mend of its own, and none shows a password."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.errors import DatabaseUrlRefused
from manager.state.database_url import passwords_of, read_url, shown_url

FORM = "write postgresql://user:password@host:5432/database"
WRONG = [
    ("mysql://u:hunter2@h/d", "mysql://u:***@h/d", "it is an address of MySQL, and Propdesk needs PostgreSQL; " + FORM),
    ("sqlite:///desk.db", "sqlite:///desk.db", "it is an address of SQLite"),
    ("https://u:hunter2@h:5432/d", "https://u:***@h:5432/d", "it is an address of the web"),
    ("jdbc:postgresql://h/d?user=u&password=hunter2", "jdbc:postgresql://h/d?user=u&password=***", "Java's JDBC"),
    ("postgres+asyncpg://u:hunter2@h/d", "postgres+asyncpg://u:***@h/d", "it names asyncpg, a driver of SQLAlchemy"),
    ("postgress://u:hunter2@h/d", "postgress://u:***@h/d", "no scheme of PostgreSQL; did you mean postgresql?"),
    ("POSTGRESQL://u:hunter2@h/d", "POSTGRESQL://u:***@h/d", "the scheme is written in small letters"),
    ("postgresql:/u:hunter2@h/d", "postgresql:***@h/d", "the // behind the scheme is missing"),
    ("u:hunter2@h:5432/d", "u:***@h:5432/d", "it has no scheme"),
    ("hunter2", "", "it has no scheme"),
    ("'postgresql://u:hunter2@h/d'", "'postgresql://u:***@h/d'", "it has quotes around it"),
    ("DATABASE_URL=postgresql://u:hunter2@h/d", "", "the name of the variable stands in its value"),
    ("${PG_URL}", "", "it is a placeholder that nothing has filled in"),
    ("psql postgresql://u:hunter2@h/d", "psql postgresql://u:***@h/d", "it is a command"),
    ("postgresql://u:hun\nter2@h/d", "postgresql://u:***@h/d", "a line break or another control character inside"),
    ("postgresql://u:hunter2@/d", "postgresql://u:***@/d", "it names no host"),
    ("postgresql:///d", "postgresql:///d", "or ?host=/run/postgresql behind the database for a Unix socket"),
    ("postgresql://u:hunter2@h", "postgresql://u:***@h", "it names no database; add /database behind the host"),
    ("postgresql://u:hunter2@h:port/d", "postgresql://u:***@h:***/d", "the port is no number; expected 1 to 65535"),
    ("postgresql://u:hunter2@h:99999/d", "postgresql://u:***@h:99999/d", "the port is not from 1 to 65535"),
    ("postgresql://u:hunter2@h:0/d", "postgresql://u:***@h:0/d", "the port is not from 1 to 65535"),
    ("postgresql://u:hunter2/d", "postgresql://u:***/d", "the port is no number"),
    ("postgresql://u:hunt@er2@h/d", "postgresql://u:***@h/d", "the password holds '@' as it is; write %40 for '@'"),
    ("postgresql://u:hunt/er2@h/d", "postgresql://u:***@h/d", "the password holds '/' as it is; write %2F for '/'"),
    ("postgresql://u:12/er@2@h/d", "postgresql://u:***@h/d", "holds '@' and '/' as they are; write %40 for '@', %2F"),
    ("postgresql://u:hunt%er2@h/d", "postgresql://u:***@h/d", "the password holds '%' as it is; write %25 for '%'"),
    ("postgresql://u:hunt er2@h/d", "postgresql://u:***@h/d", "the password holds ' ' as it is; write %20 for ' '"),
    ("postgresql://me@x.org:hunter2@h/d", "postgresql://me@x.org:***@h/d", "the user's name holds '@' as it is"),
    ("postgresql://h/my@db", "postgresql://h/my@db", "an @ stands behind the host"),
    ("postgresql://u:%ff@h/d", "postgresql://u:***@h/d", "what is written with % is not UTF-8"),
    ("postgresql://u:a%00@h/d", "postgresql://u:***@h/d", "it holds %00"),
    ("postgresql://u:hunter2@h/100%d", "postgresql://u:***@h/100%d", "a % stands before something else"),
    ("postgresql://u:hunter2@[::1/d", "postgresql://u:***@[::1/d", "an IPv6 address stands whole in brackets"),
    ("postgresql://u:hunter2@::1:5432/d", "postgresql://u:***@::1:5432/d", "an IPv6 address stands in brackets"),
    ("postgresql://u:hunter2@<host>/d", "postgresql://u:***@<host>/d", "has a blank or a placeholder inside"),
    ("postgresql://u:hunter2@a:1,b:2,c/d?port=1,2", "postgresql://u:***@a:1,b:2,c/d?port=1,2", "2 ports for 3 hosts"),
    ("postgresql://h/d?sslmode=requird", "postgresql://h/d?sslmode=requird", "did you mean require? expected one of"),
    ("postgresql://h/d?sslmod=require", "postgresql://h/d?sslmod=require", "no option sslmod; did you mean sslmode?"),
    ("postgresql://h/d?pgbouncer=true", "postgresql://h/d?pgbouncer=true", "PostgreSQL knows no option pgbouncer"),
    ("postgresql://h/d?sslmode", "postgresql://h/d?sslmode", "a name stands without = and a value"),
    ("postgresql://h/d?connect_timeout=3s", "postgresql://h/d?connect_timeout=3s", "is not a whole number"),
    ("postgresql://h/d?password=hu&nter2=1", "postgresql://h/d?password=***", "write & in a password as %26"),
    ("host=h dbname=d passwort=hunter2", "host=h dbname=d passwort=***", "no option passwort; did you mean password?"),
    ("host=h password=hunter2", "host=h password=***", "it names no database; add dbname=..."),
    ("dbname=d password=hunter2", "dbname=d password=***", "it names no host; write host=..."),
    ("host=h dbname=d port=hunter2", "host=h dbname=d port=***", "the port is no number"),
    ("host=h dbname=d password='hunter2", "host=h dbname=d password=***", "a single quote is opened and not closed"),
    ("host=h dbname=d password=hunt er2", "host=h dbname=d password=***", "a value with blanks in single quotes"),
]
SOUND = [
    ("postgresql://u:p@host:6000/db", "postgresql://u:p@host:6000/db"),
    ("postgres+psycopg://u:a+psycopg@h/d", "postgresql://u:a+psycopg@h/d"),
    ("postgresql://u:a#b:c?d@h/d", "postgresql://u:a#b:c?d@h/d"),
    ("postgresql://u:%40%2F%3A%23%25@h/d", "postgresql://u:%40%2F%3A%23%25@h/d"),
    (
        "postgresql://u@one:1,two:2/db?target_session_attrs=any",
        "postgresql://u@one:1,two:2/db?target_session_attrs=any",
    ),
    ("postgresql://u:p@[::1]:5432/db", "postgresql://u:p@[::1]:5432/db"),
    ("postgresql://%2Frun%2Fpostgresql/db", "postgresql://%2Frun%2Fpostgresql/db"),
    ("host=/run/postgresql dbname=desk password='hunt er2'", "host=/run/postgresql dbname=desk password='hunt er2'"),
    ("service=desk", "service=desk"),
]


@pytest.mark.parametrize(("url", "shown", "wrong"), WRONG, ids=[url for url, _, _ in WRONG])
def test_each_wrong_url_has_words_of_its_own(url: str, shown: str, wrong: str) -> None:
    with pytest.raises(DatabaseUrlRefused) as caught:
        read_url(f" {url}\r\n")
    said = str(caught.value)
    assert said.startswith(f"DATABASE_URL is {shown}: " if shown else "DATABASE_URL ")
    assert wrong in said
    assert "hunter2" not in said
    assert "er2" not in said
    assert caught.value.__context__ is None


@pytest.mark.parametrize(("url", "read"), SOUND, ids=[url for url, _ in SOUND])
def test_what_libpq_reads_without_doubt_is_taken(url: str, read: str) -> None:
    assert read_url(f"\n{url} ") == read


def test_what_the_environment_of_libpq_names_may_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example.com")
    monkeypatch.setenv("PGDATABASE", "desk")
    assert read_url("postgresql://u:p@") == "postgresql://u:p@"


@given(
    password=st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).map(lambda text: f"S3{text}cret"),
    form=st.sampled_from(
        [
            "postgresql://u:{}@h:1/d",
            "postgres://u:{}@h:port/d?sslmode=x",
            "mysql://u:{}@h/d",
            "postgresql:/u:{}@h/d",
            "u:{}@h/d",
            "postgresql://u@h/d?x=1&password={}",
            "'postgresql://u:{}@h/d'",
            "host=h dbname=d password={}",
        ]
    ),
)
def test_no_password_is_ever_shown(password: str, form: str) -> None:
    url = form.format(password)
    texts = [shown_url(url.strip())]
    try:
        read_url(url)
    except DatabaseUrlRefused as refused:
        texts.append(str(refused))
    for text in texts:
        assert "S3" not in text
        assert "cret" not in text.replace("secret", "")
    assert all(isinstance(one, str) for one in passwords_of(url))
