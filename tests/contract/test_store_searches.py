"""What every store promises to views: many searches at once, the newest of each owner, events to go on from."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from manager.state.errors import InvalidRow
from manager.state.journal import ConflictRow, EquityRow
from manager.state.records import (
    DEFAULT_TENANT,
    AccountRow,
    DecisionRow,
    EventRow,
    IncidentRow,
    OrderRow,
    RoundId,
    Share,
    TenantId,
    TraderRow,
    VerdictRow,
)
from manager.state.store import EventPlace, Search, Store
from state_rows import AT, make_account, make_row, make_trader
from traders.spec import TraderId

SECOND = timedelta(seconds=1)
OTHER = TenantId("other")
BY_TRADER = Search(kind=VerdictRow, newest_first="at", each=("trader_id",), limit=2)


async def _seed(store: Store, *rows: Any) -> None:
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([make_account(), make_account("else"), *rows])


async def _search(store: Store, *searches: Search) -> list[list[Any]]:
    async with store.transaction(DEFAULT_TENANT) as tx:
        return [list(rows) for rows in await tx.search(*searches)]


def _verdict(trader_id: str, second: int, n: int = 0) -> VerdictRow:
    row = make_row(VerdictRow, trader_id=trader_id, at=AT + SECOND * second, n=n)
    return replace(row, round_id=RoundId(f"{trader_id}{second}"))


async def test_01_searches_find_what_find_does_each_its_own(store: Store) -> None:
    verdicts = [_verdict("t1", second) for second in range(4)]
    await _seed(store, *verdicts, make_row(OrderRow))
    found = await _search(
        store,
        Search(kind=VerdictRow, where={"round_id": ("t10", "t12")}),
        Search(kind=VerdictRow, newest_first="at", limit=1),
        Search(kind=VerdictRow, where={"round_id": ()}),
        Search(kind=OrderRow, where={"updated_at": None}),
        Search(kind=AccountRow),
    )
    assert found[:3] == [[verdicts[0], verdicts[2]], [verdicts[3]], []]
    assert [len(rows) for rows in found[3:]] == [1, 2]
    assert await _search(store, Search(kind=IncidentRow)) == [[]]


async def test_02_the_newest_of_each_trader_come_together_the_newest_first(store: Store) -> None:
    many = [_verdict("t1", second) for second in range(5)]
    tied = [_verdict("t2", 7, n) for n in range(3)]
    await _seed(store, *make_trader("t1"), *make_trader("t2"), *make_trader("t3"), *many, *tied, _verdict("gone", 9))
    assert await _search(store, BY_TRADER) == [[many[4], many[3], tied[0], tied[1]]]
    assert await _search(store, replace(BY_TRADER, where={"trader_id": ("t2", "t3")}, limit=1)) == [[tied[0]]]
    assert await _search(store, replace(BY_TRADER, where={"n": 2})) == [[tied[2]]]
    assert len((await _search(store, replace(BY_TRADER, limit=None)))[0]) == 8


async def test_03_a_trader_may_be_meant_on_its_account_only(store: Store) -> None:
    old = make_row(EquityRow, account_id="else", trader_id="t1", at=AT + SECOND * 9)
    samples = [make_row(EquityRow, trader_id="t1", at=AT + SECOND * n) for n in range(3)]
    await _seed(store, *make_trader("t1"), old, *samples)
    search = Search(kind=EquityRow, newest_first="at", each=("account_id", "trader_id"), limit=1)
    assert await _search(store, search, replace(search, each=("trader_id",))) == [[samples[2]], [old]]


async def test_04_the_newest_of_each_account_are_those_of_accounts_that_there_are(store: Store) -> None:
    def incident(account_id: str, n: int) -> IncidentRow:
        return make_row(IncidentRow, incident_id=f"{account_id}{n}", account_id=account_id, at=AT + SECOND * n)

    rows = [incident(name, n) for name in ("acco", "else", "") for n in range(3)]
    await _seed(store, *rows)
    search = Search(kind=IncidentRow, newest_first="at", each=("account_id",), limit=1)
    found = await _search(store, search, replace(search, where={"account_id": "else"}, until=AT + SECOND))
    assert [[row.incident_id for row in rows] for rows in found] == [["acco2", "else2"], ["else1"]]


async def test_05_a_search_begins_and_ends_at_a_time_and_can_be_about_one_trader(store: Store) -> None:
    shares = tuple(Share(trader_id=TraderId(name), quantity=make_row(OrderRow).quantity) for name in ("t1", "t2"))
    conflict = make_row(ConflictRow, traders=("t2", "t3"), at=AT)
    await _seed(store, make_row(OrderRow, shares=shares), conflict, _verdict("t2", 0), _verdict("t2", 2))
    until = Search(kind=VerdictRow, newest_first="at", until=AT + SECOND)
    assert [row.round_id for row in (await _search(store, until))[0]] == ["t20"]
    since = replace(until, until=None, since=AT + SECOND)
    assert [row.round_id for row in (await _search(store, since))[0]] == ["t22"]
    assert (await _search(store, replace(since, since=AT)))[0] == [_verdict("t2", 2), _verdict("t2", 0)]
    searches = [Search(kind=kind) for kind in (OrderRow, ConflictRow, VerdictRow)]
    counts = {
        name: [len(rows) for rows in await _search(store, *(replace(one, about=TraderId(name)) for one in searches))]
        for name in ("t1", "t2", "t3", "t")
    }
    assert counts == {"t1": [1, 0, 0], "t2": [1, 1, 2], "t3": [0, 1, 0], "t": [0, 0, 0]}


async def test_09_a_search_finds_what_begins_so(store: Store) -> None:
    await _seed(store, *(make_row(OrderRow, order_id=name) for name in ("ab12", "ab3%", "b_12", "bx12")))
    searches = [Search(kind=OrderRow, begins={"order_id": text}) for text in ("ab", "ab3", "b_", "12", "%", "")]
    found = [sorted(row.order_id for row in rows) for rows in await _search(store, *searches)]
    assert found == [["ab12", "ab3%"], ["ab3%"], ["b_12"], [], [], ["ab12", "ab3%", "b_12", "bx12"]]


async def test_06_what_is_not_wanted_comes_back_as_its_default(store: Store) -> None:
    row = make_row(DecisionRow, reply="long", reasoning="why", attempts=3)
    await _seed(store, row)
    found = await _search(store, Search(kind=DecisionRow, omit=("reply", "context")))
    assert found == [[replace(row, reply="")]]


@pytest.mark.parametrize(
    "search",
    [
        Search(kind=VerdictRow, where={"colour": "red"}),
        Search(kind=VerdictRow, newest_first="when"),
        Search(kind=VerdictRow, until=AT),
        Search(kind=VerdictRow, since=AT),
        Search(kind=AccountRow, each=("trader_id",)),
        Search(kind=AccountRow, about=TraderId("t1")),
        Search(kind=VerdictRow, omit=("nothing",)),
        Search(kind=VerdictRow, begins={"nothing": "a"}),
        Search(kind=Search),
    ],
    ids=lambda search: "-".join(search.fields) or "no row",
)
async def test_07_a_search_by_what_is_no_field_is_refused(store: Store, search: Search) -> None:
    with pytest.raises(InvalidRow):
        await _search(store, search)


async def test_08_searches_stay_within_their_tenant(store: Store) -> None:
    async with store.service() as service:
        await service.ensure_tenant(OTHER)
    await _seed(store, *make_trader("t1"), _verdict("t1", 1), make_row(EventRow))
    async with store.transaction(OTHER) as tx:
        found = await tx.search(Search(kind=TraderRow), BY_TRADER, Search(kind=VerdictRow))
        assert [len(rows) for rows in found] == [0, 0, 0]
        assert list(await tx.events(EventPlace(), {}, 10)) == []


async def _events(store: Store, after: EventPlace, count: int, **where: Any) -> list[tuple[EventPlace, str]]:
    """Read on until `count` are there: other databases of the server may delay an event for a moment."""
    for _ in range(200):
        async with store.transaction(DEFAULT_TENANT) as tx:
            found = await tx.events(after, where, 10)
        if len(found) >= count:
            return [(place, row.event_id) for place, row in found]
        await asyncio.sleep(0.05)
    raise AssertionError(f"only {found} after {after}")


async def test_09_events_come_in_the_order_of_their_writing_and_can_be_gone_on_from(store: Store) -> None:
    names = ["z", "a", "m", "b"]
    await _seed(store, *(make_row(EventRow, event_id=name) for name in names[:2]))
    for name in names[2:]:
        async with store.transaction(DEFAULT_TENANT) as tx:
            await tx.insert([replace(make_row(EventRow, event_id=name, at=AT - SECOND), kind="other")])
    found = await _events(store, EventPlace(), 4)
    assert [name for _, name in found] == names
    assert [place for place, _ in found] == sorted({place for place, _ in found})
    for n, (place, _) in enumerate(found[:-1], start=1):
        assert await _events(store, place, 4 - n) == found[n:]
    assert await _events(store, found[-1][0], 0) == []
    assert [name for _, name in await _events(store, EventPlace(), 2, kind=("other", "more"))] == names[2:]
    async with store.transaction(DEFAULT_TENANT) as tx:
        assert [row.event_id for _, row in await tx.events(found[0][0], {}, 2)] == ["a", "m"]


async def test_10_what_is_taken_back_leaves_no_event(store: Store) -> None:
    await _seed(store, make_row(EventRow, event_id="kept"))
    with pytest.raises(ValueError, match="crash"):  # noqa: PT012 - the block ends the transaction
        async with store.transaction(DEFAULT_TENANT) as tx:
            await tx.insert([make_row(EventRow, event_id="gone")])
            raise ValueError("crash")
    [(first, name)] = await _events(store, EventPlace(), 1)
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([make_row(EventRow, event_id="next")])
    [(second, later)] = await _events(store, first, 1)
    assert (name, later, first < second) == ("kept", "next", True)


async def test_11_a_search_that_begins_or_ends_at_a_time_finds_none_without_one(store: Store) -> None:
    rows = [make_row(IncidentRow, incident_id=f"i{n}", resolved_at=AT + SECOND * n if n else None) for n in range(4)]
    await _seed(store, *rows)
    last: dict[str, Any] = {"kind": IncidentRow, "newest_first": "resolved_at"}
    begun, ended, whole = await _search(
        store, Search(**last, since=AT + SECOND), Search(**last, until=AT + SECOND * 2), Search(**last)
    )
    assert begun == [rows[3], rows[2], rows[1]]
    assert ended == [rows[2], rows[1]]
    assert whole == [rows[3], rows[2], rows[1], rows[0]]
