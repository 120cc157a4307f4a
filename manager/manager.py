"""Register, start, pause, stop and dismiss traders, and halt accounts; each act is one transaction with its event."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import uuid4

from exchanges.clock import Clock, to_ms
from executor.contract import Action, Decision, Outcome
from manager.config.values import Config
from manager.desk.incidents.safe_mode import end_alert
from manager.errors import NotFlat, RegistrationError, UnknownAccount, UnknownTrader
from manager.roster.lifecycle import REMOVED_FROM_CONFIG, event_of, transition
from manager.roster.registration import RegistrationCheck
from manager.roster.registry import SyncReport, TraderChanges, TraderRegistry
from manager.state.kinds import EventKind
from manager.state.records import (
    UNALLOCATED,
    ZERO,
    AccountId,
    AccountRow,
    BookRow,
    DecisionId,
    DecisionRow,
    EventRow,
    IntentId,
    IntentRow,
    IntentStatus,
    LedgerKind,
    LedgerRow,
    PositionRow,
    TenantId,
    TraderRow,
    TraderState,
    TradingState,
)
from manager.state.store import AccountRows, Store, Transaction
from traders.spec import TraderId, TraderSpec

_HOLDER = "manager"
_DECIDING = frozenset({TraderState.RUNNING, TraderState.PAUSED})


class Removal(StrEnum):
    """Name how far a dismissal has come: CLOSING waits until the positions are closed, then it is asked for again."""

    REMOVED = "removed"
    CLOSING = "closing"


class Manager:
    """Run the lives of traders; it trades nothing, which is the account's round's to do."""

    def __init__(self, store: Store, clock: Clock, check: RegistrationCheck) -> None:
        self._store = store
        self._clock = clock
        self._registry = TraderRegistry(store, clock, check)

    async def register(self, tenant: TenantId, spec: TraderSpec, *, actor: str, reason: str = "") -> TraderRow:
        """Take a trader on, running when it is to start by itself; raise UnknownAccount or RegistrationError."""
        [row] = await self._registry.register(tenant, [spec], actor=actor, reason=reason)
        return row

    async def register_all(
        self, tenant: TenantId, specs: Sequence[TraderSpec], *, actor: str, reason: str = ""
    ) -> list[TraderRow]:
        """Take all of these traders on, or none if anything is wrong with one of them. Raises as `register`."""
        return await self._registry.register(tenant, specs, actor=actor, reason=reason)

    async def update(
        self, tenant: TenantId, trader_id: TraderId, changes: TraderChanges, *, actor: str, reason: str = ""
    ) -> TraderRow:
        """Change what may change of a trader; raise UnknownTrader or RegistrationError."""
        return await self._registry.update(tenant, trader_id, changes, actor=actor, reason=reason)

    async def sync(self, config: Config, *, actor: str = "config", rivals: bool = False) -> SyncReport:
        """Bring accounts and config-managed traders in line with `config`, or change nothing and raise.

        `rivals` tells that a worker is at work already: then another config is refused with OtherDeskRuns.
        """
        return await self._registry.sync(config, actor=actor, rivals=rivals)

    async def start(self, tenant: TenantId, trader_id: TraderId, *, actor: str, reason: str = "") -> TraderRow:
        """Let a stopped trader decide; raise UnknownTrader, IllegalMove, RegistrationError if no config has it."""
        async with self._store.transaction(tenant) as tx:
            row = await tx.get(TraderRow, trader_id)
            if row is not None and row.state_reason == REMOVED_FROM_CONFIG:
                raise RegistrationError(
                    f"trader {trader_id} is no longer in the config; put it back there and start the desk again"
                )
            at = self._clock.now()
            return await transition(tx, trader_id, TraderState.RUNNING, actor=actor, reason=reason, at=at)

    async def pause(self, tenant: TenantId, trader_id: TraderId, *, actor: str, reason: str = "") -> TraderRow:
        """Stop a trader's decisions and entries; its positions stay, protected. Raises as `start`."""
        return await self._move(tenant, trader_id, TraderState.PAUSED, actor=actor, reason=reason)

    async def resume(self, tenant: TenantId, trader_id: TraderId, *, actor: str, reason: str = "") -> TraderRow:
        """Let a paused trader decide again. Raises as `start`."""
        return await self._move(tenant, trader_id, TraderState.RUNNING, actor=actor, reason=reason)

    async def stop(self, tenant: TenantId, trader_id: TraderId, *, actor: str, reason: str = "") -> TraderRow:
        """Stop a trader; its free capital is released, its positions stay, protected. Raises as `start`."""
        return await self._move(tenant, trader_id, TraderState.STOPPED, actor=actor, reason=reason)

    async def isolate(self, tenant: TenantId, trader_id: TraderId, *, actor: str, reason: str) -> TraderRow:
        """Block a trader's entries until it is stopped and started anew. Raises as `start`."""
        return await self._move(tenant, trader_id, TraderState.ISOLATED, actor=actor, reason=reason)

    async def unregister(
        self, tenant: TenantId, trader_id: TraderId, *, actor: str, reason: str = "", force: bool = False
    ) -> Removal:
        """Dismiss a flat trader: its money goes to UNALLOCATED, its books and history stay.

        One that holds positions or has orders at the venue raises NotFlat. With `force` it is stopped and its
        positions are given to the next round to close; it stays, with all its rules of protection, until it is flat:
        ask again then. So no position is ever without an owner.
        """
        async with self._store.transaction(tenant) as tx:
            row = await _trader(tx, trader_id)
            token = await tx.acquire(row.account_id, _HOLDER)
            desk = await tx.account_rows(row.account_id)
            at = self._clock.now()
            held = _held(desk, trader_id)
            if not held and not _has_orders(desk, trader_id):
                await _supersede(tx, desk, trader_id)
                await _release_money(tx, desk, trader_id, f"unregister/{token}", at)
                for schedule in desk.schedules:
                    if schedule.trader_id == trader_id:
                        await end_alert(tx, schedule, at)
                await tx.delete(TraderRow, [(trader_id,)])
                await tx.insert([event_of(row, at, kind=EventKind.TRADER_REMOVED, actor=actor, reason=reason)])
                return Removal.REMOVED
            if not force:
                symbols = ", ".join(sorted(position.symbol for position in held)) or "nothing, but has live orders"
                raise NotFlat(f"trader {trader_id} holds {symbols}; wait until it is flat, or pass --force to close it")
            if row.state in _DECIDING:
                await transition(tx, trader_id, TraderState.STOPPED, actor=actor, reason=reason, at=at)
            await _supersede(tx, desk, trader_id)
            await tx.insert(_closing(row, held, at, actor=actor, reason=reason))
            return Removal.CLOSING

    async def set_trading(
        self, tenant: TenantId, account_id: AccountId, state: TradingState, *, actor: str, reason: str
    ) -> AccountRow:
        """Halt an account, let it only reduce, or resume it; entries obey from its next round on.

        Raises UnknownAccount. Nothing blocks a reduce, whatever the state. To resume an active account records nothing.
        """
        async with self._store.transaction(tenant) as tx:
            account = await tx.get(AccountRow, account_id)
            if account is None:
                raise UnknownAccount(f"there is no account {account_id!r}; `propdesk status` names them")
            if account.trading_state is state is TradingState.ACTIVE:
                return account
            await tx.patch(AccountRow, (account_id,), trading_state=state, state_reason=reason)
            at = self._clock.now()
            event = EventRow(
                tenant_id=tenant,
                event_id=f"{account_id}/{at.isoformat()}/{EventKind.TRADING_STATE}/{uuid4().hex[:8]}",
                at=at,
                actor=actor,
                kind=EventKind.TRADING_STATE,
                account_id=account_id,
                before=account.trading_state,
                after=state,
                reason=reason,
            )
            await tx.insert([event])
            return replace(account, trading_state=state, state_reason=reason)

    async def _move(
        self, tenant: TenantId, trader_id: TraderId, to: TraderState, *, actor: str, reason: str
    ) -> TraderRow:
        async with self._store.transaction(tenant) as tx:
            return await transition(tx, trader_id, to, actor=actor, reason=reason, at=self._clock.now())


async def _trader(tx: Transaction, trader_id: TraderId) -> TraderRow:
    row = await tx.get(TraderRow, trader_id)
    if row is None:
        raise UnknownTrader(f"there is no trader {trader_id!r}; `propdesk traders list` names them")
    return row


def _held(desk: AccountRows, trader_id: TraderId) -> list[PositionRow]:
    return [position for position in desk.positions if position.trader_id == trader_id]


def _has_orders(desk: AccountRows, trader_id: TraderId) -> bool:
    return any(share.trader_id == trader_id for order in desk.orders for share in order.shares)


async def _supersede(tx: Transaction, desk: AccountRows, trader_id: TraderId) -> None:
    for intent in desk.intents:
        if intent.trader_id == trader_id:
            await tx.patch(IntentRow, (intent.intent_id,), status=IntentStatus.SUPERSEDED)


async def _release_money(tx: Transaction, desk: AccountRows, trader_id: TraderId, ref: str, at: datetime) -> None:
    books = {book.trader_id: book for book in desk.books}
    own, common = books.get(trader_id), books.get(UNALLOCATED)
    if own is None or common is None:
        return
    cash = own.capital + own.realized - own.fees + own.funding
    await tx.patch(
        BookRow, (own.account_id, trader_id), capital=own.capital - cash, allocated=ZERO, sharpe_at_rebalance=None
    )
    if not cash:
        return
    await tx.patch(BookRow, (own.account_id, UNALLOCATED), capital=common.capital + cash)
    await tx.insert([_posting(own, ref, trader_id, -cash, at), _posting(own, ref, UNALLOCATED, cash, at)])


def _posting(book: BookRow, ref: str, trader_id: TraderId, amount: Decimal, at: datetime) -> LedgerRow:
    return LedgerRow(
        tenant_id=book.tenant_id,
        account_id=book.account_id,
        ref=ref,
        trader_id=trader_id,
        kind=LedgerKind.REBALANCE,
        amount=amount,
        at=at,
    )


def _closing(
    row: TraderRow, held: Sequence[PositionRow], at: datetime, *, actor: str, reason: str
) -> list[DecisionRow | IntentRow]:
    decision_id = DecisionId(f"{row.trader_id}@{to_ms(at)}/{actor}")
    closes = tuple(
        Decision(
            symbol=position.symbol,
            action=Action.CLOSE_LONG if position.quantity > 0 else Action.CLOSE_SHORT,
            reasoning=reason,
        )
        for position in held
    )
    decision = DecisionRow(
        tenant_id=row.tenant_id,
        decision_id=decision_id,
        trader_id=row.trader_id,
        account_id=row.account_id,
        due_at=at,
        decided_at=at,
        outcome=Outcome.DECIDED,
        decisions=closes,
        model=f"operator:{actor}",
        reasoning=reason,
    )
    intents = [
        IntentRow(
            tenant_id=row.tenant_id,
            intent_id=IntentId(f"{decision_id}#{number}"),
            decision_id=decision_id,
            account_id=row.account_id,
            trader_id=row.trader_id,
            decided_at=at,
            decision=close,
        )
        for number, close in enumerate(closes)
    ]
    return [decision, *intents]
