"""Lines in the log for alarms that are raised and resolved; what a model said is in none of them."""

from collections.abc import Iterable

import structlog

from manager.state.records import IncidentRow

_LOG = structlog.get_logger(__name__)


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
