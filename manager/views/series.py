"""Curves over time: equity and drawdown of an account or a trader, one point a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from exchanges.clock import EPOCH
from manager.errors import UnknownAccount, UnknownTrader
from manager.state.journal import EquityRow
from manager.state.records import AccountId, AccountRow, BookRow, TenantId, TraderRow
from manager.state.store import Search, Store
from traders.spec import TraderId

MOST_POINTS: Final = 5_000
_MOST_ROWS: Final = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesQuery:
    """Say whose curve is asked, from `since` to `until`, with one point each `step_s`; without a trader the account's.

    At most MOST_POINTS points: a step that would give more is widened.
    """

    account_id: AccountId
    trader_id: TraderId = TraderId("")
    since: datetime
    until: datetime
    step_s: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Hold the last sample of a step, `at` its own instant, in USD and percent of the peak, flows excluded."""

    at: datetime
    equity: Decimal
    drawdown_pct: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Hold a curve; `step_s` is the step that was used, `whole` tells that nothing before `since` was left unread."""

    account_id: AccountId
    trader_id: TraderId
    step_s: int
    points: tuple[Point, ...]
    whole: bool


async def read_series(store: Store, tenant: TenantId, query: SeriesQuery) -> Series:
    """Return a curve; samples older than a day are kept one an hour. Raises UnknownAccount or UnknownTrader."""
    span_s = max(1.0, (query.until - query.since).total_seconds())
    step_s = max(query.step_s, -(-int(span_s) // MOST_POINTS))
    mine = {"account_id": query.account_id, "trader_id": query.trader_id}
    async with store.transaction(tenant) as tx:
        accounts, traders, books, rows = await tx.search(
            Search(kind=AccountRow, where={"account_id": query.account_id}),
            Search(kind=TraderRow, where=mine, limit=1),
            Search(kind=BookRow, where=mine, limit=1),
            Search(
                kind=EquityRow, where=mine, newest_first="at", since=query.since, until=query.until, limit=_MOST_ROWS
            ),
        )
    if not accounts:
        raise UnknownAccount(f"there is no account {query.account_id!r}; `propdesk status` names them")
    if query.trader_id and not (traders or books):
        raise UnknownTrader.of(query.trader_id)
    points = _stepped(rows, timedelta(seconds=step_s))
    return Series(
        account_id=query.account_id,
        trader_id=query.trader_id,
        step_s=step_s,
        points=points,
        whole=len(rows) < _MOST_ROWS,
    )


def _stepped(newest_first: Sequence[EquityRow], step: timedelta) -> tuple[Point, ...]:
    last: dict[int, EquityRow] = {}
    for row in newest_first:
        last.setdefault((row.at - EPOCH) // step, row)
    kept = [last[slot] for slot in sorted(last)]
    return tuple(Point(at=row.at, equity=row.equity, drawdown_pct=row.drawdown_pct) for row in kept)
