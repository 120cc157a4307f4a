"""The one surface every venue offers: ccxt, Interactive Brokers, paper and replay alike."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from exchanges import types


class Exchange(Protocol):
    """Trade one account at one venue.

    A list of what happened may lack what the venue lists late, hold things twice, and be in any order. Reads raise
    VenueUnavailable. `create_order` raises OrderRejected, OrderDenied or OutcomeUnknown and returns a report otherwise;
    the adapter never sends one request twice.
    """

    @property
    def capabilities(self) -> types.Capabilities: ...

    async def instruments(self) -> Mapping[types.Symbol, types.Instrument]:
        """Return what can be traded, by symbol."""
        ...

    async def fetch_balance(self) -> types.Balance:
        """Return equity and cash in USD."""
        ...

    async def fetch_positions(self) -> Sequence[types.PositionReport]:
        """Return the non-zero net positions."""
        ...

    async def fetch_open_orders(self) -> Sequence[types.OrderReport]:
        """Return every resting order of the account, also those of other software."""
        ...

    async def fetch_fills(self, since: datetime) -> Sequence[types.Fill]:
        """Return the account's fills at or after `since`."""
        ...

    async def fetch_funding(self, since: datetime) -> Sequence[types.FundingPayment]:
        """Return the funding payments at or after `since`."""
        ...

    async def fetch_cash(self, since: datetime) -> Sequence[types.CashMovement]:
        """Return deposits, withdrawals, interest and the like at or after `since`; empty where none are told."""
        ...

    async def fetch_time(self) -> datetime:
        """Return what the venue's clock shows now, the one by which it lets orders expire."""
        ...

    async def create_order(self, request: types.OrderRequest) -> types.OrderReport:
        """Send one order and return the venue's answer."""
        ...

    async def cancel_order(self, client_order_id: types.ClientOrderId, symbol: types.Symbol) -> types.OrderReport:
        """Cancel a resting order; return its final report, also when it was already terminal."""
        ...

    async def lookup_order(
        self, client_order_id: types.ClientOrderId, symbol: types.Symbol
    ) -> types.OrderReport | None:
        """Search open orders and history for an order; None says only that it was not found now."""
        ...

    async def set_leverage(self, symbol: types.Symbol, leverage: int) -> None:
        """Set the venue's leverage for `symbol`."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
