"""The incidents of one account within one pass: told as often as they are met, stored once as long as they last.

The lines in the service's log hold nothing that a model said.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from manager.desk.account_state import AccountState
from manager.desk.incidents.codes import DESK_INCIDENTS
from manager.state.records import IncidentRow, RoundId
from traders.spec import TraderId

_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Say what an incident is about; two of one subject are the same one while it lasts.

    `which` tells several of one trader and symbol apart: an order's id, or whether it is a stop or a take-profit.
    """

    code: str
    trader_id: TraderId = TraderId("")
    symbol: str = ""
    which: str = ""

    def __str__(self) -> str:
        """Return the subject as the end of an incident's id."""
        which = f"/{self.which}" if self.which else ""
        return f"{self.code}/{self.trader_id}/{self.symbol}{which}"


class IncidentLog:
    """Write an account's incidents into its state, beginning with those that were open when the pass began.

    An id is `account/round/subject` with the round that opened it, so each appearance is a row of its own.
    """

    def __init__(self, state: AccountState, round_id: RoundId, rows: Sequence[IncidentRow]) -> None:
        self._state = state
        self._prefix = f"{state.account.account_id}/{round_id}"
        self._open: dict[str, IncidentRow] = {}
        self._ended: dict[str, IncidentRow] = {}
        self._over: list[IncidentRow] = []
        self._told: set[str] = set()
        for row in rows:
            kind = DESK_INCIDENTS.get(row.code)
            if kind is not None:
                subject = _subject_of(row)
                if kind.ends and subject not in self._open:
                    self._open[subject] = row
                else:
                    self._over.append(row)

    @property
    def standing(self) -> tuple[IncidentRow, ...]:
        """Return those that are open now."""
        return tuple(self._open.values())

    def tell(self, subject: Subject, detail: str, at: datetime) -> None:
        """Open an incident, or give the one that is open its newest detail; an event is stored as ended.

        Raises KeyError for a code that the registry lacks.
        """
        kind, key = DESK_INCIDENTS[subject.code], str(subject)
        self._told.add(key)
        known = self._open.get(key) or self._ended.pop(key, None)
        if known is not None:
            row = replace(known, detail=detail, resolved_at=None)
        else:
            row = IncidentRow(
                tenant_id=self._state.account.tenant_id,
                incident_id=f"{self._prefix}/{key}",
                account_id=self._state.account.account_id,
                code=kind.code,
                severity=kind.severity.value,
                detail=detail,
                at=at,
                trader_id=subject.trader_id,
                symbol=subject.symbol,
                resolved_at=None if kind.ends else at,
            )
        if row != self._open.get(key):
            self._state.upsert(row)
        if kind.ends:
            self._open[key] = row

    def keep(self, subject: Subject) -> bool:
        """Let an incident stay as it is and return whether it is open; one that is not is not opened."""
        key = str(subject)
        self._told.add(key)
        return key in self._open

    def end(self, at: datetime) -> None:
        """End what is open and neither was told in this pass nor lasts; the pass must have looked at everything."""
        for key, row in list(self._open.items()):
            if key not in self._told and not DESK_INCIDENTS[row.code].lasts(self._state, row):
                self._ended[key] = self._open.pop(key)
                self._over.append(row)
        for row in self._over:
            self._state.upsert(replace(row, resolved_at=at))
        self._over.clear()


def _subject_of(row: IncidentRow) -> str:
    return row.incident_id.removeprefix(f"{row.account_id}/").partition("/")[2]


def log_raised(row: IncidentRow, detail: str) -> None:
    """Log a warning for an incident that was stored as open."""
    _LOG.warning(
        "incident_raised",
        code=row.code,
        tenant=row.tenant_id,
        account=row.account_id,
        trader=row.trader_id,
        detail=detail,
    )


def log_resolved(rows: Iterable[IncidentRow]) -> None:
    """Log a line for each incident that was ended."""
    for row in rows:
        _LOG.info(
            "incident_resolved", code=row.code, tenant=row.tenant_id, account=row.account_id, trader=row.trader_id
        )
