"""A view takes the same few statements however much there is to show, on PostgreSQL as it is."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from executor.registry import ExecutorSpec, ExecutorType
from manager.state.postgres.store import PostgresStore
from manager.state.records import (
    DEFAULT_TENANT,
    DecisionRow,
    EquityRow,
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
    RoundRow,
    Share,
    VerdictRow,
)
from manager.views.costs import CostQuery, read_model_costs
from manager.views.events import EventQuery, read_events
from manager.views.incidents import IncidentQuery, read_incidents
from manager.views.operations import OperationKind, OperationQuery, read_operations
from manager.views.status import StatusQuery, read_status
from manager.views.why import read_story
from state_rows import AT, make_account, make_row, make_trader
from traders.spec import TraderId

pytestmark = [pytest.mark.database, pytest.mark.slow]

FEW, MANY = 3, 1_000
READ: dict[str, tuple[Callable[[PostgresStore], Awaitable[Any]], int]] = {
    "status": (lambda store: read_status(store, DEFAULT_TENANT, StatusQuery(now=AT)), 2),
    "operations": (lambda store: read_operations(store, DEFAULT_TENANT, OperationQuery()), 1),
    "operations of one": (
        lambda store: read_operations(store, DEFAULT_TENANT, OperationQuery(trader_id=TraderId("t1"))), 1,
    ),
    "why": (lambda store: read_story(store, DEFAULT_TENANT, "entry"), 4),
    "why a close": (lambda store: read_story(store, DEFAULT_TENANT, "close"), 6),
    "incidents": (lambda store: read_incidents(store, DEFAULT_TENANT, IncidentQuery()), 1),
    "costs": (lambda store: read_model_costs(store, DEFAULT_TENANT, CostQuery(now=AT)), 1),
    "events": (lambda store: read_events(store, DEFAULT_TENANT, EventQuery()), 1),
}  # fmt: skip


async def _fill(store: PostgresStore, traders: int) -> None:
    """Write a desk of so many traders on several accounts, each with all that is shown of one."""
    accounts = max(traders // 100, 1)
    rows: list[Any] = [make_account(f"a{n}", updated_at=AT) for n in range(accounts)]
    names = [f"t{n}" for n in range(traders)]
    for n, name in enumerate(names):
        given: dict[str, Any] = {"account_id": f"a{n % accounts}", "trader_id": name}
        trader, schedule, book = make_trader(name, account_id=given["account_id"], open_positions=1, seq=n)
        llm = replace(trader.spec, executor=ExecutorSpec(type=ExecutorType.LLM))
        intent = make_row(IntentRow, **given, intent_id=f"i{n}", decision_id=f"d{n}")
        rows += [replace(trader, spec=llm), schedule, book, make_row(PositionRow, **given), intent]
        rows += [make_row(DecisionRow, **given, decision_id=f"d{n}"), make_row(EquityRow, **given)]
        rows += [make_row(VerdictRow, **given, round_id=f"{n}-{m}") for m in range(4)]
        rows += [make_row(IncidentRow, **given, incident_id=f"{name}"), make_row(EventRow, **given, event_id=name)]
    close = make_row(OrderRow, account_id="a0", order_id="close", round_id="1", purpose=OrderPurpose.TAKE_PROFIT)
    shares = [Share(trader_id=TraderId(name), quantity=close.quantity) for name in names]
    entry = replace(
        close,
        order_id=OrderId("entry"),
        purpose=OrderPurpose.ENTRY,
        shares=tuple(replace(share, intent_id=IntentId(f"i{n}")) for n, share in enumerate(shares)),
    )
    fill = make_row(FillRow, account_id="a0", order_id="entry")
    part = make_row(FillPartRow, account_id="a0", order_id="entry", purpose="entry", intent_id="i0")
    parts = [replace(part, trader_id=TraderId(name)) for name in names]
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert(
            [
                *rows,
                make_row(RoundRow, account_id="a0", round_id="1"),
                entry,
                replace(close, shares=tuple(shares)),
                fill,
                *parts,
            ]
        )


@pytest.mark.parametrize("traders", [FEW, MANY])
async def test_a_view_takes_as_many_statements_for_a_thousand_traders_as_for_three(
    postgres_store: PostgresStore, monkeypatch: pytest.MonkeyPatch, traders: int
) -> None:
    await _fill(postgres_store, traders)
    sent: list[str] = []
    execute = psycopg.AsyncConnection.execute

    async def counted(self: Any, query: Any, *arguments: Any, **more: Any) -> Any:
        text = query.decode() if isinstance(query, bytes) else str(query)
        if text.startswith(("SELECT", "WITH", "INSERT", "UPDATE")):
            sent.append(text)
        return await execute(self, query, *arguments, **more)

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", counted)
    for name, (read, expected) in READ.items():
        sent.clear()
        assert await read(postgres_store), name
        assert len(sent) == expected, f"{name} of {traders} traders: {len(sent)}\n" + "\n".join(sent)


async def test_a_thousand_traders_are_shown_with_all_of_theirs(postgres_store: PostgresStore) -> None:
    await _fill(postgres_store, MANY)
    accounts = (await read_status(postgres_store, DEFAULT_TENANT, StatusQuery(now=AT))).accounts
    shown = [trader for account in accounts for trader in account.traders]
    assert (len(accounts), len(shown)) == (10, MANY)
    assert {len(trader.denials) for trader in shown} == {3}
    assert all(trader.last_decision and trader.models_today and trader.equity is not None for trader in shown)
    assert sum(len(account.positions) for account in accounts) == MANY
    kinds = (OperationKind.ORDER,)
    mine = OperationQuery(kinds=kinds, trader_id=TraderId("t999"))
    assert len((await read_operations(postgres_store, DEFAULT_TENANT, mine)).operations) == 2
