"""Where paper accounts live: the protocol a database implements, and the implementation in memory."""

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Protocol

from exchanges.errors import ExchangeConfigError
from exchanges.paper.state import PaperAccountId, PaperOrder, PaperState
from exchanges.types import ClientOrderId, Fill, FundingPayment


class PaperLedger(Protocol):
    """Keep paper accounts so that they outlive every worker.

    Fills and funding come back in the order they were booked (their instants never fall, trade ids rise). One that is
    `remote` is asked for as little as possible.
    """

    @property
    def remote(self) -> bool: ...

    async def open(self, account: PaperAccountId, cash: Decimal, at: datetime) -> None:
        """Create the account with `cash`, advanced to `at`; leave an existing one as it is."""
        ...

    def transaction(
        self, account: PaperAccountId, *, order_id: ClientOrderId | None = None
    ) -> AbstractAsyncContextManager[PaperState]:
        """Serialise on the account across processes and yield its state with an empty journal.

        With `order_id`, `looked_up` holds that order's last version, open or terminal. At a normal exit the state and
        its journal (orders upserted by client order id, fills and funding inserted) are committed at once; on an
        exception nothing is. While `revision` stays, only `advanced_to` and `phase` can have moved, which need not be
        written each time (both or neither): the same instants are then searched again, with the same result. Raise
        ExchangeConfigError when the account was never opened.
        """
        ...

    async def is_at(self, account: PaperAccountId, revision: int) -> bool:
        """Tell whether the account stands at `revision`."""
        ...

    async def find_order(self, account: PaperAccountId, client_order_id: ClientOrderId) -> PaperOrder | None:
        """Return the last committed version of an order, rejected ones included."""
        ...

    async def fills_since(self, account: PaperAccountId, since: datetime) -> Sequence[Fill]:
        """Return the fills at or after `since`, as booked."""
        ...

    async def funding_since(self, account: PaperAccountId, since: datetime) -> Sequence[FundingPayment]:
        """Return the funding payments at or after `since`, as booked."""
        ...


@dataclass(slots=True)
class _Account:
    state: PaperState
    orders: dict[ClientOrderId, PaperOrder] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    funding: list[FundingPayment] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class _MemoryTransaction:
    __slots__ = ("_account", "_order_id", "_work")

    def __init__(self, account: _Account, order_id: ClientOrderId | None) -> None:
        self._account = account
        self._order_id = order_id

    async def __aenter__(self) -> PaperState:
        await self._account.lock.acquire()
        self._work = self._account.state.copy()
        if self._order_id is not None:
            self._work.looked_up = self._account.orders.get(self._order_id)
        return self._work

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        account = self._account
        if kind is None:
            journal = self._work.journal
            account.orders.update(journal.orders)
            account.fills.extend(journal.fills)
            account.funding.extend(journal.funding)
            account.state = self._work
        account.lock.release()


class MemoryPaperLedger:
    """Keep paper accounts in this process, with rollback; for replay, simulation and tests."""

    remote = False

    def __init__(self) -> None:
        self._accounts: dict[PaperAccountId, _Account] = {}

    async def open(self, account: PaperAccountId, cash: Decimal, at: datetime) -> None:
        """Create the account unless it exists."""
        if account not in self._accounts:
            self._accounts[account] = _Account(PaperState(account=account, cash=cash, advanced_to=at))

    def transaction(
        self, account: PaperAccountId, *, order_id: ClientOrderId | None = None
    ) -> AbstractAsyncContextManager[PaperState]:
        """Yield a copy of the state; keep it at a normal exit, drop it on an exception."""
        return _MemoryTransaction(self._get(account), order_id)

    async def is_at(self, account: PaperAccountId, revision: int) -> bool:
        """Tell whether the account stands at `revision`."""
        return self._get(account).state.revision == revision

    async def find_order(self, account: PaperAccountId, client_order_id: ClientOrderId) -> PaperOrder | None:
        """Return the last committed version of an order."""
        return self._get(account).orders.get(client_order_id)

    async def fills_since(self, account: PaperAccountId, since: datetime) -> Sequence[Fill]:
        """Return the fills at or after `since`."""
        fills = self._get(account).fills
        return fills[bisect_left(fills, since, key=_fill_time) :]

    async def funding_since(self, account: PaperAccountId, since: datetime) -> Sequence[FundingPayment]:
        """Return the funding payments at or after `since`."""
        funding = self._get(account).funding
        return funding[bisect_left(funding, since, key=_funding_time) :]

    def _get(self, account: PaperAccountId) -> _Account:
        found = self._accounts.get(account)
        if found is None:
            raise ExchangeConfigError(f"paper account {account!r} was never opened: call open() before trading on it")
        return found


def _fill_time(fill: Fill) -> datetime:
    return fill.at


def _funding_time(payment: FundingPayment) -> datetime:
    return payment.at
