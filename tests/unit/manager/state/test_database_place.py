"""Which DATABASE_URL names a database, and that no message, log or value shows what it holds."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from manager.errors import DatabaseUrlRefused
from manager.settings import read_settings
from manager.state.database import DatabasePlace

HERE = Path(".propdesk")
WRONG = "mysql://u:hunter2@127.0.0.1:1/db"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@host/db",
        "postgres://host/db",
        "postgresql://u@one:1,two:2/db?target_session_attrs=any",
        "postgresql://u@/db?host=%2Frun%2Fpostgresql&port=5433",
        "postgresql://u:p@[::1]:5432/db",
        "host=/run/postgresql dbname=desk user=u",
    ],
)
def test_what_libpq_takes_is_taken_as_it_is(url: str) -> None:
    assert DatabasePlace(data_dir=HERE, url=url).url == url


def test_the_driver_of_sqlalchemy_may_be_named() -> None:
    place = DatabasePlace(data_dir=HERE, url="postgresql+psycopg://u:a+psycopg@h/d")
    assert place.url == "postgresql://u:a+psycopg@h/d"
    assert "a+psycopg" not in repr(place)


def test_the_error_itself_holds_no_value() -> None:
    with pytest.raises(DatabaseUrlRefused) as caught:
        DatabasePlace(data_dir=HERE, url=WRONG)
    assert "hunter2" not in repr(caught.value)
    assert caught.value.__context__ is None


def test_nothing_is_checked_on_disk_where_a_url_names_the_database(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    DatabasePlace(data_dir=tmp_path / "file", url="postgresql://u@h/d").check()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@h/d",
        "postgresql://h/d?password=hunter2",
        "host=h password=hunter2",
        WRONG,
        "postgresql://u:hunter2@127.0.0.1:port/db",
    ],
)
def test_the_log_knows_the_password_however_it_is_written(url: str) -> None:
    assert "hunter2" in read_settings(database_url=SecretStr(url)).secrets()


@pytest.mark.parametrize(
    ("url", "hidden"),
    [
        ("hunter2", ()),
        ("host=127.0.0.1 passwort=hunter2", ("hunter2",)),
        ("postgresql://u:hunter2@[127.0.0.1/db", ("hunter2",)),
        ("postgresql://u:hunt@er%402@h/db", ("hunt@er%402", "hunt@er@2", "hunt")),
    ],
)
def test_the_log_can_be_set_up_beside_any_value(url: str, hidden: tuple[str, ...]) -> None:
    assert read_settings(database_url=SecretStr(url)).secrets() == hidden
