"""What a person at the terminal reads: fills, incidents, states, folded failures, and the sum of a run."""

import io
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from exchanges.clock import ManualClock
from executor.contract import ItemError, Outcome, Usage
from manager.processes import plain
from manager.processes.telling import Speaker
from manager.state.kinds import EventKind
from manager.state.records import AccountId, DecisionRow, EventRow, FillPartRow, IncidentRow, PositionRow
from manager.views.activity import Standing
from manager.views.holdings import Totals
from state_rows import AT, make_row

OPEN = {
    "trader_id": "tom",
    "quantity": Decimal("0.5"),
    "price": Decimal("40000.125"),
    "fee": Decimal(9),
    "purpose": "entry",
}
CLOSE = OPEN | {
    "quantity": Decimal("-0.5"),
    "price": Decimal(41000),
    "realized": Decimal("499.94"),
    "purpose": "reduce",
}


def fill(**values: Any) -> str:
    return plain.fill_line(make_row(FillPartRow, **values))


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (OPEN, "tom buys to open 0.5 BTC/USDT:USDT at 40000.12, fee 9.00 USD"),
        (CLOSE, "tom sells to close 0.5 BTC/USDT:USDT at 41000: pnl +490.94 USD, net of its fee 9.00"),
        (
            CLOSE | {"purpose": "stop", "realized": Decimal(-20)},
            "tom sells to close 0.5 BTC/USDT:USDT at 41000 by stop: pnl -29.00 USD, net of its fee 9.00",
        ),
        (
            CLOSE
            | {"purpose": "take_profit", "quantity": Decimal(1000000), "fee": Decimal("0.001"), "realized": Decimal(0)},
            "tom buys to close 1000000 BTC/USDT:USDT at 41000 by take_profit: pnl 0.00 USD, net of its fee 0.00",
        ),
        (
            OPEN | {"quantity": Decimal("-0.5"), "trade_id": "cross/round/1", "fee": Decimal(0)},
            "tom sells to open 0.5 BTC/USDT:USDT at 40000.12, with another trader of the desk, fee 0.00 USD",
        ),
        (
            OPEN | {"trader_id": "EXTERNAL", "purpose": "external"},
            "EXTERNAL buys outside the desk 0.5 BTC/USDT:USDT at 40000.12, fee 9.00 USD",
        ),
    ],
)
def test_a_fill_is_one_sentence(values: dict[str, Any], line: str) -> None:
    assert fill(**values) == line


def test_an_incident_is_told_with_its_severity_and_its_end() -> None:
    row = make_row(IncidentRow, code="POSITION_MISMATCH", severity="high", detail="books 1,\nvenue 2", symbol="BTC")
    assert plain.incident_line(row) == "high incident POSITION_MISMATCH (BTC): books 1, venue 2"
    ended = make_row(IncidentRow, code="STOP_FAILED", severity="high", trader_id="tom", resolved_at=AT)
    assert plain.resolved_line(ended) == "high incident STOP_FAILED (tom) is resolved after 0 s"
    assert not plain.lasted(ended)
    assert plain.lasted(row)


def event(kind: EventKind, **values: Any) -> str:
    return plain.event_line(replace(make_row(EventRow, **values), kind=kind))


def test_an_act_on_a_trader_or_an_account_says_who_and_why() -> None:
    isolated = {"trader_id": "tom", "before": "running", "after": "isolated", "actor": "desk", "reason": "SHARPE -1.2"}
    assert event(EventKind.TRADER_STATE, **isolated) == "trader tom is isolated (was running), by desk: SHARPE -1.2"
    halted = {"account_id": "paper", "after": "halted", "actor": "cli:ann", "reason": ""}
    assert event(EventKind.TRADING_STATE, **halted) == "account paper is halted, by cli:ann"
    assert event(EventKind.REBALANCE) == ""


def test_a_failure_is_told_once_and_then_at_growing_distances() -> None:
    fold = plain.Fold()
    told = [fold.told("UNREACHABLE: port 1", "tom: port 1", float(second)) for second in range(0, 200, 2)]
    assert {n: line for n, line in enumerate(told) if line} == {
        0: "tom: port 1",
        5: "tom: port 1 (same failure, 6 times)",
        35: "tom: port 1 (same failure, 36 times)",
    }
    assert fold.told("UNREACHABLE: port 22", "tim: port 22", 201.0) == "", "a number makes no other failure"
    assert fold.told("REFUSED", "ann: refused", 201.0) == "ann: refused"
    assert list(fold.rest()) == ["tim: port 22 (same failure, 101 times)"]
    assert list(fold.rest()) == []


def standing(name: str, equity: Decimal, start: Decimal, *positions: PositionRow, moved: int = 0) -> Standing:
    given: dict[str, Any] = {"venue": "paper", "trading_state": "active", "states": [("running", 2)]}
    totals = Totals(equity=equity, start_usd=start, moved_usd=Decimal(moved), pnl_usd=equity - start - moved)
    due = [(AT + timedelta(seconds=n), f"t{n}") for n in range(5)]
    account = AccountId(name)
    return Standing(account_id=account, totals=totals, next_decisions=due, positions=positions, **given)


def test_the_sum_of_a_run_adds_up() -> None:
    counts = plain.Counts(orders=1, fills=2000)
    failed = make_row(
        DecisionRow, outcome=Outcome.REFUSED, usage=Usage(cost_usd=Decimal("0.02"), unknown_usd=Decimal("0.1"))
    )
    counts.count([failed, make_row(DecisionRow, outcome=Outcome.DECIDED)])
    short = make_row(PositionRow, trader_id="tom", quantity=Decimal(-1))
    accounts = {
        "default": [standing("a", Decimal("90.005"), Decimal(100), short)],
        "acme": [standing("b", Decimal(50), Decimal(30), moved=10)],
    }
    assert list(plain.summary_lines(3_725, counts, accounts)) == [
        "Ran 1 h 2 min: 2 decisions (1 failed), 1 order, 2,000 fills.",
        "default/a: equity 90.00 USD = start 100.00 + moved 0.00 + PnL -10.00",
        "acme/b: equity 50.00 USD = start 30.00 + moved 10.00 + PnL +10.00",
        "in total: equity 140.00 USD = start 130.00 + moved 10.00 + PnL 0.00",
        "Models cost 0.02 USD, and up to 0.1 of unknown cost.",
        (
            "1 position stays open (default/tom short BTC/USDT:USDT), protected only while a worker runs: "
            "start it again, or close them."
        ),
    ]


def test_one_tenant_alone_is_not_named() -> None:
    short = make_row(PositionRow, trader_id="tom", quantity=Decimal(-1))
    lines = list(plain.summary_lines(1, plain.Counts(), {"acme": [standing("b", Decimal(50), Decimal(50), short)]}))
    assert lines[1].startswith("b: equity 50.00 USD")
    assert "(tom short BTC/USDT:USDT)" in lines[2]


def test_who_decides_next_is_said_when_the_desk_trades() -> None:
    line = plain.ready_line([standing("a", Decimal(1), Decimal(1))], AT)
    assert line == "The desk trades (2 running); next decisions: t0 now, t1 12:00:01, t2 12:00:02 and 2 more."
    assert plain.ready_line([], AT) == "The desk trades (no trader); nobody is due to decide."


def test_a_failed_decision_says_why() -> None:
    error = ItemError(path="model", message="connection\nrefused")
    row = make_row(DecisionRow, trader_id="tom", outcome=Outcome.REFUSED, errors=(error,))
    assert plain.failure_line(row) == f"tom takes no decision: {Outcome.REFUSED}: connection refused"
    assert plain.failure_line(make_row(DecisionRow, outcome=Outcome.DECIDED)) == ""


def test_a_warning_of_a_process_is_a_sentence_without_its_traceback() -> None:
    died = {"event": "child_died", "level": "error", "child": "worker", "code": -9, "restart_in_s": 0.5}
    assert plain.log_line("run", died) == (
        "run error: the worker process ended by itself (killed by SIGKILL); it is started again in 0.5 s"
    )
    other = {"event": "fill_not_read", "level": "warning", "account": "paper", "exception": "Traceback\nOops: bad"}
    assert plain.log_line("worker", other) == "worker warning: fill not read: account paper [Oops: bad]"


def test_a_line_is_broken_at_the_width_of_the_terminal_and_steers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "60")
    out = Terminal()
    speaker = Speaker(ManualClock(AT), out)
    speaker.say("tom buys \x1b[31mto open 0.5 BTC/USDT:USDT at 40000.12, fee 9.00 USD", AT + timedelta(seconds=1))
    speaker.close()
    assert out.getvalue() == (
        "12:00:01  tom buys \\x1b[31mto open 0.5 BTC/USDT:USDT at\n          40000.12, fee 9.00 USD\n"
    )
