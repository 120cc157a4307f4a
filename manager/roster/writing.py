"""Write traders and accounts within one transaction, each change with its event."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from manager.config.values import TenantConfig
from manager.desk.incidents.log import log_resolved
from manager.errors import UnknownTrader
from manager.roster.lifecycle import event_of, transition
from manager.roster.registration import stored
from manager.roster.schedules import FirstSchedule, first_due, rescheduled
from manager.roster.terms import Claimant, terms_text
from manager.spending.budget_incidents import end_obsolete
from manager.spending.daily_budget import budget_rows
from manager.state import records
from manager.state.account_terms import differing_terms
from manager.state.kinds import EventKind
from manager.state.records import AccountId, AccountRow, StateCode, TenantId, TraderRow, TraderState
from manager.state.spending import BudgetRow, day_of
from manager.state.store import Transaction
from traders.spec import TraderSpec

_BACK = "back in the config"
_AT_ONCE = 1_000
LIVING = frozenset({TraderState.RUNNING, TraderState.PAUSED})


def was_removed(row: TraderRow) -> bool:
    """Tell whether a trader stands still because its config no longer had it."""
    return row.state is TraderState.STOPPED and row.state_code is StateCode.REMOVED_FROM_CONFIG


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterAct:
    """Say in whose name, when and on which first schedule a roster is changed; `crowd` traders begin with it."""

    tenant: TenantId
    now: datetime
    schedule: FirstSchedule
    actor: str
    crowd: int = 1

    def newcomer(self, spec: TraderSpec, seq: int, reason: str) -> "Newcomer":
        """Return the rows of a trader that is taken on, running if it is to start by itself."""
        state = TraderState.RUNNING if spec.auto_start else TraderState.STOPPED
        row = TraderRow(
            tenant_id=self.tenant,
            trader_id=spec.id,
            account_id=AccountId(spec.account),
            seq=seq,
            spec=stored(spec),
            state=state,
            state_reason=reason,
        )
        schedule = self.schedule(self.tenant, spec, self.now, self.crowd)
        if not spec.auto_start:
            schedule = replace(schedule, next_due_at=None)
        event = self.event(row, EventKind.TRADER_REGISTERED, state, reason)
        return Newcomer(row=row, schedule=schedule, event=event)

    def event(self, row: TraderRow | AccountRow, kind: EventKind, after: str, reason: str) -> records.EventRow:
        """Return the event of a change of `row`."""
        return replace(event_of(row, self.now, kind=kind, actor=self.actor, reason=reason), after=after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """Hold the rows of a trader that is taken on."""

    row: TraderRow
    schedule: records.ScheduleRow
    event: records.EventRow


async def roster_of(tx: Transaction) -> Sequence[TraderRow]:
    """Return every trader of the tenant."""
    return await tx.find(TraderRow, {}, limit=None)


async def has_grown(tx: Transaction, known: Sequence[TraderRow]) -> bool:
    """Tell whether traders were taken on that `known` lacks, which is what a check beside it did not see."""
    newest = await tx.find(TraderRow, {}, newest_first="seq", limit=1)
    return bool(newest) and newest[0].seq >= next_seq(known)


def next_seq(known: Sequence[TraderRow]) -> int:
    """Return the place of the next trader in the order of their coming."""
    return max((row.seq for row in known), default=-1) + 1


class RosterWriter:
    """Write a tenant's roster within `tx`; what can be made ready before is made ready by `act`."""

    def __init__(self, tx: Transaction, act: RosterAct) -> None:
        self.tx = tx
        self._act = act
        self._tenant = act.tenant
        self._now = act.now

    async def insert(self, newcomers: Sequence[Newcomer]) -> None:
        """Take traders on, some at a time: no statement is large, and no transaction idles while rows are dumped."""
        for first in range(0, len(newcomers), _AT_ONCE):
            some = newcomers[first : first + _AT_ONCE]
            await self.tx.insert([row for one in some for row in (one.row, one.schedule, one.event)])

    async def change(self, row: TraderRow, spec: TraderSpec, reason: str) -> TraderRow:
        """Give a trader another definition, and another schedule with another interval."""
        changed = replace(row, spec=stored(spec))
        await self.tx.patch(TraderRow, (row.trader_id,), spec=changed.spec)
        if spec.decision_interval_s != row.spec.decision_interval_s:
            await self._reschedule(row, spec.decision_interval_s)
        if spec.executor.gate != row.spec.executor.gate:
            await self.tx.patch(records.ScheduleRow, (row.trader_id,), gate=spec.executor.gate)
        changes = "; ".join(_differences(row.spec, changed.spec))
        await self.tx.insert([self._act.event(row, EventKind.TRADER_UPDATED, changes, reason)])
        return changed

    async def remove(self, row: TraderRow) -> bool:
        """Stop a trader that the config no longer has, unless it stopped meanwhile; its books and its stops stay."""
        now = await self.tx.get(TraderRow, row.trader_id)
        if now is None or now.state not in LIVING:
            return False
        await self._move(row.spec, TraderState.STOPPED, "no longer in the config")
        await self.tx.patch(TraderRow, (row.trader_id,), state_code=StateCode.REMOVED_FROM_CONFIG)
        return True

    async def take_back(self, spec: TraderSpec) -> bool:
        """Give a trader that is in the config again the state that it had, if that still is to be done.

        An operator's pause lasts.
        """
        row = await self.tx.get(TraderRow, spec.id)
        if row is None or not was_removed(row):
            return False
        where = {"trader_id": spec.id, "kind": EventKind.TRADER_STATE}
        last = await self.tx.find(records.EventRow, where, newest_first="at", limit=3)
        was_paused = bool(last) and last[0].before == TraderState.PAUSED
        if not spec.auto_start and not was_paused:
            await self.tx.patch(TraderRow, (spec.id,), state_reason=_BACK, state_code=StateCode.NONE)
            return True
        await self._move(spec, TraderState.RUNNING, _BACK)
        if was_paused:
            reason = next((event.reason for event in last if event.after == TraderState.PAUSED), _BACK)
            await self._move(spec, TraderState.PAUSED, reason)
        return True

    async def ensure_account(self, name: str, venue: str) -> None:
        """Insert an account unless there is one of its name."""
        if await self.tx.get(AccountRow, name) is None:
            await self.tx.insert([self._account(name, venue)])

    async def take_accounts(self, tenant: TenantConfig, claimant: Claimant) -> None:
        """Give each account its terms, a change with its event; beside rivals only what is new is written."""
        known = {row.account_id: row for row in await self.tx.find(AccountRow, {}, limit=None)}
        for name, account in tenant.accounts.items():
            terms, old = terms_text(account), known.get(AccountId(name))
            if old is None:
                row = self._account(name, account.type)
                await self.tx.insert([replace(row, terms=terms, config=claimant.config)])
            elif old.terms != terms:
                await self.tx.patch(AccountRow, (name,), terms=terms)
                if old.terms and differing_terms(old.terms, terms):
                    reason = f"{old.config} before, now {claimant.config}"
                    event = self._act.event(old, EventKind.ACCOUNT_TERMS, terms, reason)
                    await self.tx.insert([replace(event, before=old.terms)])
        if not claimant.rivals:
            for old in known.values():
                if old.config != claimant.config:
                    await self.tx.patch(AccountRow, (old.account_id,), config=claimant.config)

    async def take_budgets(self, tenant: TenantConfig) -> None:
        """Store what the config allows, and end the incidents that it makes untrue."""
        wanted = {(row.scope, row.name): row for row in budget_rows(tenant)}
        known = {(row.scope, row.name): row for row in await self.tx.find(BudgetRow, {}, limit=None)}
        await self.tx.delete(BudgetRow, [key for key in known if key not in wanted])
        await self.tx.upsert([row for key, row in wanted.items() if known.get(key) != row])
        log_resolved(await end_obsolete(self.tx, tenant, day_of(self._now), self._now))

    def _account(self, name: str, venue: str) -> AccountRow:
        return AccountRow(tenant_id=self._tenant, account_id=AccountId(name), venue=venue, opened_at=self._now)

    async def _move(self, spec: TraderSpec, to: TraderState, reason: str) -> None:
        await transition(self.tx, spec.id, to, actor=self._act.actor, reason=reason, at=self._now)

    async def _reschedule(self, row: TraderRow, interval_s: int) -> None:
        old = await self.tx.get(records.ScheduleRow, row.trader_id)
        if old is None:
            raise UnknownTrader(f"trader {row.trader_id!r} has no schedule; it was removed a moment ago")
        new = rescheduled(old, interval_s)
        due = first_due(new, self._now) if row.state is TraderState.RUNNING else old.next_due_at
        await self.tx.patch(
            records.ScheduleRow, (row.trader_id,), interval_s=new.interval_s, phase_s=new.phase_s, next_due_at=due
        )


def _differences(before: Any, after: Any, prefix: str = "") -> Iterator[str]:
    """Say what differs, field by field; of a field that is never printed only that it does."""

    def shown(value: object) -> str:
        if isinstance(value, Decimal):
            return f"{value:f}"
        return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value) or "none"

    for field in fields(before):
        name, old, new = f"{prefix}{field.name}", getattr(before, field.name), getattr(after, field.name)
        if is_dataclass(old) and type(old) is type(new):
            yield from _differences(old, new, f"{name}.")
        elif old != new:
            yield f"{name}: {shown(old)} -> {shown(new)}" if field.repr else f"{name} changed"
