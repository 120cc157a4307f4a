"""Every code of an incident; docs/incident-codes.md is written from these rows.

Adding one is one row. One that `ends` has a duration: it is open as long as passes over the account tell it, or as long
as what `lasts` looks at holds. The others are events: they are stored as ended in the instant they happened.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from exchanges.types import Symbol
from manager.desk.account_state import AccountState
from manager.state.records import IncidentRow, IntentStatus, PositionKey, TradingState


class Severity(StrEnum):
    """Say what an operator should do: look at once, look today, or know."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Threat(StrEnum):
    """Say what an incident of high severity endangers; for money and the desk the light of its account is red.

    Where only decisions fail, nothing is opened and stops stand: that is yellow, and of the trader if it names one.
    """

    MONEY = "money"
    DESK = "desk"
    DECISIONS = "decisions"

    @property
    def red(self) -> bool:
        """Tell whether the light of the account turns red."""
        return self is not Threat.DECISIONS


def _waits_for_cancel(state: AccountState, row: IncidentRow) -> bool:
    """Tell whether an intent waits for the cancel: upkeep between two rounds does not try it again."""
    stands = any(order.state.live and row.incident_id.endswith(f"/{key}") for key, order in state.orders.items())
    return stands and any(
        intent.status is IntentStatus.PENDING
        and (intent.trader_id, intent.decision.symbol) == (row.trader_id, row.symbol)
        for intent in state.intents.values()
    )


def _is_unprotected(state: AccountState, row: IncidentRow) -> bool:
    position = state.held_row(PositionKey(row.trader_id, Symbol(row.symbol)))
    return position is not None and position.unprotected_since is not None


def _is_dust(state: AccountState, row: IncidentRow) -> bool:
    position = state.held_row(PositionKey(row.trader_id, Symbol(row.symbol)))
    return position is not None and position.dust


def _is_suspected(state: AccountState, row: IncidentRow) -> bool:
    return any(row.incident_id.endswith(f"/{key}") for key in state.account.suspicions)


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentCode:
    """Hold one row of the registry: the code, how much it matters, what it means, and when it ends, if it lasts."""

    code: str
    severity: Severity
    doc: str
    threat: Threat = Threat.MONEY
    ends: str = ""
    lasts: Callable[[AccountState, IncidentRow], bool] = lambda state, row: False


_DESK: Final = (
    IncidentCode(
        code="VENUE_UNAVAILABLE",
        severity=Severity.HIGH,
        doc="The venue could not be read, so nothing is traded and no stop is looked after.",
        threat=Threat.DESK,
        ends="when it is read again",
    ),
    IncidentCode(
        code="MARKET_UNAVAILABLE",
        severity=Severity.HIGH,
        doc="There are no prices: stops stand, nothing is entered.",
        threat=Threat.DESK,
        ends="when the market is read again",
    ),
    IncidentCode(
        code="POSITION_MISMATCH",
        severity=Severity.HIGH,
        doc="The venue's position differs from the sum of the books; the symbol takes no entries.",
        ends="when both agree",
    ),
    IncidentCode(
        code="ORDER_UNKNOWN",
        severity=Severity.HIGH,
        doc="An order was sent and it is not known whether it stands; its symbol takes no entries.",
        ends="when the venue has answered, or its absence is proven",
    ),
    IncidentCode(
        code="CANCEL_UNKNOWN",
        severity=Severity.HIGH,
        doc="A stop or take-profit must go and its cancel was not confirmed, so it may still be executed.",
        ends="when it is gone, or need not go any more",
        lasts=_waits_for_cancel,
    ),
    IncidentCode(
        code="NAKED_POSITION",
        severity=Severity.HIGH,
        doc="No stop is confirmed past the grace, and the close was refused, or what may stand already forbids one.",
        ends="when a stop stands or the position is closed",
        lasts=_is_unprotected,
    ),
    IncidentCode(
        code="PROTECTION_REFUSED",
        severity=Severity.HIGH,
        doc="The venue refused a stop or a take-profit; the desk keeps trying.",
        ends="when one stands, or none is needed any more",
    ),
    IncidentCode(
        code="STOP_FAILED",
        severity=Severity.HIGH,
        doc="No stop stood past the grace, so the position was closed; the detail says what became of the close.",
    ),
    IncidentCode(
        code="BOOK_LIQUIDATED",
        severity=Severity.HIGH,
        doc="A trader's equity fell below its maintenance margin, so its positions were closed.",
    ),
    IncidentCode(
        code="LIQUIDATION_FAILED",
        severity=Severity.HIGH,
        doc="A trader's equity is below its maintenance margin and it could not be closed; the desk keeps trying.",
        ends="when it is closed, or its equity has recovered",
    ),
    IncidentCode(
        code="ACCOUNT_LIQUIDATION",
        severity=Severity.HIGH,
        doc="The venue liquidated or deleveraged the account, which is halted.",
        ends="when an operator has resumed the account",
        lasts=lambda state, row: state.account.trading_state is TradingState.HALTED,
    ),
    IncidentCode(
        code="ACCOUNT_BANKRUPT",
        severity=Severity.HIGH,
        doc="The account's equity is 0 or below: it is halted, no capital moves, and it cannot be resumed.",
        ends="when its equity is above 0 again",
    ),
    IncidentCode(
        code="DEFICIT",
        severity=Severity.HIGH,
        doc="Books below zero lack money that the account does not have; it is not dealt to the others.",
        ends="when no book is below zero",
    ),
    IncidentCode(
        code="EXTERNAL_OVERLAP",
        severity=Severity.HIGH,
        doc="EXTERNAL stands against the books: no entries, and nothing automatic trades the overlap.",
        ends="when EXTERNAL opposes them no more",
    ),
    IncidentCode(
        code="DESK_CLOSE",
        severity=Severity.MEDIUM,
        doc="The desk closed a position, or a part, that no trader asked it to close; the detail says why.",
    ),
    IncidentCode(
        code="FLATTEN_INCOMPLETE",
        severity=Severity.HIGH,
        doc="A flatten is under way and has not closed everything after 10 s; the desk keeps trying.",
        ends="when its scope is flat but for dust, or an operator has canceled it",
    ),
    IncidentCode(
        code="EXTERNAL_FILL",
        severity=Severity.MEDIUM,
        doc="A trade that this desk did not make, or more of one than the books hold, went to EXTERNAL.",
    ),
    IncidentCode(
        code="INVARIANT_BROKEN",
        severity=Severity.HIGH,
        doc="A check of the stored books against the venue failed twice in a row; for money the account only reduces.",
        ends="when a check finds it no more",
        lasts=_is_suspected,
    ),
    IncidentCode(
        code="NEWS_TOO_OLD",
        severity=Severity.HIGH,
        doc="The venue lists a fill, funding or cash movement more than 24 hours late; it is not booked.",
        ends="when the venue lists it no more",
    ),
    IncidentCode(
        code="LEVERAGE_REFUSED",
        severity=Severity.MEDIUM,
        doc="The venue did not take the leverage of a symbol, so an entry was refused.",
    ),
    IncidentCode(
        code="FUNDING_DIFFERENCE",
        severity=Severity.MEDIUM,
        doc="The venue's funding differs from that of the books by more than 0.01 USD.",
    ),
    IncidentCode(
        code="DUST",
        severity=Severity.LOW,
        doc="What is left of a position is too small for the venue; it has no stop.",
        ends="when the position is gone or has grown",
        lasts=_is_dust,
    ),
)
_OTHER: Final = (
    IncidentCode(
        code="OVERLOADED",
        severity=Severity.HIGH,
        doc="Traders wait longer than their interval for a decision: more fall due than workers and models can serve.",
        threat=Threat.DECISIONS,
        ends="when no trader is a whole interval late",
    ),
    IncidentCode(
        code="SAFE_MODE",
        severity=Severity.HIGH,
        doc="A trader's last decisions failed, so it opens nothing.",
        threat=Threat.DECISIONS,
        ends="when one succeeds, or an operator moves the trader on",
    ),
    IncidentCode(
        code="BUDGET_EXHAUSTED",
        severity=Severity.HIGH,
        doc="A call of a model no longer fits a budget of the day, so it is not made.",
        threat=Threat.DECISIONS,
        ends="with the next day, a raised budget, or the end of who had it",
    ),
    IncidentCode(
        code="BUDGET_WARNING",
        severity=Severity.MEDIUM,
        doc="80 % of a budget of the day are used.",
        ends="with the next day, a raised budget, or the end of who had it",
    ),
)
DESK_INCIDENTS: Final[Mapping[str, IncidentCode]] = {row.code: row for row in _DESK}
INCIDENTS: Final[Mapping[str, IncidentCode]] = {row.code: row for row in (*_DESK, *_OTHER)}


def threat_of(row: IncidentRow) -> Threat | None:
    """Return what an incident endangers, None below high severity; of a code that is not known here: money."""
    kind = INCIDENTS.get(row.code)
    if row.severity != Severity.HIGH:
        return None
    return kind.threat if kind is not None else Threat.MONEY
