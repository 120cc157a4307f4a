"""An entry is counted once when it first fills, however its fills come, and while it may still fill."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from exchanges.types import OrderRequest, OrderType, Symbol
from faulty_desk import AT, BTC, ETH, FREE_HAND, Fault, FaultyDesk, open_long
from manager.desk.account_state import AccountState
from manager.desk.plan.booking import Execution, Part
from manager.state.records import BookRow, IntentId, OrderPurpose, VerdictRow
from manager.state.store import AccountRows
from state_rows import make_account, make_row
from traders.spec import TraderId

MINUTE = timedelta(minutes=1)
A = TraderId("a")


def state() -> AccountState:
    account = make_account()
    book = make_row(BookRow, account_id=account.account_id, trader_id=A, recent_entries=())
    rows = AccountRows(
        account=account, traders=(), schedules=(), books=(book,), positions=(), orders=(), intents=(), incidents=()
    )
    return AccountState(rows, {})


def entry(intent: str, minute: int, symbol: Symbol = BTC) -> Execution:
    part = Part(trader_id=A, quantity=Decimal(1), intent_id=IntentId(intent), purpose=OrderPurpose.ENTRY)
    return Execution(
        trade_id=f"{intent}.{minute}", symbol=symbol, price=Decimal(100), at=AT + minute * MINUTE, parts=(part,)
    )


def counted(account: AccountState) -> list[str]:
    return [made.intent_id for made in account.head(A).recent_entries]


def test_each_entry_of_one_instant_counts_and_its_later_fills_do_not() -> None:
    account = state()
    for intent, minute, symbol in (
        ("one", 0, BTC),
        ("two", 0, ETH),
        ("one", 1, BTC),
        ("three", 1, BTC),
        ("two", 1, ETH),
    ):
        account.book(entry(intent, minute, symbol))
    assert counted(account) == ["one", "two", "three"]


def test_what_is_older_than_an_hour_is_forgotten_and_late_news_counts_at_its_time() -> None:
    account = state()
    for intent, minute in (("one", 0), ("two", 59), ("late", 30), ("three", 60)):
        account.book(entry(intent, minute))
    assert counted(account) == ["two", "late", "three"]
    assert [made.at for made in account.head(A).recent_entries] == [AT + m * MINUTE for m in (59, 30, 60)]


async def test_an_entry_without_an_outcome_counts_once_before_and_after_it_is_known() -> None:
    desk = await FaultyDesk.of(limits=replace(FREE_HAND, max_entries_per_hour=2))
    lost = [True]

    def plan(call: str, argument: Any) -> Fault | None:
        entry = isinstance(argument, OrderRequest) and argument.type is OrderType.MARKET
        if lost and call == "create_order" and entry:
            return Fault.ANSWER_LOST
        return Fault.DOWN if lost and call in ("lookup_order", "fetch_fills") else None

    desk.venue.plan = plan
    await desk.go("a", open_long(usd=500))
    desk.pass_time()
    lost.clear()
    await desk.go("a", open_long(ETH, usd=500), open_long(ETH, usd=500))
    denied = await desk.find(VerdictRow, code="ENTRY_RATE")
    assert [verdict.symbol for verdict in denied] == [ETH]
    await desk.maintain(seconds=2)
    [book] = await desk.find(BookRow, trader_id=A)
    assert len(book.recent_entries) == 2
    assert await desk.held("a") == 5
