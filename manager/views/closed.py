"""What was closed on an operator's word: which parts of fills belong to a close or a flatten, and their sums.

Instants of a venue are compared with the venue's, ours with ours: its clock may be behind ours or before it.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from exchanges.types import ZERO, Symbol
from manager.desk.plan.late import is_cross
from manager.desk.plan.operator_closes import is_asked_by
from manager.state.acts import FlattenId
from manager.state.kinds import OrderPurpose
from manager.state.records import AccountId, AccountRow, FillPartRow, IntentId, PositionKey
from manager.state.store import Search, Transaction
from manager.views.lights import silence_of
from traders.spec import TraderId

_CLOCKS_APART: Final = timedelta(minutes=10)


class Opened(NamedTuple):
    """Name one position of a trader from its opening until it is flat; the instant is the venue's."""

    trader_id: TraderId
    symbol: Symbol
    opened_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedUntil:
    """Name the newest fill of an account that was booked; the instant is the venue's."""

    at: datetime
    trade_id: str

    @classmethod
    def of(cls, account: AccountRow) -> "BookedUntil | None":
        """Return that of an account, None before its first."""
        at = account.fills_since
        return None if at is None else cls(at=at, trade_id=account.newest_trade)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedPart:
    """Sum what was closed of a position since it was asked for, by whatever closed it; money in USD, gross of fees."""

    trader_id: TraderId
    symbol: Symbol
    quantity: Decimal
    price: Decimal
    realized_pnl: Decimal
    fees: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseWatch:
    """Name the closes of one account to look at: their intents, or a flatten, what was `opened` then, and since when.

    What is `booked` already was closed before. `watched` tells whether a worker has given a sign of life; with `now`
    the account must have been sampled of late.
    """

    account_id: AccountId
    since: datetime
    intents: frozenset[IntentId] = frozenset()
    opened: frozenset[Opened] = frozenset()
    booked: BookedUntil | None = None
    flatten_id: FlattenId | None = None
    watched: bool = True
    now: datetime | None = None

    def is_looked_after(self, account: AccountRow) -> bool:
        """Tell whether a worker is at work on this very account."""
        return self.watched and not self.silence_of(account)

    def silence_of(self, account: AccountRow) -> str:
        """Say since when no worker has sampled the account; empty while one does, or where nobody asks."""
        return "" if self.now is None else silence_of(account, self.now)

    def closed_by(self, part: FillPartRow) -> bool:
        """Tell whether a part of a fill closed what was asked for: for it, or else in its place, as a stop does."""
        if part.purpose == OrderPurpose.ENTRY:
            return False
        if part.intent_id in self.intents or (self.flatten_id and is_asked_by(part.intent_id, self.flatten_id)):
            return True
        if Opened(part.trader_id, part.symbol, part.opened_at) not in self.opened:
            return False
        if is_cross(part.trade_id):
            return part.at >= self.since
        return self.booked is None or (part.at, part.trade_id) > (self.booked.at, self.booked.trade_id)


async def read_closed(
    tx: Transaction, watch: CloseWatch, traders: Collection[TraderId], ended_at: datetime | None = None
) -> tuple[ClosedPart, ...]:
    """Return what was closed of these traders' positions; `ended_at` bounds what is read, not what counts."""
    since = watch.since if watch.booked is None else min(watch.since, watch.booked.at)
    search = Search(
        kind=FillPartRow,
        where={"account_id": watch.account_id, "trader_id": tuple(sorted(traders))},
        newest_first="at",
        since=since - _CLOCKS_APART,
        until=None if ended_at is None else ended_at + _CLOCKS_APART,
    )
    [parts] = await tx.search(search)
    return summed(part for part in parts if watch.closed_by(part))


def summed(parts: Iterable[FillPartRow]) -> tuple[ClosedPart, ...]:
    """Return the sums of parts, one for each position."""
    of: dict[PositionKey, list[FillPartRow]] = {}
    for part in parts:
        of.setdefault(PositionKey(part.trader_id, part.symbol), []).append(part)
    return tuple(_sum(key, found) for key, found in sorted(of.items()))


def _sum(key: PositionKey, parts: list[FillPartRow]) -> ClosedPart:
    quantity = sum((abs(part.quantity) for part in parts), ZERO)
    worth = sum((abs(part.quantity) * part.price for part in parts), ZERO)
    return ClosedPart(
        trader_id=key.trader_id,
        symbol=key.symbol,
        quantity=-sum((part.quantity for part in parts), ZERO),
        price=worth / quantity if quantity else ZERO,
        realized_pnl=sum((part.realized for part in parts), ZERO),
        fees=sum((part.fee for part in parts), ZERO),
    )
