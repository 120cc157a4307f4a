"""What a command does not import: the openai package takes over a second, and only a call of a model needs it."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from config_files import SOUND, write_config
from database_fixtures import Database
from desk_history import fill_history
from manager.state.postgres.store import PostgresStore

pytestmark = pytest.mark.processes

ROOT = Path(__file__).resolve().parents[3]
MAIN = """
import sys
from manager.cli.app import main
sys.argv[0] = "propdesk"
try:
    main()
finally:
    print("imported:", *sorted({"openai", "httpx2"} & set(sys.modules)), file=sys.stderr)
"""
MODELS = """\
models:
  m: {base_url: "https://api.openai.com/v1", model: gpt-5, api_key: "${MODEL_KEY}"}
"""
ASKS = """\
  - id: asks
    exchange: paper
    executor: {type: llm, model: m}
    prompt_template: prompts/general.md
    symbols: ["BTC/USDT:USDT"]
    decision_interval: 1m
"""


def imported(*arguments: str, cwd: Path, database: str = "") -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": database, "MODEL_KEY": "sk-0"}
    command = [sys.executable, "-c", MAIN, *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stderr.rpartition("imported:")[2].strip()


@pytest.mark.parametrize("command", [("--help",), ("config", "check", "config.yaml"), ("status", "--help")])
def test_neither_help_nor_the_check_of_a_config_imports_the_package(tmp_path: Path, command: tuple[str, ...]) -> None:
    write_config(tmp_path, MODELS + SOUND + ASKS)
    assert imported(*command, cwd=tmp_path) == ""


@pytest.mark.database
def test_status_does_not_import_the_package(tmp_path: Path, database: Database) -> None:
    async def fill() -> None:
        store = PostgresStore.open(database.dsn)
        await fill_history(store)
        await store.close()

    asyncio.run(fill())
    assert imported("status", cwd=tmp_path, database=database.dsn) == ""
