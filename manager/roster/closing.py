"""Ask for closes in an operator's name: of one position, of all of a trader's, or of all in a flatten's scope."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Final

from exchanges.clock import to_ms
from exchanges.types import ZERO, Symbol
from executor.contract import OPENS, Action
from manager.desk.plan.leftovers import waited_for
from manager.desk.plan.operator_closes import OperatorAsk, being_closed, close_rows, is_asked_by
from manager.desk.plan.outcomes import plain
from manager.errors import NoFlatten, NothingHeld, UnknownAccount, UnknownTrader
from manager.roster.acts import CloseAsked, ClosingPosition, FlattenAsked, FlattenCanceled, FlattenPart
from manager.roster.lifecycle import event_of, stop_each
from manager.state import records
from manager.state.acts import ActKey, FlattenId, FlattenRow, FlattenScope
from manager.state.keys import Row
from manager.state.kinds import Afterwards, EventKind, FlattenState, IntentStatus, OrderPurpose, ScopeKind, TradingState
from manager.state.records import AccountId, AccountRow, PositionKey, TraderRow, TraderState
from manager.state.store import AccountRows, Transaction
from manager.views.closed import BookedUntil
from manager.views.lights import silence_of
from traders.spec import TraderId

_HOLDER: Final = "manager"
_ENTERING: Final = OPENS | {Action.TARGET}
DECIDING: Final = frozenset({TraderState.RUNNING, TraderState.PAUSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Say who acts, why and when."""

    actor: str
    reason: str
    at: datetime


class Closing:
    """Ask for closes of one account within `tx`, which has taken it: a round under way writes nothing any more.

    `ref` tells what is asked here from what is asked at the same instant elsewhere.
    """

    def __init__(self, tx: Transaction, desk: AccountRows, ref: str, by: By) -> None:
        self._tx = tx
        self._desk = desk
        self._held: dict[TraderId, dict[Symbol, Decimal]] = {}
        for row in desk.positions:
            self._held.setdefault(row.trader_id, {})[row.symbol] = row.quantity
        self._opened = {PositionKey(row.trader_id, row.symbol): row.opened_at for row in desk.positions}
        self._ref = ref
        self._by = by

    @classmethod
    async def of(cls, tx: Transaction, account_id: AccountId, by: By) -> "Closing":
        """Take the account; it is read before, so that it is held for a shorter time: only news is read then."""
        await tx.account_rows(account_id)
        token = await tx.acquire(account_id, _HOLDER)
        return cls(tx, await tx.account_rows(account_id), str(token), by)

    @property
    def desk(self) -> AccountRows:
        """Return the account as it was when it was taken."""
        return self._desk

    def held(self, trader_id: TraderId) -> dict[Symbol, Decimal]:
        """Return what a trader holds, signed."""
        return dict(self._held.get(trader_id, {}))

    def entering(self, trader_id: TraderId) -> dict[Symbol, Decimal]:
        """Return what entries of a trader may still fill, signed."""
        found: dict[Symbol, Decimal] = {}
        for order in self._desk.orders:
            if order.state.live and order.purpose is OrderPurpose.ENTRY:
                for share in (one for one in order.shares if one.trader_id == trader_id):
                    found[order.symbol] = found.get(order.symbol, ZERO) + order.side.sign * share.quantity
        return found

    async def supersede(self, wanted: Mapping[TraderId, Collection[Symbol]], *, entries: bool = False) -> int:
        """End what traders wait for themselves on these symbols, with `entries` all opens; return how many."""
        ended = [
            replace(intent, status=IntentStatus.SUPERSEDED)
            for intent in self._desk.intents
            if not intent.asked_by
            and intent.trader_id in wanted
            and (
                intent.decision.symbol in wanted[intent.trader_id] or (entries and intent.decision.action in _ENTERING)
            )
        ]
        keys = [(intent.intent_id,) for intent in ended]
        await self._tx.patch_each(records.IntentRow, keys, status=IntentStatus.SUPERSEDED)
        return len(ended)

    async def ask(
        self, *asks: tuple[TraderRow, dict[Symbol, Decimal]], flatten_id: FlattenId | None = None
    ) -> tuple[ClosingPosition, ...]:
        """Ask for the close of these quantities, each once: what an operator asked for before is not asked again.

        The intents of a flatten bear its id.
        """
        by, ref = self._by, self._ref if flatten_id is None else f"{flatten_id}.{self._ref}"
        ask = OperatorAsk(actor=by.actor, reason=by.reason, at=by.at, ref=f"{to_ms(by.at)}/{by.actor}.{ref}")
        asked = being_closed(self._desk.intents)
        rows: list[Row] = []
        found: list[ClosingPosition] = []
        for trader, held in asks:
            older = {s: asked[key] for s in held if (key := PositionKey(trader.trader_id, s)) in asked}
            missing = {symbol: quantity for symbol, quantity in held.items() if symbol not in older}
            intents = dict(older)
            if missing:
                decision, made = close_rows(trader, missing, ask)
                rows += [decision, *made]
                intents |= {Symbol(intent.decision.symbol): intent for intent in made}
            found += [
                ClosingPosition(
                    account_id=trader.account_id,
                    trader_id=trader.trader_id,
                    symbol=symbol,
                    quantity=quantity,
                    intent_id=intents[symbol].intent_id,
                    asked_before=symbol in older,
                    opened_at=self._opened.get(PositionKey(trader.trader_id, symbol)),
                )
                for symbol, quantity in sorted(held.items())
            ]
        await self._tx.insert(rows)
        return tuple(found)


async def close(tx: Transaction, trader_id: TraderId, symbol: Symbol | None, by: By) -> CloseAsked:
    """Ask for the close of one position of a trader, or of all; its own waiting intents there are superseded.

    What an entry that is under way still fills is closed too. Raises UnknownTrader, and NothingHeld with what it holds.
    """
    row = await tx.get(TraderRow, trader_id)
    if row is None:
        raise UnknownTrader.of(trader_id)
    closing = await Closing.of(tx, row.account_id, by)
    held = closing.entering(trader_id) | closing.held(trader_id)
    if not held or (symbol is not None and symbol not in held):
        has = f"it holds {', '.join(sorted(held))}" if held else "it holds nothing"
        raise NothingHeld(f"trader {trader_id} has no position{f' in {symbol}' if symbol else ''} to close: {has}")
    wanted = held if symbol is None else {symbol: held[symbol]}
    superseded = await closing.supersede({trader_id: wanted})
    positions = await closing.ask((row, wanted))
    event = event_of(row, by.at, kind=EventKind.CLOSE_ASKED, actor=by.actor, reason=by.reason)
    before = ", ".join(f"{plain(one.quantity)} {one.symbol}" for one in positions)
    await tx.insert([replace(event, before=before, after="asked to close")])
    return CloseAsked(
        at=by.at,
        trader_id=trader_id,
        account_id=row.account_id,
        positions=positions,
        superseded=superseded,
        booked=BookedUntil.of(closing.desk.account),
    )


class Flatten:
    """Begin, join or cancel the flatten of a scope within `tx`; passes over its accounts carry it on and end it."""

    def __init__(self, tx: Transaction, scope: FlattenScope, by: By) -> None:
        self._tx = tx
        self._scope = scope
        self._by = by

    async def begin(self, afterwards: Afterwards, flatten_id: FlattenId) -> FlattenAsked:
        """Block the entries of the scope and ask for all its closes; one of the same scope under way is joined.

        Raises UnknownTrader or UnknownAccount. What is to stay afterwards is done at once, also when it is joined.
        """
        asked = FlattenAsked(scope=self._scope, afterwards=afterwards)
        for account_id in await self.accounts():
            asked = await self.add(asked, account_id, flatten_id)
        return asked

    async def add(self, asked: FlattenAsked, account_id: AccountId, flatten_id: FlattenId) -> FlattenAsked:
        """Return the flatten with one more account; to ask again under its id does nothing where that part ended."""
        taken = await Closing.of(self._tx, account_id, self._by)
        return await self._account(taken, asked, flatten_id)

    async def cancel(self) -> FlattenCanceled:
        """End the flatten of this scope where it is: what is asked for is closed still, entries are free again.

        Raises NoFlatten where none is under way.
        """
        taken = [await Closing.of(self._tx, one, self._by) for one in await self.accounts()]
        rows = [row for one in taken for row in one.desk.flattens if self._is_same(row)]
        if not rows:
            raise NoFlatten(f"no flatten of {self._scope} is under way")
        ended = {"state": FlattenState.CANCELED, "ended_at": self._by.at}
        accounts = {one.desk.account.account_id: one.desk.account for one in taken}
        for row in rows:
            await self._tx.patch(FlattenRow, (row.account_id, row.flatten_id), **ended)
            await self._tell(accounts[row.account_id], EventKind.FLATTEN_ENDED, FlattenState.CANCELED)
        return FlattenCanceled(parts=tuple(_part_of(row) for row in rows))

    async def accounts(self) -> list[AccountId]:
        """Return the accounts of the scope in the order in which everybody takes them."""
        kind, name = self._scope.kind, self._scope.name
        if kind is ScopeKind.TRADER:
            trader = await self._tx.get(TraderRow, name)
            if trader is None:
                raise UnknownTrader.of(TraderId(name))
            return [trader.account_id]
        rows = await self._tx.find(AccountRow, {}, limit=None)
        if kind is ScopeKind.TENANT:
            return sorted(row.account_id for row in rows)
        if all(row.account_id != name for row in rows):
            raise UnknownAccount(f"there is no account {name!r}; `propdesk status` names them")
        return [AccountId(name)]

    def _is_same(self, row: FlattenRow) -> bool:
        mine = self._scope.name if self._scope.kind is ScopeKind.TRADER else ""
        return row.scope is self._scope.kind and row.trader_id == mine

    async def _account(self, one: Closing, asked: FlattenAsked, flatten_id: FlattenId) -> FlattenAsked:
        account, afterwards = one.desk.account, asked.afterwards
        open_ = [row for row in one.desk.flattens if self._is_same(row)]
        if not open_ and (ended := await self._tx.get(FlattenRow, account.account_id, flatten_id)) is not None:
            return replace(asked, parts=(*asked.parts, _part_of(ended)))
        traders = [row for row in one.desk.traders if self._scope.kind is not ScopeKind.TRADER or self._is_of(row)]
        wanted = {row.trader_id: one.held(row.trader_id) for row in traders}
        superseded = await one.supersede(wanted, entries=True)
        part = open_[0] if open_ else await self._begun(account, afterwards, flatten_id)
        closes = await one.ask(*((row, wanted[row.trader_id]) for row in traders), flatten_id=part.flatten_id)
        positions = (
            replace(c, asked_before=c.asked_before and not is_asked_by(c.intent_id, flatten_id)) for c in closes
        )
        await self._end_unserved(one.desk, part, wanted)
        halts = afterwards is Afterwards.HALT and self._scope.kind is not ScopeKind.TRADER
        stops = afterwards is not Afterwards.STAND_BY and not halts
        return replace(
            asked,
            joined=asked.joined or part.flatten_id != flatten_id,
            parts=(*asked.parts, _part_of(part, BookedUntil.of(account))),
            positions=(*asked.positions, *positions),
            superseded=asked.superseded + superseded,
            stopped=(*asked.stopped, *(await self._stop(one, traders) if stops else ())),
            halted=(*asked.halted, *(await self._halt(account) if halts else ())),
        )

    async def _begun(self, account: AccountRow, afterwards: Afterwards, flatten_id: FlattenId) -> FlattenRow:
        """Begin the account's part; an id is never used again, as a part that has ended keeps it."""
        row = FlattenRow(
            tenant_id=account.tenant_id,
            account_id=account.account_id,
            flatten_id=flatten_id,
            scope=self._scope.kind,
            afterwards=afterwards,
            at=self._by.at,
            actor=self._by.actor,
            reason=self._by.reason,
            trader_id=TraderId(self._scope.name if self._scope.kind is ScopeKind.TRADER else ""),
        )
        await self._tx.insert([row])
        await self._tell(account, EventKind.FLATTEN_BEGUN, FlattenState.OPEN)
        return row

    async def _end_unserved(self, desk: AccountRows, part: FlattenRow, held: Mapping[TraderId, object]) -> None:
        """End a part that no pass would end: no worker serves the account, which has nothing that could be closed."""
        silent = silence_of(desk.account, self._by.at)
        if not silent or any(held.values()) or waited_for(part, desk.orders, held, ()):
            return
        ended = {"state": FlattenState.FLAT, "ended_at": self._by.at}
        await self._tx.patch(FlattenRow, (part.account_id, part.flatten_id), **ended)
        told = f"flat: it holds nothing and has no order; no worker serves it, last time: {silent}"
        await self._tell(desk.account, EventKind.FLATTEN_ENDED, FlattenState.FLAT, f"{told}; {self._by.reason}")

    def _is_of(self, row: TraderRow) -> bool:
        return row.trader_id == self._scope.name

    async def _stop(self, one: Closing, traders: Sequence[TraderRow]) -> list[TraderId]:
        """Stop those that decide; one that is isolated or in error stays so."""
        moved, by = [row for row in traders if row.state in DECIDING], self._by
        schedules = {row.trader_id: row for row in one.desk.schedules}
        event = event_of(one.desk.account, by.at, kind=EventKind.TRADER_STATE, actor=by.actor, reason=by.reason)
        await stop_each(self._tx, moved, schedules, event)
        return [row.trader_id for row in moved]

    async def _halt(self, account: AccountRow) -> list[AccountId]:
        if account.trading_state is TradingState.HALTED:
            return []
        by, halted = self._by, TradingState.HALTED
        await self._tx.patch(AccountRow, (account.account_id,), trading_state=halted, state_reason=by.reason)
        event = event_of(account, by.at, kind=EventKind.TRADING_STATE, actor=by.actor, reason=by.reason)
        await self._tx.insert([replace(event, before=account.trading_state, after=halted)])
        return [account.account_id]

    async def _tell(self, account: AccountRow, kind: EventKind, after: FlattenState, reason: str = "") -> None:
        event = event_of(account, self._by.at, kind=kind, actor=self._by.actor, reason=reason or self._by.reason)
        mine = TraderId(self._scope.name if self._scope.kind is ScopeKind.TRADER else "")
        await self._tx.insert([replace(event, trader_id=mine, before=str(self._scope), after=after)])


def _part_of(row: FlattenRow, booked: BookedUntil | None = None) -> FlattenPart:
    return FlattenPart(account_id=row.account_id, flatten_id=row.flatten_id, at=row.at, booked=booked)


def flatten_id_of(key: ActKey) -> FlattenId:
    """Return the id of the parts that an act begins: the same whenever it is carried on."""
    return FlattenId(f"f-{sha256(key.encode()).hexdigest()[:20]}")
