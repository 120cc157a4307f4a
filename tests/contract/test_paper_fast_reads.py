"""A paper venue that remembers its account answers as one that reads it each time, whoever trades beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from exchanges.clock import EPOCH, ManualClock
from exchanges.paper.account import PaperVenue
from exchanges.paper.adapter import PaperExchange
from exchanges.paper.config import PaperConfig
from exchanges.paper.state import PaperAccountId
from exchanges.synthetic.config import SyntheticConfig
from exchanges.synthetic.model import SyntheticModel
from exchanges.synthetic.path import SyntheticPath
from exchanges.types import ClientOrderId, OrderRequest, OrderType, Side, Symbol
from manager.state.postgres.paper_ledger import PostgresPaperLedger
from manager.state.postgres.store import PostgresStore
from manager.state.records import DEFAULT_TENANT

pytestmark = [pytest.mark.database]

AT = datetime(2025, 3, 1, 12, tzinfo=UTC)
LIVELY = SyntheticConfig(outages_per_day=0, annual_volatility=8.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Two venues of one account and clock: `other` stands for another process."""

    clock: ManualClock
    own: PaperExchange
    other: PaperExchange

    async def trade(self, exchange: PaperExchange, name: str, **changes: Any) -> None:
        """Send an order."""
        symbol = Symbol("BTC/USDT:USDT")
        given: dict[str, Any] = {"side": Side.BUY, "type": OrderType.MARKET, "quantity": Decimal("0.01"), **changes}
        await exchange.create_order(OrderRequest(client_order_id=ClientOrderId(name), symbol=symbol, **given))

    async def pass_time(self, seconds: float) -> None:
        """Move the clock on."""
        self.clock.set(self.clock.now() + timedelta(seconds=seconds))


async def _told(exchange: PaperExchange) -> Sequence[Any]:
    return [
        await exchange.fetch_funding(EPOCH),
        await exchange.fetch_fills(EPOCH),
        await exchange.fetch_positions(),
        await exchange.fetch_open_orders(),
        await exchange.fetch_balance(),
    ]


@pytest.fixture
async def stand(postgres_store: PostgresStore) -> Stand:
    async with postgres_store.service() as service:
        await service.ensure_tenant(DEFAULT_TENANT)
    clock, ledger = ManualClock(AT), PostgresPaperLedger(postgres_store.engine, DEFAULT_TENANT)

    def opened() -> PaperExchange:
        venue = PaperVenue.build(PaperConfig(start_equity=Decimal(10_000)), SyntheticPath(SyntheticModel(LIVELY)))
        return PaperExchange(PaperAccountId("paper"), venue, ledger, clock)

    return Stand(clock=clock, own=opened(), other=opened())


async def test_it_sees_what_another_process_does_at_its_next_job(stand: Stand) -> None:
    for number in range(4):
        stand.own.begin()
        stand.other.begin()
        assert await _told(stand.own) == await _told(stand.other)
        await stand.trade(stand.other if number % 2 else stand.own, f"o{number}")
        await stand.pass_time(2)
    stand.own.begin()
    assert len(await stand.own.fetch_fills(EPOCH)) == 4


async def test_without_jobs_it_sees_it_at_once(stand: Stand) -> None:
    await _told(stand.own)
    await stand.trade(stand.other, "o1")
    assert len(await stand.own.fetch_positions()) == 1


async def test_within_a_job_it_sees_its_own_orders_and_what_prices_do(stand: Stand) -> None:
    stand.own.begin()
    await _told(stand.own)
    await stand.trade(stand.own, "entry")
    [held] = await stand.own.fetch_positions()
    assert held.quantity == Decimal("0.01")
    for kind, factor in ((OrderType.STOP, "0.999"), (OrderType.TAKE_PROFIT, "1.001")):
        trigger = (held.entry_price * Decimal(factor)).quantize(Decimal("0.1"))
        await stand.trade(stand.own, kind.value, type=kind, side=Side.SELL, reduce_only=True, trigger_price=trigger)
    for _ in range(2_000):
        await stand.pass_time(0.9)
        if not await stand.own.fetch_positions():
            break
    fills = await stand.own.fetch_fills(EPOCH)
    assert len(fills) == 2
    stand.other.begin()
    assert await _told(stand.other) == await _told(stand.own)
