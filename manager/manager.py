"""Register, start, stop and dismiss traders, close, flatten and halt; each act is one transaction with its event."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import uuid4

from exchanges.clock import Clock
from exchanges.types import Symbol
from manager.config.values import Config
from manager.desk.plan.isolation import Isolation
from manager.errors import RegistrationError, StillBankrupt, UnknownTrader
from manager.roster.acts import Acts, Call, CloseAsked, FlattenAsked, FlattenCanceled, TraderMoved, TraderTaken
from manager.roster.closing import By, Flatten, close, flatten_id_of
from manager.roster.dismissal import Dismissal, Removal
from manager.roster.funding import Funding
from manager.roster.lifecycle import isolate, transition
from manager.roster.registration import RegistrationCheck
from manager.roster.registry import TraderRegistry, again
from manager.roster.schedules import FirstSchedule, spread
from manager.roster.switching import Switching, TradingSet
from manager.roster.sync import ConfigSync, SyncReport
from manager.state.acts import ActKey, FlattenId, FlattenScope
from manager.state.kinds import ActKind, Afterwards, ScopeKind
from manager.state.records import (
    BookRow,
    StateCode,
    TenantId,
    TraderRow,
    TraderState,
    TradingState,
)
from manager.state.store import Store, Transaction
from manager.state.switches import TradingScope
from manager.views.definitions import version_of
from traders.errors import IllegalMove
from traders.spec import TraderId, TraderSpec

_HOLDER = "manager"


class Manager:
    """Run the lives of traders; it trades nothing, which is the account's round's to do."""

    def __init__(self, store: Store, clock: Clock, check: RegistrationCheck, schedule: FirstSchedule = spread) -> None:
        self._store = store
        self._clock = clock
        self._registry = TraderRegistry(store, clock, check, schedule)
        self._sync = ConfigSync(store, clock, check, schedule)
        self._acts = Acts(store, clock)
        self._switching = Switching(store, clock)

    async def register(self, tenant: TenantId, spec: TraderSpec, *, actor: str, reason: str = "") -> TraderRow:
        """Take a trader on, running when it is to start by itself; raise UnknownAccount or RegistrationError."""
        [row] = await self._registry.register(tenant, [spec], actor=actor, reason=reason)
        return row

    async def register_all(
        self, tenant: TenantId, specs: Sequence[TraderSpec], *, actor: str, reason: str = ""
    ) -> list[TraderRow]:
        """Take all of these traders on, or none if anything is wrong with one of them. Raises as `register`."""
        return await self._registry.register(tenant, specs, actor=actor, reason=reason)

    async def take_on(
        self, tenant: TenantId, spec: TraderSpec, *, actor: str, reason: str = "", key: ActKey | None = None
    ) -> TraderTaken:
        """Take a trader on once for each key. Raises as `register`, and ActKeyRefused."""
        arguments = {"definition": version_of(spec), "reason": reason}
        call = Call(act=ActKind.REGISTER, arguments=arguments, actor=actor, key=key)

        async def attempt() -> TraderTaken:
            take_on = await self._registry.prepared(tenant, [spec], actor=actor, reason=reason)

            async def act(tx: Transaction) -> TraderTaken:
                [row] = await take_on(tx)
                return TraderTaken.of(row)

            return await self._acts.once(tenant, call, TraderTaken, act, first=True)

        try:
            before = await self._acts.before(tenant, call, TraderTaken)
            return await again(attempt, [spec.id]) if before is None else before
        except RegistrationError:
            # A twin of this call may have taken it on since.
            before = await self._acts.before(tenant, call, TraderTaken)
            if before is None:
                raise
            return before

    async def update(
        self,
        tenant: TenantId,
        trader_id: TraderId,
        given: Mapping[str, Any],
        *,
        actor: str,
        reason: str = "",
        expected: str | None = None,
    ) -> TraderTaken:
        """Change what may change of a trader, by keys of the config; without an `expected` version whatever it is.

        Raises UnknownTrader, ConfigError, RegistrationError or VersionMoved.
        """
        row = await self._registry.update(tenant, trader_id, given, actor=actor, reason=reason, expected=expected)
        return TraderTaken.of(row)

    async def sync(
        self, config: Config, *, actor: str = "config", reason: str = "in the config", rivals: bool = False
    ) -> SyncReport:
        """Bring accounts and config-managed traders in line with `config`, or change nothing and raise.

        `rivals` tells that a worker is at work already: then another config is refused with OtherDeskRuns.
        """
        return await self._sync.sync(config, actor=actor, reason=reason, rivals=rivals)

    async def start(
        self, tenant: TenantId, trader_id: TraderId, *, actor: str, reason: str = "", key: ActKey | None = None
    ) -> TraderMoved:
        """Let a stopped trader decide; raise UnknownTrader, IllegalMove, RegistrationError if no config has it.

        A bankrupt one raises StillBankrupt: it must be funded first.
        """

        async def act(tx: Transaction) -> TraderMoved:
            row = await tx.get(TraderRow, trader_id)
            if row is not None and row.state_code is StateCode.REMOVED_FROM_CONFIG:
                raise RegistrationError(
                    f"trader {trader_id} is no longer in the config; put it back there and start the desk again"
                )
            book = await tx.get(BookRow, row.account_id, trader_id) if row is not None else None
            if book is not None and book.bankrupt_at is not None:
                raise StillBankrupt(
                    f"trader {trader_id} is bankrupt since {book.bankrupt_at:%Y-%m-%d %H:%M} UTC and needs capital: "
                    f"`propdesk traders fund {trader_id} AMOUNT --reason TEXT`"
                )
            at = self._clock.now()
            moved = await transition(tx, trader_id, TraderState.RUNNING, actor=actor, reason=reason, at=at)
            return TraderMoved.of(moved)

        call = Call(act=ActKind.START, arguments={"trader": trader_id, "reason": reason}, actor=actor, key=key)
        return await self._acts.once(tenant, call, TraderMoved, act)

    async def pause(
        self, tenant: TenantId, trader_id: TraderId, *, actor: str, reason: str = "", key: ActKey | None = None
    ) -> TraderMoved:
        """Stop a trader's decisions and entries; its positions stay, protected. Raises as `start`."""
        call = Call(act=ActKind.PAUSE, arguments={"trader": trader_id, "reason": reason}, actor=actor, key=key)
        return await self._move(tenant, trader_id, TraderState.PAUSED, call, reason)

    async def resume(
        self, tenant: TenantId, trader_id: TraderId, *, actor: str, reason: str = "", key: ActKey | None = None
    ) -> TraderMoved:
        """Let a paused trader decide again. Raises as `start`."""
        call = Call(act=ActKind.RESUME, arguments={"trader": trader_id, "reason": reason}, actor=actor, key=key)
        return await self._move(tenant, trader_id, TraderState.RUNNING, call, reason)

    async def stop(
        self, tenant: TenantId, trader_id: TraderId, *, actor: str, reason: str = "", key: ActKey | None = None
    ) -> TraderMoved:
        """Stop a trader; its free capital is withdrawn, its positions stay, protected. Raises as `start`."""
        call = Call(act=ActKind.STOP, arguments={"trader": trader_id, "reason": reason}, actor=actor, key=key)
        return await self._move(tenant, trader_id, TraderState.STOPPED, call, reason)

    async def isolate(
        self, tenant: TenantId, trader_id: TraderId, *, actor: str, reason: str, key: ActKey | None = None
    ) -> TraderMoved:
        """Block a trader's entries until it is stopped and started anew. Raises as `start`, and ActKeyRefused."""
        isolation = Isolation(trader_id=trader_id, code=StateCode.OPERATOR, reason=reason)

        async def act(tx: Transaction) -> TraderMoved:
            row = await tx.get(TraderRow, trader_id)
            if row is not None and row.state is TraderState.ISOLATED:
                raise IllegalMove(f"trader {trader_id} is isolated already ({row.state_code}: {row.state_reason})")
            return TraderMoved.of(await isolate(tx, isolation, actor=actor, at=self._clock.now()))

        arguments = {"trader": trader_id, "reason": reason}
        call = Call(act=ActKind.ISOLATE, arguments=arguments, actor=actor, key=key)
        return await self._acts.once(tenant, call, TraderMoved, act)

    async def fund(
        self,
        tenant: TenantId,
        trader_id: TraderId,
        amount: Decimal,
        *,
        actor: str,
        reason: str,
        key: ActKey | None = None,
    ) -> TraderMoved:
        """Recapitalise a bankrupt trader from what its account has free; it is stopped then, with a new curve.

        Raises UnknownTrader, FundingRefused with the largest amount, ActKeyRefused.
        """

        async def act(tx: Transaction) -> TraderMoved:
            row = await tx.get(TraderRow, trader_id)
            if row is None:
                raise UnknownTrader.of(trader_id)
            token = await tx.acquire(row.account_id, _HOLDER)
            funding = Funding(tx, await tx.account_rows(row.account_id), row, self._clock.now())
            return TraderMoved.of(await funding.fund(amount, f"fund/{token}", actor=actor, reason=reason), amount)

        arguments = {"trader": trader_id, "amount": str(amount.normalize()), "reason": reason}
        call = Call(act=ActKind.FUND, arguments=arguments, actor=actor, key=key)
        return await self._acts.once(tenant, call, TraderMoved, act)

    async def close(
        self,
        tenant: TenantId,
        trader_id: TraderId,
        symbol: Symbol | None,
        *,
        actor: str,
        reason: str,
        key: ActKey | None = None,
    ) -> CloseAsked:
        """Ask for the close of a trader's position, of all without a symbol, whatever its state and its account's.

        The account's next round closes; until then the position takes no entry. Raises UnknownTrader, NothingHeld,
        ActKeyRefused.
        """

        async def act(tx: Transaction) -> CloseAsked:
            return await close(tx, trader_id, symbol, By(actor=actor, reason=reason, at=self._clock.now()))

        arguments = {"trader": trader_id, "symbol": symbol or "", "reason": reason}
        call = Call(act=ActKind.CLOSE, arguments=arguments, actor=actor, key=key)
        return await self._acts.once(tenant, call, CloseAsked, act)

    async def flatten(
        self,
        tenant: TenantId,
        scope: FlattenScope,
        afterwards: Afterwards,
        *,
        actor: str,
        reason: str,
        key: ActKey | None = None,
    ) -> FlattenAsked:
        """Block the entries of a scope and close all that its traders hold, never EXTERNAL, until it is flat.

        One of the same scope under way is joined. Raises UnknownTrader, UnknownAccount, ActKeyRefused. The accounts of
        a tenant are taken one after the other, each for the time of its own transaction only.
        """
        by = By(actor=actor, reason=reason, at=self._clock.now())

        async def act(tx: Transaction) -> FlattenAsked:
            return await Flatten(tx, scope, by).begin(afterwards, FlattenId(f"f-{uuid4().hex[:12]}"))

        async def each(own: ActKey) -> FlattenAsked:
            asked, flatten_id = FlattenAsked(scope=scope, afterwards=afterwards), flatten_id_of(own)
            async with self._store.transaction(tenant) as tx:
                accounts = await Flatten(tx, scope, by).accounts()
            for account_id in accounts:
                async with self._store.transaction(tenant) as tx:
                    asked = await Flatten(tx, scope, by).add(asked, account_id, flatten_id)
            return asked

        arguments = {"scope": scope.kind, "name": scope.name, "afterwards": afterwards, "reason": reason}
        call = Call(act=ActKind.FLATTEN, arguments=arguments, actor=actor, key=key)
        if scope.kind is ScopeKind.TENANT:
            return await self._acts.in_steps(tenant, call, FlattenAsked, each)
        return await self._acts.once(tenant, call, FlattenAsked, act)

    async def cancel_flatten(
        self, tenant: TenantId, scope: FlattenScope, *, actor: str, reason: str, key: ActKey | None = None
    ) -> FlattenCanceled:
        """End the flatten of a scope before it is flat; what it has closed or asked for is not undone.

        Raises NoFlatten where none is under way, and as `flatten`.
        """

        async def act(tx: Transaction) -> FlattenCanceled:
            return await Flatten(tx, scope, By(actor=actor, reason=reason, at=self._clock.now())).cancel()

        arguments = {"scope": scope.kind, "name": scope.name, "reason": reason}
        call = Call(act=ActKind.END_FLATTEN, arguments=arguments, actor=actor, key=key)
        return await self._acts.once(tenant, call, FlattenCanceled, act)

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
        self, tenant: TenantId, scope: TradingScope, state: TradingState, *, actor: str, reason: str
    ) -> TradingSet:
        """Halt a scope, let it only reduce, or resume it; entries obey from the next round on, the strictest wins.

        Nothing blocks a reduce, whatever the state. A scope that is in that state already keeps its reason, and
        nothing is recorded. Raises as `Switching.set`.
        """
        return await self._switching.set(tenant, scope, state, actor=actor, reason=reason)

    async def _move(
        self, tenant: TenantId, trader_id: TraderId, to: TraderState, call: Call, reason: str
    ) -> TraderMoved:
        async def act(tx: Transaction) -> TraderMoved:
            at = self._clock.now()
            return TraderMoved.of(await transition(tx, trader_id, to, actor=call.actor, reason=reason, at=at))

        return await self._acts.once(tenant, call, TraderMoved, act)
