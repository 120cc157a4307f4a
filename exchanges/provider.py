"""The one surface every venue offers: ccxt, Interactive Brokers, paper and replay alike."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from exchanges.types import (
    Balance,
    Capabilities,
    ClientOrderId,
    Fill,
    FundingPayment,
    Instrument,
    OrderReport,
    OrderRequest,
    PositionReport,
    Symbol,
)


class Exchange(Protocol):
    """Trade one account at one venue.

    Reads raise VenueUnavailable. `create_order` raises OrderRejected, OrderDenied or OutcomeUnknown and returns a
    report otherwise; the adapter never sends one request twice.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    async def instruments(self) -> Mapping[Symbol, Instrument]:
        """Return what can be traded, by symbol."""
        ...

    async def fetch_balance(self) -> Balance:
        """Return equity and cash in USD."""
        ...

    async def fetch_positions(self) -> Sequence[PositionReport]:
        """Return the non-zero net positions."""
        ...

    async def fetch_open_orders(self) -> Sequence[OrderReport]:
        """Return every resting order of the account, also those of other software."""
        ...

    async def fetch_fills(self, since: datetime) -> Sequence[Fill]:
        """Return the account's fills at or after `since`, oldest first."""
        ...

    async def fetch_funding(self, since: datetime) -> Sequence[FundingPayment]:
        """Return the funding payments at or after `since`, oldest first."""
        ...

    async def create_order(self, request: OrderRequest) -> OrderReport:
        """Send one order and return the venue's answer."""
        ...

    async def cancel_order(self, client_order_id: ClientOrderId, symbol: Symbol) -> OrderReport:
        """Cancel a resting order; return its final report, also when it was already terminal."""
        ...

    async def lookup_order(self, client_order_id: ClientOrderId, symbol: Symbol) -> OrderReport | None:
        """Search open orders and history for an order; None says only that it was not found now."""
        ...

    async def set_leverage(self, symbol: Symbol, leverage: int) -> None:
        """Set the venue's leverage for `symbol`."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
