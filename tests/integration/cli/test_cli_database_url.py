"""A DATABASE_URL of another kind: one line without its value, before anything is opened or started."""

from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from config_files import write_config
from manager.cli.app import app
from manager.errors import DatabaseUrlRefused
from manager.settings import read_settings
from manager.state.database import DatabasePlace

HERE = Path(".propdesk")
WRONG = [
    "mysql://u:hunter2@127.0.0.1:1/db",
    "sqlite:///hunter2",
    "hunter2",
    "host=127.0.0.1 passwort=hunter2",
    "postgresql://u:hunter2@127.0.0.1:port/db",
    "postgresql://u:hunter2@127.0.0.1:99999/db",
    "postgresql://u:hunter2@[127.0.0.1/db",
    "postgresql://u:hunter2@127.0.0.1/db?no_such_option=1",
    "postgresql+asyncpg://u:hunter2@127.0.0.1/db",
]
COMMANDS = [["run", "-c", "CONFIG"], ["worker", "-c", "CONFIG"], ["status"], ["db", "upgrade"], ["traders", "list"]]


@pytest.mark.parametrize("url", WRONG)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_what_is_no_postgresql_uri_is_refused_without_its_value(tmp_path: Path, command: list[str], url: str) -> None:
    config = str(write_config(tmp_path))
    arguments = [config if word == "CONFIG" else word for word in command]
    runner = CliRunner(env={"DATABASE_URL": url})
    result = runner.invoke(app, [*arguments, "--data-dir", str(tmp_path / "data")])
    assert result.exit_code == 2, result.output
    assert [line for line in result.stderr.splitlines() if "waiting" not in line and "upgrading" not in line] == [
        "propdesk: DATABASE_URL is not a PostgreSQL URI; write postgresql://user:password@host/db"
    ]
    assert "hunter2" not in result.output
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("url", WRONG)
def test_the_log_can_be_set_up_beside_any_value(url: str) -> None:
    assert isinstance(read_settings(database_url=SecretStr(url)).secrets(), tuple)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@host/db",
        "postgres://host",
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
        DatabasePlace(data_dir=HERE, url=WRONG[0])
    assert "hunter2" not in repr(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@h/d",
        "postgresql://h/d?password=hunter2",
        "host=h password=hunter2",
        "mysql://u:hunter2@h/d",
    ],
)
def test_the_log_knows_the_password_however_it_is_written(url: str) -> None:
    assert "hunter2" in read_settings(database_url=SecretStr(url)).secrets()
