"""The invariants are checked on the stored rows about once a minute: what is broken twice in a row is told."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from exchanges.types import CashKind, Fill
from faulty_desk import BTC, ETH, SECOND, FaultyDesk, Scene, close, open_long
from late_venue import LateVenue
from manager.state.memory.store import MemoryStore
from manager.state.records import (
    DEFAULT_TENANT,
    AccountRow,
    BookRow,
    EventRow,
    FillPartRow,
    IncidentRow,
    TradingState,
)
from traders.spec import TraderId

D = Decimal
BROKEN = "INVARIANT_BROKEN"
PLAIN = MemoryStore.transaction


async def desk_with(*traders: str) -> tuple[FaultyDesk, LateVenue]:
    desk = await FaultyDesk.of(Scene(traders=traders or ("a",)))
    late = LateVenue(desk.paper, desk.clock, seed=5)
    desk.venue.inner = late  # type: ignore[assignment]  # it passes everything else on
    await desk.go("a", open_long())
    return desk, late


async def account(desk: FaultyDesk) -> AccountRow:
    [row] = await desk.find(AccountRow)
    return row  # type: ignore[no-any-return]  # find is untyped


async def patch_funding(desk: FaultyDesk, amount: str) -> None:
    """Change a stored book behind the desk's back."""
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(BookRow, ("paper", "a"), funding=D(amount))


async def told(desk: FaultyDesk) -> list[IncidentRow]:
    rows: Sequence[IncidentRow] = await desk.find(IncidentRow, code=BROKEN)
    return list(rows)


async def test_money_that_is_not_the_venues_is_told_the_second_time_and_the_account_only_reduces() -> None:
    desk, _ = await desk_with()
    await desk.maintain(seconds=3)
    await patch_funding(desk, "-0.25")
    await desk.maintain(seconds=57)
    assert await told(desk) == []
    assert (await account(desk)).suspicions == {"money/paper": D("0.25")}
    await desk.maintain(seconds=57)
    [one] = await told(desk)
    assert one.resolved_at is None
    assert "0.25" in one.detail
    assert (await account(desk)).trading_state is TradingState.REDUCING
    [event] = [one for one in await desk.find(EventRow) if one.kind == "trading_state"]
    assert (event.before, event.after, event.actor) == ("active", "reducing", "desk")
    await desk.go("a", open_long(ETH))
    assert ("a", "REDUCING") in await desk.denials()
    await desk.go("a", close())
    assert await desk.held("a") == 0
    await patch_funding(desk, "0")
    await desk.maintain(seconds=57)
    [one] = await told(desk)
    assert one.resolved_at is not None


async def test_an_operator_may_resume_while_the_incident_stands() -> None:
    desk, _ = await desk_with()
    await patch_funding(desk, "-3")
    await desk.maintain(seconds=120)
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(AccountRow, ("paper",), trading_state=TradingState.ACTIVE)
    await desk.maintain(seconds=120)
    assert (await account(desk)).trading_state is TradingState.ACTIVE
    assert [one.resolved_at for one in await told(desk)] == [None]


async def test_a_part_that_no_fill_has_is_told() -> None:
    desk, _ = await desk_with()
    [part] = await desk.find(FillPartRow)
    await desk.maintain(seconds=2)
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        more = replace(part, leg="/9", at=desk.clock.now(), fee=D("0.5"), quantity=D(0), trader_id=TraderId("a"))
        await tx.insert([more])
    await desk.maintain(seconds=120)
    assert [one.detail.split(":")[0] for one in await told(desk)] == ["attribution"]
    assert (await account(desk)).trading_state is TradingState.REDUCING


@pytest.mark.parametrize("late_s", [0, 40])
async def test_cash_that_moves_never_trips_it(late_s: int) -> None:
    desk, late = await desk_with()
    late.lateness = lambda item: 0 * SECOND if isinstance(item, Fill) else late_s * SECOND
    for number in range(12):
        late.move_cash(250 - 40 * number, CashKind.DEPOSIT if number < 7 else CashKind.WITHDRAWAL)
        await desk.maintain(seconds=31)
    await desk.maintain(seconds=120)
    assert await told(desk) == []
    assert (await account(desk)).suspicions == {}
    assert (await account(desk)).trading_state is TradingState.ACTIVE


@pytest.mark.parametrize("step", ["0.01", "0.001"])
async def test_rounded_entry_prices_never_trip_it(step: str) -> None:
    desk, late = await desk_with("a", "b")
    late.entry_step = D(step)
    for number, price in enumerate(("100.37", "101.93", "99.713", "100.0049")):
        desk.price(price, BTC)
        desk.pass_time(2)
        await desk.go("ab"[number % 2], open_long(usd=333))
        await desk.maintain(seconds=57)
    await desk.go("a", close(fraction="0.3"))
    await desk.maintain(seconds=120)
    assert await told(desk) == []
    assert (await account(desk)).suspicions == {}


async def test_a_check_costs_the_same_statements_for_any_number_of_traders(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    for traders in (("a",), tuple("abcdefgh")):
        desk, _ = await desk_with(*traders)
        for trader in traders[1:]:
            await desk.go(trader, open_long(usd=100))
        await desk.maintain(seconds=60)
        opened = [0]

        def count(store: MemoryStore, *given: Any, opened: list[int] = opened, **named: Any) -> Any:
            opened[0] += 1
            return PLAIN(store, *given, **named)

        with monkeypatch.context() as patch:
            patch.setattr(MemoryStore, "transaction", count)
            await desk.maintain(seconds=57)
        counts.append(opened[0])
    assert counts[0] == counts[1]


async def test_each_account_is_checked_at_least_once_a_minute() -> None:
    desk, _ = await desk_with()
    seen = set()
    for _ in range(180):
        await desk.maintain(seconds=1)
        seen.add((await account(desk)).checked_at)
    assert len(seen) == 4
