"""From venue fills to the parts of books: whose fill it is, how it is split, and what belongs to nobody here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from exchanges.types import ZERO, Fill, FillKind, FundingPayment, Instrument, Symbol
from manager.desk.plan.attribution import attribute, liquidation_parts, split_fee
from manager.state.records import IntentId, OrderId, OrderPurpose, OrderRow, OrderState
from traders.book import EXTERNAL
from traders.spec import TraderId

FUNDING_STEP = Decimal("1E-12")
Held = Mapping[TraderId, Decimal]
EXCESS = "/excess"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Give one book its part of an execution; quantity is signed, fee in USD."""

    trader_id: TraderId
    quantity: Decimal
    fee: Decimal = ZERO
    leg: str = ""
    order_id: OrderId = OrderId("")
    intent_id: IntentId = IntentId("")
    purpose: str = ""
    leverage: int = 1
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Book one venue fill or one internal cross: its parts at one price; `trade_id` makes it once-only."""

    trade_id: str
    symbol: Symbol
    price: Decimal
    at: datetime
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """Return how a fill is booked, the order after it, and how much of it no book could take."""

    execution: Execution
    order: OrderRow | None
    external: Decimal = ZERO


def book_fill(fill: Fill, order: OrderRow | None, held: Held, instrument: Instrument) -> Booked:
    """Split `fill` among the books it belongs to; the parts always add up to the fill.

    A reducing part never flips its book: what the book does not hold goes to EXTERNAL, as does any external fill.
    `held` is what each book holds of the fill's symbol.
    """
    if order is None:
        return _book_external(fill, held, instrument)
    wanted = min(fill.quantity, max(ZERO, order.quantity - order.filled))
    quantities = attribute(order.shares, order.filled, wanted, instrument.lot) if wanted else ()
    reducing = order.purpose is not OrderPurpose.ENTRY
    pieces: list[tuple[int, Decimal]] = []
    excess = fill.quantity - wanted
    for index, quantity in enumerate(quantities):
        allowed = _closable(held, order, index, fill.side.sign) if reducing else quantity
        taken = min(quantity, allowed)
        excess += quantity - taken
        if taken:
            pieces.append((index, taken))
    fees = split_fee(fill.fee, [quantity for _, quantity in pieces] + ([excess] if excess else []))
    parts = [
        _part(order, index, quantity * fill.side.sign, fee)
        for (index, quantity), fee in zip(pieces, fees, strict=False)
    ]
    if excess:
        parts.append(
            Part(
                trader_id=EXTERNAL,
                quantity=excess * fill.side.sign,
                fee=fees[-1],
                leg=EXCESS,
                order_id=order.order_id,
                purpose=order.purpose,
            )
        )
    return Booked(execution=_execution(fill, tuple(parts)), order=after_fill(order, fill), external=excess)


def after_fill(order: OrderRow, fill: Fill) -> OrderRow:
    """Return an order with a fill more."""
    filled = order.filled + fill.quantity
    state = OrderState.FILLED if filled >= order.quantity else order.state
    return replace(order, filled=filled, state=state, updated_at=fill.at)


def funding_parts(payment: FundingPayment, held: Held, contract_size: Decimal) -> tuple[tuple[TraderId, Decimal], ...]:
    """Return each book's funding in USD: -quantity x mark x rate (a long pays a positive rate), EXTERNAL included.

    `held` is the signed quantity that each book held at the payment's instant.
    """
    parts = []
    for trader_id in sorted(held):
        quantity = held[trader_id]
        if quantity:
            amount = -quantity * payment.mark * contract_size * payment.rate
            parts.append((trader_id, amount.quantize(FUNDING_STEP)))
    return tuple(parts)


def _book_external(fill: Fill, held: Held, instrument: Instrument) -> Booked:
    signed = fill.quantity * fill.side.sign
    if fill.kind is FillKind.TRADE:
        parts: tuple[Part, ...] = (Part(trader_id=EXTERNAL, quantity=signed, fee=fill.fee, purpose="external"),)
        return Booked(execution=_execution(fill, parts), order=None, external=fill.quantity)
    against = {trader_id: abs(quantity) for trader_id, quantity in held.items() if quantity * signed < 0}
    split = liquidation_parts(against, fill.quantity, instrument.lot)
    fees = split_fee(fill.fee, [quantity for _, quantity in split])
    parts = tuple(
        Part(trader_id=trader_id, quantity=quantity * fill.side.sign, fee=fee, purpose=OrderPurpose.LIQUIDATION)
        for (trader_id, quantity), fee in zip(split, fees, strict=True)
    )
    return Booked(execution=_execution(fill, parts), order=None)


def _closable(held: Held, order: OrderRow, index: int, sign: int) -> Decimal:
    quantity = held.get(order.shares[index].trader_id, ZERO)
    return abs(quantity) if quantity * sign < 0 else ZERO


def _part(order: OrderRow, index: int, quantity: Decimal, fee: Decimal) -> Part:
    share = order.shares[index]
    return Part(
        trader_id=share.trader_id,
        quantity=quantity,
        fee=fee,
        leg=f"/{index}",
        order_id=order.order_id,
        intent_id=share.intent_id,
        purpose=order.purpose,
        leverage=share.leverage,
        stop_loss=share.stop_loss,
        take_profit=share.take_profit,
    )


def _execution(fill: Fill, parts: tuple[Part, ...]) -> Execution:
    return Execution(trade_id=fill.trade_id, symbol=fill.symbol, price=fill.price, at=fill.at, parts=parts)
