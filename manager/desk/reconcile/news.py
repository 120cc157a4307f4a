"""Book the venue's news: fills, funding and cash, each item once, whenever and in whatever order it is listed."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, TypeVar

from exchanges.clock import EPOCH
from exchanges.types import CashMovement, Fill, FundingPayment
from manager.desk.reconcile.cash import CashBooking
from manager.desk.reconcile.fills import FillBooking
from manager.desk.reconcile.funding import FundingBooking
from manager.desk.reconcile.seen import name_of
from manager.desk.session import Session

LOOK_BACK: Final = timedelta(minutes=10)
LOOK_BACK_DIFFERING: Final = timedelta(hours=24)
_ORDER: Final = (CashMovement, Fill, FundingPayment)
Item = TypeVar("Item", Fill, FundingPayment, CashMovement)


class News:
    """Read and book the news of one session's account (docs/rules.md 9)."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._state = session.state
        self._fills = FillBooking(session)
        self._funding = FundingBooking(session)
        self._cash = CashBooking(session)

    async def book(self, look_back: timedelta) -> None:
        """Book what is new since `look_back` before the newest that is known; what is older yet is an incident."""
        exchange, account = self._session.exchange, self._state.account
        paid: Sequence[FundingPayment] = ()
        moved: Sequence[CashMovement] = ()
        if exchange.capabilities.reports_funding:
            listed = await exchange.fetch_funding(self._since(account.funding_since, look_back))
            paid = self._in_time(await self._funding.unbooked(self._own(listed)), account.funding_since)
        if exchange.capabilities.reports_cash:
            movements = await exchange.fetch_cash(self._since(account.cash_since, look_back))
            moved = self._in_time(await self._cash.unbooked(self._own(movements)), account.cash_since)
        fills = await exchange.fetch_fills(self._since(account.fills_since, look_back))
        new = self._in_time(await self._fills.unbooked(self._own(fills)), account.fills_since)
        news: list[Fill | FundingPayment | CashMovement] = sorted([*new, *paid, *moved], key=_place)
        for item in news:
            match item:
                case Fill():
                    await self._fills.book(item)
                case FundingPayment():
                    await self._funding.book(item)
                case CashMovement():
                    await self._cash.book(item)
        self._advance(paid, moved)
        if news:
            await self._session.flush()

    def _advance(self, paid: Sequence[FundingPayment], moved: Sequence[CashMovement]) -> None:
        account = self._state.account
        after = replace(
            account,
            funding_since=_newest(account.funding_since, paid),
            cash_since=_newest(account.cash_since, moved),
        )
        if after != account:
            self._state.put_account(after)

    @property
    def _opened(self) -> datetime:
        return self._state.account.books_since or EPOCH

    def _since(self, newest: datetime | None, look_back: timedelta) -> datetime:
        """Return from when on to read; what was before the books were opened is in their first deposit."""
        if newest is None:
            return self._opened
        return max(self._opened, min(newest, self._session.clock.now()) - look_back)

    def _own(self, listed: Sequence[Item]) -> list[Item]:
        return [item for item in listed if item.at >= self._opened]

    def _in_time(self, unbooked: Sequence[Item], newest: datetime | None) -> list[Item]:
        """Return what may still be booked, and tell of what is too old for that."""
        kept = []
        for item in unbooked:
            if newest is None or item.at >= newest - LOOK_BACK_DIFFERING:
                kept.append(item)
                continue
            kind, name = name_of(item)
            detail = f"the venue lists {kind} {name} of {item.at.isoformat()} only now; it is not booked"
            self._session.incident("NEWS_TOO_OLD", detail, which=name)
        return kept


def _place(item: Fill | FundingPayment | CashMovement) -> tuple[datetime, int, str]:
    return item.at, _ORDER.index(type(item)), name_of(item)[1]


def _newest(known: datetime | None, items: Sequence[FundingPayment] | Sequence[CashMovement]) -> datetime | None:
    times = [item.at for item in items]
    return max([*times, known] if known is not None else times, default=None)
