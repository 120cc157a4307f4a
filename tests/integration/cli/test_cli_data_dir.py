"""A --data-dir that cannot hold a desk: one message before any process is started, and nothing is written there."""

import asyncio
from pathlib import Path
from typing import Any, NoReturn

import pytest
from typer.testing import CliRunner

from config_files import write_config
from manager.cli.app import app


@pytest.fixture(autouse=True)
def no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any, **options: Any) -> NoReturn:
        raise AssertionError(f"a process was started: {given} {options}")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)


def refused(*arguments: str | Path) -> str:
    result = CliRunner(env={"DATABASE_URL": ""}).invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("propdesk: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.output
    return lines[0]


@pytest.mark.parametrize("command", ["run", "worker"])
@pytest.mark.parametrize("below", ["", "deeper/desk"])
def test_a_file_holds_no_desk(tmp_path: Path, command: str, below: str) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    said = refused(command, "-c", write_config(tmp_path), "--data-dir", file / below)
    assert f"{file} is a file" in said
    assert "choose a --data-dir" in said
    assert file.read_text() == "mine"


@pytest.mark.parametrize("command", ["run", "worker"])
@pytest.mark.parametrize("place", ["", "postgres", "postgres/data"])
def test_the_files_of_another_server_are_left_alone(tmp_path: Path, command: str, place: str) -> None:
    outside = tmp_path / "theirs" / place
    outside.mkdir(parents=True)
    (outside / "PG_VERSION").write_text("18\n")
    said = refused(command, "-c", write_config(tmp_path), "--data-dir", tmp_path / "theirs")
    assert "Propdesk did not make" in said
    assert [path.name for path in outside.iterdir()] == ["PG_VERSION"]


def test_upgrade_refuses_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is a file" in refused("db", "upgrade", "--data-dir", tmp_path / "file")


def test_reading_commands_say_that_it_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "file is a file, no data directory" in refused("status", "--data-dir", tmp_path / "file")
    assert "there is no desk in" in refused("status", "--data-dir", tmp_path / "none")
