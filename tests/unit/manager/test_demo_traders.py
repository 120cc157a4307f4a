"""The demo of `make run`: whenever it is started, the rules of each of its traders want a trade within ten minutes.

At a few starts the whole desk trades on, until each of its traders has been filled.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from exchanges.clock import ManualClock
from exchanges.synthetic.feed import SyntheticFeed
from exchanges.synthetic.model import SyntheticModel
from executor.baseline.styles import TEMPERAMENTS, Style
from executor.contract import Indicators
from manager.config import load_config
from manager.desk.plan.values import AllocationStrategy
from manager.jobs.handlers import DeskHandlers
from manager.jobs.runner import InlineRunner, Job, JobKind
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, AccountId, FillPartRow
from memory_desk import desk_of, registered
from traders.spec import TraderId, TraderSpec

DEMO = Path(__file__).parents[3] / "config.yaml"
STEP_S = 5
WITHIN_S = 540
FILLED_WITHIN_S = 900
# Odd seconds of hours and days that have nothing in common.
STARTS = [
    datetime(2026, 11, 30, tzinfo=UTC) + timedelta(seconds=number * 150_041 + number * number * 97)
    for number in range(24)
]


async def _wants(spec: TraderSpec, feed: SyntheticFeed) -> bool:
    rules = TEMPERAMENTS[Style(spec.executor.style)]
    views = (await feed.snapshot(frozenset(spec.symbols))).symbols.values()
    return any(rules.entry(cast("Indicators", view.indicators), float(view.mark)) for view in views)


async def _idle(traders: tuple[TraderSpec, ...], model: SyntheticModel, start: datetime) -> list[str]:
    """Return the traders that at none of their instants in the first minutes want an entry."""
    clock = ManualClock(start)
    feed, waiting = SyntheticFeed(model, clock), list(traders)
    for second in range(0, WITHIN_S + 1, STEP_S):
        clock.set(start + timedelta(seconds=second))
        for spec in [one for one in waiting if second % one.decision_interval_s == 0]:
            if await _wants(spec, feed):
                waiting.remove(spec)
        if not waiting:
            break
    return [spec.id for spec in waiting]


@pytest.mark.parametrize("start", STARTS, ids=str)
async def test_each_demo_trader_wants_a_trade_within_minutes_of_any_start(start: datetime) -> None:
    tenant = load_config(DEMO, {}).tenants[DEFAULT_TENANT]
    account = tenant.accounts["paper"]
    assert account.rules.allocation_strategy is AllocationStrategy.FIXED
    assert account.market.synthetic is not None
    assert account.market.synthetic.seed == 7
    assert await _idle(tenant.traders, SyntheticModel(account.market.synthetic), start) == []


async def _unfilled(start: datetime) -> set[TraderId]:
    """Return the traders without a fill when the desk has traded for a quarter of an hour, all by its own clock."""
    config, clock, store = load_config(DEMO, {}), ManualClock(start), MemoryStore()
    await registered(config, store, clock)
    parts = await desk_of(config, store, clock)
    handlers, runner = DeskHandlers(parts), parts.runner
    assert isinstance(runner, InlineRunner)
    runner.attach(handlers)
    upkeep = Job(kind=JobKind.MAINTAIN, tenant_id=DEFAULT_TENANT, account_id=AccountId("paper"))
    waiting = {spec.id for spec in config.tenants[DEFAULT_TENANT].traders}
    for second in range(0, FILLED_WITHIN_S + 1, STEP_S):
        clock.set(start + timedelta(seconds=second))
        await handlers.maintain(upkeep)
        async with store.service() as service:
            claims = await service.claim_due(clock.now(), len(waiting) + 100)
        for claim in claims:
            job = replace(upkeep, kind=JobKind.DECIDE, trader_id=claim.trader_id, due_at=claim.due_at)
            await runner.defer(job)
        await runner.run_until_idle()
        async with store.transaction(DEFAULT_TENANT) as tx:
            waiting -= {row.trader_id for row in await tx.find(FillPartRow, {}, limit=None)}
        if not waiting:
            break
    return waiting


@pytest.mark.parametrize("start", STARTS[::8], ids=str)
async def test_each_demo_trader_is_filled_in_the_first_quarter_of_an_hour(start: datetime) -> None:
    assert await _unfilled(start) == set()
