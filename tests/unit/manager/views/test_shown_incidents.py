"""What `propdesk status` and `operations` show of incidents, and when they turn the light red."""

from datetime import datetime, timedelta

import pytest

from desk_history import AT, desk_with_history, incident
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, AccountRow, IncidentRow
from manager.views.incidents import Incident
from manager.views.lights import Light
from manager.views.operations import OperationKind, OperationQuery, read_operations
from manager.views.status import AccountStatus, StatusQuery, read_status

MINUTE = timedelta(minutes=1)
HAPPENED = AT + MINUTE


def stop_failed(at: datetime = HAPPENED, severity: str = "high") -> IncidentRow:
    return incident("STOP_FAILED", at=at, resolved_at=at, severity=severity)


async def status_of(*rows: IncidentRow, after: timedelta) -> AccountStatus:
    store = await desk_with_history(*rows)
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(AccountRow, ("paper",), updated_at=AT + after)
    [account] = (await read_status(store, DEFAULT_TENANT, StatusQuery(now=AT + after))).accounts
    return account


@pytest.mark.parametrize(("minutes", "light"), [(2, Light.ERROR), (61, Light.ERROR), (62, Light.RUNNING)])
async def test_an_event_keeps_the_light_red_for_an_hour(minutes: int, light: Light) -> None:
    account = await status_of(stop_failed(), after=minutes * MINUTE)
    assert account.light is light
    told = ("incident STOP_FAILED at 2025-06-01 12:01:00 UTC, shown for one hour",)
    assert account.reasons == (told if light is Light.ERROR else ())


async def test_what_lasts_keeps_the_light_red_however_old_it_is() -> None:
    account = await status_of(incident(), after=600 * MINUTE)
    assert account.light is Light.ERROR
    assert account.reasons == ("incident POSITION_MISMATCH since 2025-06-01 12:01:00 UTC",)


@pytest.mark.parametrize("severity", ["medium", "low"])
async def test_less_than_high_is_listed_and_changes_no_light(severity: str) -> None:
    dust = incident("DUST", severity=severity)
    account = await status_of(dust, stop_failed(severity=severity), after=2 * MINUTE)
    assert (account.light, account.reasons) == (Light.RUNNING, ())
    assert [row.code for row in account.incidents] == ["DUST", "STOP_FAILED"]


async def test_what_is_resolved_is_shown_for_an_hour_and_changes_no_light() -> None:
    over = incident(at=AT - 900 * MINUTE, resolved_at=AT)
    account = await status_of(over, after=60 * MINUTE)
    assert (account.light, account.incidents) == (Light.RUNNING, (Incident.of(over),))
    assert (await status_of(over, after=61 * MINUTE)).incidents == ()


async def test_one_code_is_told_once_since_its_first_or_at_its_last() -> None:
    rows = [
        incident(incident_id="old", at=AT - MINUTE),
        incident(incident_id="new", symbol="ETH/USDT:USDT"),
        stop_failed(AT),
        incident("STOP_FAILED", incident_id="again", resolved_at=HAPPENED),
    ]
    assert (await status_of(*rows, after=2 * MINUTE)).reasons == (
        "incident POSITION_MISMATCH since 2025-06-01 11:59:00 UTC",
        "incident STOP_FAILED at 2025-06-01 12:01:00 UTC, shown for one hour",
    )


async def test_the_log_says_what_is_open_over_or_happened_with_both_times() -> None:
    rows = [incident("ORDER_UNKNOWN"), incident(resolved_at=AT + 3 * MINUTE), stop_failed()]
    store: MemoryStore = await desk_with_history(*rows)
    query = OperationQuery(kinds=(OperationKind.INCIDENT,))
    told = {one.what: one for one in (await read_operations(store, DEFAULT_TENANT, query)).operations}
    assert {code: one.outcome for code, one in told.items()} == {
        "ORDER_UNKNOWN": "open", "POSITION_MISMATCH": "resolved", "STOP_FAILED": "happened",
    }  # fmt: skip
    assert {one.at for one in told.values()} == {HAPPENED}
    assert told["POSITION_MISMATCH"].detail.endswith(" (until 2025-06-01 12:03:00 UTC)")
    assert "until" not in told["STOP_FAILED"].detail + told["ORDER_UNKNOWN"].detail


def test_a_code_of_another_version_is_resolved_when_it_is_over() -> None:
    assert Incident.of(incident("GONE", resolved_at=AT)).state == "resolved"
