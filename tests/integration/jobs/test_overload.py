"""More traders fall due than a slow model can serve: none is asked twice, nothing is thrown away, others go on."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from config_files import write_config
from database_fixtures import Database
from executor.contract import Outcome
from job_handlers import eventually
from live_desk import LiveDesk
from manager.config import load_config
from manager.processes.worker import WorkerParts
from manager.state.database import Database as Site
from manager.state.postgres.roles import queue_dsn
from manager.state.records import DEFAULT_TENANT, DecisionRow
from manager.state.store import Store
from openai_endpoint import Endpoint, endpoint, says

pytestmark = [pytest.mark.database, pytest.mark.slow]

SLOTS, PLACES, SLOW, QUICK = 8, 4, 300, 5
CONFIG = """\
manager: {decision_timeout: 60s, decision_concurrency: %(slots)d}
exchanges:
  paper: {type: paper, market: {type: synthetic, seed: 11}}
models:
  slow: {base_url: "%(slow)s", model: tiny, api_key: "${KEY}", max_concurrency: %(places)d}
  quick: {base_url: "%(quick)s", model: tiny, api_key: "${KEY}"}
traders:
"""
TRADER = """\
  - id: %(model)s%(number)d
    exchange: paper
    executor: {type: llm, model: %(model)s}
    prompt_template: prompts/general.md
    symbols: ["BTC/USDT:USDT"]
    decision_interval: %(interval)s
"""
HOLD = '{"reasoning": "wait", "decisions": []}'


async def _slowly(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.3)
    await says(HOLD)(writer)


def _desk(folder: Path, database: Database, slow: Endpoint, quick: Endpoint) -> LiveDesk:
    head = CONFIG % {"slots": SLOTS, "places": PLACES, "slow": slow.base_url, "quick": quick.base_url}
    traders = [TRADER % {"model": "slow", "number": n, "interval": "10s"} for n in range(SLOW)]
    traders += [TRADER % {"model": "quick", "number": n, "interval": "2s"} for n in range(QUICK)]
    config = load_config(write_config(folder, head + "".join(traders)), {"KEY": "k"})
    return LiveDesk(config=config, database=Site(dsn=database.dsn, queue_dsn=queue_dsn(database.dsn)))


class Watch:
    """Keep the parts of the worker, to look at its queue."""

    def __init__(self) -> None:
        self.most_waiting = 0
        self._runner: Any = None

    def parts(self, parts: WorkerParts) -> WorkerParts:
        """Take the worker's runner."""
        self._runner = parts.runner
        return parts

    async def look(self) -> None:
        """Note how many decisions wait for a worker."""
        self.most_waiting = max(self.most_waiting, len(await self._runner.decisions(waiting=True)))


async def _decisions(store: Store) -> list[DecisionRow]:
    async with store.transaction(DEFAULT_TENANT) as tx:
        return list(await tx.find(DecisionRow, {}, limit=None))


def _of(decisions: list[DecisionRow], model: str) -> Counter[str]:
    return Counter(row.trader_id for row in decisions if row.trader_id.startswith(model))


async def test_a_slow_model_is_kept_busy_and_holds_nobody_else_up(
    tmp_path: Path, database: Database, postgres_store: Store
) -> None:
    watch = Watch()
    async with endpoint(_slowly) as slow, endpoint(says(HOLD)) as quick:
        desk = _desk(tmp_path, database, slow, quick)
        async with desk.trading(watch.parts) as store:

            async def served() -> bool:
                await watch.look()
                made = await _decisions(store)
                rounds = _of(made, "quick")
                return _of(made, "slow").total() >= 150 and len(rounds) == QUICK and min(rounds.values()) >= 5

            await eventually(served, patience_s=300)
        made = await _decisions(postgres_store)
    assert {row.outcome for row in made} == {Outcome.DECIDED}
    asked = len(slow.requests) + len(quick.requests)
    assert asked - len(made) in range(SLOTS + 1), "each answer is a decision, but for those cut off by the last stop"
    slots = [(row.trader_id, row.due_at) for row in made]
    assert len(slots) == len(set(slots))
    assert max(_of(made, "slow").values()) <= 2, "the latest come first"
    assert slow.most_at_once == PLACES
    assert watch.most_waiting <= SLOTS
