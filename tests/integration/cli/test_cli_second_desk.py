"""A second desk with another config on a database where a worker is at work: refused in words; later it takes over."""

import os
from functools import partial
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from database_fixtures import Database
from job_handlers import eventually
from live_desk import LIVELY, LiveDesk
from manager.bootstrap.live import run_worker
from manager.config import load_config
from manager.errors import OtherDeskRuns
from manager.jobs.heartbeat import is_worker_alive
from manager.process import main
from manager.processes.handover import handed_over
from manager.settings import read_settings
from manager.state.kinds import EventKind
from manager.state.records import DEFAULT_TENANT, AccountRow, EventRow, TraderRow, TraderState

pytestmark = [pytest.mark.database, pytest.mark.slow]


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


async def test_a_second_config_is_refused_while_a_worker_beats(tmp_path: Path, database: Database) -> None:
    settings = read_settings(data_dir=tmp_path, database_url=SecretStr(database.admin_dsn))
    desk = LiveDesk.at(tmp_path, database.dsn)
    other = _write(tmp_path, "other.yaml", LIVELY.replace("seed: 11", "seed: 12"))
    fewer = _write(tmp_path, "fewer.yaml", LIVELY.replace("  - {<<: *first, id: t4", "  - {<<: *first, id: t5"))
    alive = partial(is_worker_alive, desk.database.queue_dsn)
    assert not await alive()
    async with desk.trading() as store:
        await eventually(alive)
        with pytest.raises(OtherDeskRuns, match=r"other.yaml: .*config.yaml.*market.synthetic.seed is 11 there and 12"):
            await run_worker(load_config(other, {}), settings)
        with pytest.raises(OtherDeskRuns, match=r"fewer.yaml: .*would change its traders \(stop t4\)"):
            await run_worker(load_config(fewer, {}), settings)
        async with store.transaction(DEFAULT_TENANT) as tx:
            assert {row.state for row in await tx.find(TraderRow, {})} == {TraderState.RUNNING}
    assert not await alive()
    async with LiveDesk.of(other, database.dsn).trading() as store, store.transaction(DEFAULT_TENANT) as tx:
        [event] = await tx.find(EventRow, {"kind": EventKind.ACCOUNT_TERMS})
        account = await tx.get(AccountRow, "paper")
        assert account is not None
        assert (event.after, account.config) == (account.terms, str(other))


def test_the_child_of_a_second_run_ends_with_code_2(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO tenants VALUES ('default') ON CONFLICT DO NOTHING")
        connection.execute("INSERT INTO procrastinate_workers DEFAULT VALUES")
        connection.execute(
            "INSERT INTO accounts (tenant_id, account_id, venue, trading_state, state_reason, fencing_token, holder,"
            " equity, newest_trade, rebalance_members, terms, config, marks, suspicions) VALUES ('default', 'paper',"
            """ 'paper', 'active', '', 0, '', 0, '', '[]', '{"type": "foreign"}', '/elsewhere/c.yaml', '{}', '{}')"""
        )
    monkeypatch.setenv("DATABASE_URL", database.admin_dsn)
    monkeypatch.setattr("manager.process._stop_when_orphaned", lambda: None)
    handed = handed_over(load_config(_write(tmp_path, "config.yaml", LIVELY), {}))
    assert main(["worker", str(handed), str(tmp_path)]) == 2
    os.close(handed)
    said = capfd.readouterr().err
    assert "/elsewhere/c.yaml" in said
    assert str(tmp_path / "config.yaml") in said
    assert "Traceback" not in said
