"""`propdesk check models` where traders have remote executors: each server is greeted, with the trader's id."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from beside_command import beside
from config_files import changed, write_config
from executor.baseline.executor import BaselineExecutor
from executor.baseline.styles import Style
from executor.remote.server import Serving
from executor_servers import KEY, serving_desks
from manager.cli.app import app

LOCAL = "{type: baseline, style: trend}"


@contextmanager
def serving(*traders: str) -> Iterator[Serving]:
    """Run a server that decides for `traders`."""
    with beside(serving_desks({KEY: {trader: BaselineExecutor(Style.TREND) for trader in traders}})) as here:
        yield here


def check(folder: Path, url: str, *arguments: str, key: str = KEY) -> Result:
    remote = f'{{type: remote, url: "{url}", key: ${{SERVER_KEY}}}}'
    path = write_config(folder, changed(LOCAL, remote))
    return CliRunner(env={"SERVER_KEY": key}).invoke(app, ["check", "models", "-c", str(path), *arguments])


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_that_can_decide_is_sound(tmp_path: Path, scheme: str) -> None:
    with serving("one") as server:
        result = check(tmp_path, getattr(server, scheme), "--json")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)["executors"]
    assert (found["trader"], found["ok"], found["problem"]) == ("one", True, "")


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_what_is_wrong_is_told_in_words(tmp_path: Path, scheme: str) -> None:
    with serving("another") as server:
        url = getattr(server, scheme)
        strange = check(tmp_path, url)
        wrong = check(tmp_path, url, key="a-key-that-is-not-right")
    gone = check(tmp_path, url)
    assert [result.exit_code for result in (strange, wrong, gone)] == [1, 1, 1]
    assert "no trader 'one' under this key" in strange.stdout
    assert "refuses the key" in wrong.stdout
    assert "cannot be reached" in gone.stdout
    assert "a-key-that-is-not-right" not in wrong.output
