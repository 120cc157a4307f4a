"""What a paper account is made of, and the journal of one transaction on it."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from typing import NewType

from exchanges import types

PaperAccountId = NewType("PaperAccountId", str)


class Phase(IntEnum):
    """Name how far the instant `advanced_to` has gone: touches, funding, liquidation, waiting orders."""

    TOUCHED = 0
    FUNDED = 1
    SETTLED = 2
    DONE = 3


COST_QUANTUM = Decimal("1E-12")


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperOrder:
    """Record one order as the paper venue knows it; every change makes a new value.

    `live_from` is the instant after which a bar must end to touch it. `triggered` marks a stop that was touched and
    whose rest still waits for volume.
    """

    client_order_id: types.ClientOrderId
    venue_order_id: types.VenueOrderId
    symbol: types.Symbol
    side: types.Side
    type: types.OrderType
    quantity: Decimal
    limit_price: Decimal | None
    trigger_price: Decimal | None
    reduce_only: bool
    time_in_force: types.TimeInForce
    status: types.OrderStatus
    filled: Decimal
    created_at: datetime
    updated_at: datetime
    live_from: datetime
    triggered: bool = False
    reason: str = ""
    bracket: types.BracketId | None = None

    @property
    def remaining(self) -> Decimal:
        """Return the quantity not filled yet."""
        return self.quantity - self.filled

    @property
    def waiting(self) -> bool:
        """Tell whether the order fills at the next price there is, whatever it is."""
        return self.type is types.OrderType.MARKET or self.triggered

    def report(self, fills: Iterable[types.Fill] = ()) -> types.OrderReport:
        """Return the venue's answer about this order, with the fills that came with it."""
        return types.OrderReport(
            client_order_id=self.client_order_id,
            venue_order_id=self.venue_order_id,
            symbol=self.symbol,
            side=self.side,
            type=self.type,
            status=self.status,
            quantity=self.quantity,
            filled=self.filled,
            trigger_price=self.trigger_price,
            reduce_only=self.reduce_only,
            reason=self.reason,
            fills=tuple(fills),
        )


@dataclass(frozen=True, slots=True)
class PaperPosition:
    """Hold a signed quantity and its signed cost in USD (quantity x price x contract size); neither is ever zero."""

    quantity: Decimal
    cost: Decimal

    def apply(self, quantity: Decimal, price: Decimal, contract_size: Decimal) -> tuple["PaperPosition", Decimal]:
        """Return the position after a signed fill and the realized PnL in USD.

        A partial close takes its share of the cost, rounded to COST_QUANTUM; the rest stays, so that realized PnL plus
        remaining cost is exact. Through zero, the excess opens at the fill's price.
        """
        value = quantity * price * contract_size
        if self.quantity * quantity >= types.ZERO:
            return PaperPosition(self.quantity + quantity, self.cost + value), types.ZERO
        after = self.quantity + quantity
        if after == types.ZERO:
            return PaperPosition(types.ZERO, types.ZERO), -value - self.cost
        if self.quantity * after < types.ZERO:
            opened = after * price * contract_size
            return PaperPosition(after, opened), -(value - opened) - self.cost
        taken = (self.cost * -quantity / self.quantity).quantize(COST_QUANTUM)
        return PaperPosition(after, self.cost - taken), -value - taken


FLAT = PaperPosition(types.ZERO, types.ZERO)


@dataclass(slots=True)
class PaperJournal:
    """Collect what one transaction changed: the last version of each order, new fills and funding, in their order."""

    orders: dict[types.ClientOrderId, PaperOrder] = field(default_factory=dict)
    fills: list[types.Fill] = field(default_factory=list)
    funding: list[types.FundingPayment] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class PaperState:
    """Carry one account through one transaction; only the engine changes it.

    A ledger persists every field but `journal` and `looked_up`; `orders` holds the open ones only. `cash` is start
    equity + realized PnL - fees + funding. `revision` grows with every change that can move the next event.
    """

    account: PaperAccountId
    cash: Decimal
    advanced_to: datetime
    positions: dict[types.Symbol, PaperPosition] = field(default_factory=dict)
    leverage: dict[types.Symbol, int] = field(default_factory=dict)
    orders: dict[types.ClientOrderId, PaperOrder] = field(default_factory=dict)
    order_sequence: int = 0
    trade_sequence: int = 0
    revision: int = 0
    liquidated_at: datetime | None = None
    phase: Phase = Phase.DONE
    looked_up: PaperOrder | None = None
    journal: PaperJournal = field(default_factory=PaperJournal)

    def copy(self) -> "PaperState":
        """Return an independent state with an empty journal."""
        return PaperState(
            account=self.account,
            cash=self.cash,
            advanced_to=self.advanced_to,
            positions=self.positions.copy(),
            leverage=self.leverage.copy(),
            orders=self.orders.copy(),
            order_sequence=self.order_sequence,
            trade_sequence=self.trade_sequence,
            revision=self.revision,
            liquidated_at=self.liquidated_at,
            phase=self.phase,
        )

    def position(self, symbol: types.Symbol) -> PaperPosition:
        """Return the net position, FLAT when there is none."""
        return self.positions.get(symbol, FLAT)

    def next_order_id(self) -> types.VenueOrderId:
        """Return a fresh venue order id, unique in the account and rising."""
        self.order_sequence += 1
        return types.VenueOrderId(f"P{self.order_sequence:09d}")

    def next_trade_id(self) -> types.VenueTradeId:
        """Return a fresh trade id, unique in the account and rising."""
        self.trade_sequence += 1
        return types.VenueTradeId(f"T{self.trade_sequence:09d}")

    def put_order(self, order: PaperOrder) -> PaperOrder:
        """Store a version of an order; a terminal one leaves the open orders."""
        if order.status.terminal:
            self.orders.pop(order.client_order_id, None)
        else:
            self.orders[order.client_order_id] = order
        self.journal.orders[order.client_order_id] = order
        self.revision += 1
        return order

    def end_order(self, order: PaperOrder, status: types.OrderStatus, at: datetime, reason: str) -> PaperOrder:
        """Store an order's end."""
        return self.put_order(replace(order, status=status, updated_at=at, reason=reason))

    def book_fill(self, fill: types.Fill, contract_size: Decimal) -> None:
        """Move position and cash by one fill."""
        signed = fill.quantity * fill.side.sign
        position, realized = self.position(fill.symbol).apply(signed, fill.price, contract_size)
        if position.quantity == types.ZERO:
            self.positions.pop(fill.symbol, None)
        else:
            self.positions[fill.symbol] = position
        self.cash += realized - fill.fee
        self.journal.fills.append(fill)
        self.revision += 1

    def book_funding(self, payment: types.FundingPayment) -> None:
        """Move cash by one funding payment."""
        self.cash += payment.amount
        self.journal.funding.append(payment)
        self.revision += 1
