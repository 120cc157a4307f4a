"""Recapitalise a bankrupt trader by an operator's act: the only flow that raises such a book (docs/rules.md 6)."""

from dataclasses import replace
from datetime import datetime
from decimal import ROUND_DOWN, Decimal

from exchanges.types import ZERO
from manager.desk.plan.capital import CAPITAL_STEP
from manager.errors import FundingRefused
from manager.roster.lifecycle import event_of, transition
from manager.state import records
from manager.state.kinds import EventKind, LedgerKind, StateCode, TradingState
from manager.state.records import UNALLOCATED, TraderState
from manager.state.store import AccountRows, Transaction
from manager.state.switches import of_account, strictest
from traders import performance
from traders.spec import TraderId


class Funding:
    """Fund the trader of `row` within `tx`, which holds its account as `desk` shows it."""

    def __init__(self, tx: Transaction, desk: AccountRows, row: records.TraderRow, at: datetime) -> None:
        self._tx = tx
        self._desk = desk
        self._row = row
        self._at = at
        self._books = {book.trader_id: book for book in desk.books}

    async def fund(self, amount: Decimal, ref: str, *, actor: str, reason: str) -> records.TraderRow:
        """Move `amount` USD from what is free into the book, begin a new curve and stop the trader.

        Raises FundingRefused with the largest amount. `ref` is what the postings are known by.
        """
        book = self._book()
        free, equity = self._free_money(), book.cash
        largest = free.quantize(CAPITAL_STEP, rounding=ROUND_DOWN)
        if largest <= ZERO or largest + equity <= ZERO:
            needed = f"; its book is at {equity} USD, so more than {-equity} is needed" if equity < ZERO else ""
            raise self._refused(f"{free} USD of the account are free (unallocated - deficit - reserve){needed}")
        if not ZERO < amount <= largest or amount + equity <= ZERO or amount != amount.quantize(CAPITAL_STEP):
            least = f"more than {max(ZERO, -equity)}"
            raise self._refused(
                f"{amount} USD is not {least} and up to what is free, by steps of {CAPITAL_STEP}", largest
            )
        await self._move(book, amount, ref, actor=actor, reason=reason)
        return await self._stop(book, amount, actor=actor, reason=reason)

    def _book(self) -> records.BookRow:
        """Return the trader's book; raise FundingRefused unless it is bankrupt, flat and without a live order."""
        trader_id, book = self._row.trader_id, self._books.get(self._row.trader_id)
        account = self._desk.account
        if book is None or book.bankrupt_at is None:
            raise self._refused("it is not bankrupt; a solvent trader gets capital by the next rebalance")
        held = sorted(position.symbol for position in self._desk.positions if position.trader_id == trader_id)
        if held:
            raise self._refused(f"it still holds {', '.join(held)}; wait until it is flat")
        if any(share.trader_id == trader_id for order in self._desk.orders for share in order.shares):
            raise self._refused("it has an order at the venue; wait until that has ended")
        switched = strictest(self._desk.switches.over(account.tenant_id, of_account(account)))
        if switched.state is TradingState.HALTED:
            raise self._refused(f"{switched} ({switched.why}); resume it first")
        return book

    def _free_money(self) -> Decimal:
        """Return what may be dealt, at the marks of the last sample."""
        use, marks = self._desk.account.utilization, self._desk.account.marks
        if use is None or any(position.symbol not in marks for position in self._desk.positions):
            raise self._refused("the account's equity is not known yet; let a worker sample it")
        worth = {owner: book.cash for owner, book in self._books.items()}
        for row in self._desk.positions:
            worth[row.trader_id] = worth.get(row.trader_id, ZERO) + row.position.unrealized(marks[row.symbol].price)
        lacking = sum((max(ZERO, -worth[owner]) for owner in worth if self._may_lack(owner)), ZERO)
        total = max(sum(worth.values(), ZERO), ZERO)
        reserve = total * use.reserve / use.total if use.total > ZERO else ZERO
        return worth.get(UNALLOCATED, ZERO) - lacking - reserve

    @staticmethod
    def _may_lack(owner: TraderId) -> bool:
        return owner not in (UNALLOCATED, records.ROUNDING)

    async def _move(self, book: records.BookRow, amount: Decimal, ref: str, *, actor: str, reason: str) -> None:
        account, common = book.account_id, self._books[UNALLOCATED]
        curve = performance.recapitalised(book.performance, book.cash + amount)
        changes = {
            "capital": book.capital + amount,
            "allocated": book.cash + amount,
            "sharpe_at_rebalance": None,
            "bankrupt_at": None,
            "violations": (),
            "performance": curve,
        }
        await self._tx.patch(records.BookRow, (account, book.trader_id), **changes)
        await self._tx.patch(records.BookRow, (account, UNALLOCATED), capital=common.capital - amount)
        postings = [
            records.LedgerRow(
                tenant_id=book.tenant_id,
                account_id=account,
                ref=ref,
                trader_id=owner,
                kind=LedgerKind.RECAPITALISE,
                amount=moved,
                at=self._at,
                actor=actor,
                reason=reason,
            )
            for owner, moved in ((book.trader_id, amount), (UNALLOCATED, -amount))
        ]
        await self._tx.insert(postings)

    async def _stop(self, book: records.BookRow, amount: Decimal, *, actor: str, reason: str) -> records.TraderRow:
        row, tx, told = self._row, self._tx, f"funded with {amount} USD: {reason}"
        if row.state is not TraderState.STOPPED:
            row = await transition(tx, row.trader_id, TraderState.STOPPED, actor=actor, reason=told, at=self._at)
        await tx.patch(records.TraderRow, (row.trader_id,), state_code=StateCode.FUNDED, state_reason=told)
        event = event_of(row, self._at, kind=EventKind.TRADER_FUNDED, actor=actor, reason=told)
        await tx.insert([replace(event, before=f"equity {book.cash:,.2f}", after=f"equity {book.cash + amount:,.2f}")])
        return replace(row, state_code=StateCode.FUNDED, state_reason=told)

    def _refused(self, why: str, largest: Decimal = ZERO) -> FundingRefused:
        return FundingRefused(
            f"trader {self._row.trader_id} cannot be funded: {why}; the largest amount is {largest} USD"
        )
