"""Register, start, pause, stop and dismiss traders, and halt accounts; each act is one transaction with its event."""

from collections.abc import Sequence
from dataclasses import replace

from exchanges.clock import Clock
from manager.config.values import Config
from manager.errors import RegistrationError, UnknownAccount, UnknownTrader
from manager.roster.dismissal import Dismissal, Removal
from manager.roster.lifecycle import event_of, transition
from manager.roster.registration import RegistrationCheck
from manager.roster.registry import TraderChanges, TraderRegistry
from manager.roster.schedules import FirstSchedule, spread
from manager.roster.sync import ConfigSync, SyncReport
from manager.state.kinds import EventKind
from manager.state.records import AccountId, AccountRow, StateCode, TenantId, TraderRow, TraderState, TradingState
from manager.state.store import Store
from traders.spec import TraderId, TraderSpec

_HOLDER = "manager"


class Manager:
    """Run the lives of traders; it trades nothing, which is the account's round's to do."""

    def __init__(self, store: Store, clock: Clock, check: RegistrationCheck, schedule: FirstSchedule = spread) -> None:
        self._store = store
        self._clock = clock
        self._registry = TraderRegistry(store, clock, check, schedule)
        self._sync = ConfigSync(store, clock, check, schedule)

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

    async def sync(
        self, config: Config, *, actor: str = "config", reason: str = "in the config", rivals: bool = False
    ) -> SyncReport:
        """Bring accounts and config-managed traders in line with `config`, or change nothing and raise.

        `rivals` tells that a worker is at work already: then another config is refused with OtherDeskRuns.
        """
        return await self._sync.sync(config, actor=actor, reason=reason, rivals=rivals)

    async def start(self, tenant: TenantId, trader_id: TraderId, *, actor: str, reason: str = "") -> TraderRow:
        """Let a stopped trader decide; raise UnknownTrader, IllegalMove, RegistrationError if no config has it."""
        async with self._store.transaction(tenant) as tx:
            row = await tx.get(TraderRow, trader_id)
            if row is not None and row.state_code is StateCode.REMOVED_FROM_CONFIG:
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
        """Stop a trader; its free capital is withdrawn, its positions stay, protected. Raises as `start`."""
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
            row = await tx.get(TraderRow, trader_id)
            if row is None:
                raise UnknownTrader.of(trader_id)
            token = await tx.acquire(row.account_id, _HOLDER)
            dismissal = Dismissal(tx, await tx.account_rows(row.account_id), row, self._clock.now())
            return await dismissal.dismiss(f"unregister/{token}", actor=actor, reason=reason, force=force)

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
            event = event_of(account, self._clock.now(), kind=EventKind.TRADING_STATE, actor=actor, reason=reason)
            await tx.insert([replace(event, before=account.trading_state, after=state)])
            return replace(account, trading_state=state, state_reason=reason)

    async def _move(
        self, tenant: TenantId, trader_id: TraderId, to: TraderState, *, actor: str, reason: str
    ) -> TraderRow:
        async with self._store.transaction(tenant) as tx:
            return await transition(tx, trader_id, to, actor=actor, reason=reason, at=self._clock.now())
