"""The facts of a venue: instruments, orders, fills, positions.

Quantities are base units times contracts, prices quote per unit.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NewType

Symbol = NewType("Symbol", str)
ClientOrderId = NewType("ClientOrderId", str)
BracketId = NewType("BracketId", str)
VenueOrderId = NewType("VenueOrderId", str)
VenueTradeId = NewType("VenueTradeId", str)
ZERO = Decimal(0)


class Side(StrEnum):
    """Name the direction of an order or fill."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """Return +1 for a buy and -1 for a sell."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> "Side":
        """Return the other side."""
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    """Name the order types every adapter must map or refuse."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    TAKE_PROFIT = "take_profit"


class TimeInForce(StrEnum):
    """Name how long an order may rest."""

    IOC = "ioc"
    GTC = "gtc"


class OrderStatus(StrEnum):
    """Name the states in which a venue reports an order."""

    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """Tell whether no further fill can come."""
        return self is not OrderStatus.OPEN


class Liquidity(StrEnum):
    """Name which side of the book a fill took; it decides the fee."""

    MAKER = "maker"
    TAKER = "taker"


class FillKind(StrEnum):
    """Name why a fill happened; liquidation and ADL fills belong to no order of ours."""

    TRADE = "trade"
    LIQUIDATION = "liquidation"
    ADL = "adl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """Describe what a venue trades: lot in units, minimum notional in USD, maintenance as a fraction of notional."""

    symbol: Symbol
    lot: Decimal = Decimal("0.000001")
    tick: Decimal | None = None
    min_notional: Decimal = Decimal(5)
    contract_size: Decimal = Decimal(1)
    max_leverage: int = 50
    maintenance_rate: Decimal = Decimal("0.005")
    tradable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """Ask the venue for one order; `send_before` is the instant past which it must not be accepted.

    A market order that finds no price waits for one if it is reduce-only or GTC, which closes are, and dies if not.
    Orders of one `bracket` are the legs of one position: when one is filled, the venue cancels the others.
    `liquidation` marks the close of a liquidated book, which paper fills at the mark (docs/rules.md 10).
    """

    client_order_id: ClientOrderId
    symbol: Symbol
    side: Side
    type: OrderType
    quantity: Decimal
    limit_price: Decimal | None = None
    trigger_price: Decimal | None = None
    reduce_only: bool = False
    time_in_force: TimeInForce = TimeInForce.IOC
    send_before: datetime | None = None
    bracket: BracketId | None = None
    liquidation: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """Report one execution; `fee` is in USD, positive when paid."""

    trade_id: VenueTradeId
    client_order_id: ClientOrderId | None
    venue_order_id: VenueOrderId | None
    symbol: Symbol
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    liquidity: Liquidity
    at: datetime
    kind: FillKind = FillKind.TRADE


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReport:
    """Report what the venue knows of one order; `fills` holds those that came with the answer, maybe none."""

    client_order_id: ClientOrderId
    venue_order_id: VenueOrderId | None
    symbol: Symbol
    side: Side
    type: OrderType
    status: OrderStatus
    quantity: Decimal
    filled: Decimal
    trigger_price: Decimal | None = None
    reduce_only: bool = False
    reason: str = ""
    fills: tuple[Fill, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionReport:
    """Report the venue's net position of one symbol; quantity is signed."""

    symbol: Symbol
    quantity: Decimal
    entry_price: Decimal
    leverage: int | None = None
    liquidation_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Report the account in USD: equity includes unrealized PnL, `cash` does not."""

    equity: Decimal
    cash: Decimal
    margin_used: Decimal
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingPayment:
    """Report one funding instant of one symbol; `amount` is positive when received on the account's net position.

    It is zero for a flat net position, where books that offset each other still owe funding to one another. In hedge
    mode `side` is that of the position's entry; `payment_id` is the venue's, where it gives one.
    """

    symbol: Symbol
    at: datetime
    rate: Decimal
    mark: Decimal
    amount: Decimal
    side: Side | None = None
    payment_id: str = ""

    @property
    def key(self) -> str:
        """Return what a payment is known by: the venue's id, else symbol, side and instant."""
        side = f"{self.side}/" if self.side is not None else ""
        return self.payment_id or f"{self.symbol}/{side}{self.at.isoformat()}"


class CashKind(StrEnum):
    """Name why cash moved without a trade or funding."""

    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    INTEREST = "interest"
    FEE = "fee"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class CashMovement:
    """Report one movement of the venue's cash history, neither trade nor funding; USD, positive when received."""

    movement_id: str
    at: datetime
    amount: Decimal
    kind: CashKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Say what a venue can do, so that the desk plans only what will work.

    It `enforces_expiry` when it takes no order after its `send_before`, however late the request arrives; its lookup is
    authoritative when one that finds nothing proves that the venue does not have the order at that moment.
    """

    attaches_stop: bool = False
    reduce_below_minimum: bool = True
    reports_funding: bool = True
    reports_cash: bool = False
    reduce_only: bool = True
    enforces_expiry: bool = False
    lookup_authoritative: bool = False
