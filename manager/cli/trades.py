"""`propdesk trades`: what closed positions have made, and those that are open so far."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final

import typer

from manager.cli.connect import DeskOptions
from manager.cli.options import check_span, moment, taking
from manager.cli.render import instant, price, print_json, say, show_table, span, usd
from manager.state.records import AccountId
from manager.views.trade_assembly import Trade
from manager.views.trades import TradePage, TradeQuery, read_trades
from traders.spec import TraderId

_CLOSED_COLUMNS: Final = (
    "closed (UTC)", "trader", "symbol", "side", "net PnL>", "closed by", "quantity>", "entry>", "exit>", "gross>",
    "fees>", "funding>", "held>", "orders>", "opened (UTC)", "account", "order", "why",
)  # fmt: skip
_OPEN_COLUMNS: Final = (
    "opened (UTC)", "trader", "symbol", "side", "left>", "net so far>", "quantity>", "entry>", "exit>", "gross>",
    "fees>", "funding>", "orders>", "account",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TradesOptions(DeskOptions):
    """Hold what `propdesk trades` is given."""

    trader: Annotated[str, typer.Option("--trader", metavar="ID", help="Only of this trader.")] = ""
    account: Annotated[str, typer.Option("--account", metavar="NAME", help="Only of this account.")] = ""
    symbol: Annotated[str, typer.Option("--symbol", metavar="SYMBOL", help="Only of this symbol.")] = ""
    since: Annotated[datetime | None, moment("--since", "Only what was closed (opened, with --open) from then on:")] = (
        None
    )
    until: Annotated[datetime | None, moment("--until", "Only what was closed (opened, with --open) until then:")] = (
        None
    )
    open_only: Annotated[
        bool, typer.Option("--open", help="The positions still held, with what they have made so far.")
    ] = False
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many, the newest.")] = 50
    after: Annotated[str, typer.Option("--after", metavar="CURSOR", help="Go on where `next` of a page left off.")] = ""


@taking(TradesOptions)
def trades(options: TradesOptions) -> None:
    """List closed trades, newest first: entry, exit, PnL, fees, funding and what closed them.

    Prices are averages, net PnL is gross PnL less fees plus funding. --json has every digit.
    """
    check_span(options.since, options.until)
    query = TradeQuery(
        trader_id=TraderId(options.trader),
        account_id=AccountId(options.account),
        symbol=options.symbol,
        since=options.since,
        until=options.until,
        open_only=options.open_only,
        limit=options.limit,
        after=options.after,
    )
    page = options.on_store(lambda store: read_trades(store, options.owner, query))
    if options.as_json:
        print_json({"tenant": options.tenant, "trades": page.trades, "total": page.total, "next": page.next})
    elif options.open_only:
        show_table("Open trades", _OPEN_COLUMNS, [_open_cells(one) for one in page.trades])
    else:
        show_table("Closed trades", _CLOSED_COLUMNS, [_closed_cells(one) for one in page.trades])
    if page.trades and not options.as_json:
        _tell_sums(page, "open" if options.open_only else "closed")


def signed(amount: Decimal | None) -> str:
    """Return dollars and cents with their sign, which zero has none of."""
    cents = None if amount is None else round(amount, 2) + 0
    return f"+{usd(cents)}" if cents is not None and cents > 0 else usd(cents)


def _closed_cells(trade: Trade) -> list[str]:
    return [
        *(instant(trade.closed_at), trade.trader_id, trade.symbol, trade.side, signed(trade.net_pnl)),
        *(trade.closed_by or "-", price(trade.quantity), price(trade.entry_price), price(trade.exit_price)),
        *(signed(trade.pnl), usd(trade.fees), signed(trade.funding), span(trade.hold_s), str(trade.orders)),
        *(instant(trade.opened_at), trade.account_id, trade.order_id or "-", trade.why),
    ]


def _open_cells(trade: Trade) -> list[str]:
    return [
        *(instant(trade.opened_at), trade.trader_id, trade.symbol, trade.side, price(trade.left)),
        *(signed(trade.net_pnl), price(trade.quantity), price(trade.entry_price), price(trade.exit_price)),
        *(signed(trade.pnl), usd(trade.fees), signed(trade.funding), str(trade.orders), trade.account_id),
    ]


def _tell_sums(page: TradePage, kind: str) -> None:
    total, won = page.total, "" if kind == "open" else f", {page.total.won} won"
    fees, funding, net = (round(amount, 2) for amount in (total.fees, total.funding, total.net_pnl))
    # Of four rounded numbers one gives way, so that what is printed adds up.
    say(
        f"{total.trades} {kind}{won}: gross {signed(net + fees - funding)} - fees {usd(total.fees)}"
        f" + funding {signed(total.funding)} = net {signed(total.net_pnl)} USD"
    )
    if page.next:
        say(f"There are more: raise --limit, or go on with --after {page.next}")
