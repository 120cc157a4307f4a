"""What a desk does, in plain sentences for the person beside it: one for each fill, incident and change of state."""

import re
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from exchanges.types import ZERO
from executor.contract import Outcome
from manager.desk.incidents.codes import INCIDENTS
from manager.desk.plan.operator_closes import operator_of
from manager.state import records
from manager.state.kinds import EventKind, OrderPurpose
from manager.views.activity import Standing
from manager.views.adding_up import InCents
from manager.views.holdings import Totals

_CENT: Final = Decimal("0.01")
_SHOWN: Final = 3
_LONGEST: Final = 160
_AIMS: Final = {OrderPurpose.ENTRY: "to open", "external": "outside the desk", "correction": "in a late correction"}
_CLOSED_BY: Final = (OrderPurpose.STOP, OrderPurpose.TAKE_PROFIT, OrderPurpose.LIQUIDATION)
_TOLD: Final = (
    EventKind.TRADER_STATE,
    EventKind.TRADING_STATE,
    EventKind.TENANT_STATE,
    EventKind.SERVICE_STATE,
    EventKind.TRADER_FUNDED,
    EventKind.TRADER_REMOVED,
)
_WIDE: Final = {EventKind.TENANT_STATE: "the tenant", EventKind.SERVICE_STATE: "the service"}
_SENTENCES: Final = {
    "child_died": "the {child} process ended by itself ({how}); it is started again in {restart_in_s} s",
    "child_killed": "the {child} process did not end within {after_s} s and was killed",
    "child_refused_to_start": "the {child} process cannot start with what it was given; nothing runs",
    "start_tried_again": "it cannot start yet ({error}); tried again in {again_in_s} s",
    "ended_by_force": "it did not end within {after_s} s and is ended by force; its jobs are taken over",
}
_NOT_TOLD: Final = ("event", "level", "logger", "timestamp", "exception")
_GAPS_S: Final = (10.0, 60.0, 300.0, 900.0, 3600.0)
_KINDS_KEPT: Final = 500


def usd(amount: Decimal | None, *, signed: bool = False) -> str:
    """Return dollars and cents, with a dash for what is not known."""
    if amount is None:
        return "-"
    rounded = amount.quantize(_CENT) or ZERO.quantize(_CENT)
    return f"{rounded:+,f}" if signed and rounded else f"{rounded:,f}"


def number(value: Decimal) -> str:
    """Return a price or a quantity to seven significant digits."""
    return f"{Decimal(f'{value:.7g}'):f}"


def lasting(seconds: float) -> str:
    """Return a duration in its two largest units."""
    parts = []
    left = int(seconds)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def counted(count: int, one: str, many: str = "") -> str:
    """Return a count with its word."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def fill_line(part: records.FillPartRow) -> str:
    """Say who bought or sold what at which price, what it was for, and what a close brought."""
    does = "buys" if part.quantity > ZERO else "sells"
    aim = _AIMS.get(part.purpose, "to close")
    inside = ", with another trader of the desk" if part.trade_id.startswith("cross/") else ""
    line = f"{part.trader_id} {does} {aim} {number(abs(part.quantity))} {part.symbol} at {number(part.price)}{inside}"
    if part.purpose not in tuple(OrderPurpose) or part.purpose == OrderPurpose.ENTRY:
        return f"{line}, fee {usd(part.fee)} USD"
    by = f" by {part.purpose}" if part.purpose in _CLOSED_BY else ""
    return f"{line}{by}: pnl {usd(part.realized - part.fee, signed=True)} USD, net of its fee {usd(part.fee)}"


def incident_line(row: records.IncidentRow) -> str:
    """Say what an operator must see."""
    return f"{_incident(row)}: {short(row.detail)}"


def resolved_line(row: records.IncidentRow) -> str:
    """Say that an incident is over; one that never lasted has no such line."""
    took_s = (row.resolved_at - row.at).total_seconds() if row.resolved_at else 0.0
    return f"{_incident(row)} is resolved after {lasting(took_s)}"


def lasted(row: records.IncidentRow) -> bool:
    """Tell whether an incident was a state, which ends, and no event, which has happened when it is raised."""
    kind = INCIDENTS.get(row.code)
    return kind is None or bool(kind.ends)


def _incident(row: records.IncidentRow) -> str:
    about = " ".join(part for part in (row.trader_id, row.symbol) if part)
    return f"{row.severity} incident {row.code}{f' ({about})' if about else ''}"


def event_line(row: records.EventRow) -> str:
    """Say what became of a trader or an account, and by whom; empty for events that are no news to a person."""
    if row.kind not in _TOLD:
        return ""
    what = f"trader {row.trader_id}" if row.trader_id else f"account {row.account_id}"
    what = next((wide for kind, wide in _WIDE.items() if kind == row.kind), what)
    became = row.after or row.kind.removeprefix("trader_")
    was = f" (was {row.before})" if row.before else ""
    why = f": {short(row.reason)}" if row.reason else ""
    return f"{what} is {became}{was}, by {row.actor}{why}"


def failure_line(row: records.DecisionRow) -> str:
    """Say why a trader took no decision; empty for one that did."""
    if row.outcome is Outcome.DECIDED:
        return ""
    return f"{row.trader_id} takes no decision: {failure_of(row)}"


def failure_of(row: records.DecisionRow) -> str:
    """Return in a few words why there is no decision, whoever was to take it."""
    return f"{row.outcome}: {short(next((error.message for error in row.errors), 'no reason is known'))}"


def log_line(process: str, event: Mapping[str, Any]) -> str:
    """Say a warning or an error of a process; its whole line, with any traceback, is in the log file."""
    with suppress(KeyError):
        sentence = _SENTENCES[event["event"]].format_map({**event, "how": ended_how(event.get("code", 0))})
        return f"{process} {event.get('level', 'error')}: {sentence}"
    told = {name: value for name, value in event.items() if name not in _NOT_TOLD}
    what = str(event.get("event", "")).replace("_", " ")
    more = ", ".join(f"{name} {value}" for name, value in told.items() if value not in ("", None))
    lines = str(event.get("exception", "")).strip().splitlines()
    raised = f" [{lines[-1]}]" if lines else ""
    return f"{process} {event.get('level', 'error')}: {what}{f': {more}' if more else ''}{raised}"


def ended_how(code: int) -> str:
    """Say how a process ended: by its exit code, or by the signal that killed it."""
    with suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def short(text: str, longest: int = _LONGEST) -> str:
    """Return text on one line, cut to `longest` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def ready_line(standing: Sequence[Standing], now: datetime) -> str:
    """Say who trades now, in which states, and who decides next."""
    states: dict[str, int] = {}
    for one in standing:
        for state, count in one.states:
            states[state] = states.get(state, 0) + count
    traders = ", ".join(f"{count} {state}" for state, count in states.items()) or "no trader"
    coming = sorted(due for one in standing for due in one.next_decisions)
    decide = ", ".join(f"{name} {f'{at:%H:%M:%S}' if at > now else 'now'}" for at, name in coming[:_SHOWN])
    more = f" and {len(coming) - _SHOWN} more" if len(coming) > _SHOWN else ""
    following = f"; next decisions: {decide}{more}" if coming else "; nobody is due to decide"
    return f"The desk trades ({traders}){following}."


@dataclass(slots=True, kw_only=True)
class Counts:
    """Hold what was done during a run."""

    decisions: int = 0
    failed: int = 0
    orders: int = 0
    fills: int = 0
    model_usd: Decimal = ZERO
    unknown_usd: Decimal = ZERO

    def count(self, decisions: Iterable[records.DecisionRow]) -> None:
        """Add the traders' own decisions and what their models cost."""
        for row in decisions:
            if operator_of(row.model):
                continue
            self.decisions += 1
            self.failed += row.outcome is not Outcome.DECIDED
            self.model_usd += row.usage.cost_usd
            self.unknown_usd += row.usage.unknown_usd


def summary_lines(ran_s: float, counts: Counts, standing: Mapping[str, Sequence[Standing]]) -> Iterator[str]:
    """Say what a run did and how the accounts of each tenant stand after it."""
    failed = f" ({counts.failed:,} failed)" if counts.failed else ""
    yield (
        f"Ran {lasting(ran_s)}: {counted(counts.decisions, 'decision')}{failed}, {counted(counts.orders, 'order')}, "
        f"{counted(counts.fills, 'fill')}."
    )
    several = len(standing) > 1
    rows = [(named(tenant, one.account_id, several), one.totals) for tenant, mine in standing.items() for one in mine]
    if len(rows) > 1:
        rows.append(("in total", Totals.of(one for _, one in rows)))
    for name, one in rows:
        start, moved, pnl, equity = InCents.of(one)
        sums = f"start {usd(start)} + moved {usd(moved)} + PnL {usd(pnl, signed=True)}"
        yield f"{name}: equity {usd(equity)} USD = {sums}"
    if counts.model_usd or counts.unknown_usd:
        unknown = f", and up to {counts.unknown_usd:f} of unknown cost" if counts.unknown_usd else ""
        yield f"Models cost {counts.model_usd:f} USD{unknown}."
    held = [(tenant, position) for tenant, mine in standing.items() for one in mine for position in one.positions]
    if held:
        told = [f"{named(tenant, one.trader_id, several)} {_side(one)} {one.symbol}" for tenant, one in held[:_SHOWN]]
        more = f" and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
        yield (
            f"{counted(len(held), 'position stays', 'positions stay')} open ({', '.join(told)}{more}), protected only "
            "while a worker runs: start it again, or close them."
        )


def _side(row: records.PositionRow) -> str:
    return "long" if row.quantity > ZERO else "short"


def named(tenant: str, name: str, several: bool) -> str:
    """Return the name of an account or a trader, with its tenant where there are several."""
    return f"{tenant}/{name}" if several else name


class Fold:
    """Tell one failure once, and how often it came again at growing distances: after 10 s, 1, 5, 15 min and each hour.

    Failures are the same whatever the numbers in them.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, list[Any]] = {}

    def told(self, kind: str, line: str, now_s: float) -> str:
        """Return the line, empty when it is not to be told now."""
        key = re.sub(r"\d+", "#", kind)
        if key not in self._kinds:
            if len(self._kinds) >= _KINDS_KEPT:
                del self._kinds[next(iter(self._kinds))]
            self._kinds[key] = [now_s, 0, 1, 1, line]
            return line
        known = self._kinds[key]
        known[2] += 1
        known[4] = line
        if now_s - known[0] < _GAPS_S[min(known[1], len(_GAPS_S) - 1)]:
            return ""
        known[0], known[1], known[3] = now_s, known[1] + 1, known[2]
        return f"{line} (same failure, {known[2]:,} times)"

    def rest(self) -> Iterator[str]:
        """Yield what came again since it was last told."""
        for known in self._kinds.values():
            if known[2] > known[3]:
                known[3] = known[2]
                yield f"{known[4]} (same failure, {known[2]:,} times)"
