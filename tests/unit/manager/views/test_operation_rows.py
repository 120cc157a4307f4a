"""What `propdesk operations` says of an order, what it can be narrowed by, and the short ids that `why` takes."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from desk_history import AT, BTC, ENTRY, STOP, desk_with_history, fills, incident, orders
from manager.cli.operations import shown_id
from manager.errors import AmbiguousId, UnknownSymbol
from manager.state.kinds import VerdictKind
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, EventRow, FillRow, OrderId, OrderRow, VerdictRow
from manager.views.operations import Operation, OperationKind, OperationQuery, read_operations
from manager.views.why import read_story
from state_rows import make_row

SECOND = timedelta(seconds=1)
ORDERS = OperationQuery(kinds=(OperationKind.ORDER,))


async def found(store: MemoryStore, query: OperationQuery) -> tuple[Operation, ...]:
    return (await read_operations(store, DEFAULT_TENANT, query)).operations


async def test_an_order_says_what_was_asked_filled_and_paid() -> None:
    stop, entry = await found(await desk_with_history(), ORDERS)
    assert (entry.what, entry.quantity, entry.filled) == ("entry buy", Decimal("0.01"), Decimal("0.01"))
    assert (entry.average_price, entry.fee, entry.outcome) == (Decimal(100_000), Decimal("0.45"), "filled")
    assert (stop.what, stop.filled, stop.average_price, stop.fee) == ("stop sell", Decimal(0), None, None)
    assert stop.trigger_price == Decimal(98_000)


async def test_fills_of_one_order_are_one_row_at_their_average() -> None:
    one = next(row for row in fills() if isinstance(row, FillRow))
    more = replace(one, trade_id="t-9", quantity=Decimal("0.03"), price=Decimal(100_400), fee=Decimal("1.35"))
    of_another = replace(one, trade_id="t-10", order_id=OrderId("another"), price=Decimal(1))
    stop, entry = await found(await desk_with_history(more, of_another), ORDERS)
    assert (entry.average_price, entry.fee) == (Decimal(100_300), Decimal("1.80"))
    assert stop.average_price is None


async def test_operations_are_narrowed_by_time_and_symbol() -> None:
    store = await desk_with_history(incident(symbol="ETH/USDT:USDT"))
    query = OperationQuery(since=AT + SECOND, until=AT + timedelta(minutes=1))
    assert [one.ref for one in await found(store, query)] == ["i1/POSITION_MISMATCH", STOP]
    assert [one.ref for one in await found(store, replace(ORDERS, until=AT))] == [ENTRY]
    of_btc = await found(store, OperationQuery(symbol=BTC))
    assert {one.symbol for one in of_btc} == {BTC}
    assert {one.kind for one in of_btc} == {"order", "conflict", "denial"}
    assert [one.kind for one in await found(store, OperationQuery(symbol="ETH/USDT:USDT"))] == ["incident"]
    assert await found(store, OperationQuery(symbol=BTC, since=AT + timedelta(days=1))) == ()
    with pytest.raises(UnknownSymbol, match="no trader has the symbol 'BTC'; they have BTC/USDT:USDT"):
        await found(store, OperationQuery(symbol="BTC"))


async def test_pages_within_a_time_show_each_row_once() -> None:
    store = await desk_with_history(*(incident(incident_id=f"i{n}", at=AT + SECOND * n) for n in range(9)))
    query = OperationQuery(kinds=(OperationKind.INCIDENT,), since=AT + SECOND, until=AT + SECOND * 7, limit=3)
    seen: list[str] = []
    after = ""
    while True:
        page = await read_operations(store, DEFAULT_TENANT, replace(query, after=after))
        seen += [one.ref for one in page.operations]
        after = page.next
        if not after:
            break
    assert seen == [f"i{n}" for n in range(7, 0, -1)]


async def test_the_beginning_of_an_orders_id_stands_for_it() -> None:
    [entry] = [row for row in orders() if isinstance(row, OrderRow) and row.order_id == ENTRY]
    alike = replace(entry, order_id=OrderId(f"{ENTRY[:6]}ffff"), venue_order_id="v-9")
    store = await desk_with_history(alike)
    story = await read_story(store, DEFAULT_TENANT, STOP[:4])
    assert story is not None
    assert story.order is not None
    assert story.order.order_id == STOP
    assert await read_story(store, DEFAULT_TENANT, ENTRY[:8]) == await read_story(store, DEFAULT_TENANT, ENTRY)
    with pytest.raises(AmbiguousId) as refused:
        await read_story(store, DEFAULT_TENANT, ENTRY[:6])
    assert {ENTRY, alike.order_id} <= set(str(refused.value).replace(";", " ").split())
    assert await read_story(store, DEFAULT_TENANT, "") is None
    assert await read_story(store, DEFAULT_TENANT, "zz") is None


async def test_many_that_begin_alike_are_told_as_many() -> None:
    [entry] = [row for row in orders() if isinstance(row, OrderRow) and row.order_id == ENTRY]
    alike = [replace(entry, order_id=OrderId(f"cc{n}"), venue_order_id=f"w{n}") for n in range(9)]
    with pytest.raises(AmbiguousId, match=r"; and more$"):
        await read_story(await desk_with_history(*alike), DEFAULT_TENANT, "cc")


def test_what_a_size_was_cut_to_is_told_in_cents_and_a_leverage_as_it_is() -> None:
    numbers = {"before": "1234.56789123", "after": "999.99500001"}
    cut = replace(make_row(VerdictRow, code="MAX_POSITION_SIZE", detail="cut", numbers=numbers), kind=VerdictKind.CLAMP)
    assert Operation.of_verdict(cut).detail == "cut from 1,234.57 to 1,000.00 USD"
    lowered = replace(cut, code="LEVERAGE", detail="cut from 20 to 10", numbers={"before": "20", "after": "10"})
    assert Operation.of_verdict(lowered).detail == "cut from 20 to 10"
    assert Operation.of_verdict(replace(cut, numbers={})).detail == "cut"


def test_the_id_of_an_event_is_short_unless_it_is_wanted_in_full() -> None:
    at = "trend_slow/2026-12-01T00:53:09.979598+00:00/trader_state/22c8c1e7"
    for event_id, shown in (
        (at, "22c8c1e7"),
        ("paper/rebalance/0000000001", "0000000001"),
        ("paper/f1/ended", "f1/ended"),
    ):
        one = Operation.of_event(make_row(EventRow, event_id=event_id))
        assert shown_id(one, 8) == shown
        assert shown_id(one, None) == event_id
