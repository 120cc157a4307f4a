"""What `trades`, `performance`, `ranking` and `traders show` print, and what they say to wrong input."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from typer.testing import CliRunner, Result

from desk_history import AT, desk_with_history, round_trip
from manager.cli import connect
from manager.cli.app import app
from manager.state.store import Store

T = TypeVar("T")
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def desk(monkeypatch: pytest.MonkeyPatch) -> None:
    trips = [row for n in range(3) for row in round_trip(f"x{n}", ("bull", "bear")[n % 2], AT - HOUR * n, made=str(n))]
    memory = asyncio.run(desk_with_history(*trips))

    def with_memory(data_dir: Path, work: Callable[[Store], Awaitable[T]]) -> T:
        async def run() -> T:
            return await work(memory)

        del data_dir
        return asyncio.run(run())

    monkeypatch.setattr(connect, "with_store", with_memory)
    monkeypatch.setenv("COLUMNS", "300")


def propdesk(*arguments: str) -> Result:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code in (0, 1, 2), result.exception
    return result


def read(*arguments: str) -> Any:
    result = propdesk(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_trades_are_listed_with_what_matters_first() -> None:
    title, head, newest, *_, sums = propdesk("trades").stdout.splitlines()
    assert (title, head.split()[:6]) == ("Closed trades", ["closed", "(UTC)", "trader", "symbol", "side", "net"])
    assert newest.split()[:6] == ["2025-06-01", "12:00:00", "bull", "BTC/USDT:USDT", "short", "-1.15"]
    assert sums == "3 closed, 2 won: gross +3.00 - fees 2.70 + funding -0.75 = net -0.45 USD"
    [told] = read("trades", "--trader", "bear")["trades"]
    assert (told["net_pnl"], told["closed_by"], told["hold_s"]) == ("-0.15", "decision", 60.0)


def test_a_page_says_how_to_go_on() -> None:
    *_, more = propdesk("trades", "--limit", "2").stdout.splitlines()
    cursor = more.rpartition(" ")[2]
    assert more.startswith("There are more: raise --limit, or go on with --after ")
    [rest] = read("trades", "--limit", "2", "--after", cursor)["trades"]
    assert rest["closed_at"] == (AT - HOUR * 2).isoformat()


def test_open_trades_are_listed_apart_and_nothing_is_said_plainly() -> None:
    assert "1 open: gross 0.00 - fees 0.45 + funding 0.00 = net -0.45 USD" in propdesk("trades", "--open").stdout
    assert propdesk("trades", "--symbol", "ETH/USDT:USDT").stdout == "Closed trades: none\n"
    since, until = "2025-06-01T10:30:00Z", "2025-06-01T13:00:00+01:00"
    assert len(read("trades", "--since", since, "--until", until)["trades"]) == 2


def test_performance_and_ranking_have_the_same_numbers_as_json() -> None:
    ranked = read("ranking")
    everything = read("performance")
    assert everything["traders"] == ranked["traders"]
    [account] = everything["accounts"]
    assert account["traders"] == ranked["total"]
    [bull] = read("performance", "bull")["traders"]
    assert bull in ranked["traders"]
    assert bull["book"]["equity"] == bull["equity"] == "4504.55"


def test_one_trader_is_shown_whole() -> None:
    lines = propdesk("traders", "show", "bull").stdout.splitlines()
    assert lines[0] == "bull (The bull) on paper: running, rank 2 of 2, score 0.000"
    assert "  equity          4,504.55 USD = start + moved + PnL" in lines
    assert "  decides         baseline trend, every 1m" in lines
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert rows["max_positions"] == ["3", "1", "33.33", "%"]
    assert rows["max_position_size_usd"] == ["1000", "1005", "100.50", "%"]
    assert rows["min_confidence"] == ["75", "-", "-"]
    page = read("traders", "show", "bull")["trader"]
    assert [order["purpose"] for order in page["orders"]] == ["stop"]
    assert [decision["actions"] for decision in page["decisions"]] == [["open_long BTC/USDT:USDT"]]
    assert [limit["name"] for limit in page["limits"] if limit["used_pct"] is not None] == [
        "max_positions", "max_position_size_usd", "max_margin_usage_pct", "max_drawdown_pct", "max_entries_per_hour",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("trades", "--trader", "none"), "there is no trader 'none'"),
        (("trades", "--account", "none"), "there is no account 'none'"),
        (("trades", "--since", "someday"), "'someday' is no time; write 15m, 2h or 3d for so long ago, today, yest"),
        (("operations", "--until", "99x"), "'99x' is no time; write 15m, 2h or 3d"),
        (("trades", "--since", "999999w"), "'999999w' is before all time; write 15m"),
        (("trades", "--since", "1h", "--until", "yesterday"), "is after --until"),
        (("trades", "--after", "x"), "'x' is no cursor of this view"),
        (("performance", "none"), "there is no trader 'none'"),
        (("performance", "bull", "--account", "paper"), "give TRADER or --account NAME, not both"),
        (("ranking", "--account", "none"), "there is no account 'none'"),
        (("traders", "show", "none"), "there is no trader 'none'"),
    ],
)
def test_what_is_given_wrongly_is_named(arguments: tuple[str, ...], told: str) -> None:
    result = propdesk(*arguments)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.replace("│", " ").split())
