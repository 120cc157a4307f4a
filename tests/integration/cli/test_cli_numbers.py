"""The numbers that screens print of a desk that has traded: they add up on each screen, and from screen to screen."""

import asyncio
import re
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from database_fixtures import Database
from live_desk import LIVELY, LiveDesk
from manager.cli.app import app
from manager.state.records import DEFAULT_TENANT, BookRow
from manager.state.store import Store
from traders.book import EXTERNAL

pytestmark = [pytest.mark.database, pytest.mark.slow]

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
    if not moved and row.get("PnL %", "-") != "-":
        _check_percent(row["PnL %"], pnl, start)
    return start, moved, pnl, equity


def _check_percent(told: str, pnl: Decimal, start: Decimal) -> None:
    """Check that a percentage is that of the PnL beside it, both rounded."""
    assert abs(number(told.removesuffix(" %")) - pnl * 100 / start) <= CENT / 2 + CENT * 100 / start, (told, pnl, start)


@pytest.mark.usefixtures("traded")
def test_what_the_screens_print_adds_up() -> None:
    account, ranking = printed("performance"), printed("ranking")
    rows = {row["trader"]: row for row in table(account, "Traders, the best first")}
    ranked = {row["trader"]: row for row in table(ranking, "Ranking")}
    assert set(rows) == set(ranked) == set(TRADERS)
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
    for total, at in ((pnl, 2), (equity, 3)):
        assert abs(sum(capital(row)[at] for row in books) - total) <= CENT * (len(books) + 1) / 2
    assert EXTERNAL not in {row.get("trader") for row in books}


def _check_total(lines: list[str], rows: list[dict[str, str]]) -> None:
    [line] = (line for line in lines if line.strip().startswith("start "))
    start, moved, pnl, equity = map(number, re.findall(AMOUNT, line))
    assert start + moved + pnl == equity
    for total, at in ((start, 0), (pnl, 2), (equity, 3)):
        assert abs(sum(capital(row)[at] for row in rows) - total) <= CENT * (len(rows) + 1) / 2


def _check_sums_of_trades(lines: list[str]) -> None:
    [line] = (line for line in lines if line.startswith("3 closed"))
    gross, fees, funding, net = map(number, re.findall(AMOUNT, line))
    assert gross - fees + funding == net


def _check_page_of_trader(lines: list[str]) -> None:
    start, moved, pnl, equity = (amount(lines, label) for label in ("start capital", "capital moved", "PnL ", "equity"))
    assert start + moved + pnl == equity
