"""When a trader decides: its phase within the interval, and its first decision after a start.

The phase is a hash of tenant and id, so it is the same on every host and after every restart, and traders of one
interval spread over it evenly without knowing each other. A few that start together decide soon, many spread over
their interval. In a replay nobody waits, and nobody has a phase.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from manager.state.records import AccountId, ScheduleRow, TenantId, TraderState
from traders.spec import TraderId, TraderSpec

SOON_S = 10
ISOLATED_S = 900
_EACH_S = 0.2
FirstSchedule = Callable[[TenantId, TraderSpec, datetime, int], ScheduleRow]


def phase_of(tenant: TenantId, trader_id: TraderId, interval_s: int) -> int:
    """Return the trader's phase in whole seconds, from 0 up to its interval."""
    return _hash(tenant, trader_id) % interval_s


def on_the_grid(tenant: TenantId, spec: TraderSpec, now: datetime, crowd: int = 1) -> ScheduleRow:
    """Return the schedule of a trader that decides at every multiple of its interval, from `now` on."""
    del crowd
    schedule = ScheduleRow(
        tenant_id=tenant,
        trader_id=spec.id,
        account_id=AccountId(spec.account),
        interval_s=spec.decision_interval_s,
        gate=spec.executor.gate,
    )
    return replace(schedule, next_due_at=schedule.next_slot(now - timedelta(microseconds=1)))


def spread(tenant: TenantId, spec: TraderSpec, now: datetime, crowd: int = 1) -> ScheduleRow:
    """Return the schedule of a trader that begins at `now` beside a `crowd`, with the phase that belongs to its id."""
    schedule = rescheduled(on_the_grid(tenant, spec, now), spec.decision_interval_s)
    return replace(schedule, next_due_at=first_due(schedule, now, crowd))


def rescheduled(schedule: ScheduleRow, interval_s: int) -> ScheduleRow:
    """Return the schedule at another interval, with the phase that belongs to it."""
    return replace(
        schedule, interval_s=interval_s, phase_s=phase_of(schedule.tenant_id, schedule.trader_id, interval_s)
    )


def asked_every(spec: TraderSpec, state: TraderState) -> int:
    """Return the seconds between two decisions; one that is isolated is asked no more often than every 15 minutes."""
    return max(spec.decision_interval_s, ISOLATED_S) if state is TraderState.ISOLATED else spec.decision_interval_s


def first_due(schedule: ScheduleRow, now: datetime, crowd: int = 1) -> datetime:
    """Return when a trader that starts at `now` first decides: within its interval, spread by its hash.

    One of a few decides within SOON_S; of a `crowd` only so many a second begin. The decision is for the slot then
    under way; where that one is decided already, the next slot comes first.
    """
    within_ms = int(min(schedule.interval_s, max(SOON_S, crowd * _EACH_S)) * 1000)
    soon = now + timedelta(milliseconds=_hash(schedule.tenant_id, schedule.trader_id) % within_ms)
    slot = schedule.slot(soon)
    latest = max((at for at in (schedule.in_flight_due_at, schedule.last_decision_at) if at is not None), default=None)
    return soon if latest is None or latest < slot else schedule.next_slot(now)


def _hash(tenant: TenantId, trader_id: TraderId) -> int:
    return int.from_bytes(hashlib.sha256(f"{tenant}/{trader_id}".encode()).digest()[:8])
