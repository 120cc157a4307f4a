"""A view takes the same few statements however much there is to show, on PostgreSQL as it is."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from executor.registry import ExecutorSpec, ExecutorType
from manager.state.journal import EquityRow
from manager.state.postgres.store import PostgresStore
from manager.state.records import (
    DEFAULT_TENANT,
    AccountId,
    DecisionId,
    DecisionRow,
    EventRow,
    FillPartRow,
    FillRow,
    IncidentRow,
    IntentId,
    IntentRow,
    OrderId,
    OrderPurpose,
    OrderRow,
    PositionRow,
    RoundId,
    RoundRow,
    SampledMark,
    Share,
    VerdictRow,
)
from manager.views.costs import CostQuery, read_model_costs
from manager.views.events import EventQuery, read_events
from manager.views.incidents import IncidentQuery, read_incidents
from manager.views.operations import OperationKind, OperationQuery, read_operations
from manager.views.performance import PerformanceQuery, read_performance
from manager.views.status import StatusQuery, read_status
from manager.views.trader import TraderQuery, read_trader
from manager.views.trades import TradeQuery, read_trades
from manager.views.why import read_story
from state_rows import AT, make_account, make_row, make_trader
from traders.spec import TraderId

pytestmark = [pytest.mark.database, pytest.mark.slow]

FEW, MANY = 3, 1_000
READ: dict[str, tuple[Callable[[PostgresStore], Awaitable[Any]], int]] = {
    "status": (lambda store: read_status(store, DEFAULT_TENANT, StatusQuery(now=AT)), 3),
    "operations": (lambda store: read_operations(store, DEFAULT_TENANT, OperationQuery()), 1),
    "operations of one": (
        lambda store: read_operations(store, DEFAULT_TENANT, OperationQuery(trader_id=TraderId("t1"))), 1,
    ),
    "why": (lambda store: read_story(store, DEFAULT_TENANT, "entry"), 4),
    "why a close": (lambda store: read_story(store, DEFAULT_TENANT, "close"), 6),
    "incidents": (lambda store: read_incidents(store, DEFAULT_TENANT, IncidentQuery()), 1),
    "costs": (lambda store: read_model_costs(store, DEFAULT_TENANT, CostQuery(now=AT)), 1),
    "events": (lambda store: read_events(store, DEFAULT_TENANT, EventQuery()), 1),
    "performance": (lambda store: read_performance(store, DEFAULT_TENANT, PerformanceQuery(now=AT)), 1),
    "trader": (
        lambda store: read_trader(store, DEFAULT_TENANT, TraderQuery(now=AT, trader_id=TraderId("t1"))), 4,
    ),
    "trades": (lambda store: read_trades(store, DEFAULT_TENANT, TradeQuery(limit=2_000)), 3),
    "open trades": (lambda store: read_trades(store, DEFAULT_TENANT, TradeQuery(open_only=True, limit=2_000)), 3),
}  # fmt: skip


async def _fill(store: PostgresStore, traders: int) -> None:
    """Write a desk of so many traders on several accounts, each with all that is shown of one."""
    accounts = max(traders // 100, 1)
    marks = {make_row(PositionRow).symbol: SampledMark(price=Decimal(1), at=AT)}
    rows: list[Any] = [make_account(f"a{n}", updated_at=AT, marks=marks) for n in range(accounts)]
    trader, schedule, book = make_trader("t", open_positions=1)
    trader = replace(trader, spec=replace(trader.spec, executor=ExecutorSpec(type=ExecutorType.LLM)))
    own = [trader, schedule, book, *(make_row(kind) for kind in (PositionRow, EquityRow))]
    intent, decision = make_row(IntentRow), make_row(DecisionRow)
    incident, event = make_row(IncidentRow), make_row(EventRow)
    verdict, close = make_row(VerdictRow), make_row(OrderRow, account_id="a0", order_id="close", round_id="1")
    part = make_row(FillPartRow, account_id="a0", order_id="entry", purpose="entry", intent_id="i0")
    part = replace(part, opened_at=AT, closed_at=AT)
    shares = []
    for n in range(traders):
        given: dict[str, Any] = {"account_id": AccountId(f"a{n % accounts}"), "trader_id": TraderId(f"t{n}")}
        rows += [replace(row, **given) for row in own]
        rows += [replace(intent, **given, intent_id=IntentId(f"i{n}"), decision_id=DecisionId(f"d{n}"))]
        rows += [replace(decision, **given, decision_id=DecisionId(f"d{n}"))]
        rows += [replace(verdict, **given, round_id=RoundId(f"{n}-{m}")) for m in range(4)]
        rows += [replace(incident, **given, incident_id=f"i{n}"), replace(event, **given, event_id=f"e{n}")]
        rows += [replace(part, **given)]
        shares.append(Share(trader_id=given["trader_id"], quantity=close.quantity))
    carried = tuple(replace(share, intent_id=IntentId(f"i{n}")) for n, share in enumerate(shares))
    rows += [
        make_row(RoundRow, account_id="a0", round_id="1"),
        replace(close, order_id=OrderId("entry"), purpose=OrderPurpose.ENTRY, shares=carried),
        replace(close, purpose=OrderPurpose.TAKE_PROFIT, shares=tuple(shares)),
        make_row(FillRow, account_id="a0", order_id="entry"),
    ]
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert(rows)


@pytest.mark.parametrize("traders", [FEW, MANY])
async def test_a_view_takes_as_many_statements_for_a_thousand_traders_as_for_three(
    postgres_store: PostgresStore, monkeypatch: pytest.MonkeyPatch, traders: int
) -> None:
    await _fill(postgres_store, traders)
    sent: list[str] = []
    execute = psycopg.AsyncCursor.execute

    async def counted(self: Any, query: Any, *arguments: Any, **more: Any) -> Any:
        text = query.decode() if isinstance(query, bytes) else str(query)
        if text.startswith(("SELECT", "WITH", "INSERT", "UPDATE")):
            sent.append(text)
        return await execute(self, query, *arguments, **more)

    monkeypatch.setattr(psycopg.AsyncCursor, "execute", counted)
    for name, (read, expected) in READ.items():
        sent.clear()
        assert await read(postgres_store), name
        assert len(sent) == expected, f"{name} of {traders} traders: {len(sent)}\n" + "\n".join(sent)
    accounts = (await read_status(postgres_store, DEFAULT_TENANT, StatusQuery(now=AT))).accounts
    shown = [trader for account in accounts for trader in account.traders]
    assert len(shown) == sum(len(account.positions) for account in accounts) == traders
    assert {len(trader.verdicts) for trader in shown} == {3}
    assert all(trader.last_decision and trader.models_today and trader.equity is not None for trader in shown)
    assert len((await read_trades(postgres_store, DEFAULT_TENANT, TradeQuery(limit=2_000))).trades) == traders
    mine = OperationQuery(kinds=(OperationKind.ORDER,), trader_id=TraderId(f"t{traders - 1}"))
    assert len((await read_operations(postgres_store, DEFAULT_TENANT, mine)).operations) == 2
