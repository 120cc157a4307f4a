"""One account inside one job: its books and orders, and the rows that must be written for what happened to them.

The state is built from one read, changed by facts only (fills, crosses, funding, capital, order outcomes), and drained
into one transaction at each boundary that must survive a crash. When a transaction fails the job ends and the state
is thrown away, so memory never runs ahead of the database.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from exchanges.types import Instrument, Symbol
from manager.desk.plan.booking import Execution, Part
from manager.desk.plan.dust import still_dust
from manager.desk.plan.late import CORRECTION
from manager.desk.plan.outstanding import Outstanding
from manager.desk.remembered import Remembered
from manager.state import records
from manager.state.acts import FlattenRow
from manager.state.keys import Row
from manager.state.kinds import IntentStatus, LedgerKind, OrderPurpose
from manager.state.store import AccountRows, Transaction
from manager.state.switches import Switched, of_account, strictest
from traders import performance
from traders.book import EXTERNAL, Book, BookFill, Position, apply_capital, apply_fill, apply_funding, with_protection
from traders.spec import TraderId

_HOUR = timedelta(hours=1)
_NO_TRADERS = frozenset({EXTERNAL, records.UNALLOCATED, records.ROUNDING})
_ACCOUNT_FIELDS = tuple(item.name for item in fields(records.AccountRow))


@dataclass(slots=True)
class Writes:
    """Collect the rows of one boundary; of the account only the fields that changed, the manager writes others."""

    account_id: records.AccountId
    inserts: list[Row] = field(default_factory=list)
    upserts: list[Row] = field(default_factory=list)
    flat: list[tuple[records.AccountId, TraderId, Symbol]] = field(default_factory=list)
    account: dict[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Tell whether there is anything to write."""
        return bool(self.inserts or self.upserts or self.flat or self.account)

    async def apply(self, tx: Transaction) -> None:
        """Write everything within `tx`."""
        if self.account:
            await tx.patch(records.AccountRow, (self.account_id,), **self.account)
        if self.flat:
            await tx.delete(records.PositionRow, self.flat)
        if self.upserts:
            await tx.upsert(self.upserts)
        if self.inserts:
            await tx.insert(self.inserts)


class AccountState:
    """Hold one account's books and orders while a job works on them; `version` grows with every change.

    `as_read` are the rows that the traders are made of while it is 0.
    """

    def __init__(
        self, rows: AccountRows, instruments: Mapping[Symbol, Instrument], remembered: Remembered | None = None
    ) -> None:
        self.remembered = remembered or Remembered()
        keep = self.remembered.keep
        self.as_read = (rows.traders, rows.schedules, rows.books, rows.positions)
        self.account: records.AccountRow = rows.account
        self.traders = {**keep("traders", (rows.traders,), lambda: {row.trader_id: row for row in rows.traders})}
        self.schedules = keep("schedules", (rows.schedules,), lambda: {row.trader_id: row for row in rows.schedules})
        self.heads = {**keep("heads", (rows.books,), lambda: {row.trader_id: row for row in rows.books})}
        self.positions: dict[records.PositionKey, records.PositionRow] = {
            records.PositionKey(r.trader_id, r.symbol): r for r in rows.positions
        }
        self.orders: dict[records.OrderId, records.OrderRow] = {row.order_id: row for row in rows.orders}
        self.intents = {row.intent_id: row for row in rows.intents}
        self.flattens = {row.flatten_id: row for row in rows.flattens}
        self.switches = rows.switches
        self.instruments = instruments
        self.books = self.remembered.books(rows)
        self.outstanding = Outstanding(self.orders, self.books)
        self.pending = Writes(rows.account.account_id)
        self.version = 0
        self._dirty_heads: set[TraderId] = set()
        self._dirty_positions: set[records.PositionKey] = set()

    @property
    def switched(self) -> Switched:
        """Return the strictest state of the scopes that the account is in, of equals the widest."""
        return strictest(self.switches.over(self.account.tenant_id, of_account(self.account)))

    @property
    def dust(self) -> frozenset[records.PositionKey]:
        """Return the positions that are too small for the venue."""
        return frozenset(key for key, row in self.positions.items() if row.dust)

    def held(self, symbol: Symbol) -> dict[TraderId, Decimal]:
        """Return what each book holds of a symbol, signed."""
        return {owner: book.quantity(symbol) for owner, book in self.books.items() if symbol in book.positions}

    def held_row(self, key: records.PositionKey) -> records.PositionRow | None:
        """Return the row of a position as it was flagged last, None for one that is not held."""
        book = self.books.get(key.trader_id)
        return self.positions.get(key) if book is not None and key.symbol in book.positions else None

    def position_row(self, key: records.PositionKey) -> records.PositionRow:
        """Return a position as it stands now; KeyError for one that is not held."""
        return self._position_row(key, self.books[key.trader_id].positions[key.symbol])

    def head(self, trader_id: TraderId) -> records.BookRow:
        """Return the money row of a book, a new one when it has none yet."""
        found = self.heads.get(trader_id)
        return found if found is not None else self.remembered.blank(self.account, trader_id)

    def departed(self) -> Iterator[Book]:
        """Yield the books of traders that were let go."""
        for owner, book in self.books.items():
            if owner not in self.traders and owner not in _NO_TRADERS:
                yield book

    def set_head(self, head: records.BookRow) -> None:
        """Replace the non-money fields of a book's row; money comes from the book itself."""
        self.version += 1
        self.heads[head.trader_id] = head
        self._dirty_heads.add(head.trader_id)

    def note_trader(self, row: records.TraderRow) -> None:
        """Take in a trader's new life-cycle state, which the manager has already written."""
        self.version += 1
        self.traders[row.trader_id] = row

    def settle(
        self, intent: records.IntentRow, status: IntentStatus, round_id: records.RoundId, code: str = ""
    ) -> None:
        """Record what became of an intent."""
        changed = replace(intent, status=status, code=code, round_id=round_id)
        self.intents[intent.intent_id] = changed
        self.pending.upserts.append(changed)

    def ask(self, decision: records.DecisionRow, intents: Sequence[records.IntentRow]) -> None:
        """Take in an operator's closes, for the next round to carry out."""
        self.version += 1
        self.intents |= {intent.intent_id: intent for intent in intents}
        self.pending.inserts += [decision, *intents]

    def end_flatten(self, row: FlattenRow) -> None:
        """Record how a flatten ended; it blocks nothing any more."""
        self.version += 1
        del self.flattens[row.flatten_id]
        self.pending.upserts.append(row)

    def insert(self, row: Row) -> None:
        """Add a row to what the next boundary writes."""
        self.pending.inserts.append(row)

    def upsert(self, row: Row) -> None:
        """Add a changed row to what the next boundary writes."""
        self.pending.upserts.append(row)

    def new_order(self, order: records.OrderRow) -> None:
        """Record an order that is about to be sent."""
        self.version += 1
        self.orders[order.order_id] = order
        self.pending.inserts.append(order)

    def put_order(self, order: records.OrderRow) -> None:
        """Record a new version of an order."""
        self.version += 1
        self.orders[order.order_id] = order
        self.pending.upserts.append(order)

    def put_account(self, account: records.AccountRow) -> None:
        """Record a new version of the account; a halt by the manager meanwhile is not written over."""
        self.version += 1
        old, self.account = self.account, account
        changed = {name for name in _ACCOUNT_FIELDS if getattr(old, name) != getattr(account, name)}
        self.pending.account.update({name: getattr(account, name) for name in changed})

    def book(self, execution: Execution) -> None:
        """Apply the parts of one execution to the books and post them."""
        self.version += 1
        instrument = self.instruments.get(execution.symbol)
        contract_size = instrument.contract_size if instrument is not None else Decimal(1)
        for part in execution.parts:
            self._book_part(execution, part, contract_size)

    def _book_part(self, execution: Execution, part: Part, contract_size: Decimal) -> None:
        symbol = execution.symbol
        before = self._held(part.trader_id)
        held = before.positions.get(symbol)
        after, realized = apply_fill(
            before,
            BookFill(
                symbol=symbol,
                quantity=part.quantity,
                price=execution.price,
                fee=part.fee,
                at=execution.at,
                leverage=part.leverage,
                contract_size=contract_size,
            ),
        )
        new = held is None and part.purpose == CORRECTION
        if symbol in after.positions and (new or part.purpose == OrderPurpose.ENTRY):
            after = with_protection(after, symbol, part.stop_loss, part.take_profit)
        self.books[part.trader_id] = after
        self._dirty_positions.add(records.PositionKey(part.trader_id, symbol))
        self._dirty_heads.add(part.trader_id)
        closed, known = symbol not in after.positions, held or after.positions.get(symbol)
        self._note_trade(execution, part, held, closed=closed, realized=realized)
        self.pending.inserts.append(
            records.FillPartRow(
                tenant_id=self.account.tenant_id,
                account_id=self.account.account_id,
                trade_id=execution.trade_id,
                trader_id=part.trader_id,
                leg=part.leg,
                order_id=part.order_id,
                intent_id=part.intent_id,
                symbol=symbol,
                quantity=part.quantity,
                price=execution.price,
                fee=part.fee,
                realized=realized,
                purpose=part.purpose,
                at=execution.at,
                opened_at=None if known is None else known.opened_at,
                closed_at=execution.at if held is not None and closed and part.trader_id != EXTERNAL else None,
            )
        )
        ref = f"{execution.trade_id}{part.leg}"
        if realized:
            self._post(part.trader_id, LedgerKind.REALIZED, ref, realized, execution.at, symbol)
        if part.fee:
            self._post(part.trader_id, LedgerKind.FEE, ref, -part.fee, execution.at, symbol)

    def _note_trade(
        self, execution: Execution, part: Part, held: Position | None, *, closed: bool, realized: Decimal
    ) -> None:
        head = self.head(part.trader_id)
        if held is not None and closed:
            curve = performance.closed_trade(head.performance, held.realized + realized, execution.at)
            head = replace(head, performance=curve)
        if part.purpose == OrderPurpose.STOP:
            head = replace(head, last_stop_at=execution.at)
        if part.purpose == OrderPurpose.ENTRY:
            head = replace(head, last_entry_at=max(execution.at, head.last_entry_at or execution.at))
        if part.purpose == OrderPurpose.ENTRY and all(e.intent_id != part.intent_id for e in head.recent_entries):
            recent = tuple(entry for entry in head.recent_entries if execution.at - entry.at < _HOUR)
            made = records.RecentEntry(at=execution.at, intent_id=part.intent_id)
            head = replace(head, recent_entries=(*recent, made))
        self.heads[part.trader_id] = head

    def protect(self, key: records.PositionKey, stop_loss: Decimal | None, take_profit: Decimal | None) -> None:
        """Set the stop and take-profit of a position; None leaves the old one."""
        self.version += 1
        self.books[key.trader_id] = with_protection(self._held(key.trader_id), key.symbol, stop_loss, take_profit)
        self._dirty_positions.add(key)

    def flag(self, key: records.PositionKey, *, dust: bool, unprotected_since: datetime | None) -> None:
        """Mark a position as dust or as without a confirmed stop since an instant."""
        row = self.positions.get(key)
        if row is None or row.dust != dust or row.unprotected_since != unprotected_since:
            row = row or self._position_row(key, self.books[key.trader_id].positions[key.symbol])
            self.positions[key] = replace(row, dust=dust, unprotected_since=unprotected_since)
            self._dirty_positions.add(key)

    def fund(self, trader_id: TraderId, symbol: Symbol, amount: Decimal, ref: str, at: datetime) -> None:
        """Post a funding amount, positive when received."""
        self.version += 1
        self.books[trader_id] = apply_funding(self._held(trader_id), amount)
        self._dirty_heads.add(trader_id)
        kind = LedgerKind.ROUNDING if trader_id == records.ROUNDING else LedgerKind.FUNDING
        self._post(trader_id, kind, ref, amount, at, symbol)

    def move_capital(
        self, kind: LedgerKind, amounts: Sequence[tuple[TraderId, Decimal]], ref: str, at: datetime
    ) -> None:
        """Post capital entries; except for those by which the account's cash moves they must add up to zero."""
        if not kind.moves_cash and sum(a for _, a in amounts) != 0:
            raise ValueError(f"capital entries of {ref} do not add up to zero: {amounts}")
        self.version += 1
        for trader_id, amount in amounts:
            self.books[trader_id] = apply_capital(self._held(trader_id), amount)
            self._dirty_heads.add(trader_id)
            head = self.head(trader_id)
            if head.started_at is None and amount:
                self.heads[trader_id] = replace(head, started_usd=amount, started_at=at)
            self._post(trader_id, kind, ref, amount, at, "")

    def forget(self) -> None:
        """Forget what is not written yet; the books here are no longer those of the database."""
        self.pending = Writes(self.account.account_id)
        self._dirty_heads.clear()
        self._dirty_positions.clear()

    def take(self) -> Writes:
        """Return everything not written yet, with the current rows of all books and positions that changed."""
        writes = self.pending
        if not (writes or self._dirty_heads or self._dirty_positions):
            return writes
        self.pending = Writes(self.account.account_id)
        for trader_id in sorted(self._dirty_heads):
            writes.upserts.append(self._head_row(trader_id))
        for key in sorted(self._dirty_positions):
            position = self.books[key.trader_id].positions.get(key.symbol)
            if position is None:
                self.positions.pop(key, None)
                writes.flat.append((self.account.account_id, *key))
            else:
                row = self.positions[key] = self._position_row(key, position)
                writes.upserts.append(row)
        self._dirty_heads.clear()
        self._dirty_positions.clear()
        return writes

    def _held(self, trader_id: TraderId) -> Book:
        book = self.books.get(trader_id)
        if book is None:
            book = self.books[trader_id] = Book(trader_id=TraderId(trader_id), positions={})
        return book

    def _post(
        self, trader_id: TraderId, kind: LedgerKind, ref: str, amount: Decimal, at: datetime, symbol: str
    ) -> None:
        self.pending.inserts.append(
            records.LedgerRow(
                tenant_id=self.account.tenant_id,
                account_id=self.account.account_id,
                ref=ref,
                trader_id=trader_id,
                kind=kind,
                amount=amount,
                at=at,
                symbol=symbol,
            )
        )

    def _head_row(self, trader_id: TraderId) -> records.BookRow:
        book, head = self.books[trader_id], self.head(trader_id)
        money = (book.capital, book.realized, book.fees, book.funding, len(book.positions))
        if money == (head.capital, head.realized, head.fees, head.funding, head.open_positions):
            return head
        capital, realized, fees, funding, count = money
        row = replace(head, capital=capital, realized=realized, fees=fees, funding=funding, open_positions=count)
        self.heads[trader_id] = row
        return row

    def _position_row(self, key: records.PositionKey, position: Position) -> records.PositionRow:
        old = self.positions.get(key)
        return records.PositionRow(
            tenant_id=self.account.tenant_id,
            account_id=self.account.account_id,
            trader_id=key.trader_id,
            symbol=key.symbol,
            quantity=position.quantity,
            cost=position.cost,
            leverage=position.leverage,
            opened_at=position.opened_at,
            contract_size=position.contract_size,
            stop_loss=position.stop_loss,
            take_profit=position.take_profit,
            realized=position.realized,
            dust=still_dust(old, position),
            unprotected_since=old.unprotected_since if old else None,
        )
