"""What an operator is told in one word of an account and of a trader: which word, why, and in which colour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from manager.desk.incidents.codes import Threat, threat_of
from manager.desk.risk.trader import SAFE_MODE_FAILURES
from manager.state.kinds import StateCode, SwitchScope, TradingState
from manager.state.records import AccountRow, ScheduleRow, TraderRow, TraderState
from manager.state.switches import Switched, Switches, limiting, of_account
from manager.views.incidents import Incident, IncidentState

SILENT: Final = timedelta(seconds=60)
DESK: Final = "desk"


class Light(StrEnum):
    """Say how an account is, the worst that holds.

    STOPPED: no worker runs, or none has sampled it for a minute. ERROR: something endangers money or stops the desk.
    HALTED and REDUCING: entries are off, by an operator or by the desk itself. PAUSED: no trader is running. DEGRADED:
    it trades, but the decisions of a trader fail, or one is in error or was isolated by the desk.
    """

    RUNNING = "running"
    DEGRADED = "degraded"
    PAUSED = "paused"
    REDUCING = "reducing"
    HALTED = "halted"
    ERROR = "error"
    STOPPED = "stopped"


class Condition(StrEnum):
    """Say how a trader is: its state, but for one that runs and may open nothing, which is told why not."""

    RUNNING = "running"
    SAFE_MODE = "safe mode"
    REDUCING = "reducing"
    HALTED = "halted"
    PAUSED = "paused"
    ISOLATED = "isolated"
    ERROR = "error"
    STOPPED = "stopped"


class Colour(StrEnum):
    """Name the colours of these words; no colour says what its word does not."""

    GREEN = "green"
    YELLOW = "yellow"
    CYAN = "cyan"
    MAGENTA = "magenta"
    RED = "red"
    GREY = "grey"


COLOURS: Final[Mapping[str, Colour]] = {
    Light.RUNNING: Colour.GREEN,
    Light.DEGRADED: Colour.YELLOW,
    Condition.SAFE_MODE: Colour.YELLOW,
    Condition.ISOLATED: Colour.YELLOW,
    Light.PAUSED: Colour.CYAN,
    Light.REDUCING: Colour.MAGENTA,
    Light.HALTED: Colour.MAGENTA,
    Light.ERROR: Colour.RED,
    Light.STOPPED: Colour.GREY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LightCase:
    """Hold what the light of an account is judged by.

    `switched_by` is who turned its own entries off, `switches` what is above it; `under_way` tells what an operator has
    asked for and is not done.
    """

    account: AccountRow
    traders: Sequence[TraderRow]
    incidents: Sequence[Incident]
    switched_by: str
    under_way: Sequence[str]
    worker_alive: bool
    now: datetime
    switches: Switches = field(default_factory=Switches)

    @property
    def limited_by(self) -> tuple[Switched, ...]:
        """Return what turns its entries off, the strictest first."""
        return limiting(self.switches.over(self.account.tenant_id, of_account(self.account)))

    def actor_of(self, scope: SwitchScope) -> str:
        """Return who turned the entries of a scope off."""
        wider = {SwitchScope.SERVICE: self.switches.service.actor, SwitchScope.TENANT: self.switches.tenant.actor}
        return wider.get(scope, self.switched_by)


def silence_of(account: AccountRow, now: datetime) -> str:
    """Say since when no worker has sampled an account, "never" for none ever; empty while one does."""
    last = account.updated_at
    if last is not None and now - last <= SILENT:
        return ""
    return "never" if last is None else f"{last:%Y-%m-%d %H:%M:%S} UTC"


def light_of(case: LightCase) -> tuple[Light, tuple[str, ...]]:
    """Return an account's light and every reason for it, the gravest first."""
    wrong = _told(case.incidents, red=True)
    switched = [_switch(case, one) for one in case.limited_by]
    weak = _told(case.incidents, red=False) + [_ailing(row) for row in case.traders if _ails(row)]
    idle = [] if any(row.state is TraderState.RUNNING for row in case.traders) else ["no trader is running"]
    silent = _silence(case)
    if silent:
        return Light.STOPPED, (*silent, *wrong, *switched, *case.under_way, *weak)
    reasons = (*wrong, *switched, *case.under_way, *weak, *idle)
    if wrong:
        return Light.ERROR, reasons
    if switched:
        return Light(case.limited_by[0].state), reasons
    if idle:
        return Light.PAUSED, reasons
    return (Light.DEGRADED if weak else Light.RUNNING), reasons


def condition_of(row: TraderRow, limited_by: Sequence[Switched], schedule: ScheduleRow | None) -> Condition:
    """Return how a trader is; `limited_by` are the scopes around it and its own that stop entries."""
    if row.state is not TraderState.RUNNING:
        return Condition(row.state)
    states = {one.state for one in limited_by}
    if TradingState.HALTED in states:
        return Condition.HALTED
    if TradingState.REDUCING in states:
        return Condition.REDUCING
    failed = 0 if schedule is None else schedule.failed_decisions
    return Condition.SAFE_MODE if failed >= SAFE_MODE_FAILURES else Condition.RUNNING


def _silence(case: LightCase) -> list[str]:
    if not case.worker_alive:
        return ["no worker runs; stops are not watched"]
    since = silence_of(case.account, case.now)
    return [f"no worker has sampled the account; last time: {since}"] if since else []


def _switch(case: LightCase, one: Switched) -> str:
    by, what = case.actor_of(one.scope), one.state if one.scope is SwitchScope.ACCOUNT else str(one)
    return f"{what} by {'the desk itself' if by == DESK else by}: {one.why}"


def _ails(row: TraderRow) -> bool:
    automatic = row.state is TraderState.ISOLATED and row.state_code is not StateCode.OPERATOR
    return automatic or row.state is TraderState.ERROR


def _ailing(row: TraderRow) -> str:
    code = f" ({row.state_code})" if row.state is TraderState.ISOLATED and row.state_code else ""
    return f"trader {row.trader_id} is {'in error' if row.state is TraderState.ERROR else row.state}{code}"


def _told(incidents: Sequence[Incident], *, red: bool) -> list[str]:
    """Say since when each code is open, and when one last happened; what only stops decisions with its trader."""
    since: dict[str, datetime] = {}
    at: dict[str, datetime] = {}
    for one in incidents:
        threat = threat_of(one)
        if threat is None or threat.red is not red:
            continue
        name = f"{one.code} of {one.trader_id}" if threat is Threat.DECISIONS and one.trader_id else one.code
        if one.state is IncidentState.OPEN:
            since[name] = min(one.at, since.get(name, one.at))
        elif one.state is IncidentState.HAPPENED:
            at[name] = max(one.at, at.get(name, one.at))
    told = [f"incident {name} since {begin:%Y-%m-%d %H:%M:%S} UTC" for name, begin in since.items()]
    return told + [f"incident {name} at {when:%Y-%m-%d %H:%M:%S} UTC, shown for one hour" for name, when in at.items()]
