"""Read what a model is shown of the desk's own record: orders, trades, what others hold, what its calls may cost."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from exchanges.types import Instrument, Symbol
from executor.contract import ClosedTrade, RestingOrder
from executor.prompts.values import TRADES_SHOWN
from manager.config.models import asked_models
from manager.state.records import DecisionRow, FillPartRow, OrderPurpose, OrderRow, OrderState, PositionRow
from manager.state.spending import MODEL, TENANT, TRADER, BudgetRow, SpendingRow, day_of
from manager.state.store import TraderRows, Transaction
from traders.book import EXTERNAL
from traders.details import EarlierPositions, Holding, LiveEntry, OwnRecord
from traders.spec import TraderId

_LIVE = tuple(state for state in OrderState if state.live)
_RESTING = (OrderPurpose.STOP, OrderPurpose.TAKE_PROFIT)
_PARTS_READ = 10 * TRADES_SHOWN
_DECISIONS_READ = 3


async def read_record(
    tx: Transaction, rows: TraderRows, instruments: Mapping[Symbol, Instrument], now: datetime
) -> OwnRecord:
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
        recent_entries=rows.book.recent_entries,
        live_entries=tuple(found for row in orders for found in _own_entry(row, trader_id, instruments)),
        dust=frozenset(row.symbol for row in rows.positions if row.dust),
        others=None if held is None else _net(held, trader_id),
        model_usd=await _left_for_models(tx, rows, now),
        before=await _shown_before(tx, trader_id) if rows.positions else None,
    )


async def _shown_before(tx: Transaction, trader_id: TraderId) -> EarlierPositions | None:
    """Return the positions of the last decision that kept its context; one without market data has none."""
    made = await tx.find(DecisionRow, {"trader_id": trader_id}, newest_first="decided_at", limit=_DECISIONS_READ)
    context = next((row.context for row in made if row.context is not None), None)
    if context is None:
        return None
    return EarlierPositions(at=context.now, positions={one.symbol: one for one in context.positions})


async def _left_for_models(tx: Transaction, rows: TraderRows, now: datetime) -> Decimal | None:
    """Return what the tightest of the day's budgets leaves: the tenant's, the trader's, its roomiest model's."""
    trader_id, executor = rows.trader.trader_id, rows.trader.spec.executor
    budgets = {(row.scope, row.name): row.usd for row in await tx.find(BudgetRow, {})}
    if executor.budget_usd_per_day is not None:
        budgets[TRADER, ""] = executor.budget_usd_per_day
    if not budgets:
        return None
    models = asked_models(executor)
    names = ("", trader_id, *models)
    found = await tx.find(SpendingRow, {"day": day_of(now), "name": names})
    used = {(row.scope, row.name): row.used_usd for row in found}

    def left(scope: str, name: str, budget: str) -> Decimal | None:
        usd = budgets.get((scope, budget))
        return None if usd is None else max(Decimal(0), usd - used.get((scope, name), Decimal(0)))

    of_models = [left(MODEL, name, name) for name in models]
    bounds = [left(TENANT, "", ""), left(TRADER, trader_id, "")]
    if of_models and None not in of_models:
        bounds.append(max(one for one in of_models if one is not None))
    return min((one for one in bounds if one is not None), default=None)


def _own_part(row: OrderRow, trader_id: TraderId) -> list[RestingOrder]:
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


def _own_entry(row: OrderRow, trader_id: TraderId, instruments: Mapping[Symbol, Instrument]) -> list[LiveEntry]:
    if row.purpose is not OrderPurpose.ENTRY:
        return []
    instrument, left = instruments.get(row.symbol), row.quantity - row.filled
    return [
        LiveEntry(
            symbol=row.symbol,
            quantity=min(share.quantity, left) * row.side.sign,
            price=share.price,
            leverage=share.leverage,
            contract_size=instrument.contract_size if instrument is not None else Decimal(1),
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


def _net(held: Sequence[PositionRow], trader_id: TraderId) -> dict[str, Holding]:
    net: dict[str, Holding] = {}
    for row in held:
        if row.trader_id not in (trader_id, EXTERNAL):
            before = net[row.symbol].quantity if row.symbol in net else Decimal(0)
            net[row.symbol] = Holding(quantity=before + row.quantity, contract_size=row.contract_size)
    return net
