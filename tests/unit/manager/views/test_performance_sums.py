"""Equity is start + moved + PnL, of each book and of an account, whatever was moved and made."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk_history import AT, BTC, desk_with_history
from manager.errors import UnknownTrader
from manager.monitor.ranking import ScoreParts
from manager.state.records import (
    DEFAULT_TENANT,
    UNALLOCATED,
    AccountRow,
    BookRow,
    PositionRow,
    SampledMark,
    TraderRow,
)
from manager.views.performance import PerformanceQuery, Standings, read_performance
from manager.views.status import StatusQuery, read_status
from state_rows import make_account, make_row, make_trader
from traders.performance import Performance, flow, sample
from traders.spec import TraderId

ZERO = Decimal(0)
CENTS = st.integers(-(10**8), 10**8).map(lambda cents: Decimal(cents) / 100)
NAMES = ("a", "b", "gone", UNALLOCATED)


@st.composite
def desks(draw: st.DrawFn) -> tuple[AccountRow, list[TraderRow], list[BookRow], list[PositionRow]]:
    """Return an account, two traders, their books beside two that no trader has, and positions of some."""
    marks = {BTC: SampledMark(price=abs(draw(CENTS)) + 1, at=AT)} if draw(st.booleans()) else {}
    money = ("capital", "started_usd", "realized", "fees", "funding")
    books = [
        make_row(BookRow, trader_id=name, started_at=AT, **{field: draw(CENTS) for field in money}) for name in NAMES
    ]
    held = [
        make_row(PositionRow, trader_id=name, quantity=draw(CENTS), cost=draw(CENTS))
        for name in NAMES
        if draw(st.booleans())
    ]
    return make_account(marks=marks), [make_trader(name)[0] for name in ("a", "b")], books, held


@given(desks())
def test_equity_is_start_and_moved_capital_and_pnl(
    desk: tuple[AccountRow, list[TraderRow], list[BookRow], list[PositionRow]],
) -> None:
    account, traders, books, held = desk
    standings = Standings(AT, [account], traders, books, held)
    shown = standings.account(account)
    own = [standings.trader(n, record).book for n, record in enumerate(standings.order, start=1)]
    assert {book.id for book in own} == {"a", "b"}
    assert {book.id for book in shown.other_books} == {"gone", UNALLOCATED}
    for book in (*own, *shown.other_books, shown.sums):
        if book.equity is None:
            assert (book.pnl_usd, book.unrealized) == (None, None)
            continue
        assert book.pnl_usd is not None
        assert book.unrealized is not None
        assert book.equity == book.start_usd + book.moved_usd + book.pnl_usd
        assert book.pnl_usd == book.realized - book.fees + book.funding + book.unrealized
    parts = (*own, *shown.other_books)
    assert shown.sums.start_usd == books[-1].started_usd
    assert shown.sums.realized == sum((book.realized for book in parts), ZERO)
    if shown.sums.equity is not None:
        assert shown.sums.equity == sum((book.equity or ZERO for book in parts), ZERO)
    total = shown.traders
    assert total.total_equity == total.total_start_usd + total.total_moved_usd + total.total_pnl_usd


async def test_one_trader_has_its_rank_among_all_and_what_its_score_is_made_of() -> None:
    curve = Performance(nav=1.5, returns=3, since=AT, trades=4, wins=1, won_usd=Decimal(8), lost_usd=Decimal(-3))
    second = make_trader("best", account_id="paper", capital=Decimal(10), realized=Decimal(5), performance=curve)
    store = await desk_with_history(*second)
    query = PerformanceQuery(now=AT, trader_id=TraderId("bull"))
    page = await read_performance(store, DEFAULT_TENANT, query)
    [bull] = page.traders
    assert (bull.rank, page.total.traders, page.total.best) == (3, 3, "best")
    [best] = (
        await read_performance(store, DEFAULT_TENANT, PerformanceQuery(now=AT, trader_id=TraderId("best")))
    ).traders
    assert best.score_parts == ScoreParts(sharpe=0.0, pnl=0.15, win_rate=0.05)
    assert (best.curve_since, best.hourly_returns, best.performance.average_win) == (AT, 3, Decimal(8))
    [account] = page.accounts
    assert (account.won, account.traders.trades, account.average_loss) == (1, 4, Decimal(-1))
    with pytest.raises(UnknownTrader):
        await read_performance(store, DEFAULT_TENANT, PerformanceQuery(now=AT, trader_id=TraderId("none")))


async def test_pnl_in_percent_and_drawdown_are_of_the_equity_beside_them_not_of_the_last_sample() -> None:
    capital = {"capital": Decimal(1000), "started_usd": Decimal(1000)}
    sampled = sample(flow(Performance(), ZERO, Decimal(1000)), Decimal(1000), AT)
    late = make_trader("late", account_id="paper", realized=Decimal(-100), performance=sampled, **capital)
    unsampled = make_trader("new", account_id="paper", performance=flow(Performance(), ZERO, Decimal(1000)), **capital)
    store = await desk_with_history(*late, *unsampled)
    common = sample(flow(Performance(), ZERO, Decimal(100_000)), Decimal(100_000), AT)
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(BookRow, ("paper", UNALLOCATED), performance=common)
    page = await read_performance(store, DEFAULT_TENANT, PerformanceQuery(now=AT))
    one = next(trader for trader in page.traders if trader.id == "late")
    assert one.pnl_usd == one.performance.pnl_usd == -100
    assert [one.performance.pnl_pct, one.performance.drawdown_pct] == pytest.approx([-10, 10])
    assert one.performance.max_drawdown_pct == pytest.approx(10)
    assert one.score == one.score_parts.pnl == pytest.approx(-0.03)
    [account] = page.accounts
    assert account.sums.equity is not None
    assert account.drawdown_pct == pytest.approx(float(100 - account.sums.equity / 1000))
    [status] = (await read_status(store, DEFAULT_TENANT, StatusQuery(now=AT))).accounts
    told = {trader.id: trader.pnl_pct for trader in status.traders}
    assert (told["late"], told["new"]) == (one.performance.pnl_pct, None)
