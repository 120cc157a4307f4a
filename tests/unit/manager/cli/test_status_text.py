"""What `propdesk status` prints: short where there is much to tell, whole where something is wrong."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from desk_history import AT, desk_with_history, incident
from manager.cli.status import AccountText, adding_up
from manager.state.records import DEFAULT_TENANT, DecisionId
from manager.views.holdings import Totals
from manager.views.status import AccountStatus, LastDecision, StatusQuery, read_status

NOW = AT + timedelta(seconds=5)
WRONG = "the provider answered 404: " + "no such model; " * 20


async def shown(
    capsys: pytest.CaptureFixture[str], last: LastDecision | None = None, detail: str = "gone"
) -> list[str]:
    store = await desk_with_history(incident(detail=detail))
    [account] = (await read_status(store, DEFAULT_TENANT, StatusQuery(now=NOW))).accounts
    if last is not None:
        account = with_last(account, last)
    AccountText(account, NOW).show()
    return capsys.readouterr().out.splitlines()


def with_last(account: AccountStatus, last: LastDecision) -> AccountStatus:
    bull, bear = account.traders
    return replace(account, traders=(replace(bull, last_decision=last, deciding_since=AT), bear))


def decision(outcome: str = "decided", actions: tuple[str, ...] = (), errors: tuple[str, ...] = ()) -> LastDecision:
    at = AT - timedelta(days=1)
    return LastDecision(decision_id=DecisionId("d"), at=at, outcome=outcome, actions=actions, errors=errors, invalid=0)


async def test_times_of_today_have_no_date_and_a_decision_under_way_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    lines = await shown(capsys)
    row = next(line for line in lines if line.startswith("bull"))
    assert row.endswith(" 12:00:00  open_long BTC/USDT:USDT  12:01:00")
    lines = await shown(capsys, decision(actions=("hold BTC/USDT:USDT",)))
    row = next(line for line in lines if line.startswith("bull"))
    assert row.endswith(" 2025-05-31 12:00:00  hold BTC/USDT:USDT  deciding since 12:00:00")


async def test_what_is_shown_of_equity_start_moved_and_pnl_adds_up_to_the_cent() -> None:
    third = Totals(
        equity=Decimal("33.3366"), start_usd=Decimal("33.334"), moved_usd=Decimal("-0.0014"), pnl_usd=Decimal("0.004")
    )
    equity, start, moved, pnl = (Decimal(one) for one in adding_up(third))
    assert (equity, start, moved, pnl) == (Decimal("33.34"), Decimal("33.33"), Decimal(0), Decimal("0.01"))


async def test_a_position_tells_its_side_size_stop_and_age(capsys: pytest.CaptureFixture[str]) -> None:
    lines = await shown(capsys)
    at = lines.index("Positions")
    words = [part.strip() for part in lines[at + 2].split("  ") if part.strip()]
    assert words == [
        *("bull", "BTC/USDT:USDT", "long", "0.01", "100000", "100500", "1,005.00", "5.00", "98000", "2.49 %"),
        *("106000", "5x", "5s"),
    ]


async def test_acts_are_told_before_what_is_held(capsys: pytest.CaptureFixture[str]) -> None:
    lines = await shown(capsys, decision(actions=("hold A", "wait B", "close_long C")))
    assert "close_long C, hold A and 1 more" in "\n".join(lines)


async def test_a_long_error_is_cut_beside_the_trader_and_whole_in_the_incident(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = await shown(capsys, decision("unavailable", errors=(WRONG,)), WRONG)
    assert " ".join(" ".join(lines).split()).count(WRONG.strip()) == 1
    at = next(index for index, line in enumerate(lines) if line.startswith("bull"))
    assert lines[at + 1].startswith("    last decision unavailable: the provider answered 404: no such model; ")
    at = next(index for index, line in enumerate(lines) if "POSITION_MISMATCH" in line and "open" in line)
    assert lines[at + 1].strip().startswith("the provider answered 404: no such model; no such")
    assert max(map(len, lines)) <= 140
