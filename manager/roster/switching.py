"""Halt a scope, let it only reduce, or resume it: one transaction with its event; other scopes keep their states."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import uuid4

from exchanges.clock import Clock
from manager.errors import StillBankrupt, UnknownAccount, UnknownTenant, UnknownTrader
from manager.roster.lifecycle import event_of
from manager.state.kinds import EventKind, SwitchScope, TradingState
from manager.state.records import AccountId, AccountRow, BookRow, EventRow, TenantId, TraderRow
from manager.state.store import Store, Transaction
from manager.state.switches import Switch, Switched, TradingScope, of_account, of_trader
from traders.spec import TraderId


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingSet:
    """Say how far a scope may trade now, and before; one that was so already keeps its reason."""

    now: Switched
    before: TradingState

    @property
    def is_changed(self) -> bool:
        """Tell whether anything was done."""
        return self.now.state is not self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Say how far a scope is to trade, on whose word, why and when."""

    state: TradingState
    actor: str
    reason: str
    at: datetime

    @property
    def switch(self) -> Switch:
        """Return it as the service and a tenant keep it."""
        return Switch(state=self.state, reason=self.reason, actor=self.actor, at=self.at)


class Switching:
    """Say of a scope how far it may trade; what is already so is left as it is, and nothing is recorded."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def set(
        self, tenant: TenantId, scope: TradingScope, state: TradingState, *, actor: str, reason: str
    ) -> TradingSet:
        """Switch a scope; the event of the whole service is of the tenant in whose name it is done.

        Raises UnknownTenant, UnknownAccount, UnknownTrader, and StillBankrupt for a halted account that is to be
        resumed with equity at or below 0.
        """
        wanted = Wanted(state=state, actor=actor, reason=reason, at=self._clock.now())
        if scope.kind is SwitchScope.SERVICE:
            return await self._service(tenant, wanted)
        async with self._store.transaction(tenant) as tx:
            match scope.kind:
                case SwitchScope.TRADER:
                    return await _trader(tx, TraderId(scope.name), wanted)
                case SwitchScope.ACCOUNT:
                    return await _account(tx, AccountId(scope.name), wanted)
            return await _tenant(tx, tenant, wanted)

    async def _service(self, tenant: TenantId, wanted: Wanted) -> TradingSet:
        async with self._store.service() as service:
            if tenant not in await service.tenants():
                raise _unknown(tenant)
            before = await service.switch(wanted.switch, _event(tenant, SwitchScope.SERVICE, wanted))
        async with self._store.transaction(tenant) as tx:
            now = (await tx.switches()).over(tenant)[0]
        return TradingSet(now=now, before=now.state if before is None else before.state)


async def _tenant(tx: Transaction, tenant: TenantId, wanted: Wanted) -> TradingSet:
    before = (await tx.switches()).over(tenant)[1]
    if before.state is wanted.state:
        return TradingSet(now=before, before=before.state)
    try:
        await tx.switch(wanted.switch)
    except KeyError:
        raise _unknown(tenant) from None
    await tx.insert([replace(_event(tenant, SwitchScope.TENANT, wanted), before=before.state)])
    return TradingSet(now=replace(before, state=wanted.state, reason=wanted.reason), before=before.state)


async def _account(tx: Transaction, account_id: AccountId, wanted: Wanted) -> TradingSet:
    account = await tx.get(AccountRow, account_id)
    if account is None:
        raise UnknownAccount(f"there is no account {account_id!r}; `propdesk status` names them")
    before = account.trading_state
    if before is wanted.state:
        # A resume that is under way and not seen yet must not outlive this: whoever is told "halted" is.
        if wanted.state is not TradingState.ACTIVE:
            await tx.patch(AccountRow, (account_id,), trading_state=wanted.state)
        return TradingSet(now=of_account(account), before=before)
    if wanted.state is TradingState.ACTIVE and before is TradingState.HALTED:
        await _refuse_bankrupt(tx, account)
    await tx.patch(AccountRow, (account_id,), trading_state=wanted.state, state_reason=wanted.reason)
    await _tell(tx, account, before, wanted)
    return TradingSet(now=replace(of_account(account), state=wanted.state, reason=wanted.reason), before=before)


async def _trader(tx: Transaction, trader_id: TraderId, wanted: Wanted) -> TradingSet:
    trader = await tx.get(TraderRow, trader_id)
    if trader is None:
        raise UnknownTrader.of(trader_id)
    before = trader.trading_state
    if before is wanted.state:
        if wanted.state is not TradingState.ACTIVE:
            await tx.patch(TraderRow, (trader_id,), trading_state=wanted.state)
        return TradingSet(now=of_trader(trader), before=before)
    await tx.patch(TraderRow, (trader_id,), trading_state=wanted.state, trading_reason=wanted.reason)
    await _tell(tx, trader, before, wanted)
    return TradingSet(now=replace(of_trader(trader), state=wanted.state, reason=wanted.reason), before=before)


async def _tell(tx: Transaction, row: AccountRow | TraderRow, before: TradingState, wanted: Wanted) -> None:
    event = event_of(row, wanted.at, kind=EventKind.TRADING_STATE, actor=wanted.actor, reason=wanted.reason)
    await tx.insert([replace(event, before=before, after=wanted.state)])


async def _refuse_bankrupt(tx: Transaction, account: AccountRow) -> None:
    """Raise StillBankrupt for an account that had money and has none; an account before its first is none."""
    if account.updated_at is None or account.equity > 0:
        return
    books = await tx.find(BookRow, {"account_id": account.account_id}, limit=None)
    if account.equity < 0 or any(book.cash or book.open_positions for book in books):
        raise StillBankrupt(
            f"account {account.account_id} stays halted: its equity was {account.equity} USD at "
            f"{account.updated_at:%Y-%m-%d %H:%M:%S} UTC; deposit at the venue first, and let a worker see it"
        )


def _event(tenant: TenantId, scope: SwitchScope, wanted: Wanted) -> EventRow:
    kind = EventKind.SERVICE_STATE if scope is SwitchScope.SERVICE else EventKind.TENANT_STATE
    return EventRow(
        tenant_id=tenant,
        event_id=f"{scope}/{wanted.at.isoformat()}/{kind}/{uuid4().hex[:8]}",
        at=wanted.at,
        actor=wanted.actor,
        kind=kind,
        account_id=AccountId(""),
        after=wanted.state,
        reason=wanted.reason,
    )


def _unknown(tenant: TenantId) -> UnknownTenant:
    return UnknownTenant(f"there is no tenant {tenant!r}; a config makes one")
