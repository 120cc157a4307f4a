"""What an account is worth and holds: money, positions at the mark by book, what the venue holds, open orders."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from exchanges.types import ZERO
from manager.errors import UnknownAccount
from manager.state.records import (
    ROUNDING,
    UNALLOCATED,
    AccountId,
    AccountRow,
    BookRow,
    OrderRow,
    OrderState,
    PositionRow,
    TenantId,
)
from manager.state.store import Search, Store
from manager.views.holdings import Holdings, PositionStatus
from traders.book import EXTERNAL
from traders.spec import TraderId

_LIVE: Final = tuple(state for state in OrderState if state.live)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetPosition:
    """Hold one symbol of an account, signed: `books` of traders and `external` add up to `net`, the venue's."""

    symbol: str
    books: Decimal
    external: Decimal
    net: Decimal
    mark: Decimal | None
    notional_usd: Decimal | None
    unrealized_pnl: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PortfolioOrder:
    """Hold one order that the venue may still hold or fill."""

    order_id: str
    venue_order_id: str
    created_at: datetime
    symbol: str
    side: str
    type: str
    purpose: str
    quantity: Decimal
    filled: Decimal
    trigger_price: Decimal | None
    reduce_only: bool
    state: str
    traders: tuple[TraderId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolio:
    """Hold one account; money in USD at the marks of its last sample, `sampled_at`.

    `net_liquidation_usd` is all equity, `available_usd` what of it no position uses as margin, never below 0.
    `traders_equity_usd` + `external_equity_usd` + `unallocated_usd` + `rounding_usd` = `net_liquidation_usd`.
    """

    account_id: AccountId
    venue: str
    trading_state: str
    sampled_at: datetime | None
    net_liquidation_usd: Decimal
    available_usd: Decimal
    margin_usd: Decimal
    margin_pct: Decimal | None
    unrealized_pnl_usd: Decimal
    traders_equity_usd: Decimal
    external_equity_usd: Decimal
    unallocated_usd: Decimal
    rounding_usd: Decimal
    net: tuple[NetPosition, ...]
    positions: tuple[PositionStatus, ...]
    orders: tuple[PortfolioOrder, ...]


async def read_portfolio(store: Store, tenant: TenantId, account_id: AccountId) -> Portfolio:
    """Return an account's portfolio, read in one statement; raise UnknownAccount."""
    where = {"account_id": account_id}
    async with store.transaction(tenant) as tx:
        accounts, books, positions, orders = await tx.search(
            Search(kind=AccountRow, where=where),
            Search(kind=BookRow, where=where),
            Search(kind=PositionRow, where=where),
            Search(kind=OrderRow, where={**where, "state": _LIVE}),
        )
    if not accounts:
        raise UnknownAccount(f"there is no account {account_id!r}; `propdesk status` names them")
    [account] = accounts
    held = sorted(positions, key=lambda row: (row.symbol, row.trader_id))
    totals = Holdings(books, held, account.marks).totals(traders=0, running=0)
    net = _net(account, held)
    apart = {EXTERNAL: ZERO, UNALLOCATED: ZERO, ROUNDING: ZERO}
    for book in books:
        if book.trader_id in apart:
            own = [row for row in held if row.trader_id == book.trader_id]
            apart[book.trader_id] = book.cash + sum((_unrealized(account, row) or ZERO for row in own), ZERO)
    return Portfolio(
        account_id=account_id,
        venue=account.venue,
        trading_state=account.trading_state,
        sampled_at=account.updated_at,
        net_liquidation_usd=totals.equity,
        available_usd=max(ZERO, totals.equity - totals.margin_usd),
        margin_usd=totals.margin_usd,
        margin_pct=totals.margin_pct,
        unrealized_pnl_usd=sum((one.unrealized_pnl or ZERO for one in net), ZERO),
        traders_equity_usd=totals.equity - sum(apart.values(), ZERO),
        external_equity_usd=apart[EXTERNAL],
        unallocated_usd=apart[UNALLOCATED],
        rounding_usd=apart[ROUNDING],
        net=net,
        positions=tuple(PositionStatus.of(row, account.marks.get(row.symbol)) for row in held),
        orders=tuple(map(_order, orders)),
    )


def _net(account: AccountRow, held: Sequence[PositionRow]) -> tuple[NetPosition, ...]:
    by_symbol: dict[str, list[PositionRow]] = {}
    for row in held:
        by_symbol.setdefault(row.symbol, []).append(row)
    found = []
    for symbol, rows in by_symbol.items():
        external = sum((row.quantity for row in rows if row.trader_id == EXTERNAL), ZERO)
        net, mark = sum((row.quantity for row in rows), ZERO), account.marks.get(symbol)
        found.append(
            NetPosition(
                symbol=symbol,
                books=net - external,
                external=external,
                net=net,
                mark=None if mark is None else mark.price,
                notional_usd=None if mark is None else abs(net * rows[0].contract_size * mark.price),
                unrealized_pnl=None if mark is None else sum((_unrealized(account, row) or ZERO for row in rows), ZERO),
            )
        )
    return tuple(found)


def _unrealized(account: AccountRow, row: PositionRow) -> Decimal | None:
    mark = account.marks.get(row.symbol)
    return None if mark is None else row.position.unrealized(mark.price)


def _order(row: OrderRow) -> PortfolioOrder:
    return PortfolioOrder(
        order_id=row.order_id,
        venue_order_id=row.venue_order_id,
        created_at=row.created_at,
        symbol=row.symbol,
        side=row.side,
        type=row.type,
        purpose=row.purpose,
        quantity=row.quantity,
        filled=row.filled,
        trigger_price=row.trigger_price,
        reduce_only=row.reduce_only,
        state=row.state,
        traders=tuple(dict.fromkeys(share.trader_id for share in row.shares)),
    )
