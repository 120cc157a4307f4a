"""What the light commands import: `--help` nothing of the desk, `config check` no database, no model, no table."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from manager.cli.app import Commands, app
from manager.cli.later import Later

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    *("alembic", "anyio", "fastapi", "grpc", "httpx", "httpx2", "jinja2", "numpy", "openai", "polars"),
    *("procrastinate", "psutil", "psycopg", "pydantic_settings", "sqlalchemy", "sqlmodel", "structlog", "tenacity"),
}
OWN = {"manager.manager", "manager.state.tables", "executor.registry", "executor.executor"}
MAIN = """
import sys
from manager.cli.app import main
sys.argv[0] = "propdesk"
try:
    main()
finally:
    print("imported:", *sys.modules, file=sys.stderr)
"""
MODEL = """\
models:
  m: {base_url: "https://api.openai.com/v1", model: gpt-5, api_key: "${MODEL_KEY}"}
"""


def imported(*arguments: str, cwd: Path = ROOT) -> set[str]:
    command = [sys.executable, "-c", MAIN, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MODEL_KEY": "sk-0"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rpartition("imported:")[2].split())


def test_the_help_imports_nothing_of_the_desk() -> None:
    found = imported("--help")
    assert {name for name in found if name.startswith("manager.")} <= {
        *("manager.cli", "manager.cli.app", "manager.cli.guard", "manager.cli.later", "manager.cli.printable")
    }
    assert found & (HEAVY | {"pydantic", "ruamel", "asyncio"}) == set()


def test_the_check_of_a_config_imports_neither_database_nor_templates() -> None:
    assert imported("config", "check", "config.yaml") & (HEAVY | OWN | {"rich", "asyncio"}) == set()


def test_the_check_of_a_config_with_a_model_does_not_import_the_package(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(MODEL + (ROOT / "config.yaml").read_text("utf-8"), "utf-8")
    assert imported("config", "check", str(file)) & {"openai", "httpx2", "sqlalchemy", "psycopg", "numpy"} == set()


@pytest.mark.parametrize("row", Commands.rows, ids=lambda row: str(row[0]))
def test_the_help_says_of_each_command_what_its_own_help_begins_with(row: tuple[str, str, str]) -> None:
    own = Later(*row).loaded()
    assert own.name == row[0]
    assert " ".join(inspect.cleandoc(own.help).partition("\n\n")[0].split()) == row[2]
    assert list(typer.main.get_group(app).commands) == [name for name, _, _ in Commands.rows]
