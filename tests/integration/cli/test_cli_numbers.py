"""The numbers that screens print of a desk that has traded: they add up on each screen, and from screen to screen."""

import asyncio
import random
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from database_fixtures import Database
from desk_history import fill_history
from live_desk import LIVELY, LiveDesk
from manager.cli.app import app
from manager.cli.replaying import ReplayText
from manager.processes.plain import Counts, summary_lines
from manager.state.keys import Row
from manager.state.postgres.store import PostgresStore
from manager.state.records import DEFAULT_TENANT, UNALLOCATED, BookRow, PositionRow, SampledMark
from manager.state.store import Store
from manager.views.activity import read_standing
from state_rows import AT, BTC, make_account, make_row, make_trader
from traders.book import EXTERNAL

pytestmark = pytest.mark.database

TRADERS = ("t1", "t2", "t3", "t4")
REBALANCED = LIVELY.replace("manager: {", "manager: {rebalance_interval: 4s, ")
CENT = Decimal("0.01")
AMOUNT = r"[-+]?[\d,]+\.\d\d"


async def _trade(folder: Path, dsn: str) -> None:
    """Let a desk trade until several positions are closed and capital was moved after the start."""
    async with LiveDesk.at(folder, dsn, REBALANCED).trading() as store:
        for _ in range(300):
            await asyncio.sleep(1)
            if await _has_traded(store):
                return
    pytest.fail("the desk has not traded enough in five minutes")


async def _has_traded(store: Store) -> bool:
    async with store.transaction(DEFAULT_TENANT) as tx:
        books = await tx.find(BookRow, {})
    mine = [book for book in books if book.trader_id in TRADERS]
    closed = sum(book.performance.trades for book in mine)
    return closed >= 8 and any(book.capital != book.started_usd for book in mine)


@pytest.fixture
def traded(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(_trade(tmp_path, database.dsn))
    monkeypatch.setenv("DATABASE_URL", database.dsn)
    monkeypatch.setenv("COLUMNS", "400")


def printed(*arguments: str) -> list[str]:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def number(text: str) -> Decimal:
    return Decimal(text.replace(",", ""))


def amount(lines: list[str], label: str) -> Decimal:
    """Return the first amount on the first line with this label."""
    [line, *_] = (line for line in lines if line.strip().startswith(label))
    found = re.search(AMOUNT, line.strip().removeprefix(label))
    assert found, line
    return number(found.group())


def table(lines: list[str], title: str) -> list[dict[str, str]]:
    """Return the rows of a table by the names of its columns, which two blanks part."""
    start = lines.index(title)
    names = re.split(r"\s{2,}", lines[start + 1].strip())
    rows = []
    for line in lines[start + 2 :]:
        cells = re.split(r"\s{2,}", line.strip())
        if not line or len(cells) < len(names) - 1:
            break
        rows.append(dict(zip(names, cells, strict=False)))
    return rows


def capital(row: dict[str, str]) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    start, moved, pnl, equity = (number(row[name]) for name in ("start", "moved", "PnL", "equity"))
    assert start + moved + pnl == equity, row
    return start, moved, pnl, equity


def _check_percent(told: str, pnl: Decimal, start: Decimal) -> None:
    """Check that a percentage is that of the PnL beside it, both rounded."""
    assert abs(number(told.removesuffix(" %")) - pnl * 100 / start) <= CENT / 2 + CENT * 100 / start, (told, pnl, start)


@pytest.mark.slow
@pytest.mark.usefixtures("traded")
def test_what_the_screens_print_adds_up() -> None:
    account, ranking = printed("performance"), printed("ranking")
    rows = {row["trader"]: row for row in table(account, "Traders, the best first")}
    ranked = {row["trader"]: row for row in table(ranking, "Ranking")}
    assert set(rows) == set(ranked) == set(TRADERS)
    for row in (*rows.values(), *ranked.values()):
        start, moved, pnl, _ = capital(row)
        if not moved and row["PnL %"] != "-":
            _check_percent(row["PnL %"], pnl, start)
    _check_account(account, [*rows.values(), *table(account, "Other books")])
    _check_total(ranking, list(ranked.values()))
    trades = table(printed("trades", "--limit", "10000"), "Closed trades")
    still_open = table(printed("trades", "--open"), "Open trades") if _holds() else []
    for name in TRADERS:
        own = printed("performance", name)
        assert capital(rows[name]) == capital(ranked[name])
        told = [amount(own, label) for label in ("start capital", "capital moved", "PnL ", "equity")]
        assert tuple(told) == capital(rows[name])
        mine = [row for row in trades if row["trader"] == name]
        assert len(mine) == int(rows[name]["trades"])
        nets = [number(row["net PnL"]) for row in mine]
        nets += [number(row["net so far"]) for row in still_open if row["trader"] == name]
        booked = sum(number(rows[name][column]) for column in ("realized", "funding")) - number(rows[name]["fees"])
        assert abs(sum(nets, Decimal(0)) - booked) <= CENT * (len(nets) + 3) / 2, name
    assert any(number(row["moved"]) for row in rows.values())
    _check_sums_of_trades(printed("trades", "--limit", "3"))
    _check_page_of_trader(printed("traders", "show", "t1"))
    shown = {row["trader"]: capital(row) for row in table(printed("status"), "Traders, times in UTC")}
    assert set(shown) == set(TRADERS)


def _holds() -> bool:
    return printed("trades", "--open") != ["Open trades: none"]


def _check_account(lines: list[str], books: list[dict[str, str]]) -> None:
    start, moved, pnl, equity = (amount(lines, label) for label in ("start capital", "capital moved", "PnL ", "equity"))
    assert start + moved + pnl == equity
    assert (start, moved) == (Decimal(10_000), Decimal(0))
    [line] = (line for line in lines if line.strip().startswith("PnL  "))
    _check_percent(line.rpartition(", ")[2], pnl, start)
    for total, at, each in ((pnl, 2, 3), (equity, 3, 1)):
        assert abs(sum(capital(row)[at] for row in books) - total) <= CENT * each * (len(books) + 1) / 2
    assert EXTERNAL not in {row.get("trader") for row in books}


def _check_total(lines: list[str], rows: list[dict[str, str]]) -> None:
    [line] = (line for line in lines if line.strip().startswith("start "))
    start, moved, pnl, equity = map(number, re.findall(AMOUNT, line))
    assert start + moved + pnl == equity
    for total, at, each in ((start, 0, 1), (pnl, 2, 3), (equity, 3, 1)):
        assert abs(sum(capital(row)[at] for row in rows) - total) <= CENT * each * (len(rows) + 1) / 2


def _check_sums_of_trades(lines: list[str]) -> None:
    [line] = (line for line in lines if line.startswith("3 closed"))
    gross, fees, funding, net = map(number, re.findall(AMOUNT, line))
    assert gross - fees + funding == net


def _check_page_of_trader(lines: list[str]) -> None:
    start, moved, pnl, equity = (amount(lines, label) for label in ("start capital", "capital moved", "PnL ", "equity"))
    assert start + moved + pnl == equity


AWKWARD = tuple(f"w{n}" for n in range(12))
LABELS = ("start capital", "capital moved", "PnL ", "equity")


def _fine(dice: random.Random) -> Decimal:
    """Return an amount that ends in half a cent or in thirds of a cent; many add up to a cent that somebody gives."""
    return dice.randrange(-(10**6), 10**6) * Decimal("0.005") + dice.choice((0, 1, -1)) / Decimal(300)


def _awkward() -> list[Row]:
    """Return an account with books above and below zero, some flat, some that never traded."""
    dice, mark = random.Random(9), SampledMark(price=Decimal("99.995"), at=AT)
    rows: list[Row] = [make_account("awkward", marks={BTC: mark}, updated_at=AT)]
    for n, name in enumerate((*AWKWARD, UNALLOCATED, EXTERNAL)):
        start, moved = _fine(dice), _fine(dice)
        money: dict[str, Any] = {"capital": start + moved, "started_usd": start, "started_at": AT}
        if n % 4:
            money |= {"realized": _fine(dice), "fees": abs(_fine(dice)), "funding": _fine(dice)}
        if name in AWKWARD:
            rows += make_trader(name, account_id="awkward", seq=n + 10, **money)
        else:
            rows.append(make_row(BookRow, account_id="awkward", trader_id=name, **money))
        if n % 3 == 1:
            held = {"quantity": Decimal("0.00333"), "cost": _fine(dice), "opened_at": AT}
            rows.append(make_row(PositionRow, account_id="awkward", trader_id=name, **held))
    return rows


@pytest.fixture
def last_words(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fill a database with it, and return the last words of a run on it."""

    async def fill() -> list[str]:
        store = PostgresStore.open(database.dsn)
        await fill_history(store, *_awkward())
        standing = await read_standing(store, DEFAULT_TENANT)
        await store.close()
        return list(summary_lines(1.0, Counts(), {str(DEFAULT_TENANT): standing}))

    monkeypatch.setenv("DATABASE_URL", database.dsn)
    monkeypatch.setenv("COLUMNS", "500")
    return asyncio.run(fill())


def test_numbers_that_round_badly_add_up_and_are_the_same_on_every_screen(last_words: list[str]) -> None:
    status, account, ranking = printed("status"), printed("performance", "--account", "awkward"), printed("ranking")
    titled = ((status, "Traders, times in UTC"), (account, "Traders, the best first"), (ranking, "Ranking"))
    screens = [{row["trader"]: capital(row) for row in table(lines, title)} for lines, title in titled]
    for name in AWKWARD:
        own = printed("traders", "show", name)
        assert {screen[name] for screen in screens} == {tuple(amount(own, label) for label in LABELS)}, name
        _check_parts(own)
    _check_parts(account)
    _check_total(ranking, table(ranking, "Ranking"))
    for book in table(account, "Other books"):
        capital(book)
    whole = tuple(amount(account, label) for label in LABELS)
    assert (
        _told(status[2:5], "awkward  ") == _told(status, "  equity ")[:1] == _told(last_words, "awkward: ") == [whole]
    )
    [total] = _told(status[2:5], "all ")
    assert _told(last_words, "in total: ") == [total]


def _check_parts(lines: list[str]) -> None:
    at = next(n for n, line in enumerate(lines) if line.strip().startswith("PnL is"))
    realized, fees, funding, unrealized = map(number, re.findall(AMOUNT, " ".join(lines[at : at + 2])))
    assert realized - fees + funding + unrealized == amount(lines, "PnL ")


def _told(lines: list[str], begins: str) -> list[tuple[Decimal, ...]]:
    """Return start, moved, PnL and equity of the lines that tell equity first."""
    found: list[tuple[Decimal, ...]] = []
    for line in lines:
        if line.startswith(begins):
            equity, start, moved, pnl = map(number, re.findall(AMOUNT, line)[:4])
            assert start + moved + pnl == equity, line
            found.append((start, moved, pnl, equity))
    return found


def test_the_summary_of_a_replay_adds_up_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    dice = random.Random(9)
    numbers = ("max_drawdown_pct", "sharpe", "win_rate", "decisions", "orders", "fills", "trades", "unallocated")
    rows = []
    for n in range(40):
        start, moved, pnl = _fine(dice), _fine(dice), _fine(dice) if n % 4 else Decimal(0)
        sums = {"start_usd": start, "moved_usd": moved, "pnl": pnl, "equity": start + moved + pnl}
        other = dict.fromkeys((*numbers, "realized_pnl", "fees", "funding"), 0)
        named = {"id": f"r{n}", "state": "running", "state_reason": "", "outcomes": {}}
        rows.append({**named, **other, **{name: str(value) for name, value in sums.items()}})
    whole = {"traders": rows, "account": {k: v for k, v in rows[1].items() if k not in ("id", "outcomes")}}
    counts: dict[str, Any] = {name: {} for name in ("models", "conflicts", "denials", "clamps")}
    rates = dict.fromkeys(("bars", "bars_per_s", "decisions_per_s", "wall_s", "invalid_items"), 0)
    ReplayText({**whole, **counts, **rates, "invariants": {"checked": 1, "violated": 0}}, None).show()
    lines = [line.replace(" pnl", " PnL") for line in capsys.readouterr().out.splitlines()]
    told = [capital(row) for row in table(lines, "Traders")]
    assert len(told) == len(rows)
    assert [capital(row) for row in table(lines, "Account")] == told[1:2]
