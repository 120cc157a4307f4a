"""An exchange whose calls cannot wait for ever, and fail in the words of `exchanges.errors` only."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from exchanges import types
from exchanges.errors import ExchangeError, OutcomeUnknown, VenueUnavailable
from exchanges.provider import Exchange

T = TypeVar("T")


async def answer_within(limit_s: float, call: Coroutine[Any, Any, T]) -> T:
    """Return the answer of a call, or raise TimeoutError when it takes longer; whatever comes later is dropped.

    The call is cancelled and not waited for: one that hangs on would hold its caller as well.
    """
    if limit_s <= 0:
        call.close()
        raise TimeoutError("the job's lease is over")
    task = asyncio.ensure_future(call)
    try:
        done, _ = await asyncio.wait({task}, timeout=limit_s)
    except BaseException:
        _abandon(task)
        raise
    if not done:
        _abandon(task)
        raise TimeoutError(f"no answer within {limit_s:g} s")
    return task.result()


async def read_within(limit_s: float | None, name: str, call: Coroutine[Any, Any, T]) -> T:
    """Return what a call reads; raise VenueUnavailable for whatever goes wrong. Without a limit it is as it is."""
    if limit_s is None:
        return await call
    try:
        return await answer_within(limit_s, call)
    except VenueUnavailable:
        raise
    except Exception as error:
        raise VenueUnavailable(f"{name}: {_said(error)}") from error


class Bounded:
    """Pass calls on to an exchange, each with a deadline; `limit_s` says how long the next one may take.

    Whatever a read raises is VenueUnavailable, and what an order or a cancel raises beyond its errors OutcomeUnknown.
    """

    def __init__(self, inner: Exchange, limit_s: Callable[[], float]) -> None:
        self._inner = inner
        self._limit_s = limit_s

    @property
    def capabilities(self) -> types.Capabilities:
        """Return what the venue can do."""
        return self._inner.capabilities

    async def instruments(self) -> Mapping[types.Symbol, types.Instrument]:
        """Return what can be traded, by symbol."""
        return await self._read("instruments", self._inner.instruments())

    async def fetch_balance(self) -> types.Balance:
        """Return equity and cash in USD."""
        return await self._read("balance", self._inner.fetch_balance())

    async def fetch_positions(self) -> Sequence[types.PositionReport]:
        """Return the non-zero net positions."""
        return await self._read("positions", self._inner.fetch_positions())

    async def fetch_open_orders(self) -> Sequence[types.OrderReport]:
        """Return every resting order of the account."""
        return await self._read("open orders", self._inner.fetch_open_orders())

    async def fetch_fills(self, since: datetime) -> Sequence[types.Fill]:
        """Return the account's fills at or after `since`."""
        return await self._read("fills", self._inner.fetch_fills(since))

    async def fetch_funding(self, since: datetime) -> Sequence[types.FundingPayment]:
        """Return the funding payments at or after `since`."""
        return await self._read("funding", self._inner.fetch_funding(since))

    async def fetch_cash(self, since: datetime) -> Sequence[types.CashMovement]:
        """Return the cash movements at or after `since`."""
        return await self._read("cash history", self._inner.fetch_cash(since))

    async def fetch_time(self) -> datetime:
        """Return what the venue's clock shows."""
        return await self._read("time", self._inner.fetch_time())

    async def lookup_order(
        self, client_order_id: types.ClientOrderId, symbol: types.Symbol
    ) -> types.OrderReport | None:
        """Search for an order."""
        return await self._read("order", self._inner.lookup_order(client_order_id, symbol))

    async def create_order(self, request: types.OrderRequest) -> types.OrderReport:
        """Send one order."""
        return await self._send("order", self._inner.create_order(request))

    async def cancel_order(self, client_order_id: types.ClientOrderId, symbol: types.Symbol) -> types.OrderReport:
        """Cancel a resting order."""
        return await self._send("cancel", self._inner.cancel_order(client_order_id, symbol))

    async def set_leverage(self, symbol: types.Symbol, leverage: int) -> None:
        """Set the venue's leverage for `symbol`."""
        await self._send("leverage", self._inner.set_leverage(symbol, leverage))

    async def close(self) -> None:
        """Release connections."""
        await self._inner.close()

    async def _read(self, name: str, call: Coroutine[Any, Any, T]) -> T:
        return await read_within(self._limit_s(), name, call)

    async def _send(self, name: str, call: Coroutine[Any, Any, T]) -> T:
        try:
            return await answer_within(self._limit_s(), call)
        except ExchangeError:
            raise
        except Exception as error:
            raise OutcomeUnknown(f"{name}: {_said(error)}") from error


def _abandon(task: "asyncio.Future[Any]") -> None:
    task.cancel()
    task.add_done_callback(_forget)


def _forget(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, TimeoutError) and str(error) else f"{type(error).__name__}: {error}"
