"""Run a worker that ends: `python killed_worker.py CONFIG DSN persisted|taken|answered entry|stop|close [SIGNAL]`.

With SIGKILL, at its first order of that purpose: persisted and not yet sent, taken by the venue with the answer still
under way, or answered with the outcome not yet written. With SIGSTOP it freezes there. Until then it trades restlessly.
"""

import asyncio
import os
import signal
import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from exchanges.provider import Exchange
from exchanges.types import OrderReport, OrderRequest, OrderType, TimeInForce
from live_desk import LiveDesk, restless
from manager.processes.worker import WorkerParts
from manager.state.records import TenantId
from manager.state.store import Fence, Store, Transaction

_SIGNAL = signal.Signals[sys.argv[5]] if len(sys.argv) > 5 else signal.SIGKILL


def _die() -> None:
    os.kill(os.getpid(), _SIGNAL)


class _MortalExchange:
    def __init__(self, exchange: Exchange, place: str, purpose: str) -> None:
        self._exchange = exchange
        self._place = place
        self._purpose = purpose
        self.answered = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    async def create_order(self, request: OrderRequest) -> OrderReport:
        is_market, waits = request.type is OrderType.MARKET, request.time_in_force is TimeInForce.GTC
        aimed = {
            "entry": is_market and not request.reduce_only,
            "stop": request.type is OrderType.STOP,
            "close": is_market and waits,
        }[self._purpose]
        if aimed and self._place == "persisted":
            _die()
        report = await self._exchange.create_order(request)
        if aimed and self._place == "taken":
            _die()
        self.answered = aimed and self._place == "answered"
        return report


class _MortalStore:
    def __init__(self, store: Store, exchange: _MortalExchange) -> None:
        self._store = store
        self._exchange = exchange

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def transaction(self, tenant: TenantId, *, fence: Fence | None = None) -> AbstractAsyncContextManager[Transaction]:
        if self._exchange.answered:
            _die()
        return self._store.transaction(tenant, fence=fence)


def _mortal(parts: WorkerParts, place: str, purpose: str) -> WorkerParts:
    (key, runtime), *_ = parts.desk.accounts.items()
    exchange = _MortalExchange(runtime.exchange, place, purpose)
    accounts: Any = {key: replace(runtime, exchange=exchange)}
    store: Any = _MortalStore(parts.desk.store, exchange)
    trading = restless(parts)
    return replace(trading, desk=replace(trading.desk, accounts=accounts, store=store))


async def _main(config: str, dsn: str, place: str, purpose: str, _: str = "") -> None:
    desk = LiveDesk.of(Path(config), dsn)
    async with desk.trading(lambda parts: _mortal(parts, place, purpose)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
