"""The demo of `make run`: whenever it is started, the rules of each of its traders want a trade within ten minutes."""

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
from manager.state.records import DEFAULT_TENANT
from traders.spec import TraderSpec

DEMO = Path(__file__).parents[3] / "config.yaml"
STEP_S = 5
WITHIN_S = 540
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
