"""A wrong DATABASE_URL: one line that shows no password, before anything is opened or started."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from config_files import write_config
from manager.cli.app import app

WRONG = {
    "mysql://u:hunter2@127.0.0.1:1/db": "it is an address of MySQL",
    "hunter2": "it has no scheme",
    "host=127.0.0.1 passwort=hunter2": "did you mean password?",
    "postgresql://u:hunter2@127.0.0.1:port/db": "the port is no number",
    "postgresql://u:hunt@er2@127.0.0.1/db": "write %40 for '@'",
    "postgresql://u:hunter2@127.0.0.1": "it names no database",
    "postgresql+asyncpg://u:hunter2@127.0.0.1/db": "it names asyncpg",
}
COMMANDS = [["run", "-c", "CONFIG"], ["worker", "-c", "CONFIG"], ["status"], ["db", "upgrade"], ["traders", "list"]]


@pytest.mark.parametrize("url", WRONG)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_a_wrong_url_is_refused_in_one_line_without_its_password(tmp_path: Path, command: list[str], url: str) -> None:
    config = str(write_config(tmp_path))
    arguments = [config if word == "CONFIG" else word for word in command]
    runner = CliRunner(env={"DATABASE_URL": url})
    result = runner.invoke(app, [*arguments, "--data-dir", str(tmp_path / "data")])
    assert result.exit_code == 2, result.output
    [line] = [line for line in result.stderr.splitlines() if "waiting" not in line and "upgrading" not in line]
    assert line.startswith("propdesk: DATABASE_URL ")
    assert WRONG[url] in line
    assert "er2" not in line
    assert "hunter2" not in result.output
    assert not (tmp_path / "data").exists()
