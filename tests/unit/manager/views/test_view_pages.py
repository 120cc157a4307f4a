"""Views in pages: together they show what one page without a limit shows, each thing once, in the same order."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from desk_history import AT, desk_with_history, happenings, incident, orders
from executor.contract import ItemError, Outcome
from manager.errors import UnknownAccount, UnknownCursor, UnknownTrader
from manager.jobs.handlers import invalid_parts
from manager.state.journal import ConflictRow
from manager.state.keys import Row
from manager.state.memory.store import MemoryStore
from manager.state.records import (
    DEFAULT_TENANT,
    AccountId,
    AccountRow,
    DecisionId,
    DecisionRow,
    EventRow,
    OrderId,
    OrderRow,
    PositionRow,
    VerdictRow,
)
from manager.state.spending import BudgetRow
from manager.views.costs import CostQuery, read_model_costs
from manager.views.events import EventQuery, read_events
from manager.views.incidents import IncidentQuery, read_incidents
from manager.views.operations import OperationKind, OperationQuery, read_operations
from manager.views.pages import cursor_of
from manager.views.status import StatusQuery, read_status
from state_rows import make_row, make_trader
from traders.spec import TraderId

SECOND = timedelta(seconds=1)
MANY = 60


async def pages(read: Callable[[Any, Any, Any], Awaitable[Any]], store: MemoryStore, query: Any) -> list[Any]:
    """Read page after page until there is no next; of each return what it holds."""
    found = []
    while True:
        page = await read(store, DEFAULT_TENANT, query)
        found.append(getattr(page, next(name for name in page.__dataclass_fields__ if name != "next")))
        if not page.next:
            return found
        query = replace(query, after=page.next)


def many() -> list[Row]:
    """Return rows of every kind, several of each at one instant, and decisions of which parts are invalid."""
    [entry, _] = orders()
    conflict, verdict, event = (row for row in happenings() if not hasattr(row, "counts"))
    assert isinstance(entry, OrderRow)
    assert isinstance(conflict, ConflictRow)
    assert isinstance(verdict, VerdictRow)
    assert isinstance(event, EventRow)
    rows: list[Row] = []
    for n in range(MANY):
        at = AT + SECOND * (n // 7)
        rows += [
            replace(entry, order_id=OrderId(f"o{n * 7 % MANY}"), created_at=at),
            replace(conflict, n=100 + n, at=at),
            replace(verdict, n=100 + n, at=at),
            replace(event, event_id=f"e{n * 11 % MANY}/", at=at, trader_id=TraderId("bull" if n % 3 else "bear")),
            incident(incident_id=f"i{n * 13 % MANY}/", at=at, trader_id=TraderId("bull" if n % 2 else "")),
        ]
        errors = tuple(ItemError(path=f"decisions[{item}].symbol", message="no") for item in range(n % 4))
        decision = make_row(
            DecisionRow,
            decision_id=DecisionId(f"d{n * 17 % MANY}"),
            account_id=AccountId("paper"),
            trader_id=TraderId("bull"),
            decided_at=at,
            outcome=Outcome.TRUNCATED if n % 5 == 0 else Outcome.DECIDED,
            errors=errors,
        )
        rows += [decision, *invalid_parts(decision)]
    return rows


@pytest.mark.parametrize(
    "query",
    [
        OperationQuery(),
        OperationQuery(sound_decisions=True),
        OperationQuery(trader_id=TraderId("bear")),
        OperationQuery(kinds=(OperationKind.DECISION, OperationKind.EVENT)),
        OperationQuery(account_id=AccountId("paper"), trader_id=TraderId("bull")),
    ],
    ids=["all", "sound", "bear", "kinds", "bull"],
)
async def test_operations_in_pages_are_all_of_them_once(query: OperationQuery) -> None:
    store = await desk_with_history(*many())
    whole = (await read_operations(store, DEFAULT_TENANT, replace(query, limit=10_000))).operations
    assert len(whole) > MANY
    for limit in (1, 7, 64):
        found = await pages(read_operations, store, replace(query, limit=limit))
        flat = [one for page in found for one in page]
        assert len({(one.kind, one.ref, one.what) for one in flat}) <= len(flat) == len(whole)
        assert sorted(flat, key=repr) == sorted(whole, key=repr)
        assert [one.at for one in flat] == [one.at for one in whole]
        assert {len(page) for page in found[:-1]} <= {limit}


async def test_what_happens_meanwhile_moves_no_page() -> None:
    store = await desk_with_history(*many())
    query = OperationQuery(limit=40)
    both = (await read_operations(store, DEFAULT_TENANT, replace(query, limit=80))).operations
    first = await read_operations(store, DEFAULT_TENANT, query)
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([incident(incident_id="new", at=AT + SECOND * 900)])
    second = await read_operations(store, DEFAULT_TENANT, replace(query, after=first.next))
    assert sorted((*first.operations, *second.operations), key=repr) == sorted(both, key=repr)


async def test_incidents_come_in_pages_and_can_be_narrowed() -> None:
    store = await desk_with_history(*many(), incident(incident_id="over", at=AT - SECOND, resolved_at=AT))
    query = IncidentQuery(limit=9)
    found = await pages(read_incidents, store, query)
    assert len({one.incident_id for page in found for one in page}) == sum(map(len, found)) == MANY + 1
    assert (found[-1][-1].incident_id, found[-1][-1].state) == ("over", "resolved")
    narrowed = IncidentQuery(open_only=True, trader_id=TraderId("bull"), account_id=AccountId("paper"), limit=100)
    assert len((await read_incidents(store, DEFAULT_TENANT, narrowed)).incidents) == MANY // 2
    remote = IncidentQuery(account_id=AccountId("other"))
    assert (await read_incidents(store, DEFAULT_TENANT, remote)).incidents == ()


async def two_accounts() -> MemoryStore:
    """Return the desk of `desk_history` beside one account with three traders and one with none."""
    traders = [row for n in range(3) for row in make_trader(f"t{n}", account_id="second", seq=n)]
    position = make_row(PositionRow, account_id="second", trader_id="t1")
    bare = [make_row(AccountRow, account_id=name, venue="paper", equity=Decimal(7)) for name in ("second", "third")]
    return await desk_with_history(*bare, *traders, position)


async def test_status_in_pages_shows_every_trader_once_and_each_account_whole() -> None:
    store = await two_accounts()
    query = StatusQuery(now=AT + SECOND)
    whole = (await read_status(store, DEFAULT_TENANT, query)).accounts
    assert [account.id for account in whole] == ["paper", "second", "third"]
    for limit in (1, 2, 3, 5):
        found = await pages(read_status, store, replace(query, limit=limit))
        seen = [account for page in found for account in page]
        for account in whole:
            parts = [one for one in seen if one.id == account.id]
            assert [trader for part in parts for trader in part.traders] == list(account.traders)
            assert [position for part in parts for position in part.positions] == list(account.positions)
            for part in parts:
                assert replace(part, traders=account.traders, positions=account.positions) == account
        assert max(sum(max(len(one.traders), 1) for one in page) for page in found) <= limit


async def test_status_can_be_narrowed_to_an_account_or_a_trader() -> None:
    store = await two_accounts()
    query = StatusQuery(now=AT + SECOND)
    [second] = (await read_status(store, DEFAULT_TENANT, replace(query, account_id=AccountId("second")))).accounts
    assert [trader.id for trader in second.traders] == ["t0", "t1", "t2"]
    [one] = (await read_status(store, DEFAULT_TENANT, replace(query, trader_id=TraderId("t1")))).accounts
    assert ([trader.id for trader in one.traders], len(one.positions)) == (["t1"], 1)
    assert one.reasons == second.reasons
    with pytest.raises(UnknownAccount):
        await read_status(store, DEFAULT_TENANT, replace(query, account_id=AccountId("no")))
    with pytest.raises(UnknownTrader):
        await read_status(store, DEFAULT_TENANT, replace(query, trader_id=TraderId("no")))


async def test_costs_come_in_pages_and_can_be_narrowed() -> None:
    store = await desk_with_history()
    names = [("tenant", ""), *(("model", f"m{n}") for n in range(5))]
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.upsert(
            [BudgetRow(tenant_id=DEFAULT_TENANT, scope=scope, name=name, usd=Decimal(1)) for scope, name in names]
        )
    query = CostQuery(now=AT, limit=2)
    found = await pages(read_model_costs, store, query)
    assert [(one.scope, one.name) for page in found for one in page] == names
    narrowed = await read_model_costs(store, DEFAULT_TENANT, CostQuery(now=AT, models=("m1", "m4", "none")))
    assert [one.name for one in narrowed.costs] == ["m1", "m4"]


async def test_events_are_read_on_from_the_last_one_and_can_be_narrowed() -> None:
    store = await desk_with_history()
    first = await read_events(store, DEFAULT_TENANT, EventQuery())
    assert [event.event_id for event in first.events] == ["e1"]
    nothing = await read_events(store, DEFAULT_TENANT, EventQuery(after=first.next))
    assert (nothing.events, nothing.next) == ((), first.next)
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([make_row(EventRow, event_id=f"x{n}", trader_id=f"t{n % 2}") for n in range(4)])
    later = await read_events(store, DEFAULT_TENANT, EventQuery(after=first.next, limit=3))
    assert [event.event_id for event in later.events] == ["x0", "x1", "x2"]
    assert later.next == later.events[-1].cursor
    mine = await read_events(store, DEFAULT_TENANT, EventQuery(trader_id=TraderId("t1")))
    assert [event.event_id for event in mine.events] == ["x1", "x3"]


@pytest.mark.parametrize(
    "cursor", ["x", "!!", "é", cursor_of("a", 1), cursor_of(1), cursor_of(-1, 0), cursor_of(2**63, 0), "W1tb", "bnVsbA"]
)
async def test_a_text_that_no_page_gave_is_no_cursor(cursor: str) -> None:
    store = await desk_with_history()
    with pytest.raises(UnknownCursor, match="is no cursor of this view"):
        await read_operations(store, DEFAULT_TENANT, OperationQuery(after=cursor))
    with pytest.raises(UnknownCursor):
        await read_events(store, DEFAULT_TENANT, EventQuery(after=cursor))
    with pytest.raises(UnknownCursor):
        await read_status(store, DEFAULT_TENANT, StatusQuery(now=AT, after=cursor))
