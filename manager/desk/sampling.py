"""When equity is sampled: live by the clock, in replay at every candle close (docs/rules.md 1)."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Protocol

from exchanges.types import ZERO
from manager.desk.plan.capital import utilization
from manager.desk.plan.values import AccountView
from manager.desk.session import Session
from manager.state.journal import EquityRow
from manager.state.records import UNALLOCATED, BookRow, SampledMark, TraderState
from traders import performance
from traders.performance import Performance
from traders.spec import TraderId


class EquitySampler(Protocol):
    """Take samples of every trader's and the account's equity around a job's news."""

    def before(self, session: Session) -> None:
        """Sample what passed before this job with the books as they were."""
        ...

    def after(self, session: Session, view: AccountView) -> None:
        """Sample this instant with the books as they are now."""
        ...

    def current(self, head: BookRow) -> Performance:
        """Return the newest curve of a book; its row may hold an older one."""
        ...


class LiveSampler:
    """Sample at most once in `interval_s`, and store the samples."""

    def __init__(self, interval_s: float) -> None:
        self._interval = timedelta(seconds=interval_s)

    def before(self, session: Session) -> None:
        """Sample nothing: between two jobs nobody looked."""

    def after(self, session: Session, view: AccountView) -> None:
        """Sample the account and who runs, holds or has changed, if the interval is over and their equity is known."""
        state, now = session.state, session.clock.now()
        last = state.account.updated_at
        if last is not None and now - last < self._interval:
            return
        for trader_id, trader in view.traders.items():
            if not view.is_marked(trader.book):
                continue
            head = state.head(trader_id)
            equity = view.equity_of(trader.book)
            curve = performance.sample(head.performance, equity, now)
            idle = trader.state is not TraderState.RUNNING and not trader.book.positions
            known = head.performance
            if idle and (curve == known or (known.hour is not None and curve.nav == known.nav)):
                continue
            if curve != known:
                state.set_head(replace(head, performance=curve))
            self._store(session, trader_id, equity, curve.drawdown)
        account = replace(state.account, updated_at=now, marks=_marks(view))
        if session.all_marked():
            account = replace(account, equity=view.equity, utilization=utilization(view))
            self._store(session, TraderId(""), view.equity, self._account_curve(session, view.equity).drawdown)
        state.put_account(account)

    def current(self, head: BookRow) -> Performance:
        """Return the curve as it was stored last."""
        return head.performance

    def _account_curve(self, session: Session, equity: Decimal) -> Performance:
        """Return the account's curve with this sample; it is kept in UNALLOCATED's book, which has none of its own."""
        head, now = session.state.head(UNALLOCATED), session.clock.now()
        begun = head.performance if head.performance.units > 0 else performance.flow(head.performance, ZERO, equity)
        curve = performance.sample(begun, equity, now)
        if curve != head.performance:
            session.state.set_head(replace(head, performance=curve))
        return curve

    def _store(self, session: Session, trader_id: TraderId, equity: Decimal, drawdown: float) -> None:
        account = session.state.account
        session.state.upsert(
            EquityRow(
                tenant_id=account.tenant_id,
                account_id=account.account_id,
                trader_id=trader_id,
                at=session.clock.now(),
                equity=equity,
                drawdown_pct=Decimal(repr(round(drawdown * 100, 6))),
            )
        )


def _marks(view: AccountView) -> dict[str, SampledMark]:
    return {
        symbol: SampledMark(price=mark.price, at=view.at - timedelta(seconds=mark.age_s))
        for symbol, mark in view.marks.items()
    }
