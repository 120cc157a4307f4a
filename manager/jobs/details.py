"""Read what a model is shown of the desk's own record: orders, trades, what others hold, what its calls may cost."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from executor.details import ClosedTrade, RestingOrder
from executor.prompt_values import TRADES_SHOWN
from manager.state.records import (
    FillPartRow,
    OrderPurpose,
    OrderRow,
    OrderState,
    PositionRow,
    SpendingRow,
)
from manager.state.store import TraderRows, Transaction
from manager.state.sums import TRADER, day_of, used_usd
from traders.book import EXTERNAL
from traders.details import OwnRecord

_LIVE = tuple(state for state in OrderState if state.live)
_RESTING = (OrderPurpose.STOP, OrderPurpose.TARGET)
_PARTS_READ = 10 * TRADES_SHOWN


async def read_record(tx: Transaction, rows: TraderRows, now: datetime) -> OwnRecord:
    """Return the record of one trader; others' holdings only where its definition shows them."""
    trader = rows.trader
    account, trader_id, symbols = trader.account_id, trader.trader_id, trader.spec.symbols
    orders = await tx.find(OrderRow, {"account_id": account, "state": _LIVE})
    parts = await tx.find(
        FillPartRow, {"account_id": account, "trader_id": trader_id}, newest_first="at", limit=_PARTS_READ
    )
    held: Sequence[PositionRow] | None = None
    if trader.spec.show_desk_exposure:
        held = await tx.find(PositionRow, {"account_id": account, "symbol": symbols})
    return OwnRecord(
        orders=tuple(found for row in orders for found in _own_part(row, trader_id)),
        trades=tuple(_trade(part) for part in parts if part.purpose != OrderPurpose.ENTRY)[:TRADES_SHOWN],
        entries=rows.book.recent_entries,
        others=None if held is None else _net(held, trader_id),
        model_usd=await _left_for_models(tx, rows, now),
    )


async def _left_for_models(tx: Transaction, rows: TraderRows, now: datetime) -> Decimal | None:
    """Return what is left of the trader's own budget of the day, None if it has none."""
    budget = rows.trader.spec.executor.budget_usd_per_day
    if budget is None:
        return None
    spending = await tx.get(SpendingRow, day_of(now), TRADER, rows.trader.trader_id)
    return budget if spending is None else max(Decimal(0), budget - used_usd(spending))


def _own_part(row: OrderRow, trader_id: str) -> list[RestingOrder]:
    if row.purpose not in _RESTING:
        return []
    return [
        RestingOrder(
            symbol=row.symbol,
            purpose=row.purpose,
            quantity=abs(share.quantity) * row.side.sign,
            trigger_price=row.trigger_price,
            state=row.state,
        )
        for share in row.shares
        if share.trader_id == trader_id
    ]


def _trade(part: FillPartRow) -> ClosedTrade:
    return ClosedTrade(
        symbol=part.symbol,
        at=part.at,
        how=part.purpose,
        quantity=-part.quantity,
        price=part.price,
        pnl_usd=part.realized,
        fee_usd=part.fee,
    )


def _net(held: Sequence[PositionRow], trader_id: str) -> dict[str, Decimal]:
    net: dict[str, Decimal] = {}
    for row in held:
        if row.trader_id not in (trader_id, EXTERNAL):
            net[row.symbol] = net.get(row.symbol, Decimal(0)) + row.quantity * row.contract_size
    return net
