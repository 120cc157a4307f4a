"""A trader that is stopped while it holds gives its capital back; what it then loses is measured against all of it."""

import asyncio
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from manager.bootstrap.replay import Replay, assemble_replay
from manager.replay.driver import ReplayDriver
from manager.replay.report import ReplayFacts, collect
from manager.state.records import TraderRow, TraderState
from manager.state.store import AccountRows
from replay_harness import write
from replay_scenario import Scenario, flat, opens

BTC = "BTC/USDT:USDT"
STATES = {4: TraderState.STOPPED, 8: TraderState.RUNNING}


class StoppingDriver(ReplayDriver):
    """Stop the trader after some instants and resume it after some more; a note of its capital at each."""

    def __init__(self, replay: Replay) -> None:
        super().__init__(replay, None)
        self.store, self.seen = replay.store, list[Decimal]()

    async def _instant(self, now: datetime, rows: AccountRows) -> AccountRows:
        rows = await super()._instant(now, rows)
        self.seen.append(next(head.capital for head in rows.books if head.trader_id == "a"))
        state = STATES.get(len(self.seen))
        if state is not None:
            async with self.store.transaction(rows.account.tenant_id) as tx:
                await tx.upsert([replace(row, state=state) for row in await tx.find(TraderRow, {}, limit=9)])
        return rows


async def wound_down(scenario: Scenario, folder: Path) -> tuple[StoppingDriver, ReplayFacts]:
    assembled = await assemble_replay(write(scenario, folder))
    driver = StoppingDriver(assembled)
    await driver.run()
    return driver, await collect(assembled)


def test_a_loss_after_the_release_falls_from_the_whole_capital(tmp_path: Path) -> None:
    """8000 USD at leverage 10 hold 800 of margin; 1 % down costs 80 and the fees 0.8 + 3.6 of 9000: 0.94 %."""
    risk = {"max_position_size_usd": 1_000_000, "max_margin_usage_pct": 100, "max_drawdown_pct": 50}
    scenario = Scenario(
        bars={BTC: [*flat(6, "100"), *flat(6, "99")]},
        traders={"a": {"risk_params": risk}},
        batches=[(1, "a", [opens(BTC, "long", "8000", leverage=10)]), (11, "a", [])],
        manager={"reserve_equity_pct": 0, "total_equity_usd": "9000", "rebalance_interval": "60s"},
        limits={"max_symbol_exposure_pct": 10_000, "max_margin_usage_pct": 100, "max_unrealized_loss_pct": 100},
    )
    driver, facts = asyncio.run(wound_down(scenario, tmp_path))
    assert min(driver.seen[2:]) < 1000
    assert driver.seen[-1] > 8800
    head = next(head for head in facts.desk.books if head.trader_id == "a")
    assert head.performance.released_usd == 0
    assert head.performance.max_drawdown == pytest.approx(84.4 / 9000, rel=0.01)
    assert head.performance.drawdown == pytest.approx(84.4 / 9000, rel=0.01)
    assert driver.tally.violations == []
