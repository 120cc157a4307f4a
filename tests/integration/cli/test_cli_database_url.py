"""A DATABASE_URL of another kind: one line without its value, before anything is opened or started."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from config_files import write_config
from manager.cli.app import app

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
