"""Let a trader go: a flat one with its money, one that holds by closing it first. No position is without an owner."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from exchanges.types import ZERO
from manager.desk.incidents.safe_mode import end_safe_mode
from manager.errors import NotFlat
from manager.roster.closing import DECIDING, By, Closing
from manager.roster.lifecycle import event_of, transition
from manager.state import records
from manager.state.kinds import EventKind
from manager.state.records import UNALLOCATED, IntentStatus, LedgerKind, TraderState
from manager.state.store import AccountRows, Transaction
from traders.performance import flow
from traders.spec import TraderId


class Removal(StrEnum):
    """Name how far a dismissal has come: CLOSING waits until the positions are closed, then it is asked for again."""

    REMOVED = "removed"
    CLOSING = "closing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dismissed:
    """Say how far the dismissal of a trader has come."""

    trader_id: TraderId
    outcome: Removal


class Dismissal:
    """Dismiss the trader of `row` within `tx`, which holds its account as `desk` shows it."""

    def __init__(self, tx: Transaction, desk: AccountRows, row: records.TraderRow, at: datetime) -> None:
        self._tx = tx
        self._desk = desk
        self._row = row
        self._at = at
        self._held = [position for position in desk.positions if position.trader_id == row.trader_id]

    async def dismiss(self, ref: str, *, actor: str, reason: str, force: bool) -> Removal:
        """Remove a flat trader, with `force` close one that holds or has orders at the venue; else raise NotFlat.

        `ref` is what its last postings are known by.
        """
        trader_id = self._row.trader_id
        ordered = any(share.trader_id == trader_id for order in self._desk.orders for share in order.shares)
        if self._held or ordered:
            return await self._close(ref, actor, reason, force=force)
        await self._supersede()
        await self._withdraw(ref)
        for schedule in self._desk.schedules:
            if schedule.trader_id == trader_id:
                await end_safe_mode(self._tx, schedule, self._at)
        await self._tx.delete(records.TraderRow, [(trader_id,)])
        await self._tx.insert(
            [event_of(self._row, self._at, kind=EventKind.TRADER_REMOVED, actor=actor, reason=reason)]
        )
        return Removal.REMOVED

    async def _close(self, ref: str, actor: str, reason: str, *, force: bool) -> Removal:
        trader_id = self._row.trader_id
        if not force:
            symbols = ", ".join(sorted(position.symbol for position in self._held)) or "nothing, but has live orders"
            raise NotFlat(f"trader {trader_id} holds {symbols}; wait until it is flat, or pass --force to close it")
        if self._row.state in DECIDING:
            await transition(self._tx, trader_id, TraderState.STOPPED, actor=actor, reason=reason, at=self._at)
        await self._supersede(lambda intent: not intent.asked_by)
        by = By(actor=actor, reason=reason, at=self._at)
        closing = Closing(self._tx, self._desk, ref.rpartition("/")[2], by)
        await closing.ask((self._row, closing.held(trader_id)))
        return Removal.CLOSING

    async def _supersede(self, whose: Callable[[records.IntentRow], bool] = lambda _: True) -> None:
        for intent in self._desk.intents:
            if intent.trader_id == self._row.trader_id and whose(intent):
                await self._tx.patch(records.IntentRow, (intent.intent_id,), status=IntentStatus.SUPERSEDED)

    async def _withdraw(self, ref: str) -> None:
        """Give what is left of the trader's money to UNALLOCATED; what a book lacks stays in it."""
        books = {book.trader_id: book for book in self._desk.books}
        own, common = books.get(self._row.trader_id), books.get(UNALLOCATED)
        if own is None or common is None:
            return
        cash, account = max(own.cash, ZERO), own.account_id
        curve = flow(own.performance, own.cash, -cash)
        without = {"capital": own.capital - cash, "allocated": ZERO, "sharpe_at_rebalance": None, "performance": curve}
        await self._tx.patch(records.BookRow, (account, own.trader_id), **without)
        if not cash:
            return
        await self._tx.patch(records.BookRow, (account, UNALLOCATED), capital=common.capital + cash)
        postings = [
            records.LedgerRow(
                tenant_id=own.tenant_id,
                account_id=account,
                ref=ref,
                trader_id=trader_id,
                kind=LedgerKind.REBALANCE,
                amount=amount,
                at=self._at,
            )
            for trader_id, amount in ((own.trader_id, -cash), (UNALLOCATED, cash))
        ]
        await self._tx.insert(postings)
