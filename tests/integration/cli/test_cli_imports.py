"""What `propdesk status` does not import; what the help and `config check` do not is in tests/architecture."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from database_fixtures import Database
from desk_history import fill_history
from manager.state.postgres.store import PostgresStore

ROOT = Path(__file__).resolve().parents[3]
HEAVY = (
    "alembic anyio grpc httpx httpx2 jinja2 numpy openai polars procrastinate rich ruamel sqlalchemy sqlmodel "
    "structlog tenacity"
)
MAIN = f"""
import sys
from manager.cli.app import main
sys.argv[0] = "propdesk"
try:
    main()
finally:
    print("imported:", *sorted({{*"{HEAVY}".split()}} & {{*sys.modules}}), file=sys.stderr)
"""


@pytest.mark.database
@pytest.mark.processes
def test_status_imports_what_reads_the_database_and_nothing_else(tmp_path: Path, database: Database) -> None:
    async def fill() -> None:
        store = PostgresStore.open(database.dsn)
        await fill_history(store)
        await store.close()

    asyncio.run(fill())
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": database.dsn}
    command = [sys.executable, "-c", MAIN, "status"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Traders" in done.stdout
    assert done.stderr.rpartition("imported:")[2].split() == []
