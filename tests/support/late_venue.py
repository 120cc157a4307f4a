"""A venue that lists its news late, out of order and twice, moves cash, and rounds the entry prices that it reports."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from exchanges.clock import Clock
from exchanges.types import (
    Balance,
    Capabilities,
    CashKind,
    CashMovement,
    ClientOrderId,
    Fill,
    FundingPayment,
    OrderReport,
    OrderRequest,
    PositionReport,
    Symbol,
)

News = Fill | FundingPayment | CashMovement
Item = TypeVar("Item", Fill, FundingPayment, CashMovement)
ZERO = Decimal(0)


def at_once(item: News) -> timedelta:
    """List an item the instant it happens."""
    return timedelta(0)


class LateVenue:
    """Pass calls on to a venue; `lateness` says how long after its instant an item is listed.

    With `dice` every list comes shuffled and some items twice. A request arrives `on_the_way` later, and its expiry is
    judged then. What `inner` does not have, such as deposits, this venue has itself.
    """

    def __init__(self, inner: Any, clock: Clock, *, seed: int | None = None) -> None:
        self.inner = inner
        self.lateness: Callable[[News], timedelta] = at_once
        self.on_the_way = timedelta(0)
        self.entry_step: Decimal | None = None
        self.changes: dict[str, Any] = {}
        self._clock = clock
        self._dice = None if seed is None else random.Random(seed)
        self._cash: list[CashMovement] = []

    @property
    def capabilities(self) -> Capabilities:
        """Return what the venue behind can do, with `changes`."""
        found: Capabilities = replace(self.inner.capabilities, **self.changes)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def move_cash(self, amount: int | str, kind: CashKind = CashKind.DEPOSIT) -> CashMovement:
        """Move cash now; the history tells of it when its lateness is over, the balance at once."""
        moved = CashMovement(movement_id=f"M{len(self._cash)}", at=self._clock.now(), amount=Decimal(amount), kind=kind)
        self._cash.append(moved)
        return moved

    async def fetch_balance(self) -> Balance:
        """Return the balance with the cash that was moved."""
        balance: Balance = await self.inner.fetch_balance()
        moved = sum((one.amount for one in self._cash), ZERO)
        return replace(balance, equity=balance.equity + moved, cash=balance.cash + moved)

    async def fetch_positions(self) -> Sequence[PositionReport]:
        """Return the positions, entry prices in whole steps."""
        found: Sequence[PositionReport] = await self.inner.fetch_positions()
        if self.entry_step is None:
            return found
        return [replace(one, entry_price=one.entry_price.quantize(self.entry_step)) for one in found]

    async def fetch_fills(self, since: datetime) -> Sequence[Fill]:
        """Return the fills that are listed by now."""
        return self._listed(await self.inner.fetch_fills(since))

    async def fetch_funding(self, since: datetime) -> Sequence[FundingPayment]:
        """Return the payments that are listed by now."""
        return self._listed(await self.inner.fetch_funding(since))

    async def fetch_cash(self, since: datetime) -> Sequence[CashMovement]:
        """Return the movements that are listed by now."""
        return self._listed([one for one in self._cash if one.at >= since])

    async def create_order(self, request: OrderRequest) -> OrderReport:
        """Let the request arrive; the answer counts what was filled, and has the fills that are listed by now."""
        await self._clock.sleep(self.on_the_way.total_seconds())
        return self._told(await self.inner.create_order(request))

    async def cancel_order(self, client_order_id: ClientOrderId, symbol: Symbol) -> OrderReport:
        """Cancel an order."""
        return self._told(await self.inner.cancel_order(client_order_id, symbol))

    async def lookup_order(self, client_order_id: ClientOrderId, symbol: Symbol) -> OrderReport | None:
        """Look an order up."""
        found = await self.inner.lookup_order(client_order_id, symbol)
        return None if found is None else self._told(found)

    def _told(self, report: OrderReport) -> OrderReport:
        return replace(report, fills=tuple(fill for fill in report.fills if self._is_listed(fill)))

    def _listed(self, items: Sequence[Item]) -> list[Item]:
        found = [item for item in items if self._is_listed(item)]
        if self._dice is not None:
            found += [item for item in found if self._dice.random() < 0.3]
            self._dice.shuffle(found)
        return found

    def _is_listed(self, item: News) -> bool:
        return self._clock.now() >= item.at + self.lateness(item)
