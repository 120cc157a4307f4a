"""Two workers of one desk, a price table and a budget: what was spent is what was called, also after a restart."""

from decimal import Decimal
from pathlib import Path

import pytest

from database_fixtures import Database
from executor.contract import Outcome
from executor_contexts import reply_text
from job_handlers import eventually
from live_desk import LIVELY, LiveDesk
from manager.spending.budget_incidents import EXHAUSTED
from manager.state.records import DEFAULT_TENANT, DecisionRow, IncidentRow, IntentRow, ScheduleRow
from manager.state.spending import SpendingRow
from manager.state.store import Store
from openai_endpoint import endpoint, says

pytestmark = [pytest.mark.database, pytest.mark.slow]

BUDGET = Decimal("0.003")
COST = Decimal("0.0001564")
WISH = {"symbol": "BTC/USDT:USDT", "action": "hold"}
MODELS = """\
budgets: {tenant_usd_per_day: 0.003}
models:
  tiny:
    base_url: "URL"
    model: tiny
    price_per_mtok: {input: 0.1, cached_input: 0.01, output: 15}
    extra_body: {max_tokens: 20}
exchanges:"""


def config(url: str) -> str:
    text = LIVELY.replace("exchanges:", MODELS.replace("URL", url), 1)
    for style in ("mean_reversion", "breakout", "trend"):
        text = text.replace(f"{{type: baseline, style: {style}}}", "{type: llm, model: tiny}")
    return text.replace("decision_interval: 1s", "decision_interval: 1s\n    prompt_template: prompts/general.md", 1)


async def told(store: Store) -> bool:
    async with store.transaction(DEFAULT_TENANT) as tx:
        return bool(await tx.find(IncidentRow, {"code": EXHAUSTED}))


async def stops(store: Store) -> int:
    async with store.transaction(DEFAULT_TENANT) as tx:
        return len(await tx.find(DecisionRow, {"outcome": Outcome.BUDGET_EXHAUSTED}, limit=100_000))


async def more_stops(store: Store, count: int) -> bool:
    return await stops(store) >= count


async def check(store: Store, calls: int) -> None:
    """Hold what the database says of costs against the calls that were answered."""
    async with store.transaction(DEFAULT_TENANT) as tx:
        sums = {f"{row.scope} {row.name}".strip(): row for row in await tx.find(SpendingRow, {})}
        decisions = await tx.find(DecisionRow, {}, limit=100_000)
        stopped = {row.decision_id for row in decisions if row.outcome is Outcome.BUDGET_EXHAUSTED}
        assert not [row for row in await tx.find(IntentRow, {}, limit=100_000) if row.decision_id in stopped]
        asking = await tx.find(ScheduleRow, {"trader_id": ("t1", "t2", "t3")})
    tenant = sums["tenant"]
    assert (tenant.calls, tenant.spent_usd) == (calls, calls * COST)
    assert tenant.spent_usd <= BUDGET
    assert not any(row.reserved_usd or row.unknown_usd for row in sums.values())
    assert sum(row.usage.cost_usd for row in decisions) == tenant.spent_usd
    by_trader = {row.trader_id: Decimal(0) for row in decisions if row.model == "tiny-2025"}
    for row in decisions:
        if row.trader_id in by_trader:
            by_trader[row.trader_id] += row.usage.cost_usd
    assert by_trader == {name: sums[f"trader {name}"].spent_usd for name in by_trader}
    assert stopped
    assert "trader t4" not in sums
    assert [row.failed_decisions for row in asking] == [0, 0, 0]


async def test_two_workers_spend_no_more_and_a_restart_knows_it(tmp_path: Path, database: Database) -> None:
    async with endpoint(says(reply_text(WISH))) as fake:
        desk = LiveDesk.at(tmp_path, database.dsn, config(fake.base_url))
        async with desk.trading() as store, desk.trading():
            await eventually(lambda: told(store))
        calls = len(fake.requests)
        assert calls > 10
        async with desk.trading() as store:
            before = await stops(store)
            await eventually(lambda: more_stops(store, before + 2))
        async with desk.trading() as store:
            await check(store, len(fake.requests))
        assert len(fake.requests) <= BUDGET / COST
