"""`propdesk performance` and `ranking`: what traders and accounts have made of their capital.

Start, moved capital, PnL and equity are always told together, and what is printed adds up to the cent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final

import typer

from exchanges.clock import SystemClock
from manager.cli.connect import DeskOptions
from manager.cli.guard import Refused
from manager.cli.options import taking
from manager.cli.render import instant, percent, print_json, say, show_table, usd
from manager.cli.trades import signed
from manager.monitor.ranking import PNL_WEIGHT, SHARPE_WEIGHT, WIN_RATE_WEIGHT, AggregatePerformance
from manager.state.records import AccountId
from manager.views import performance as view
from manager.views.adding_up import InCents
from traders.performance import MIN_RETURNS
from traders.spec import TraderId

_TRADER_COLUMNS: Final = (
    "trader", "start>", "moved>", "PnL>", "equity>", "PnL %>", "Sharpe>", "win rate>", "trades>", "drawdown>", "worst>",
    "realized>", "fees>", "funding>", "unrealized>", "state",
)  # fmt: skip
_BOOK_COLUMNS: Final = ("book", "start>", "moved>", "PnL>", "equity>")
_RANKING_COLUMNS: Final = (
    "rank>", "trader", "score>", "PnL %>", "PnL>", "moved>", "equity>", "state", "start>", "Sharpe>", "win rate>",
    "trades>", f"{SHARPE_WEIGHT} Sharpe>", f"{PNL_WEIGHT} PnL>", f"{WIN_RATE_WEIGHT} win rate>", "account",
)  # fmt: skip
_LABEL: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceOptions(DeskOptions):
    """Hold what `propdesk performance` is given."""

    trader: Annotated[str, typer.Argument(metavar="[TRADER]", help="The trader's id; all accounts by default.")] = ""
    account: Annotated[str, typer.Option("--account", metavar="NAME", help="Only this account and its traders.")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingOptions(DeskOptions):
    """Hold what `propdesk ranking` is given."""

    account: Annotated[str, typer.Option("--account", metavar="NAME", help="Only among this account's traders.")] = ""
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many, the best.")] = 100


@taking(PerformanceOptions)
def performance(options: PerformanceOptions) -> None:
    """Show what a trader or an account has made: capital, PnL, Sharpe, trades, drawdown, fees and funding.

    Equity is start capital + capital moved since (deals, rebalances, funds) + PnL.
    """
    if options.trader and options.account:
        raise Refused("give TRADER or --account NAME, not both: a trader has one account")
    now = SystemClock().now()
    query = view.PerformanceQuery(now=now, trader_id=TraderId(options.trader), account_id=AccountId(options.account))
    page = options.on_store(lambda store: view.read_performance(store, options.owner, query))
    if options.as_json:
        accounts = () if options.trader else page.accounts
        print_json({"tenant": options.tenant, "accounts": accounts, "traders": page.traders})
    elif options.trader:
        for trader in page.traders:
            show_trader(trader, page.total.traders)
    else:
        for account in page.accounts:
            _show_account(account, [one for one in page.traders if one.account_id == account.id])
        if not page.accounts:
            say(f"Tenant {options.tenant} has no accounts; start the desk with `propdesk run`.")


@taking(RankingOptions)
def ranking(options: RankingOptions) -> None:
    """Rank traders by Sharpe, PnL and win rate, and sum them up.

    The score is 0.5 Sharpe (clipped to +-3) + 0.3 PnL + 0.2 win rate, both as fractions; what is missing counts 0.
    """
    query = view.PerformanceQuery(now=SystemClock().now(), account_id=AccountId(options.account), limit=options.limit)
    page = options.on_store(lambda store: view.read_performance(store, options.owner, query))
    if options.as_json:
        print_json({"tenant": options.tenant, "traders": page.traders, "total": page.total, "next": page.next})
        return
    show_table("Ranking", _RANKING_COLUMNS, [ranking_cells(one) for one in page.traders])
    _tell_total(page.total)
    if page.next:
        say(f"{page.total.traders - len(page.traders)} more are not shown; raise --limit")


def show_trader(one: view.TraderPerformance, of: int) -> None:
    """Print the performance of one trader, a line each; `of` is how many are ranked."""
    curve = one.performance
    say(f"{one.id} ({one.name}) on {one.account_id}: {one.state}, rank {one.rank} of {of}, score {_score(one)}")
    _show_money(one.book, None if one.curve_since is None else curve.pnl_pct)
    _tell("Sharpe", _sharpe_text(curve.sharpe, one.hourly_returns, one.curve_since))
    trades = f"{percent(curve.win_rate)} of {curve.trades} closed trades" if curve.trades else "- (no closed trades)"
    _tell("win rate", trades)
    _tell("average win", f"{signed(curve.average_win)} USD, average loss {signed(curve.average_loss)} USD, before fees")
    _tell("drawdown", f"now {percent(curve.drawdown_pct)}, worst {percent(curve.max_drawdown_pct)}")


def capital_cells(book: view.BookPerformance) -> tuple[str, str, str, str]:
    """Return start, moved, PnL and equity in cents, which add up."""
    told = InCents.of(book)
    return usd(told.start_usd), signed(told.moved_usd), signed(told.pnl_usd), usd(told.equity)


def pnl_cells(book: view.BookPerformance) -> tuple[str, str, str, str]:
    """Return realized, fees, funding and unrealized in cents, which add up to the PnL beside them."""
    realized, fees, funding, unrealized = InCents.of(book).parts(book)
    return signed(realized), usd(fees), signed(funding), signed(unrealized)


def signed_percent(value: Decimal | float | None) -> str:
    """Return a percentage with its sign, which zero has none of."""
    told = None if value is None else round(float(value), 2) + 0.0
    return f"+{percent(told)}" if told is not None and told > 0 else percent(told)


def _show_account(one: view.AccountPerformance, traders: Sequence[view.TraderPerformance]) -> None:
    total, trades = one.traders, one.traders.trades
    say(f"{one.id} ({one.venue}): {total.traders} traders, {total.running} running, at the marks of "
        f"{instant(one.sampled_at)} UTC")  # fmt: skip
    _show_money(one.sums, one.pnl_pct)
    _tell("Sharpe", _sharpe_text(one.sharpe, one.hourly_returns, one.curve_since))
    rate = f"{percent(one.won * 100 / trades)} of {trades} closed trades" if trades else "- (no closed trades)"
    _tell("win rate", rate)
    _tell("average win", f"{signed(one.average_win)} USD, average loss {signed(one.average_loss)} USD, before fees")
    _tell("drawdown", f"now {percent(one.drawdown_pct)}, worst {percent(one.max_drawdown_pct)}")
    show_table("Traders, the best first", _TRADER_COLUMNS, [_trader_cells(trader) for trader in traders])
    show_table("Other books", _BOOK_COLUMNS, [[book.id, *capital_cells(book)] for book in one.other_books])
    say("")


def _show_money(book: view.BookPerformance, pnl_pct: Decimal | float | None) -> None:
    start, moved, pnl, equity = capital_cells(book)
    since = "" if book.started_at is None else f", {instant(book.started_at)} UTC"
    _tell("start capital", f"{start} USD{since}")
    _tell("capital moved", f"{moved} USD since (deals, rebalances, funds)")
    _tell("PnL", f"{pnl} USD, {signed_percent(pnl_pct)}")
    _tell("equity", f"{equity} USD = start + moved + PnL")
    realized, fees, funding, unrealized = pnl_cells(book)
    _tell("PnL is", f"realized {realized} - fees {fees} + funding {funding}")
    _tell("", f"+ unrealized {unrealized}")


def _tell(label: str, text: str) -> None:
    say(f"  {label:<{_LABEL}}{text}")


def _sharpe_text(sharpe: float | None, returns: int, began: datetime | None) -> str:
    since = "" if began is None else f" since {instant(began)} UTC"
    if sharpe is None:
        return f"- ({returns} of {MIN_RETURNS} hourly returns{since})"
    return f"{sharpe:z.2f} a year, of {returns} hourly returns{since}"


def _score(one: view.TraderPerformance) -> str:
    return f"{one.score:z.3f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:z.2f}"


def _trader_cells(one: view.TraderPerformance) -> list[str]:
    curve, book = one.performance, one.book
    return [
        *(one.id, *capital_cells(book), signed_percent(curve.pnl_pct), _ratio(curve.sharpe), percent(curve.win_rate)),
        *(str(curve.trades), percent(curve.drawdown_pct), percent(curve.max_drawdown_pct)),
        *pnl_cells(book),
        one.state,
    ]


def ranking_cells(one: view.TraderPerformance) -> list[str]:
    """Return the row of a trader in the ranking."""
    curve, parts = one.performance, one.score_parts
    start, moved, pnl, equity = capital_cells(one.book)
    return [
        *(str(one.rank), one.id, _score(one), signed_percent(curve.pnl_pct), pnl, moved, equity, one.state),
        *(start, _ratio(curve.sharpe), percent(curve.win_rate), str(curve.trades)),
        *(f"{round(part, 3) + 0.0:+.3f}" for part in (parts.sharpe, parts.pnl, parts.win_rate)),
        one.account_id,
    ]


def _tell_total(total: AggregatePerformance) -> None:
    if not total.traders:
        return
    told = InCents.rounded(total.total_start_usd, total.total_moved_usd, total.total_equity)
    money = f"start {usd(told.start_usd)} + moved {signed(told.moved_usd)} + PnL {signed(told.pnl_usd)}"
    say(f"{total.traders} traders, {total.running} running, {total.profitable} with a profit, {total.trades} trades")
    say(f"  {money} = equity {usd(told.equity)} USD")
    say(f"  average Sharpe {_ratio(total.average_sharpe)}, best {total.best}, worst {total.worst}")
    if total.unknown:
        say(f"  {total.unknown} without a known equity are in no sum: a position has no mark")
