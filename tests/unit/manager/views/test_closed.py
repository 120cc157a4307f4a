"""What counts as closed by an act: its own parts whenever they filled, and what else closed the same position after."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exchanges.types import Symbol
from manager.desk.plan.operator_closes import OperatorAsk, close_rows
from manager.roster.acts import CloseAsked, ClosingPosition
from manager.state.acts import FlattenId
from manager.state.kinds import OrderPurpose
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, AccountId, FillPartRow, IntentId, TraderRow
from manager.views.closed import BookedUntil, CloseWatch, Opened, read_closed, summed
from state_rows import AT, BTC, make_account, make_row, make_trader
from traders.spec import TraderId

D = Decimal
A = TraderId("a")
ACCOUNT = AccountId("acco")
OWN = IntentId("a@1/ann.7#0")
SECONDS = st.integers(-7200, 7200).map(lambda seconds: timedelta(seconds=seconds))
BOOKED = BookedUntil(at=AT, trade_id="t0")
CLOSING = [purpose for purpose in OrderPurpose if purpose is not OrderPurpose.ENTRY]


def part(n: int = 0, **given: Any) -> FillPartRow:
    of = {"account_id": ACCOUNT, "trader_id": A, "symbol": BTC, "quantity": D(-1), "price": D(100), "fee": D("0.1")}
    row: FillPartRow = make_row(FillPartRow, **of | {"trade_id": f"t{n}", "realized": D(2), "intent_id": ""} | given)
    return row


def watch(**given: Any) -> CloseWatch:
    opened = frozenset({Opened(A, BTC, AT)})
    of: dict[str, Any] = {"account_id": ACCOUNT, "since": AT, "intents": frozenset({OWN}), "opened": opened}
    return CloseWatch(**of | {"booked": BOOKED} | given)


@given(at=SECONDS, booked=SECONDS, purpose=st.sampled_from(CLOSING), opened=st.sampled_from([AT, AT + timedelta(1)]))
def test_its_own_parts_count_whatever_the_clocks_say(
    at: timedelta, booked: timedelta, purpose: OrderPurpose, opened: datetime
) -> None:
    mine = part(at=AT + at, purpose=purpose, opened_at=opened, intent_id=OWN)
    assert watch(booked=replace(BOOKED, at=AT + booked)).closed_by(mine)
    assert not watch(intents=frozenset(), opened=frozenset()).closed_by(mine)


@given(at=SECONDS, booked=SECONDS, ours=SECONDS, purpose=st.sampled_from(CLOSING))
def test_what_closed_the_position_instead_counts_by_the_clock_of_the_venue(
    at: timedelta, booked: timedelta, ours: timedelta, purpose: OrderPurpose
) -> None:
    looked = watch(since=AT + ours, booked=replace(BOOKED, at=AT + booked))
    other = part(at=AT + at, purpose=purpose, opened_at=AT)
    assert looked.closed_by(other) == (at > booked)
    crossed = part(at=AT + at, purpose=purpose, opened_at=AT, trade_id="cross/0000000001/1")
    assert looked.closed_by(crossed) == (at >= ours)


@given(after=SECONDS, purpose=st.sampled_from(OrderPurpose))
def test_neither_entries_nor_what_is_opened_afterwards_count(after: timedelta, purpose: OrderPurpose) -> None:
    later = part(at=AT + after, purpose=purpose, opened_at=AT + timedelta(seconds=1), intent_id="a@2#0")
    assert not watch().closed_by(later)
    assert not watch().closed_by(part(at=AT + after, purpose=OrderPurpose.ENTRY, opened_at=AT))
    assert not watch().closed_by(part(at=AT + after, purpose=purpose, opened_at=AT, symbol=Symbol("ETH/USDT:USDT")))


def test_a_flatten_knows_the_intents_that_it_asked_for() -> None:
    [trader] = [row for row in make_trader("a") if isinstance(row, TraderRow)]
    mine, other = FlattenId("f-1"), FlattenId("f-12")
    for ref in (f"1/ann.{mine}.7", f"1/{mine}.0000000009"):
        ask = OperatorAsk(actor="ann", reason="news", at=AT, ref=ref)
        _, [intent] = close_rows(trader, {BTC: D(1)}, ask)
        late = part(intent_id=intent.intent_id, purpose=OrderPurpose.REDUCE, opened_at=AT + timedelta(days=1))
        bare: dict[str, Any] = {"intents": frozenset(), "opened": frozenset()}
        assert watch(flatten_id=mine, **bare).closed_by(late)
        assert not watch(flatten_id=other, **bare).closed_by(late)


async def test_all_parts_are_summed_however_many_and_those_of_a_clock_behind() -> None:
    store = MemoryStore()
    position = ClosingPosition(
        account_id=ACCOUNT, trader_id=A, symbol=BTC, quantity=D(1500), intent_id=OWN, opened_at=AT
    )
    asked = CloseAsked(at=AT, trader_id=A, account_id=ACCOUNT, positions=(position,), booked=BOOKED)
    [looked] = asked.watches
    behind = AT - timedelta(seconds=30)
    many = [part(n, at=behind, purpose=OrderPurpose.REDUCE, opened_at=AT, intent_id=OWN) for n in range(1500)]
    async with store.service() as service:
        await service.ensure_tenant(DEFAULT_TENANT)
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([make_account("acco"), *make_trader("a"), *many])
        found = await read_closed(tx, looked, {A})
    assert found == summed(many)
    assert [(one.quantity, one.price, one.realized_pnl, one.fees) for one in found] == [
        (D(1500), D(100), D(3000), D(150))
    ]
