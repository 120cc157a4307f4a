"""An operator's acts, each done once for each key: its result is stored with its effect, in one transaction."""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Final, TypeVar
from uuid import uuid4

from pydantic import TypeAdapter

from exchanges.clock import Clock
from exchanges.types import Symbol
from manager.errors import ActKeyRefused, UnknownAccount
from manager.state.acts import ActKey, ActRow, FlattenId, FlattenScope
from manager.state.errors import DuplicateRow
from manager.state.kinds import ActKind, Afterwards, StateCode
from manager.state.records import AccountId, AccountRow, IntentId, TenantId, TraderRow, TraderState
from manager.state.store import Store, Transaction
from manager.views.closed import BookedUntil, CloseWatch, Opened
from manager.views.definitions import version_of
from traders.spec import TraderId

_LONGEST_KEY: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """Say when and by whom an act was done whose key is used again."""

    at: datetime
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActResult:
    """Say what an act led to; `repeated_of` tells that it did not act, as its key was used before."""

    repeated_of: Earlier | None = None


R = TypeVar("R", bound=ActResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraderMoved(ActResult):
    """Say how a trader stands after it was isolated or funded; `amount_usd` is what it was given."""

    trader_id: TraderId
    account_id: AccountId
    state: TraderState
    state_code: StateCode
    state_reason: str
    amount_usd: Decimal | None = None

    @classmethod
    def of(cls, row: TraderRow, amount_usd: Decimal | None = None) -> "TraderMoved":
        """Return how the trader of a row stands."""
        return cls(
            trader_id=row.trader_id,
            account_id=row.account_id,
            state=row.state,
            state_code=row.state_code,
            state_reason=row.state_reason,
            amount_usd=amount_usd,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TraderTaken(ActResult):
    """Say how a trader stands after it was taken on or changed; `version` is of its definition."""

    trader_id: TraderId
    account_id: AccountId
    state: TraderState
    version: str

    @classmethod
    def of(cls, row: TraderRow) -> "TraderTaken":
        """Return how the trader of a row stands."""
        return cls(trader_id=row.trader_id, account_id=row.account_id, state=row.state, version=version_of(row.spec))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosingPosition:
    """Hold one position that is to be closed, its signed quantity then, and the intent that asks for it.

    One that an operator had asked for before has that older intent: nothing was asked again. `opened_at` is the
    position's, None for what is only under way.
    """

    account_id: AccountId
    trader_id: TraderId
    symbol: Symbol
    quantity: Decimal
    intent_id: IntentId
    asked_before: bool = False
    opened_at: datetime | None = None

    @property
    def opened(self) -> Opened:
        """Return the name of the position until it is flat."""
        return Opened(self.trader_id, self.symbol, self.opened_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseAsked(ActResult):
    """Say what a close asked for and when, and how many of the trader's own waiting intents it replaced.

    `booked` is the newest fill that was booked then.
    """

    at: datetime
    trader_id: TraderId
    account_id: AccountId
    positions: tuple[ClosingPosition, ...]
    superseded: int = 0
    booked: BookedUntil | None = None

    @property
    def watches(self) -> tuple[CloseWatch, ...]:
        """Return what to look at until it is done."""
        watch = CloseWatch(account_id=self.account_id, since=self.at, booked=self.booked)
        return (_watching(watch, self.positions),)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlattenPart:
    """Name one account's part of a flatten, begun `at`; one that was under way before has its own older id.

    `booked` is the newest fill that was booked when it was asked for.
    """

    account_id: AccountId
    flatten_id: FlattenId
    at: datetime
    booked: BookedUntil | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlattenAsked(ActResult):
    """Say what a flatten began, or what it joined; `stopped` and `halted` are those that it moved.

    `joined` tells that a part of it was under way before.
    """

    scope: FlattenScope
    afterwards: Afterwards
    joined: bool = False
    parts: tuple[FlattenPart, ...] = ()
    positions: tuple[ClosingPosition, ...] = ()
    superseded: int = 0
    stopped: tuple[TraderId, ...] = ()
    halted: tuple[AccountId, ...] = ()

    @property
    def watches(self) -> tuple[CloseWatch, ...]:
        """Return what to look at until it is done, one for each part."""
        mine: dict[AccountId, list[ClosingPosition]] = {}
        for one in self.positions:
            mine.setdefault(one.account_id, []).append(one)
        watches = (
            CloseWatch(account_id=one.account_id, since=one.at, booked=one.booked, flatten_id=one.flatten_id)
            for one in self.parts
        )
        return tuple(_watching(watch, mine.get(watch.account_id, ())) for watch in watches)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlattenCanceled(ActResult):
    """Say which parts of a flatten an operator ended before its scope was flat."""

    parts: tuple[FlattenPart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Say which act is asked for, with which arguments, by whom, and under which key; without one it gets its own."""

    act: ActKind
    arguments: Mapping[str, str]
    actor: str
    key: ActKey | None = None

    @property
    def digest(self) -> str:
        """Return the hash of what is asked for; who asks is not in it."""
        return sha256(json.dumps([self.act, dict(self.arguments)], sort_keys=True).encode()).hexdigest()


class Acts:
    """Do acts once: the same key with the same arguments gets the stored result, whoever calls and however often."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def once(
        self,
        tenant: TenantId,
        call: Call,
        result: type[R],
        effect: Callable[[Transaction], Awaitable[R]],
        *,
        first: bool = False,
    ) -> R:
        """Return what `effect` makes of a transaction, which also stores it, or what it made of an earlier one.

        The latter names that one in `repeated_of`. With `first` it may be the first act of a tenant, which has no
        account before it. Raises UnknownAccount for a tenant without any, ActKeyRefused for a key that is none or
        stands for something else. What the effect raises is not stored: the key may be used again.
        """
        key = ActKey(uuid4().hex) if call.key is None else _checked(call.key)
        stored: ActRow | None
        try:
            async with self._store.transaction(tenant) as tx:
                stored = await tx.get(ActRow, key)
                if stored is None:
                    if not first and not await tx.find(AccountRow, {}, limit=1):
                        raise UnknownAccount(f"tenant {tenant!r} has no accounts; start its desk with `propdesk run`")
                    # The row comes first: whoever has the same key waits here until this transaction has ended.
                    await tx.insert([self._row(tenant, key, call)])
                    done = await effect(tx)
                    await tx.patch(ActRow, (key,), result=TypeAdapter(result).dump_json(done).decode())
                    return done
        except DuplicateRow:
            async with self._store.transaction(tenant) as tx:
                stored = await tx.get(ActRow, key)
            if stored is None:
                raise
        _check_same(stored, call)
        return _repeated(stored, result)

    async def before(self, tenant: TenantId, call: Call, result: type[R]) -> R | None:
        """Return what the act of this key led to, None where there is none yet; raises ActKeyRefused as `once`."""
        if call.key is None:
            return None
        async with self._store.transaction(tenant) as tx:
            stored = await tx.get(ActRow, _checked(call.key))
        if stored is None:
            return None
        _check_same(stored, call)
        return _repeated(stored, result)

    async def in_steps(
        self, tenant: TenantId, call: Call, result: type[R], effect: Callable[[ActKey], Awaitable[R]]
    ) -> R:
        """Do an act of several transactions, each of which may be done again under the act's key without harm.

        The row of the act comes first, its result last; who has its key carries on one that has not ended. Of callers
        at once each acts, and the first to end stores what it met. Raises as `once`.
        """
        key = ActKey(uuid4().hex) if call.key is None else _checked(call.key)
        stored = await self._noted(tenant, key, call)
        _check_same(stored, call)
        if not stored.result:
            done = await effect(key)
            async with self._store.transaction(tenant) as tx:
                stored = await tx.get(ActRow, key) or stored
                if not stored.result:
                    await tx.patch(ActRow, (key,), result=TypeAdapter(result).dump_json(done).decode())
                    return done
        return _repeated(stored, result)

    async def _noted(self, tenant: TenantId, key: ActKey, call: Call) -> ActRow:
        """Return the row of an act, a new one if it has none yet."""
        new = self._row(tenant, key, call)
        try:
            async with self._store.transaction(tenant) as tx:
                stored = await tx.get(ActRow, key)
                if stored is None:
                    if not await tx.find(AccountRow, {}, limit=1):
                        raise UnknownAccount(f"tenant {tenant!r} has no accounts; start its desk with `propdesk run`")
                    await tx.insert([new])
        except DuplicateRow:
            async with self._store.transaction(tenant) as tx:
                stored = await tx.get(ActRow, key)
        return stored or new

    def _row(self, tenant: TenantId, key: ActKey, call: Call) -> ActRow:
        return ActRow(
            tenant_id=tenant,
            key=key,
            act=call.act,
            arguments=call.digest,
            at=self._clock.now(),
            actor=call.actor,
        )


def _watching(watch: CloseWatch, positions: Iterable[ClosingPosition]) -> CloseWatch:
    opened = frozenset(one.opened for one in positions if one.opened_at is not None)
    return replace(watch, intents=frozenset(one.intent_id for one in positions), opened=opened)


def _check_same(stored: ActRow, call: Call) -> None:
    if (stored.act, stored.arguments) != (call.act, call.digest):
        raise ActKeyRefused(
            f"key {stored.key!r} stands for another act ({stored.act} by {stored.actor} at "
            f"{stored.at:%Y-%m-%d %H:%M:%S} UTC, or other arguments); give each act a key of its own"
        )


def _repeated(stored: ActRow, result: type[R]) -> R:
    done = TypeAdapter(result).validate_json(stored.result)
    return replace(done, repeated_of=Earlier(at=stored.at, actor=stored.actor))


def _checked(key: ActKey) -> ActKey:
    if not key or len(key) > _LONGEST_KEY or not key.isprintable():
        raise ActKeyRefused(f"key {key!r} is none; give 1 to {_LONGEST_KEY} characters that can be printed")
    return key
