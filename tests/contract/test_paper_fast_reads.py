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
from manager.state.records import DEFAULT_TENANT, AccountId, AccountRow

pytestmark = [pytest.mark.database]

ACCOUNT = AccountId("paper")
AT = datetime(2025, 3, 1, 12, tzinfo=UTC)
LIVELY = SyntheticConfig(outages_per_day=0, annual_volatility=8.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Two venues of one account and clock: `other` stands for another process."""

    store: PostgresStore
    clock: ManualClock
    own: PaperExchange
    other: PaperExchange

    async def trade(self, exchange: PaperExchange, name: str, **changes: Any) -> None:
        """Send an order."""
        symbol = Symbol("BTC/USDT:USDT")
        given: dict[str, Any] = {"side": Side.BUY, "type": OrderType.MARKET, "quantity": Decimal("0.01"), **changes}
        await exchange.create_order(OrderRequest(client_order_id=ClientOrderId(name), symbol=symbol, **given))

    async def begin(self) -> None:
        """Let a job begin on `own` as the desk does: with the revision its first transaction found."""
        at = self.clock.now()
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            await tx.acquire(ACCOUNT, "job")
            rows = await tx.account_rows(ACCOUNT)
        self.own.begin(at, rows.paper_revision)

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
    async with postgres_store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([AccountRow(tenant_id=DEFAULT_TENANT, account_id=ACCOUNT, venue="paper")])
    clock, ledger = ManualClock(AT), PostgresPaperLedger(postgres_store.engine, DEFAULT_TENANT)

    def opened() -> PaperExchange:
        venue = PaperVenue.build(PaperConfig(start_equity=Decimal(10_000)), SyntheticPath(SyntheticModel(LIVELY)))
        return PaperExchange(PaperAccountId(ACCOUNT), venue, ledger, clock)

    return Stand(store=postgres_store, clock=clock, own=opened(), other=opened())


async def test_it_sees_what_another_process_does_at_its_next_job(stand: Stand) -> None:
    for number in range(4):
        stand.own.begin(stand.clock.now())
        stand.other.begin(stand.clock.now())
        assert await _told(stand.own) == await _told(stand.other)
        await stand.trade(stand.other if number % 2 else stand.own, f"o{number}")
        await stand.pass_time(2)
    stand.own.begin(stand.clock.now())
    assert len(await stand.own.fetch_fills(EPOCH)) == 4


async def test_a_job_that_finds_it_as_it_was_asks_no_more_and_one_that_finds_it_moved_sees_why(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    is_at = PostgresPaperLedger.is_at

    async def counted(ledger: PostgresPaperLedger, account: PaperAccountId, revision: int) -> bool:
        asked.append(revision)
        return await is_at(ledger, account, revision)

    monkeypatch.setattr(PostgresPaperLedger, "is_at", counted)
    await stand.begin()
    await _told(stand.own)
    for number in range(3):
        asked.clear()
        await stand.begin()
        before = await _told(stand.own)
        assert asked == []
        await stand.trade(stand.other, f"o{number}")
        await stand.begin()
        now = await _told(stand.own)
        assert len(now[1]) == len(before[1]) + 1
        assert now == await _told(stand.other)
    asked.clear()
    await stand.begin()
    await stand.pass_time(1.5)
    await stand.trade(stand.other, "late")
    assert len(await stand.own.fetch_fills(EPOCH)) == 4
    assert asked


async def test_without_jobs_it_sees_it_at_once(stand: Stand) -> None:
    await _told(stand.own)
    await stand.trade(stand.other, "o1")
    assert len(await stand.own.fetch_positions()) == 1


async def test_within_a_job_it_sees_its_own_orders_and_what_prices_do(stand: Stand) -> None:
    stand.own.begin(stand.clock.now())
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
    stand.other.begin(stand.clock.now())
    assert await _told(stand.other) == await _told(stand.own)
