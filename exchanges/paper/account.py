"""What a paper account is worth, what its positions need, and how a fill is booked on it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from exchanges import types
from exchanges.errors import ExchangeConfigError, MarketDataError
from exchanges.paper.config import PaperConfig
from exchanges.paper.fills import Price, fee_usd, reducible
from exchanges.paper.path import PricePath
from exchanges.paper.state import PaperOrder, PaperState
from exchanges.precision import notional

POSITION_CLOSED = "reduce-only: position closed"
OTHER_LEG = "the other leg of its bracket filled"


@dataclass(frozen=True, slots=True)
class PaperVenue:
    """Bundle the settings, the prices and the instruments of one paper venue."""

    config: PaperConfig
    path: PricePath
    instruments: Mapping[types.Symbol, types.Instrument]

    @classmethod
    def build(cls, config: PaperConfig, path: PricePath) -> "PaperVenue":
        """Return the venue on `path`, with the configured instruments in place of those the path quotes."""
        return cls(config, path, {**path.instruments, **config.instruments})

    def terms(self, symbol: types.Symbol) -> types.Instrument:
        """Return the instrument; raise ExchangeConfigError when the account holds one that the market lost."""
        found = self.instruments.get(symbol)
        if found is None:
            raise ExchangeConfigError(f"the paper account holds {symbol}, which its market does not quote; add it back")
        return found

    def mark(self, symbol: types.Symbol, at: datetime) -> Decimal:
        """Return the mark; raise MarketDataError before the first price."""
        mark = self.path.mark(symbol, at)
        if mark is None:
            raise MarketDataError(f"{symbol} has no price at or before {at.isoformat()}")
        return mark[0]

    def execution_price(self, symbol: types.Symbol, at: datetime) -> Decimal | None:
        """Return what a market order meets; None in a gap and before the first mark, by which it would be valued."""
        return None if self.path.mark(symbol, at) is None else self.path.execution_price(symbol, at)

    def leverage(self, state: PaperState, symbol: types.Symbol) -> int:
        """Return the leverage set for `symbol`, or the default."""
        return state.leverage.get(symbol, self.config.default_leverage)


def equity(venue: PaperVenue, state: PaperState, at: datetime) -> Decimal:
    """Return cash plus unrealized PnL in USD, at the marks."""
    total = state.cash
    for symbol, position in state.positions.items():
        size = venue.terms(symbol).contract_size
        total += position.quantity * venue.mark(symbol, at) * size - position.cost
    return total


def maintenance_margin(venue: PaperVenue, state: PaperState, at: datetime) -> Decimal:
    """Return the equity in USD below which the net positions are liquidated."""
    total = types.ZERO
    for symbol, position in state.positions.items():
        instrument = venue.terms(symbol)
        total += notional(position.quantity, venue.mark(symbol, at), instrument) * instrument.maintenance_rate
    return total


def margin_used(venue: PaperVenue, state: PaperState, at: datetime) -> Decimal:
    """Return the initial margin in USD of positions and of resting limit orders that are not reduce-only."""
    total = types.ZERO
    for symbol, position in state.positions.items():
        value = notional(position.quantity, venue.mark(symbol, at), venue.terms(symbol))
        total += value / venue.leverage(state, symbol)
    for order in state.orders.values():
        if order.type is types.OrderType.LIMIT and not order.reduce_only and order.limit_price is not None:
            value = notional(order.remaining, order.limit_price, venue.terms(order.symbol))
            total += value / venue.leverage(state, order.symbol)
    return total


@dataclass(frozen=True, slots=True)
class AccountReports:
    """Hold what the venue says of one account at one revision and instant."""

    revision: int
    balance: types.Balance
    positions: tuple[types.PositionReport, ...]


def report_account(venue: PaperVenue, state: PaperState, at: datetime) -> AccountReports:
    """Return the balance in USD and the net positions by symbol.

    A position's liquidation price is where the account would be liquidated, the other positions standing.
    """
    worth = equity(venue, state, at)
    spare = worth - maintenance_margin(venue, state, at)
    return AccountReports(
        state.revision,
        types.Balance(equity=worth, cash=state.cash, margin_used=margin_used(venue, state, at), at=at),
        tuple(_report(venue, state, symbol, spare, at) for symbol in sorted(state.positions)),
    )


def _report(
    venue: PaperVenue, state: PaperState, symbol: types.Symbol, spare: Decimal, at: datetime
) -> types.PositionReport:
    position, instrument = state.positions[symbol], venue.terms(symbol)
    rate, size = instrument.maintenance_rate, instrument.contract_size
    slope = (position.quantity - abs(position.quantity) * rate) * size
    liquidation = venue.mark(symbol, at) - spare / slope
    return types.PositionReport(
        symbol=symbol,
        quantity=position.quantity,
        entry_price=position.cost / (position.quantity * size),
        leverage=venue.leverage(state, symbol),
        liquidation_price=liquidation if liquidation > types.ZERO else None,
    )


def book(
    venue: PaperVenue, state: PaperState, order: PaperOrder, quantity: Decimal, deal: tuple[Price, datetime]
) -> PaperOrder:
    """Fill `quantity` of the order at (price, instant) and return its new version, FILLED when nothing remains."""
    price, at = deal
    instrument = venue.terms(order.symbol)
    value = notional(quantity, price.value, instrument)
    fill = types.Fill(
        trade_id=state.next_trade_id(),
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
        symbol=order.symbol,
        side=order.side,
        quantity=quantity,
        price=price.value,
        fee=fee_usd(value, price.liquidity, venue.config),
        liquidity=price.liquidity,
        at=at,
    )
    state.book_fill(fill, instrument.contract_size)
    filled = order.filled + quantity
    status = types.OrderStatus.FILLED if filled == order.quantity else types.OrderStatus.OPEN
    if status is types.OrderStatus.FILLED:
        _cancel_bracket(state, order, at)
    return state.put_order(replace(order, filled=filled, status=status, updated_at=at))


def _cancel_bracket(state: PaperState, filled: PaperOrder, at: datetime) -> None:
    """Where several owners hold a symbol the position outlives the leg, so reduce-only alone would not do."""
    for order in list(state.orders.values()) if filled.bracket is not None else ():
        if order.bracket == filled.bracket and order.client_order_id != filled.client_order_id:
            state.end_order(order, types.OrderStatus.CANCELED, at, OTHER_LEG)


def cancel_unreducible(state: PaperState, symbol: types.Symbol, at: datetime) -> None:
    """Cancel the reduce-only orders of `symbol` that a flat or opposite net position leaves nothing to reduce."""
    net = state.position(symbol).quantity
    for order in list(state.orders.values()):
        if order.symbol == symbol and order.reduce_only and reducible(net, order.side, order.remaining) == types.ZERO:
            state.end_order(order, types.OrderStatus.CANCELED, at, POSITION_CLOSED)


def liquidate(venue: PaperVenue, state: PaperState, at: datetime) -> bool:
    """Close everything at the marks when equity is below maintenance, with slippage and taker fee; tell whether it was.

    All orders are canceled; the fills belong to none of them.
    """
    if not state.positions or equity(venue, state, at) >= maintenance_margin(venue, state, at):
        return False
    for order in list(state.orders.values()):
        state.end_order(order, types.OrderStatus.CANCELED, at, "account liquidation")
    for symbol in sorted(state.positions):
        net = state.positions[symbol].quantity
        side = types.Side.SELL if net > types.ZERO else types.Side.BUY
        instrument = venue.terms(symbol)
        price = venue.mark(symbol, at) * (1 + side.sign * venue.config.slippage)
        fee = fee_usd(notional(net, price, instrument), types.Liquidity.TAKER, venue.config)
        fill = types.Fill(
            trade_id=state.next_trade_id(),
            client_order_id=None,
            venue_order_id=None,
            symbol=symbol,
            side=side,
            quantity=abs(net),
            price=price,
            fee=fee,
            liquidity=types.Liquidity.TAKER,
            at=at,
            kind=types.FillKind.LIQUIDATION,
        )
        state.book_fill(fill, instrument.contract_size)
    state.liquidated_at = at
    return True
